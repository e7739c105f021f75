"""Advice: the candidates of a network, sittings that fit the memory, what is kept, the choice and its sentence."""

from __future__ import annotations

import dataclasses
import json

import pytest

import ppeconv
from ppeconv import UserError
from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.benchmark.machine import available_mib
from ppeconv.benchmark.table import read_csv, write_csv
from ppeconv.choosing import sittings
from ppeconv.choosing.accuracies import accuracies
from ppeconv.choosing.advice import Option, choose, fastest
from ppeconv.choosing.candidates import PLAIN, Candidate, Host, network_facts
from ppeconv.choosing.check import check
from ppeconv.choosing.kept import Kept
from ppeconv.choosing.picture import draw
from ppeconv.choosing.sittings import How, Sitting, group_size, measure, missing, timed_runs, together
from tests.support.runs import call

HOW = How(("a", "b"), 1, 1, "deployed", 5)
HALF, QUARTER = Candidate("plain", "width: 0.5"), Candidate("plain", "width: 0.25")
SPLIT, GROUPED = Candidate("SPConv", "ratio: 0.5"), Candidate("GroupConv")


def speed(candidate, runtime, ms, ratio=None, peak=100.0):
    """A row of a measurement; without a time, of a network that the runtime refuses."""
    figures = {"median_ms": ms, "p90_ms": ms, "images_per_second": 1000 / ms, "peak_mib": peak} if ms else {}
    return InferenceSpeed(
        str(candidate), 1, runtime, 10, 100, 1.0, time_ratio=ratio, **figures, reason="" if ms else "no"
    )


def option(candidate, ms, macs=100, top1=None, runtime="a", plain_ms=4.0):
    known = ("CIFAR-10", 12, "1 2") if top1 else ("", None, "")
    ratio = ms and ms / plain_ms
    work = 10, macs, macs / 100
    reason = "" if ms else "no"
    return Option(
        candidate.operator, candidate.arguments, runtime, ms, ratio, *work, top1, *known, ms, None, "", reason
    )


# candidates


def test_candidates_of_a_network():
    host = Host.of_arch("resnet20", ["Arch.width=2"])
    found, left_out = host.candidates()
    assert found[0] == PLAIN
    assert [candidate.width for candidate in found[1:5]] == [1.5, 1.0, 0.75, 0.5]
    operators = {candidate.operator for candidate in found}
    assert set(ppeconv.list_operators()) - operators == {"Conv2D"}
    assert {"ratio: 0.5", "ratio: 0.25"} <= {it.arguments for it in found if it.operator == "SPConv"}
    assert len(set(found)) == len(found)
    assert any("pairs" in name for name in left_out)


def test_default_arguments_are_not_taken_twice():
    found, _ = Host.of_arch("ResNet20").candidates(["ghostconv", "SPConv"])
    assert [it.arguments for it in found if it.operator == "GhostConv"] == ["ratio: 2"]
    assert "" not in [it.arguments for it in found if it.operator == "SPConv"]


@pytest.mark.parametrize(
    ("arch", "config", "shape"),
    [
        ("ResNet18", "resnet18_conv_cifar10", [3, 32, 32]),
        ("ResNet56", "resnet20_conv_cifar10", [3, 32, 32]),
        ("VGG16", None, [3, 224, 224]),
    ],
)
def test_a_backbones_config(arch, config, shape):
    host = Host.of_arch(arch)
    assert host.of().Arch.name == arch
    assert host.of().Infer.image_shape == shape
    assert config in (None, host.config)


def test_a_network_whose_data_are_not_here(monkeypatch, tmp_path):
    monkeypatch.setenv("PPECONV_DATA", str(tmp_path))
    host = Host("resnet18_spconv_imagenet")
    assert (host.of().Infer.image_shape, host.of().Arch.class_num) == ([3, 224, 224], 1000)
    assert host.of().operators == []


def test_a_backbone_without_widths_has_no_narrower_ones():
    host = Host.of_arch("InceptionV4")
    assert host._narrower() == []


@pytest.mark.parametrize(
    ("config", "candidate", "command"),
    [
        ("resnet20_conv_cifar10", PLAIN, "-c resnet20_conv_cifar10"),
        ("resnet20_conv_cifar10", HALF, "-c resnet20_conv_cifar10 -o Arch.width=0.5"),
        ("resnet20_conv_cifar10", SPLIT, "-c resnet20_conv_cifar10 -o 'Operator={name: SPConv, ratio: 0.5}'"),
        ("resnet20_spconv_cifar10", HALF, "-c resnet20_spconv_cifar10 -o Operator=null Arch.width=0.5"),
        ("resnet20_spconv_cifar10", GROUPED, "-c resnet20_spconv_cifar10 -o 'Operator={name: GroupConv}'"),
    ],
)
def test_the_command_that_trains_it(config, candidate, command):
    assert Host(config).training(candidate) == f"python tools/train.py {command}"


def test_a_network_is_the_same_whatever_its_config_leaves_out():
    plain = network_facts(Host("resnet20_conv_cifar10").of())
    assert plain == network_facts(Host("resnet20_conv_cifar10", ("Arch.width=1.0", "Global.seed=7")).of())
    assert plain == network_facts(Host("resnet20_spconv_cifar10").of())
    split = network_facts(Host("resnet20_conv_cifar10").of(SPLIT))
    assert split == network_facts(Host("resnet20_conv_cifar10").of(Candidate("SPConv")))
    assert split not in (plain, network_facts(Host("resnet20_conv_cifar10").of(Candidate("SPConv", "ratio: 0.25"))))


# sittings


@pytest.mark.parametrize(
    ("rows", "available", "size"),
    [
        ([], 10_000.0, 1),
        ([speed(PLAIN, "a", 1)], None, 1),
        ([speed(PLAIN, "a", 1, peak=100), speed(SPLIT, "a", 1, peak=200)], 100.0, 1),
        ([speed(PLAIN, "a", 1, peak=100), speed(SPLIT, "a", 1, peak=200)], 2400.0, 3),
        ([speed(PLAIN, "a", 1, peak=100)], 1e6, sittings.MOST),
    ],
)
def test_sittings_fit_the_memory(rows, available, size):
    assert group_size(rows, available, runtimes=2) == size


def test_memory_that_is_free():
    free = available_mib()
    assert free is None or free > 0


def test_short_calls_are_timed_more_often():
    assert timed_runs([]) == sittings.FIRST
    assert timed_runs([speed(PLAIN, "a", 0.001)]) == sittings.MOST_RUNS
    assert timed_runs([speed(PLAIN, "a", 5.0), speed(PLAIN, "b", 10.0), speed(SPLIT, "a", 1000.0)]) == 5
    assert timed_runs([speed(PLAIN, "a", 5000.0)]) == sittings.FEWEST


@dataclasses.dataclass(frozen=True)
class Fake:
    """In place of a network."""

    name: str


def network(candidate):
    if candidate == QUARTER:
        raise UserError("a layer is left without channels")
    return Fake(str(candidate))


def test_every_sitting_has_the_plain_network(monkeypatch):
    asked, said = [], []
    monkeypatch.setattr(How, "measure", lambda how, networks, times: asked.append(networks) or [speed(PLAIN, "a", 1.0)])
    rest = [HALF, QUARTER, SPLIT, GROUPED, Candidate("GhostConv")]
    found = list(measure(PLAIN, rest, [], HOW, network, said.append, available=lambda: 900.0))
    assert [[it.name for it in networks] for networks in asked] == [
        ["plain", "plain (width: 0.5)"],
        ["plain", "SPConv (ratio: 0.5)"],
        ["plain", "GroupConv", "GhostConv"],
    ]
    assert [sitting.rounds for sitting in found] == [5, 5, 5]
    assert any("5 of 5" in line for line in said)
    assert "plain (width: 0.25) is left out: a layer is left without channels" in said


def test_the_plain_network_is_measured_where_there_is_nothing_beside_it(monkeypatch):
    asked = []
    monkeypatch.setattr(How, "measure", lambda how, networks, times: asked.append(networks) or [speed(PLAIN, "a", 1.0)])
    alone = list(measure(PLAIN, [QUARTER], [], HOW, network, print))
    assert [[it.name for it in networks] for networks in asked] == [["plain"]]
    assert list(measure(PLAIN, [], alone, HOW, network, print)) == []


def test_sittings_are_brought_together_by_their_ratio_to_the_plain_network():
    slow = Sitting("2026-01-02 00:00", 5, [speed(PLAIN, "a", 8.0, 1.0), speed(HALF, "a", 4.0, 0.5)])
    fast = Sitting(
        "2026-01-01 00:00", 5, [speed(PLAIN, "a", 4.0, 1.0), speed(SPLIT, "a", 3.0, 0.75), speed(SPLIT, "b", 2.0)]
    )
    rows = {(row.network, row.runtime): row for _, row in together([slow, fast])}
    times = {key: row.median_ms for key, row in rows.items()}
    assert times == {("plain", "a"): 6, (str(HALF), "a"): 3, (str(SPLIT), "a"): 4.5, (str(SPLIT), "b"): 2}
    assert rows[str(HALF), "a"].images_per_second == pytest.approx(1000 / 3)


def test_the_newest_measurement_counts():
    old, new = (
        Sitting(f"2026-01-0{day} 00:00", 5, [speed(PLAIN, "a", 4.0, 1.0), speed(SPLIT, "a", 4.0 * ratio, ratio)])
        for day, ratio in ((1, 0.9), (2, 0.5))
    )
    assert [row.median_ms for measured, row in together([new, old]) if row.network == str(SPLIT)] == [2]


def test_what_is_missing_is_measured():
    before = [Sitting("", 5, [speed(SPLIT, "a", 1), speed(SPLIT, "b", None), speed(GROUPED, "a", 1)])]
    assert missing([SPLIT, GROUPED, HALF], before, HOW) == [GROUPED, HALF]


# what is kept


def test_measurements_are_kept_by_what_they_depend_on(tmp_path):
    kept = Kept({"cpu": "one", "threads": "2"}, tmp_path)
    assert kept.read() == []
    sitting = Sitting("2026-01-01 00:00", 5, [speed(PLAIN, "a", 4.0, 1.0), speed(SPLIT, "a", None)])
    kept.write([sitting])
    assert Kept({"threads": "2", "cpu": "one"}, tmp_path).read() == [sitting]
    assert Kept({"cpu": "one", "threads": "1"}, tmp_path).read() == []
    assert [file.suffix for file in tmp_path.iterdir()] == [".json"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("", "Expecting value"),
        ("[]", "list indices"),
        ("{", "Expecting property name"),
        ('{"format": 1}', "'facts'"),
        ('{"format": 2, "facts": {}, "sittings": [{}]}', "0.measured: Field required"),
        ('{"format": 1, "facts": {}, "sittings": []}', "it is of other measurements"),
        ("\0", "Expecting value"),
    ],
)
def test_a_damaged_file_is_a_sentence_and_is_replaced(tmp_path, damage, words):
    kept = Kept({}, tmp_path)
    kept.file.write_text(damage, "utf-8")
    with pytest.raises(UserError, match=f"are ignored .*{words}"):
        kept.read()
    kept.write([])
    assert kept.read() == []


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Kept({}).file.parent == tmp_path / "ppeconv" / "latency"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Kept({}).file.parent == tmp_path / ".cache" / "ppeconv" / "latency"


# the choice


def test_the_fastest_runtime_counts():
    options = [
        option(PLAIN, 4.0),
        option(SPLIT, 3.0, runtime="a"),
        option(SPLIT, 2.0, runtime="b"),
        option(GROUPED, None),
    ]
    assert [(it.candidate, it.runtime) for it in fastest(options)] == [(SPLIT, "b"), (PLAIN, "a")]


@pytest.mark.parametrize(
    ("budget", "verdict", "taken", "words"),
    [
        (4.4, "plain", PLAIN, "The plain network is enough: it takes 4 ms"),
        (4.0, "plain", PLAIN, "enough"),
        (2.0, "operator", GROUPED, "proxy"),
        (1.2, "narrower", HALF, "A narrower plain network is better by a proxy"),
        (1.0, "narrower", HALF, "A narrower plain network is better: no operator fits"),
        (0.4, "nothing", QUARTER, "Nothing fits 0.4 ms; the fastest possible is plain (width: 0.25)"),
    ],
)
def test_without_accuracies_the_most_work_is_chosen(budget, verdict, taken, words):
    options = [
        option(PLAIN, 4.0, 100), option(HALF, 1.0, 25), option(QUARTER, 0.5, 6), option(GROUPED, 2.0, 51),
        option(SPLIT, 2.0, 37), option(Candidate("HetConv"), 1.1, 20),
    ]  # fmt: skip
    choice = choose(options, budget)
    assert (choice.verdict, choice.taken.candidate) == (verdict, taken)
    assert words in choice.sentence


def test_the_most_accurate_of_what_fits_is_chosen():
    options = [
        option(PLAIN, 4.0, 100, 0.9),
        option(HALF, 1.0, 25, 0.8),
        option(SPLIT, 2.0, 37, 0.87),
        option(GROUPED, 2.0, 51),
    ]
    choice = choose(options, 2.0)
    assert (choice.verdict, choice.taken.candidate) == ("operator", SPLIT)
    assert (
        "a top-1 of 87.00%, 7.0 points more than the best narrower plain network that fits, plain (width: 0.5)"
        in choice.sentence
    )
    assert "of 1 more that fit the accuracy is not known" in choice.sentence
    assert "interpolated" not in choice.sentence


@pytest.mark.parametrize("top1", [0.80, 0.78])
def test_a_narrower_network_is_better_than_an_operator_that_is_no_more_accurate(top1):
    options = [option(PLAIN, 4.0, 100, 0.9), option(HALF, 1.0, 25, 0.8), option(SPLIT, 0.9, 37, top1)]
    choice = choose(options, 1.5)
    assert (choice.verdict, choice.taken.candidate) == ("narrower", HALF)
    assert choice.sentence.startswith("A narrower plain network is better: plain (width: 0.5)")


def test_an_operator_that_is_better_in_its_own_time_is_said_to_be():
    options = [option(PLAIN, 4.0, 100, 0.9), option(HALF, 1.0, 25, 0.8), option(QUARTER, 0.5, 6, 0.7)]
    better, worse = (choose([*options, option(SPLIT, 0.6, 37, top1)], 1.5) for top1 in (0.79, 0.71))
    assert better.taken.candidate == worse.taken.candidate == HALF
    assert "a wider one with it may be better" in better.sentence
    assert "a wider one" not in worse.sentence


def test_what_widths_between_may_have_is_said():
    options = [option(PLAIN, 4.0, 100, 0.9), option(HALF, 1.0, 25, 0.8), option(SPLIT, 2.5, 37, 0.81)]
    choice = choose(options, 3.0)
    assert choice.taken.candidate == SPLIT
    assert "may have 86.61% in the same time (interpolated)" in choice.sentence


def test_an_operator_alone_is_not_said_to_be_better():
    choice = choose([option(PLAIN, 4.0, 100, 0.9), option(HALF, 1.0, 25), option(SPLIT, 2.0, 37, 0.8)], 2.0)
    assert "is not known, as none that fits was trained" in choice.sentence


def test_nothing_can_be_said_without_the_plain_network():
    with pytest.raises(UserError, match="ran on no runtime"):
        choose([option(PLAIN, None), option(SPLIT, 2.0)], 2.0)


@pytest.mark.parametrize("top1", [0.8, None])
def test_the_picture_is_of_accuracies_where_operators_have_some(top1, monkeypatch):
    drawn = []
    monkeypatch.setattr("ppeconv.choosing.pareto.draw", lambda panels, score, file: drawn.append((panels, score)))
    draw([option(PLAIN, 4.0, 100, 0.9), option(HALF, 1.0, 25), option(SPLIT, 2.0, 37, top1)], "advice.png")
    ((panels, score),) = drawn
    names = [(point.name, point.is_plain) for point in panels["latency, ms"]]
    split, half, plain = (str(SPLIT), False), ("width: 0.5", True), ("plain", True)
    assert names == ([split, plain] if top1 else [half, split, plain])
    assert score.startswith("top-1" if top1 else "multiply-adds")


# accuracies


def record(folder, row, seed, config, top1, epochs=12, images="x"):
    place = folder / row / f"seed{seed}"
    place.mkdir(parents=True)
    known = {
        "row": row, "table": "main", "seed": seed, "epochs": epochs, "last_top1": top1, "best_top1": top1,
        "best_epoch": 1, "params": 1, "macs": 1, "seconds": 1.0, "data": "CIFAR-10", "images_sha256": images,
        "source": "", "versions": {}, "computed_by": [], "config": config.model_dump(), "widths": [],
        "weights_sha256": None, "format": 1,
    }  # fmt: skip
    (place / "record.json").write_text(json.dumps(known), "utf-8")


def test_accuracies_are_of_the_very_network_trained_alike(tmp_path):
    host, wide = Host.of_arch("ResNet20"), Host.of_arch("ResNet20", ["Arch.width=2"])
    record(tmp_path, "plain", 1, host.of(), 0.84)
    record(tmp_path, "plain", 2, host.of(), 0.86)
    record(tmp_path, "split", 1, host.of(SPLIT), 0.81)
    record(tmp_path, "long", 1, host.of(SPLIT), 0.9, epochs=30)
    record(tmp_path, "wide", 1, wide.of(), 0.95)
    (tmp_path / "torn" / "seed1").mkdir(parents=True)
    (tmp_path / "torn" / "seed1" / "record.json").write_text("{", "utf-8")
    found = accuracies(host, [PLAIN, HALF, Candidate("SPConv")], tmp_path)
    assert {candidate: (it.top1, it.epochs, it.seeds) for candidate, it in found.items()} == {
        PLAIN: (pytest.approx(0.85), 12, (1, 2)),
        Candidate("SPConv"): (0.81, 12, (1,)),
    }
    assert accuracies(host, [PLAIN], tmp_path / "empty") == {}


def test_the_records_of_the_main_table_are_found_whenever_they_were_written():
    host = Host("resnet20_conv_cifar10")
    found = accuracies(host, host.candidates(None)[0])
    assert found[PLAIN].seeds == found[Candidate("SPConv", "ratio: 0.5")].seeds == (1, 2, 3)
    assert len({candidate.width for candidate in found} - {None}) >= 4
    assert len(found) >= 15
    assert {it.epochs for it in found.values()} == {12}


def test_records_of_other_data_do_not_count(tmp_path):
    record(tmp_path, "mnist", 1, Host("lenet_conv_mnist").of(), 0.99)
    assert accuracies(Host("lenet_conv_fashionmnist"), [PLAIN], tmp_path) == {}
    assert PLAIN in accuracies(Host("lenet_conv_mnist"), [PLAIN], tmp_path)


# all of it


def measured(how, networks, times=1):
    """Half the time for SPConv on runtime onednn, in place of a measurement."""
    taken = {"plain": 4.0, "SPConv": 2.0, "GroupConv": 3.0}
    rows = []
    for it in networks:
        for runtime in how.runtimes:
            ms = taken[it.name.split()[0]] * (0.5 if "width" in it.name else 1) * (2 if runtime == "paddle" else 1)
            work = it.counts.params, it.counts.macs, it.counts.macs / networks[0].counts.macs
            plain = taken["plain"] * (2 if runtime == "paddle" else 1)
            rows.append(InferenceSpeed(it.name, 1, runtime, *work, ms, ms, 1.0, 100.0, ms / plain))
    return rows


def test_advice_from_python_and_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(How, "measure", measured)
    said = []
    settings = {
        "config": "lenet_conv_digits", "operators": ["SPConv"], "runtimes": ["paddle", "onednn"],
        "records": tmp_path / "none", "cache": tmp_path, "say": said.append,
    }  # fmt: skip
    advice = ppeconv.advise(budget=0.5, **settings)
    assert advice.budget_ms == 2
    assert advice.choice.taken.runtime == "onednn"
    assert advice.choice.verdict == "operator"
    assert advice.command.endswith("-o 'Operator={name: SPConv, ratio: 0.5, branch_bias: true}'")
    assert check(advice, lambda networks: measured(advice.how, networks)).error == 0
    monkeypatch.setattr(How, "measure", None)
    again = ppeconv.advise(budget_ms=4.4, **settings)
    assert again.choice.verdict == "plain"
    assert again.options == advice.options
    assert "were measured before" in said[-1]
    monkeypatch.setattr(How, "measure", measured)
    ppeconv.advise(budget=0.5, rounds=10, **settings)
    for wrong in ({"budget": -1.0}, {"budget_ms": float("nan")}, {"budget": "0.5"}):
        with pytest.raises(UserError, match="should be a number above 0"):
            ppeconv.advise(**wrong, **settings)
    with pytest.raises(UserError, match="rounds should be an integer from 1"):
        ppeconv.advise(budget=0.5, rounds=0, **settings)
    (file,) = tmp_path.glob("*.json")
    rounds = [sitting["rounds"] for sitting in json.loads(file.read_text("utf-8"))["sittings"]]
    assert set(rounds) == {9, 10}
    ppeconv.advise(budget=0.5, rounds=10, measure_again=True, **settings)
    assert {sitting["rounds"] for sitting in json.loads(file.read_text("utf-8"))["sittings"]} == {10}
    file.write_text("torn", "utf-8")
    assert ppeconv.advise(budget=0.5, **settings).sentence == advice.sentence
    assert any("are ignored" in line for line in said)


def test_options_survive_their_csv(tmp_path):
    options = [option(PLAIN, 4.0, top1=0.9), option(SPLIT, None)]
    write_csv(options, tmp_path / "advice.csv", {"threads": "2"})
    assert read_csv(tmp_path / "advice.csv", Option) == (options, {"threads": "2"})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--arch", "ResNet21", "--budget", "0.5"], "did you mean"),
        (["--arch", "ResNet20"], "one of the arguments --budget --budget-ms is required"),
        (["--arch", "ResNet20", "--budget", "0"], "--budget: should be a number above 0"),
        (["--budget", "0.5"], "one of the arguments --arch -c/--config is required"),
        (["--arch", "LeNet", "--budget", "1", "--runtime", "int8"], "rounds weights and activations"),
        (["--arch", "LeNet", "--budget", "1", "--runtime", "onx"], "'onnx'"),
        (["--arch", "LeNet", "--budget", "1", "--operators", "SPCon"], "did you mean 'SPConv'"),
        (["--arch", "LeNet", "--budget", "1", "-o", "Arch.widht=2"], "widht"),
    ],
)
def test_bad_input(options, sentence, capsys):
    code, _, errors = call(capsys, "advise", *options)
    assert code == 2
    assert sentence in errors


def test_what_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(How, "measure", measured)
    options = ["--operators", "SPConv", "--runtime", "onednn", "--threads", 3, "--check"]
    code, text, errors = call(capsys, "advise", "--arch", "LeNet", "--budget", 0.5, *options)
    assert code == 0, errors
    assert "threads 3," in text
    table = [line.split() for line in text.splitlines() if line.startswith(("fits", "yes", "no "))]
    places = table[0].index("fits"), table[0].index("operator")
    assert [[row[place] for place in places] for row in table[1:]] == [
        *[["yes", "plain"]] * 4,
        *[["yes", "SPConv"]] * 4,
        ["no", "plain"],
    ]
    sentence, command, checked = text.splitlines()[-3:]
    assert sentence.startswith("Take SPConv (")
    assert command.startswith("python tools/train.py -c lenet_conv_digits -o 'Operator={name: SPConv")
    assert checked.startswith(
        "predicted 2 ms, 0.500 of the plain network's; exported and measured anew 2 ms, 0.500: +0.0%"
    )


def test_two_operators_are_measured_and_one_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("ppeconv.choosing.candidates.NARROWER", ())
    monkeypatch.setattr("ppeconv.choosing.candidates._sections", list)
    monkeypatch.setattr(sittings, "group_size", lambda *_: 2)
    file, plot = tmp_path / "advice.csv", tmp_path / "advice.png"
    code, text, errors = call(
        capsys, "advise", "-c", "lenet_conv_digits", "--budget", 100, "--rounds", 1, "--operators", "SPConv,GroupConv",
        "--runtime", "paddle", "--csv", file, "--plot", plot,
    )  # fmt: skip
    assert code == 0, errors
    options, facts = read_csv(file, Option)
    assert {str(it.candidate) for it in options} == {"plain", "SPConv", "GroupConv"}
    assert next(it.ratio for it in options if it.candidate == PLAIN) == 1
    assert facts["config"] == "lenet_conv_digits"
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "The plain network is enough" in text
    assert "\npython tools/train.py -c lenet_conv_digits\n" in text
    table = [line.split() for line in text.splitlines() if line.startswith("yes")]
    assert [float(row[-4]) for row in table] == sorted(float(row[-4]) for row in table)
