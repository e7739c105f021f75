"""Any-width networks from training to prediction."""

import csv
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from PIL import Image

from ppeconv import UserError, anywidth, create_model
from ppeconv.data.datasets import Digits
from ppeconv.deployment import sweep
from ppeconv.deployment.runtimes.paddle import PaddleRuntime
from ppeconv.deployment.sweep import WidthRow, area
from ppeconv.deployment.widths import AnyWidthPredictor, export_widths
from ppeconv.engine.anywidth import SAMPLERS, AnyWidthStep, Widths
from ppeconv.engine.losses import CombinedLoss
from ppeconv.experiment import Experiment
from tests.data.test_archives import write_cifar100
from tests.support.runs import call, trained_run
from tests.support.scripts import script

CE = CombinedLoss([{"CELoss": {}}])
SMALL = ("Arch.name=LeNet3C1L", "Global.use_visualdl=false", "DataLoader.Eval.sampler.batch_size=64")


def small_run(folder, section, *overrides):
    return trained_run(
        folder, *SMALL, f"AnyWidth={section}", "AnyWidth.base_width=0.25", *overrides, name="lenet_conv_digits"
    )


def test_widths_of_a_step():
    rng = np.random.default_rng(0)
    assert SAMPLERS["k-width"](rng, Widths(widths=[1.0, 0.5])) == [1.0, 0.5]
    for _ in range(20):
        drawn = SAMPLERS["n-random"](rng, Widths(samples=5, min_width=0.3))
        assert len(drawn) == 5
        assert all(0.3 <= width <= 1 for width in drawn)
        one_each = SAMPLERS["one-per-interval"](rng, Widths(samples=3, min_width=0.25))
        assert [0.25 + 0.25 * index <= width <= 0.5 + 0.25 * index for index, width in enumerate(one_each)] == [
            True
        ] * 3
        sandwich = SAMPLERS["sandwich"](rng, Widths(samples=4, min_width=0.25))
        assert sandwich[:2] == [1.0, 0.25]
        assert len(sandwich) == 4
        assert all(0.25 <= width <= 1 for width in sandwich)


def gradients_of(strategy, model, images, labels):
    strategy(model, images, labels, lambda loss: loss.backward())
    found = model.features[3].weight.grad.numpy().copy()
    model.clear_gradients()
    return found


def test_gradients_add_up_over_the_widths_and_every_width_is_left_behind():
    model = create_model("LeNet3C1L", width=0.25, anywidth={"kind": "awn"})
    images, labels = paddle.randn([4, 1, 28, 28]), paddle.to_tensor([[0], [1], [2], [3]])
    single = [gradients_of(AnyWidthStep(CE, widths=[width]), model, images, labels) for width in (1.0, 0.5)]
    both = gradients_of(AnyWidthStep(CE, widths=[0.5, 1.0]), model, images, labels)
    np.testing.assert_allclose(both, sum(single), rtol=1e-4, atol=1e-6)
    assert (single[1][4:] == 0).all()
    assert anywidth.width_of(model) == 1
    masked = ~np.broadcast_to(model.features[3].mask.numpy(), both.shape)
    assert (both[masked] == 0).all()


def test_the_narrower_learn_from_the_widest():
    model = create_model("LeNet3C1L", width=0.25, anywidth={"kind": "usnet"})
    images, labels, losses = paddle.randn([4, 1, 28, 28]), paddle.to_tensor([[0], [1], [2], [3]]), []
    step = AnyWidthStep(CE, kind="usnet", widths=[1.0, 0.5], distill=True)
    logged, logits = step(model, images, labels, lambda loss: losses.append(float(loss)))
    with model.at_width(0.5):
        narrow = model(images)
    assert losses[0] == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5) == float(logged)
    expected = -(F.softmax(logits) * F.log_softmax(narrow)).sum(1).mean()
    assert losses[1] == pytest.approx(float(expected), rel=1e-5)


RANDOM = "{kind: awn, sampling: sandwich, samples: 3}"


@pytest.mark.parametrize(
    "kind",
    [
        RANDOM,
        pytest.param("{kind: usnet, sampling: n-random, samples: 2, distill: true}", marks=pytest.mark.full),
        pytest.param("{kind: snet}", marks=pytest.mark.full),
    ],
)
def test_a_resumed_run_draws_the_same_widths(kind, tmp_path):
    whole = small_run(tmp_path / "whole", kind, "Global.max_steps=6", "Global.ema=0.9")
    small_run(tmp_path / "cut", kind, "Global.max_steps=3", "Global.ema=0.9")
    cut = small_run(tmp_path / "cut", kind, "Global.max_steps=6", "Global.ema=0.9", "Global.checkpoints=auto")
    assert (whole.path / "latest.pdparams").read_bytes() == (cut.path / "latest.pdparams").read_bytes()
    other = small_run(tmp_path / "other", kind, "Global.max_steps=6", "Global.ema=0.9", "Global.seed=7")
    assert (whole.path / "latest.pdparams").read_bytes() != (other.path / "latest.pdparams").read_bytes()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A US-Net, the kind that needs most: calibration before it is evaluated or exported."""
    kind = "{kind: usnet, sampling: sandwich, samples: 3, distill: true, calibration_images: 128}"
    return small_run(tmp_path_factory.mktemp("run"), kind, "Global.max_steps=25", "Global.use_visualdl=true")


def test_evaluation_sweeps_the_widths(run, capsys):
    code, _, errors = call(capsys, "eval", "--run", run.path, "--widths", "1", "0.5", "0.25")
    assert code == 0, errors
    rows = sweep.read_csv(run.path / "width.csv")
    with open(run.path / "width.csv", encoding="utf-8") as file:
        assert next(csv.reader(file))[:4] == ["width", "top1", "loss", "active_params"]
    assert [row.width for row in rows] == [0.25, 0.5, 1.0]
    assert [row.active_params for row in rows] == sorted({row.active_params for row in rows})
    assert rows[-1].macs == rows[-1].active_macs > rows[0].macs
    assert all(row.latency_ms > 0 and 0 <= row.top1 <= 1 for row in rows)
    with open(run.path / "results.csv", encoding="utf-8") as file:
        assert rows[-1].top1 == pytest.approx(float(list(csv.DictReader(file))[-1]["eval_top1"]))
    assert (run.path / "width.png").stat().st_size > 1000
    from visualdl import LogReader

    reader = LogReader(file_path=str(next((run.path / "vdl" / "width").glob("vdlrecords.*"))))
    assert "scalar" in reader.tags().values()


def test_area():
    def rows(*points):
        return [WidthRow(width, top1, 0.0, 1, 1, 1, 1.0, 1, 1) for width, top1 in points]

    assert area(rows((0.25, 0.5), (1.0, 0.5))) == pytest.approx(0.5)
    assert area(rows((0.25, 0.0), (1.0, 1.0))) == pytest.approx(0.5)
    assert area(rows((0.25, 0.4), (0.5, 0.8), (1.0, 0.8))) == pytest.approx((0.25 * 0.6 + 0.5 * 0.8) / 0.75)
    assert area(rows((0.1, 0.0), (0.4, 0.6), (1.0, 0.6))) == pytest.approx((0.15 * 0.45 + 0.6 * 0.6) / 0.75)
    assert area(rows((0.5, 0.6), (1.0, 0.8))) == pytest.approx(0.7)
    assert area(rows((1.0, 0.8))) == pytest.approx(0.8)


def test_one_width_is_exported_as_an_ordinary_network(run, tmp_path, capsys):
    folder = tmp_path / "small"
    arguments = ["export", "--run", run.path, "--widths", "0.5", "-o", f"Global.save_inference_dir={folder}"]
    code, _, errors = call(capsys, *arguments)
    assert code == 0, errors
    model = Experiment.open(run.path).model
    anywidth.calibrate(model, paddle.zeros([1, 1, 28, 28]), [0.5])
    images = np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, numpy as np, paddle.inference as pi\n"
        f"from pathlib import Path; folder = Path({str(folder)!r})\n"
        "program = next(f for f in folder.iterdir() if f.suffix in ('.json', '.pdmodel'))\n"
        "p = pi.create_predictor(pi.Config(str(program), str(folder / 'inference.pdiparams')))\n"
        "i = p.get_input_handle(p.get_input_names()[0])\n"
        f"x = np.load({str(tmp_path / 'images.npy')!r}); i.reshape(x.shape); i.copy_from_cpu(x); p.run()\n"
        "print(p.get_output_handle(p.get_output_names()[0]).copy_to_cpu().tolist())\n"
        "assert not any(name.startswith('ppeconv') for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-1500:]
    found = np.array(json.loads(done.stdout.strip().splitlines()[-1]))
    np.testing.assert_allclose(found, PaddleRuntime(folder)(images), rtol=1e-5, atol=1e-6)
    weights = (folder / "inference.pdiparams").stat().st_size
    assert weights < 4 * sum(np.prod(value.shape) for value in model.parameters())
    code, _, errors = call(capsys, "export", "--run", run.path, "--widths", "1.5")
    assert code == 2
    assert "--widths: should be a number above 0 and at most 1; got '1.5'" in errors


@pytest.mark.parametrize("kind", ["awn", "snet", "usnet"])
def test_exported_widths_equal_the_network_at_these_widths(kind, tmp_path):
    model = create_model("LeNet3C1L", width=0.5, anywidth={"kind": kind})
    model(paddle.randn([8, 1, 28, 28]))
    model.eval()
    anywidth.calibrate(model, paddle.randn([8, 1, 28, 28]), [0.25, 0.6, 1.0])
    differences = export_widths(model, tmp_path, [1, 28, 28], [0.25, 0.6, 1.0])
    assert list(differences) == [0.25, 0.6, 1.0]
    images = np.random.default_rng(0).standard_normal((3, 1, 28, 28), np.float32)
    for width in differences:
        with model.at_width(width):
            expected = model(paddle.to_tensor(images)).numpy()
        found = PaddleRuntime(tmp_path / f"width_{width:g}")(images)
        assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_prediction_picks_a_width_under_a_budget(run, tmp_path, capsys):
    folder = tmp_path / "widths"
    arguments = ["export", "--run", run.path, "--widths", "1", "0.5", "0.25"]
    code, _, errors = call(capsys, *arguments, "-o", f"Global.save_inference_dir={folder}")
    assert code == 0, errors
    predictor = AnyWidthPredictor(folder)
    for index, row in enumerate(predictor.rows):  # the choice is tested, not this machine
        row["latency_ms"] = {1: 1.0 + index, 8: 4.0 + 4 * index}
    assert [predictor.width_for(budget) for budget in (0.1, 1, 2.5, 3, 100)] == [0.25, 0.25, 0.5, 1.0, 1.0]
    assert [predictor.width_for(budget, 8) for budget in (3, 5, 9, 12)] == [0.25, 0.25, 0.5, 1.0]
    assert predictor.expected_ms(0.5, 3) == 8
    assert predictor.expected_ms(0.5, 16) == 16
    digits = [image.astype("uint8") for image in Digits(".", "test").read(range(3))]
    narrow = list(predictor.predictors[0.25].predict(digits, batch_size=1))
    assert list(predictor.predict(digits, batch_size=1, budget_ms=1.5)) == narrow
    assert list(predictor.predict(digits)) == list(predictor.predictors[1.0].predict(digits))
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda budget: list(predictor.predict(digits, 5, 1, budget)), [1.5, 9, 1.5, 9, 2.5, 1.5])
        )
    assert [answer == narrow for answer in answers] == [True, False, True, False, False, True]
    with pytest.raises(UserError, match="milliseconds above 0; got 0"):
        predictor.width_for(0)

    Image.fromarray(digits[0][..., 0]).save(tmp_path / "digit.png")
    predict = ["predict", "--model", folder, tmp_path / "digit.png", "--json"]
    code, out, errors = call(capsys, *predict, "--budget-ms", "1e-6")
    assert code == 0
    assert "width 0.25, measured" in errors
    assert "above the budget of 1e-06 ms: no width is faster" in errors
    assert len(json.loads(out)["class_ids"]) == 5
    code, _, errors = call(capsys, *predict, "--budget-ms", "10000")
    assert (code, "width 1, measured" in errors) == (0, True)
    assert call(capsys, *predict)[0] == 0
    code, _, errors = call(capsys, "predict", "--model", folder / "width_1", tmp_path / "digit.png", "--budget-ms", "3")
    assert code == 2
    assert "is not a folder of several widths" in errors
    (folder / "widths.yml").write_text("nonsense: [")
    code, _, errors = call(capsys, *predict)
    assert code == 2
    assert "is damaged; make it again" in errors


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["AnyWidth={kind: snet, sampling: sandwich}"], "an S-Net has norms for its own widths only"),
        (["AnyWidth={kind: awn, sampling: sandwich, samples: 1}"], "at least 2 for the sandwich rule; got 1"),
        (["AnyWidth={kind: awm}"], "AnyWidth.kind should be 'awn', 'snet' or 'usnet'; got 'awm'"),
        (["AnyWidth={kind: awn, base_width: 1.5}", "Arch.width=2"], "give one of them"),
        (["AnyWidth={kind: awn, widths: [2.0]}"], "above 0 and at most 1; got 2.0"),
        (
            ["AnyWidth={kind: awn}", "DataLoader.Train.dataset.batch_transform_ops=[{Mixup: {}}]"],
            "AnyWidth trains on plain images",
        ),
    ],
)
def test_bad_configs(overrides, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        trained_run(tmp_path, "Arch.name=LeNet3C1L", *overrides, name="lenet_conv_digits")
    assert not any(tmp_path.iterdir())


def test_widths_of_an_ordinary_run_are_refused(tmp_path, capsys):
    run = trained_run(tmp_path, "Global.max_steps=1", name="lenet_conv_digits")
    code, _, errors = call(capsys, "export", "--run", run.path, "--widths", "0.5")
    assert code == 2
    assert "--widths is for any-width networks; LeNet of this run has one width" in errors


@pytest.mark.parametrize("name", ["lenet3c1l_awn_rs_cifar100", "lenet3c1l_usnet_cifar100"])
def test_cifar100_in_the_official_layout(name, tmp_path):
    write_cifar100(tmp_path)
    overrides = [f"Global.data_root={tmp_path}", f"Global.output_dir={tmp_path}/out", "Global.max_steps=2"]
    overrides += ["DataLoader.Train.sampler.batch_size=8", "Global.use_visualdl=false"]
    experiment = Experiment(name, overrides)
    experiment.train()
    run = experiment.run
    assert Experiment.open(run.path).config.Arch.class_num == 100
    assert (run.path / "best_model.pdparams").is_file()


PAGES = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["anywidth.md", "operators/triangularconv.md"])
def test_snippets_of_the_pages_run(page):
    snippets = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text("utf-8"), re.S)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, page, "exec"), {})


def test_the_page_of_results_is_the_generated_one():
    table = script("scripts/anywidth_table.py")
    assert table.page() == table.PAGE.read_text("utf-8"), "run python scripts/anywidth_table.py"
