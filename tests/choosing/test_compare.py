"""Trained networks compared: what they are made of, how they are judged, and the command."""

import csv
import shutil
from dataclasses import asdict

import pytest

from ppeconv import UserError
from ppeconv.choosing import comparison
from ppeconv.choosing.comparison import Comparison
from ppeconv.choosing.contenders import contenders, plain_widths, reference
from ppeconv.choosing.curves import draw_curves
from ppeconv.choosing.sittings import How
from ppeconv.data.datasets import Digits
from tests.support.records import COSTS, made_up_contenders, speed, write_records
from tests.support.runs import call, trained_run


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Made-up records of five rows."""
    return write_records(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def five(records):
    return made_up_contenders(records)


def test_records_of_a_row_are_one_contender_with_a_spread(five):
    plain = five["resnet20"]
    assert plain.top1 == pytest.approx(0.85)
    assert plain.spread == (0.84, 0.86)
    assert plain.seconds == pytest.approx(1.5 * 3600)
    assert plain.counts == COSTS["resnet20"]
    assert (five["resnet14"].spread, five["resnet14"].has_operator) == (None, False)
    assert five["resnet20_spconv"].title == "SPConv"
    assert five["resnet20_width05"].title == "ResNet20 ×0.5"


def test_the_reference_is_the_plain_network_that_operators_were_put_into(five):
    assert (
        reference([five["resnet14"], five["resnet20_width05"], five["resnet20"], five["resnet20_spconv"]])
        == five["resnet20"]
    )
    assert reference([five["resnet20_spconv"]]) == five["resnet20_spconv"]


def test_the_plain_line_has_the_same_network_at_other_widths(five):
    line = plain_widths(five["resnet20_spconv"], list(five.values()))
    assert [contender.name for contender in line] == ["resnet20_width05", "resnet20"]


def test_contenders_are_judged_at_equal_cost(five):
    speeds = [
        *(speed(name, 1, "a", ms) for name, ms in (("resnet20", 4), ("resnet20_width05", 2), ("resnet20_spconv", 8))),
        *(speed(name, 1, "b", ms) for name, ms in (("resnet20", 8), ("resnet20_width05", 1), ("resnet20_spconv", 2))),
    ]
    compared = Comparison(list(five.values()), speeds)
    costs = {cost.name: cost for cost in compared.costs}
    macs, fastest = costs["MACs"], costs["ms at batch 1, fastest runtime of each"]
    assert fastest.of == {"resnet20": 4, "resnet20_width05": 1, "resnet20_spconv": 2}
    assert compared.ratio(five["resnet20_spconv"], fastest) == pytest.approx(0.5)
    at_macs = compared.verdict(five["resnet20_spconv"], macs)
    assert (at_macs.standing, at_macs.margin) == ("level", pytest.approx(0.0))  # (0.80 + 0.85) / 2
    assert compared.noise(five["resnet20"]) == pytest.approx(0.02)
    slower = compared.verdict(five["resnet20_spconv"], costs["ms at batch 1, a"])
    assert (slower.standing, slower.margin) == ("worse", None)
    assert compared.verdict(five["resnet20"], macs) is None
    assert compared.verdict(five["resnet14"], fastest) is None  # not measured
    shallow = compared.verdict(five["resnet14"], macs)
    assert (shallow.standing, shallow.margin) == ("level", pytest.approx(0.83 - 0.8396, abs=1e-3))
    cheap = compared.verdict(five["resnet20_separable"], macs)
    assert (cheap.standing, cheap.margin) == ("outside", None)  # within the noise of the narrowest
    assert [point.name for point in compared.points(macs) if point.is_plain] == ["ResNet20", "ResNet20 ×0.5"]


def test_rows_have_everything(five):
    compared = Comparison([five["resnet20_spconv"], five["resnet14"]], [speed("resnet20_spconv", 64, "a", 3.0)])
    split, shallow = map(asdict, compared.rows())
    assert (split["lowest"], split["highest"], split["seeds"]) == (0.824, 0.826, "1 2 3")
    assert (split["batch_size"], split["runtime"], split["median_ms"]) == (64, "a", 3.0)
    assert (shallow["top1"], shallow["batch_size"], shallow["training_seconds"]) == (0.83, None, 3600)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """The names of all that is measured, in order; the second sitting is interrupted once."""
    names, kill = [], [2]

    def inference_speed(networks, *, runtimes, batch_sizes, **_):
        kill[0] -= 1
        if not kill[0]:
            raise KeyboardInterrupt
        names.extend(network.name for network in networks)
        return [speed(network.name, *batch_sizes, runtimes[0], 2.0) for network in networks]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("ppeconv.choosing.sittings.inference_speed", inference_speed)
    monkeypatch.setattr("ppeconv.choosing.sittings.group_size", lambda *_: 1)
    return names


def test_of_the_same_network_one_is_measured_and_none_again(five, measured):
    from dataclasses import replace

    plain, narrow = five["resnet20"], five["resnet20_width05"]
    compared = [plain, narrow, replace(narrow, name="longer"), five["resnet14"]]
    said = []

    def rows(how, again=False):
        return [(row.network, row.batch_size) for row in comparison.measure(compared, how, said.append, again)]

    how = How(("a",), 4, 1, "deployed", 1)
    with pytest.raises(KeyboardInterrupt):
        rows(how)
    assert measured == ["resnet20", "resnet20_width05"]
    expected = ["resnet20", "resnet20_width05", "longer", "resnet14"]
    assert sorted(rows(how)) == sorted((name, 4) for name in expected)
    assert measured[2:] == ["resnet20", "resnet14"]
    assert "1 of 2 were measured before" in "".join(said)
    rows(how)
    assert len(measured) == 4
    rows(how, again=True)
    assert measured[4:] == ["resnet20", "resnet20_width05", "resnet20", "resnet14"]
    rows(How(("b",), 4, 1, "deployed", 1))
    assert len(measured) == 12


def test_a_row_without_records_is_there_untrained(records):
    ghost, *_ = contenders(["zoo:resnet20_ghost"], records)
    assert (ghost.top1, ghost.seconds, ghost.runs) == (None, None, ())
    assert ghost.counts == (141018, 21457536)


def test_sources_that_are_none(records, tmp_path):
    with pytest.raises(UserError, match=r"neither a row nor a table 'resnet2'; did you mean"):
        contenders(["zoo:resnet2"], records)
    with pytest.raises(UserError, match="resnet20 is named twice"):
        contenders(["zoo:main", "zoo:resnet20"], records)
    with pytest.raises(UserError, match="is not a run folder"):
        contenders([str(tmp_path)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one network, a run of another, and one that was trained on other images."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        trained_run(folder, f"Global.seed={seed}", "Global.max_steps=2", name=name).path.rename(folder / new)
        for new, name, seed in (
            ("split_seed1", "lenet_spconv_digits", 1),
            ("split_seed2", "lenet_spconv_digits", 2),
            ("plain", "lenet_conv_digits", 1),
        )
    ]


def test_runs_that_differ_in_the_seed_are_one(runs):
    split, plain = contenders(list(map(str, runs)))
    assert (split.name, plain.name) == ("split", "plain")
    assert [run.seed for run in split.runs] == [1, 2]
    assert split.spread == (min(split.top1s), max(split.top1s))
    assert split.network.name == "split"


def copied(run, folder, *changes):
    """A run's folder once more, with other words in its config."""
    shutil.copytree(run, folder)
    text = (folder / "config.yaml").read_text("utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "config.yaml").write_text(text, "utf-8")
    return folder


def test_runs_that_differ_in_more_than_the_seed_are_not_one(runs, tmp_path):
    tuned = "pretrained_model: null", "pretrained_model: weights.pdparams"
    sources = [
        runs[0],
        copied(runs[0], tmp_path / "copy"),
        copied(runs[1], tmp_path / "tuned", tuned),
        copied(runs[1], tmp_path / "averaged", ("ema: null", "ema: 0.9")),
        copied(runs[1], tmp_path / "frozen", ("freeze: []", "freeze: [conv1.*]")),
        copied(runs[1], tmp_path / "paddle", ("init: reference", "init: paddle")),
        copied(runs[1], tmp_path / "bf16", ("use_amp: false", "use_amp: true")),
        copied(runs[1], tmp_path / "half", ("max_steps: 2", "max_steps: null"), ("epochs: 1", "epochs: 9")),
        copied(runs[1], tmp_path / "workers", ("num_workers: 0", "num_workers: 2")),
    ]
    found = contenders(list(map(str, sources)))
    assert [len(it.runs) for it in found] == [2, 1, 1, 1, 1, 1, 1, 1]  # the one with workers is the other seed
    assert {it.recipe == found[0].recipe for it in found[2:]} == {False}
    assert found[1].recipe == found[0].recipe


def test_what_let_a_run_end_early_finishes_it(runs, tmp_path):
    def unfinished(name, *changes):
        (found,) = contenders([str(copied(runs[2], tmp_path / name, ("epochs: 1", "epochs: 9"), *changes))])
        return bool(found.unfinished)

    assert not unfinished("all_steps")
    assert unfinished("fewer_steps", ("max_steps: 2", "max_steps: 3"))
    assert unfinished("patient", ("max_steps: 2", "max_steps: null"), ("early_stop: null", "early_stop: 1"))
    table = tmp_path / "patient" / "results.csv"
    head, row = table.read_text("utf-8").splitlines()
    worse = dict(zip(head.split(","), row.split(","), strict=True)) | {"epoch": "2", "eval_top1": "0"}
    table.write_text("\n".join([head, row, ",".join(worse.values())]), "utf-8")
    (found,) = contenders([str(tmp_path / "patient")])
    assert not found.unfinished


def test_the_same_curves_give_the_same_picture(five, tmp_path):
    for name in ("one.svg", "two.svg"):
        draw_curves(list(five.values()), {row: row for row in five}, tmp_path / name)
    assert (tmp_path / "one.svg").read_text("utf-8") == (tmp_path / "two.svg").read_text("utf-8")


def test_epochs_are_those_that_were_begun(runs, tmp_path):
    (found,) = contenders([str(copied(runs[2], tmp_path / "of_nine", ("epochs: 1", "epochs: 9")))])
    assert found.config.Global.epochs == 9
    assert found.epochs == 1


def test_a_run_of_a_file_called_config_is_named_by_where_it_stands(runs, tmp_path):
    folders = [
        copied(run, tmp_path / "plain_slim" / budget / "config") for run, budget in ((runs[0], "0.5"), (runs[2], "0.7"))
    ]
    assert [it.name for it in contenders(list(map(str, folders)))] == ["plain_slim/0.5", "plain_slim/0.7"]


def test_a_run_named_twice_is_refused(runs):
    with pytest.raises(UserError, match="split_seed1 is named twice"):
        contenders([str(runs[0]), f"{runs[0]}/../split_seed1"])


def test_other_images_are_refused(runs, records):
    words = r"different evaluation images cannot be compared \(Digits \(unknown images, \w+\): plain; Made up: re"
    with pytest.raises(UserError, match=words):
        contenders([str(runs[2]), "zoo:resnet20"], records)


def test_other_images_under_the_same_name_are_refused(runs, tmp_path, monkeypatch):
    load = Digits.load

    def others(dataset):
        images, labels = load(dataset)
        return (16 - images if dataset.root.name == "others" else images), labels

    monkeypatch.setattr(Digits, "load", others)
    elsewhere = copied(runs[2], tmp_path / "elsewhere", ("data_root: null", f"data_root: {tmp_path / 'others'}"))
    with pytest.raises(UserError, match="different evaluation images"):
        contenders([str(runs[0]), str(elsewhere)])


def test_images_that_are_not_here_are_told(runs, tmp_path, capsys, monkeypatch):
    load = Digits.load

    def here_or_not(dataset):
        if dataset.root.name == "away":
            raise UserError("it is not here")
        return load(dataset)

    monkeypatch.setattr(Digits, "load", here_or_not)
    away = copied(runs[2], tmp_path / "gone", ("data_root: null", f"data_root: {tmp_path / 'away'}"))
    code, _, errors = call(capsys, "compare", runs[0], away, "--no-latency")
    assert (code, "the evaluation images of gone are not on this machine" in errors) == (0, True), errors


def test_an_unfinished_run_is_told(runs, tmp_path, capsys):
    config = (runs[2] / "config.yaml").read_text("utf-8")
    (tmp_path / "half").mkdir()
    changed = config.replace("epochs: 1", "epochs: 9").replace("max_steps: 2", "max_steps: null")
    (tmp_path / "half" / "config.yaml").write_text(changed, "utf-8")
    (tmp_path / "half" / "results.csv").write_bytes((runs[2] / "results.csv").read_bytes())
    code, _, errors = call(capsys, "compare", tmp_path / "half", "--no-latency")
    assert code == 0
    assert "half is unfinished: 1 of 9 epochs" in errors


def test_the_command_compares_runs(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    table, page, curves = tmp_path / "table.csv", tmp_path / "table.md", tmp_path / "curves.svg"
    code, text, errors = call(
        capsys, "compare", *runs, "--runtime", "paddle", "--batch-size", 2, "--rounds", 1, "--threads", 1,
        "--csv", table, "--markdown", page, "--plots", tmp_path / "plots", "--curves", curves,
    )  # fmt: skip
    assert code == 0, errors
    assert "ms_2_paddle" in text
    split, plain = csv.DictReader(table.open(encoding="utf-8"))
    assert (split["name"], plain["name"], plain["time_ratio"], split["threads"]) == ("split", "plain", "1", "1")
    assert float(split["median_ms"]) > 0
    assert float(split["lowest"]) <= float(split["top1"]) <= float(split["highest"])
    assert {file.name for file in (tmp_path / "plots").iterdir()} == {
        "parameters.png", "macs.png", "latency_2_fastest.png", "latency_2_paddle.png",
    }  # fmt: skip
    assert "<!-- SPConv -->" in curves.read_text("utf-8")
    assert page.read_text("utf-8").startswith("| name | operator | top1 |")


def test_the_command_says_what_it_does_not_know(capsys):
    code, text, errors = call(capsys, "compare", "zoo:resnet20_wide_compconv", "--no-latency")
    assert code == 0
    assert "not trained yet" in errors or "%" in text
    code, _, errors = call(capsys, "compare", "nowhere")
    assert code == 2
    assert "nowhere is not a run folder" in errors
