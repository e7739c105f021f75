"""The zoo: its rows, its queue and its records."""

import csv
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ppeconv import UserError
from ppeconv.benchmark.table import between
from ppeconv.engine.evaluator import evaluate
from ppeconv.engine.losses import CombinedLoss
from ppeconv.engine.weights import load_weights
from ppeconv.experiment.parts import Parts
from ppeconv.zoo.record import Record
from ppeconv.zoo.rows import chosen, read_jobs
from tests.support.scripts import script

ROOT = Path(__file__).parents[2]
JOBS = read_jobs()
ROWS = """
images: {}
rows:
  - {name: plain, table: small, config: lenet_conv_digits, overrides: [Global.epochs=2], seeds: [1, 2]}
  - {name: spconv, table: small, config: lenet_spconv_digits, overrides: [Global.epochs=2]}
"""


def test_rows_have_names_of_their_own():
    assert len({job.name for job in JOBS}) == len(JOBS)


@pytest.mark.parametrize("job", [job for job in JOBS if job.seed == job.row.seeds[0]], ids=lambda job: job.name)
def test_every_row_is_a_valid_config_with_its_seed(job):
    config = job.experiment().config
    assert config.Global.seed == job.seed
    assert (config.Global.epochs == 30) == (job.row.table == "long")


def test_rows_of_a_table_are_trained_alike():
    for table in {job.row.table for job in JOBS} - {"lenet"}:
        recipes = [job.experiment().config for job in JOBS if job.row.table == table]
        for part in ("Optimizer", "DataLoader", "Loss"):
            assert len({repr(getattr(config, part)) for config in recipes}) == 1, (table, part)


def test_the_first_seeds_of_a_table_come_before_its_second():
    main = [(job.row.name, job.seed) for job in JOBS if job.row.table == "main"]
    first = [seed for _, seed in main[: len({name for name, _ in main})]]
    assert set(first) == {1}
    assert [entry for entry in main if entry[1] == 3] == [("resnet20", 3), ("resnet20_spconv", 3)]


def test_rows_are_chosen_by_name():
    assert [job.name for job in chosen(JOBS, ["resnet20_seed2"])] == ["resnet20_seed2"]
    assert [job.seed for job in chosen(JOBS, ["resnet20"])] == [1, 2, 3]
    with pytest.raises(UserError, match="no row 'resnet2'; did you mean"):
        chosen(JOBS, ["resnet2"])


@pytest.fixture
def queue(tmp_path):
    """Starts the queue on two small rows; everything goes into one folder."""
    (tmp_path / "rows.yaml").write_text(ROWS)

    def start():
        command = [sys.executable, "-W", "ignore", ROOT / "scripts" / "train_zoo.py", "--file", tmp_path / "rows.yaml"]
        return subprocess.Popen(
            [*map(str, command), "--runs", str(tmp_path / "runs"), "--into", str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return tmp_path, start


def finished(process):
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output[-3000:]
    return output


def check_records(folder):
    """All three runs are there, once, and say what their files hold."""
    records = sorted(folder.glob("ppeconv/zoo/*/*/record.json"))
    assert [str(file.parent.relative_to(folder / "ppeconv" / "zoo")) for file in records] == [
        "plain/seed1",
        "plain/seed2",
        "spconv/seed1",
    ]
    for file in records:
        record = Record.read(file.parent)
        with open(folder / "docs" / "results" / f"{record.row}_seed{record.seed}.csv", encoding="utf-8") as table:
            epochs = list(csv.DictReader(table))
        assert [int(epoch["epoch"]) for epoch in epochs] == [1, 2]
        assert record.last_top1 == float(epochs[-1]["eval_top1"])
        assert record.best_top1 == max(float(epoch["eval_top1"]) for epoch in epochs)
        assert record.config["Global"]["seed"] == record.seed
        assert record.computed_by[0]["threads"] == 1
        assert record.data.startswith("Digits (unknown images, ")


def test_two_queues_at_once_share_the_rows_and_a_killed_one_loses_none(queue):
    folder, start = queue
    killed = start()
    time.sleep(8)
    killed.kill()
    killed.communicate()
    outputs = [finished(process) for process in [start(), start()]]
    done = [line for output in outputs for line in output.splitlines() if ": top-1 " in line]
    assert len({line.split()[1] for line in done}) == len(done), "a run was finished twice"
    check_records(folder)
    record = Record.read(folder / "ppeconv" / "zoo" / "plain" / "seed1")
    weights = folder / "ppeconv" / "zoo" / "plain" / "seed1" / "weights.safetensors"
    assert record.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert not weights.parent.with_name("seed2").joinpath("weights.safetensors").exists()
    from ppeconv import config as configs

    config = configs.load(record.config)
    parts = Parts(config)
    model, _ = parts.model()
    load_weights(model, weights, complete=True)
    result = evaluate(model, parts.batches("test"), CombinedLoss(config.Loss.Eval), [1], 10)
    assert result.top1 == pytest.approx(record.last_top1, abs=1e-9)


@pytest.mark.full
def test_a_queue_killed_five_times_at_random_ends_as_an_unbroken_one(queue, tmp_path_factory):
    folder, start = queue
    moment = random.Random(os.environ.get("PPECONV_NEW_CASES"))
    for _ in range(5):
        process = start()
        time.sleep(moment.uniform(3, 12))
        process.kill()
        process.communicate()
    finished(start())
    check_records(folder)
    broken = [json.loads(file.read_text()) for file in sorted(folder.glob("ppeconv/zoo/*/*/record.json"))]
    for file in folder.glob("ppeconv/zoo/*/*/record.json"):
        file.unlink()
    (folder / "runs").rename(folder / "runs_before")
    finished(start())
    whole = [json.loads(file.read_text()) for file in sorted(folder.glob("ppeconv/zoo/*/*/record.json"))]
    for one, other in zip(broken, whole, strict=True):
        assert (one["last_top1"], one["weights_sha256"]) == (other["last_top1"], other["weights_sha256"])


def test_pages_and_pictures_show_every_record():
    """Written anew by scripts/zoo_table.py."""
    zoo = script("scripts/zoo_table.py")
    compared = zoo.tables()
    for (page, mark), text in zoo.pages(compared).items():
        content = page.read_text("utf-8")
        assert between(content, mark, text) == content, "run python scripts/zoo_table.py"
    drawn = [
        (file, cost, comparison)
        for table, comparison in compared.items()
        for file, costs in zoo.pictures(table, comparison).items()
        for cost in costs
    ]
    assert drawn
    for file, cost, comparison in drawn:
        picture = (zoo.KEPT / file).read_text("utf-8")
        for contender in comparison.contenders:  # one without a latency is in the other pictures
            if contender.name in cost.of:
                assert f"<!-- {comparison.titles[contender.name]} -->" in picture, "run python scripts/zoo_table.py"


def test_every_table_has_a_title():
    assert set(script("scripts/zoo_table.py").TITLES) == {job.row.table for job in JOBS}


@pytest.mark.parametrize(
    ("content", "words"), [('{"format": 99}', "has format 99"), ('{"format": 1}', r"\(row: Field required\)")]
)
def test_a_record_of_another_layout_is_refused(tmp_path, content, words):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(UserError, match=words):
        Record.read(tmp_path)


def test_held_out_images_choose_the_recipe_not_the_test_set():
    config = chosen(JOBS, ["resnet20"])[0].experiment().config
    assert "val_ratio" not in config.DataLoader.Eval.dataset.arguments
    assert np.isclose(config.Loss.Train[0]["CELoss"]["epsilon"], 0.1)
