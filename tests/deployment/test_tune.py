"""The choice of inference forms layer by layer."""

import pytest
import yaml
from paddle import nn

from ppeconv import UserError, create_model, create_operator, deploy
from ppeconv.deployment import alone as tuning
from ppeconv.deployment.export import export
from ppeconv.deployment.tune import forms_of, tune
from ppeconv.experiment import Experiment
from tests.support.runs import call, trained_run


@pytest.fixture
def measured(monkeypatch):
    """Batches that were measured; the form that is named first takes the longest."""
    batches = []

    def times(runtimes, images):
        batches.append(images.shape)
        return {form: 3.0 - index for index, form in enumerate(runtimes)}

    monkeypatch.setattr(tuning, "median_ms", times)
    return batches


def test_each_distinct_layer_is_measured_once(measured):
    model = create_model("ResNet20", width=0.5, operator="SPConv")
    training = [layer.training for layer in model.sublayers()]
    tuned = tune(model, [3, 16, 16], batch=2)
    assert measured == [(2, 8, 16, 16), (2, 8, 16, 16), (2, 16, 8, 8), (2, 16, 8, 8), (2, 32, 4, 4)]
    operators = [name for name, layer in model.named_sublayers() if type(layer).__name__ == "SPConv"]
    assert sorted(name for row in tuned for name in row.layers) == sorted(operators)
    assert [len(row.layers) for row in tuned] == [6, 1, 5, 1, 5]
    assert [layer.training for layer in model.sublayers()] == training
    said = (
        "SPConv 3x3 8->8 on 16x16: gate_first 3.000 ms, separate 2.000 ms, merged 1.000 ms; merged kept for "
        "layer1.0.conv1, layer1.0.conv2"
    )
    assert str(tuned[0]).startswith(said)
    assert forms_of(tuned) == dict.fromkeys(operators, "merged")
    merged = deploy(model, [3, 16, 16], {"SPConv": "merged"})
    assert deploy(model, [3, 16, 16], forms_of(tuned)).state_dict().keys() == merged.state_dict().keys()


def test_layers_that_differ_in_own_arguments_alone_are_measured_apart(measured):
    layers = [create_operator("SPConv", 8, 8, 3, padding=1, ratio=ratio) for ratio in (0.25, 0.5, 0.25)]
    assert [row.layers for row in tune(nn.Sequential(*layers), [8, 6, 6])] == [["0", "2"], ["1"]]


def test_a_layer_that_does_not_run_is_not_measured(measured):
    model = nn.Sequential(nn.Conv2D(3, 8, 1))
    model[0].spare = create_operator("SPConv", 8, 8, 3)
    assert tune(model, [3, 6, 6]) == []


def test_a_network_without_a_choice(measured):
    assert tune(create_model("ResNet20", width=0.5, operator="BottleneckConv"), [3, 16, 16]) == []
    assert measured == []


def test_the_forms_are_recorded(tmp_path):
    model = create_model("ResNet20", width=0.5, operator="HetConv")
    forms = {"layer1.0.conv1": "separate", "HetConv": "merged"}
    export(model, tmp_path / "out", [3, 16, 16], forms=forms)
    assert yaml.safe_load((tmp_path / "out" / "inference.yml").read_text("utf-8"))["forms"] == forms
    with pytest.raises(UserError, match="are for the deployed form; got form 'trained'"):
        export(model, tmp_path / "out", [3, 16, 16], form="trained", forms=forms)


def test_export_command(tmp_path, capsys):
    run = trained_run(tmp_path)
    code, text, _ = call(capsys, "export", "--run", run.path, "--tune", "--batch-size", 2)
    assert code == 0
    assert "median of one call on paddle, batch size 2, threads 1" in text
    forms = yaml.safe_load((run.path / "inference" / "inference.yml").read_text("utf-8"))["forms"]
    operators = [
        name for name, layer in Experiment.open(run.path).model.named_sublayers() if type(layer).__name__ == "SPConv"
    ]
    assert list(forms) == operators
    for layer, form in forms.items():
        (line,) = [line for line in text.splitlines() if "ms; " in line and layer in line]
        assert f"{form} kept for" in line
    for options, sentence in (
        (["--form", "trained"], "trained form is layer by layer"),
        (["--batch-size", 0], "--batch-size: should be an integer from 1"),
        (["--to", "onx"], "did you mean 'onnx'"),
    ):
        code, _, errors = call(capsys, "export", "--run", run.path, "--tune", *options)
        assert (code, sentence in errors) == (2, True)
