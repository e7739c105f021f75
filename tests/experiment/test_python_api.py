"""`ppeconv.Experiment`: shipped configs, mappings, one's own network and data; its page, example and notebook."""

import csv
import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn
from PIL import Image

from ppeconv import Experiment, Predictor, UserError
from ppeconv import config as configs
from ppeconv.data.datasets import Digits
from ppeconv.data.given import GivenSet
from ppeconv.engine.losses import DistillLoss
from tests.support.runs import call

ROOT = Path(__file__).parents[2]
QUICK = {"Global.epochs": 2, "Global.use_visualdl": False, "Global.cpu_backend": "paddle"}
SPLITS = (("train", 96), ("test", 40))
DATA = tuple(
    (Digits(".", split).arrays[0][:count, ::2, ::2], Digits(".", split).labels[:count]) for split, count in SPLITS
)


def small_network(seed=0):
    paddle.seed(seed)
    return nn.Sequential(
        *(nn.Conv2D(1, 8, 3, 2, 1), nn.BatchNorm2D(8), nn.ReLU(), nn.Conv2D(8, 8, 3, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(8 * 4 * 4, 10)),
    )


def own(folder, overrides=None, config=None, **given):
    given = {"model": small_network(), "data": DATA, **given}
    return Experiment(config, {**QUICK, **(overrides or {})}, folder=folder, **given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    experiment = own(tmp_path_factory.mktemp("own") / "run", config={"Operator": {"name": "SPConv", "ratio": 0.5}})
    return experiment, experiment.train()


def test_history_is_the_table(trained):
    experiment, history = trained
    with open(experiment.run.path / "results.csv", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert history == experiment.history
    assert [{name: str(value) for name, value in row.items()} for row in history] == table
    assert [row["epoch"] for row in history] == [1, 2]


def test_evaluation_is_that_of_the_best_epoch(trained, capsys):
    experiment, history = trained
    capsys.readouterr()
    result = experiment.evaluate()
    assert result.top1 == pytest.approx(max(row["eval_top1"] for row in history))
    assert f"[Eval][Avg]{result.summary()}, images: 40" in capsys.readouterr().out
    assert result.unreadable == []
    assert (experiment.run.path / "confusion.png").is_file()


def test_the_own_network_itself_is_trained_with_the_operators_in_it(trained):
    experiment, _ = trained
    assert [type(layer).__name__ for layer in experiment.model][:4] == ["Conv2D", "BatchNorm2D", "ReLU", "SPConv"]
    saved = paddle.load(str(experiment.run.best) + ".pdparams")
    assert all((saved[name] == value).all() for name, value in experiment.model.state_dict().items())


def test_what_is_exported_predicts_the_same(trained):
    experiment, _ = trained
    images = DATA[1][0][:5]
    here = experiment.predict(images, topk=3)
    there = list(Predictor(experiment.export(to="paddle")).predict(images, topk=3))
    assert [row.class_ids for row in here] == [row.class_ids for row in there]
    np.testing.assert_allclose([row.scores for row in here], [row.scores for row in there], rtol=1e-4)
    assert experiment.predict(images[0])[0].class_ids[:3] == here[0].class_ids


def test_a_run_is_opened_with_the_network_and_the_data_again(trained, capsys):
    experiment, history = trained
    folder, expected = experiment.run.path, experiment.evaluate().top1
    again = Experiment.open(folder, model=small_network(1), data=DATA)
    assert again.history == history
    assert again.evaluate().top1 == expected
    same = Experiment.open(folder, model=experiment.model, data=DATA)
    assert same.evaluate().top1 == expected, "the operators are in it, and are not put in again"
    with pytest.raises(UserError, match=r"network Sequential came from Python.*model=Sequential\(\)"):
        Experiment.open(folder).evaluate()
    with pytest.raises(UserError, match=r"test data of this config came from Python; give them again"):
        Experiment.open(folder, model=small_network()).evaluate()
    code, _, error = call(capsys, "eval", "--run", folder)
    assert (code, "the network Sequential came from Python" in error) == (2, True)


def test_going_on_equals_an_unbroken_run(tmp_path):
    whole = own(tmp_path / "whole")
    whole.train()
    broken = own(tmp_path / "broken", {"Global.epochs": 2, "Global.max_steps": 1})
    broken.train()
    with pytest.raises(UserError, match="already holds a run"):
        own(tmp_path / "broken").train()
    resumed = own(tmp_path / "broken", {"Global.checkpoints": "auto"}, model=small_network(7))
    resumed.train()
    states = [experiment.run.latest.with_suffix(".pdparams").read_bytes() for experiment in (whole, resumed)]
    assert states[0] == states[1]


def test_overrides_are_those_of_the_command_line():
    texts = ["Global.epochs=3", "Operator.name=GhostConv", "Optimizer.lr.learning_rate=0.01"]
    values = {"Global.epochs": 3, "Operator.name": "GhostConv", "Optimizer.lr.learning_rate": 0.01}
    name = "lenet_spconv_digits"
    assert Experiment(name, texts).config == Experiment(name, values).config == configs.load(name, texts)
    assert "ratio" not in Experiment(name, values).config.Operator.arguments, "an argument of the operator before"
    placed = Experiment(name, {"Global.output_dir": Path("here"), "Metric.topk": (1, 3)})
    assert str(placed.run.path) == str(Path("here") / name)
    assert placed.config.Metric.topk == [1, 3]


def test_a_mapping_inherits_as_a_file_does(tmp_path):
    (tmp_path / "own.yaml").write_text("_base_: lenet_spconv_digits\nGlobal: {epochs: 3}\n", "utf-8")
    mapping = {"_base_": "lenet_spconv_digits", "Global": {"epochs": 3}}
    assert Experiment(mapping).config == Experiment(tmp_path / "own.yaml").config
    assert mapping == {"_base_": "lenet_spconv_digits", "Global": {"epochs": 3}}


def test_a_shipped_config_takes_other_data():
    experiment = Experiment("lenet_spconv_digits", data=DATA)
    shipped = configs.load("lenet_spconv_digits").DataLoader.Train.dataset
    assert experiment.config.DataLoader.Train.dataset.name == "Given"
    assert experiment.config.DataLoader.Train.dataset.transform_ops == shipped.transform_ops
    assert experiment.parts.filled().config.Infer.class_names == list("0123456789")
    assert len(experiment.parts.dataset("train")) == 96


class Pairs:
    """A data set of somebody else's."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], np.array([self.labels[index]])


def test_every_form_of_data_is_the_same_data(tmp_path):
    images, labels = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8), [0, 2, 1, 0]
    files = [tmp_path / f"{index}.png" for index in range(4)]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image).save(file)
    pictures = [Image.fromarray(image) for image in images]
    forms = [
        (images, labels),
        (list(images), np.array(labels)),
        (files, labels),
        (pictures, labels),
        Pairs(images, labels),
    ]
    for form in [*forms, list(zip(images, labels, strict=True))]:
        dataset = GivenSet(form, "training")
        np.testing.assert_array_equal(np.stack(list(dataset.read(np.array([2, 0])))), images[[2, 0]])
        assert dataset.labels.tolist() == labels
        assert (dataset.shape, dataset.class_names, dataset.numbered) == ((5, 6, 3), ["0", "1", "2"], True)
    grey = GivenSet((images[..., 0], labels), "training", ["a", "b", "c"])
    assert (grey.shape, grey.numbered) == ((5, 6, 1), False)
    np.testing.assert_array_equal(grey.read(np.array([1])), images[1:2, :, :, :1])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, r"name a config, such as Experiment\('lenet_spconv_digits'\), or give data"),
        ({"config": 5}, "a config is a file, a shipped one's name or a mapping of sections; got a int"),
        ({"config": "lenet_spconv_digit"}, "no config lenet_spconv_digit; did you mean 'lenet_spconv_digits'"),
        ({"config": "lenet_spconv_digits", "overrides": {"Global.epoch": 1}}, "no key 'epoch'; did you mean 'epochs'"),
        ({"config": "lenet_spconv_digits", "overrides": "Global.epochs=1"}, "overrides are a mapping"),
        ({"config": "lenet_spconv_digits", "overrides": {1: 2}}, "dotted keys.*got the key 1"),
        ({"config": "lenet_spconv_digits", "class_names": ["a"]}, "class_names go with data"),
        ({"config": {"_base_": "nowhere"}}, "cannot read the config nowhere"),
        ({"config": {"DataLoader": 3, "Arch": {"name": "LeNet"}}, "data": DATA}, "DataLoader is the value 3"),
        ({"data": DATA}, "Arch is required"),
        ({"model": nn.Linear, "data": DATA}, "paddle.nn.Layer that gives class scores; got the class Linear"),
        ({"data": DATA[0]}, r"training data are \(images, labels\).*got ndarray of uint8 \[96, 14, 14, 1\]"),
        ({"data": (DATA[0],)}, r"data are \(training data, evaluation data\).*got tuple of 1"),
        ({"data": ((DATA[0][0] / 255, DATA[0][1]), DATA[1])}, "values are uint8 from 0 to 255; got float64"),
        ({"data": ((DATA[0][0].transpose(0, 3, 1, 2), DATA[0][1]), DATA[1])}, r"this looks like \[C, H, W\]"),
        ({"data": ((DATA[0][0], DATA[0][1][:5]), DATA[1])}, "training data have 96 images and 5 labels"),
        ({"data": (DATA[0], ([], []))}, "evaluation data have 0 images"),
        ({"data": (DATA[0], (DATA[1][0], DATA[1][1] / 2))}, "evaluation labels should be one integer from 0"),
        ({"data": (DATA[0], (DATA[1][0], np.eye(10)[DATA[1][1]]))}, "evaluation labels should be one integer from 0"),
        ({"data": (list("ab"), DATA[1])}, r"training data should give \(image, label\) for each index; got str of 1"),
    ],
)
def test_what_is_no_experiment_is_refused(given, words):
    with pytest.raises(UserError, match=words):
        Experiment(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"overrides": {"Arch.class_num": 12}}, r"should give \[N, 12\] .* \[1, 10\]; .* is Arch.class_num"),
        ({"model": nn.LSTM(14, 3)}, "LSTM does not take images"),
        ({"model": nn.Linear(3, 4)}, r"Linear does not take images of \[1, 14, 14\]"),
        ({"class_names": list("abc")}, "train data have the label 9, but Arch.class_num is 3"),
        ({"overrides": {"Arch.pretrained": True}}, "no ImageNet weights for python.Sequential"),
        ({"config": "resnet20_conv_cifar10"}, "Normalize has 3 channels, the images have 1"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(given, words, tmp_path):
    with pytest.raises(UserError, match=words):
        own(tmp_path / "run", **given).train()
    assert not (tmp_path / "run").exists()


def test_nothing_trained_is_a_sentence(tmp_path):
    experiment = Experiment("lenet_spconv_digits", folder=tmp_path / "run")
    assert experiment.history == []
    for ask in (experiment.evaluate, experiment.export, lambda: experiment.predict(DATA[0][0][0])):
        with pytest.raises(UserError, match=r"there are no weights .* that training writes"):
            ask()
    with pytest.raises(UserError, match="is not a run folder"):
        Experiment.open(tmp_path)
    with pytest.raises(UserError, match=r"LeNet of .*run has one width; use evaluate"):
        experiment.evaluate_widths()


def test_a_loss_opens_no_run_folder():
    with pytest.raises(UserError, match="DistillLoss takes the teacher's network"):
        DistillLoss(teacher="output/run")


def run_blocks(texts):
    names = {}
    for text in texts:
        exec(compile(text, "block", "exec"), names)


def test_the_page_runs_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "python_api.md").read_text("utf-8")
    run_blocks(re.findall(r"```python\n(.*?)```", page, re.S))


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    notebook = json.loads((ROOT / "examples" / "first_steps.ipynb").read_text("utf-8"))
    assert notebook["nbformat"] == 4
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    run_blocks("".join(cell["source"]) for cell in cells)


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--epochs", "1", "--folder", str(tmp_path / "run")])
    runpy.run_path(str(ROOT / "examples" / "train.py"), run_name="__main__")
    assert "image 0 is a 0; predicted" in capsys.readouterr().out
    assert len((ROOT / "examples" / "train.py").read_text("utf-8").splitlines()) <= 45
