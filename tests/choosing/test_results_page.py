"""The tables and sentences of the zoo's results, from made-up records and latencies."""

from dataclasses import replace

import pytest

from ppeconv.benchmark.table import read_csv, write_csv
from ppeconv.choosing.comparison import Comparison, Row, kept_speeds
from ppeconv.choosing.plain_line import Verdict
from tests.support.records import ROWS, made_up_contenders, speed, write_records
from tests.support.scripts import script

zoo_table = script("scripts/zoo_table.py")


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    return list(made_up_contenders(write_records(tmp_path_factory.mktemp("zoo"))).values())


@pytest.fixture
def measured(five, tmp_path, monkeypatch):
    """With latencies as they are kept."""
    times = {"resnet20": 4, "resnet20_width05": 1, "resnet20_spconv": 2, "resnet20_separable": 2, "resnet14": 5}
    speeds = [speed(name, 1, runtime, ms * by) for name, ms in times.items() for runtime, by in (("a", 1), ("b", 3))]
    write_csv(Comparison(five, speeds).rows(), tmp_path / "latency.csv", {"cpu": "a CPU", "threads": "2"})
    monkeypatch.setattr(zoo_table, "LATENCY", tmp_path / "latency.csv")
    kept, facts = kept_speeds(tmp_path / "latency.csv")
    assert facts == {"cpu": "a CPU", "threads": "2"}
    assert {(row.network, row.runtime): row.median_ms for row in kept} == {
        (row.network, row.runtime): row.median_ms for row in speeds
    }
    return Comparison(five, kept)


def test_kept_latencies_get_the_accuracies_of_new_records(measured, five):
    before, facts = read_csv(zoo_table.LATENCY, Row)
    one_seed = [replace(it, runs=it.runs[:1]) for it in five if it.name != "resnet14"]
    zoo_table.refresh_latencies({"main": Comparison(one_seed, measured.speeds)})
    after, still = read_csv(zoo_table.LATENCY, Row)
    assert (still, len(after)) == (facts, len(before))
    for old, new in zip(before, after, strict=True):
        assert (old.name, old.median_ms, old.time_ratio, old.params) == (
            new.name, new.median_ms, new.time_ratio, new.params,
        )  # fmt: skip
    seeds = {row.name: (row.seeds, row.top1) for row in after}
    assert seeds["resnet20"] == ("1", one_seed[0].runs[0].top1) != (before[0].seeds, before[0].top1)
    assert {row for row in after if row.name == "resnet14"} == {row for row in before if row.name == "resnet14"}


def cells(lines, network):
    (line,) = [line for line in lines if line.startswith(f"| {network} |") or f"[{network}]" in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_first_screen_judges_by_macs_until_latencies_are_measured(five):
    lines = list(zoo_table.first_screen(Comparison(five), zoo_table.ENGLISH))
    assert "main_counts.svg" in lines[0]
    assert cells(lines, "ResNet20")[1:] == ["85.00% (84.00 to 86.00)", "272,474", "40,000,000", "—"]
    assert cells(lines, "DepthwiseSeparableConv")[-1] == "cannot be said"  # within 2 points of the narrowest
    assert cells(lines, "SPConv")[-1].startswith("level ")
    assert "up to 2.00 points" in lines[-1]


def test_the_first_screen_judges_by_latency(measured):
    lines = list(zoo_table.first_screen(measured, zoo_table.CHINESE))
    assert "main_latency.svg" in lines[0]
    assert cells(lines, "DepthwiseSeparableConv")[-2:] == ["0.50", "平 -1.50"]
    assert cells(lines, "ResNet14")[-2:] == ["1.25", "负，更费且不更准"]
    assert "a CPU, 2 threads" in lines[-1]
    assert [line.split("|")[2].strip()[:5] for line in lines[3:8]] == ["85.00", "83.00", "82.50", "81.00", "80.00"]


def test_the_page_says_plainly_what_is_better_on_which_runtime(measured):
    text = "\n".join(zoo_table._plainly(measured))
    assert "ResNet20 2 个（相差 2.00 点）、SPConv 3 个（相差 0.20 点）；其余只有一个" in text
    assert "ResNet20 ×0.5、ResNet20；在它们之间" in text
    assert (
        "同样快**（批 1：a、b；a CPU, 2 threads），凡能与窄的普通网络比的地方：都胜过：无；有的地方胜过：无；" in text
    )
    assert "都不胜过：SPConv、DepthwiseSeparableConv、ResNet14；比不出（超出了线的两头）：无。" in text
    assert cells(text.splitlines(), "DepthwiseSeparableConv")[1:] == ["平 -1.50", "平 -1.50"]
    assert cells(text.splitlines(), "ResNet14")[1:] == ["负", "负"]


def test_the_page_names_the_runtimes_on_which_a_network_is_better(five):
    """SPConv (82.5 %) is as fast as the narrowest plain one (80 %) on one runtime, as the widest (85 %) on another."""
    times = {
        "resnet20": (4, 4),
        "resnet20_width05": (1, 1),
        "resnet20_spconv": (1, 4),
        "resnet20_separable": (0.5, 0.5),
    }
    speeds = [
        speed(name, 8, runtime, ms) for name, both in times.items() for runtime, ms in zip("ab", both, strict=True)
    ]
    text = "\n".join(zoo_table._plainly(Comparison(five, speeds)))
    assert "都胜过：无；有的地方胜过：SPConv（批 8：a）；都不胜过：无；比不出" in text
    assert "比不出（超出了线的两头）：DepthwiseSeparableConv。" in text
    assert cells(text.splitlines(), "SPConv")[1:] == ["**+2.50**", "-2.50"]
    assert cells(text.splitlines(), "DepthwiseSeparableConv")[1:] == ["比不出", "比不出"]
    assert "| 与同样快的窄普通网络比 | 批 8，a | 批 8，b |" in text


def test_a_table_without_plain_networks_has_the_line_of_the_one_that_is_trained_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo_table, "LATENCY", tmp_path / "none.csv")
    more = zoo_table.tables(write_records(tmp_path, {**ROWS, "resnet20_fire": (0.84,)}))["more"]
    assert [it.name for it in more.contenders] == ["resnet20_width05", "resnet20", "resnet20_fire"]
    text = "\n".join(zoo_table._section("more", more))
    assert "普通网络的线：ResNet20 ×0.5、ResNet20；" in text
    assert cells(text.splitlines(), "FireConv")[-1] == "平 +1.50"
    assert list(zoo_table.pictures("more", more)) == ["more_counts.svg"]
    only = zoo_table.tables(write_records(tmp_path / "alone", {"resnet20_fire": (0.84,)}))["more"]
    assert zoo_table.pictures("more", only) == {}


@pytest.mark.parametrize("words", ["CHINESE", "ENGLISH"])
def test_every_verdict_has_words(words):
    words = getattr(zoo_table, words)
    for standing in ("better", "level", "worse"):
        assert "-0.50" in words.of(Verdict(standing, -0.005))
    for standing in ("better", "worse", "outside"):
        assert words.of(Verdict(standing, None))
    assert words.of(None) == "—"
