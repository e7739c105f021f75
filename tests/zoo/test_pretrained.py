"""The weights that come with the package: found, right, checked, and loaded wherever weights or runs are named."""

import json
import re
import runpy
import shutil
import warnings

import numpy as np
import paddle
import pytest
from PIL import Image
from setuptools import Distribution

import ppeconv
from ppeconv import UserError, create_model
from ppeconv import config as configs
from ppeconv.counting import count
from ppeconv.engine.weights import read_weights, weight_file
from ppeconv.experiment import Experiment
from ppeconv.experiment.parts import Parts
from ppeconv.pretrained import weights as shelf
from ppeconv.pretrained.network import Network
from ppeconv.pretrained.record import Record
from ppeconv.pretrained.weights import list_pretrained, trained_in
from ppeconv.zoo.check import check
from ppeconv.zoo.rows import read_jobs
from tests.support.processes import ROOT
from tests.support.runs import call, trained_run

ALL = list_pretrained()
ROWS = sorted({file.parent.parent.name for file in shelf.FOLDER.glob("*/seed*/record.json")})
MOST = 25 * 2**20


def cheapest(keep=lambda weights: True):
    """Of the weights that are kept, those with the fewest MACs."""
    return min(filter(keep, ALL.values()), key=lambda weights: weights.macs)


def data_set(weights):
    return weights.config["DataLoader"]["Train"]["dataset"]["name"]


def has_one_operator(weights):
    return isinstance(weights.config["Operator"], dict) and weights.config["AnyWidth"] is None


OPERATOR = cheapest(has_one_operator)


def create(weights, **given):
    """The network of these weights, as a program asks for it."""
    arch, operator = dict(weights.config["Arch"]), dict(weights.config["Operator"])
    arguments = {key: value for key, value in arch.items() if key not in ("pretrained", "freeze", "class_num")}
    name, rules = operator.pop("name"), operator.pop("rules")
    return create_model(**{**arguments, "operator": name, "operator_args": operator, "rules": rules, **given})


def arrays(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


@pytest.fixture
def own_shelf(tmp_path, monkeypatch):
    """A shelf with copies of the operator's weights alone, which tests change."""
    folder = tmp_path / "shelf"
    shutil.copytree(OPERATOR.path.parents[1], folder / OPERATOR.name)
    monkeypatch.setattr(shelf, "FOLDER", folder)
    return folder / OPERATOR.name / OPERATOR.path.parent.name


def change(folder, **values):
    """Write other values into a record."""
    content = json.loads((folder / "record.json").read_text("utf-8"))
    (folder / "record.json").write_text(json.dumps({**content, **values}), "utf-8")


def test_the_package_holds_records_and_weights_in_25_megabytes(monkeypatch):
    options = {}
    monkeypatch.setattr("setuptools.setup", lambda **given: options.update(given))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    build = Distribution(options).get_command_obj("build_py")
    build.ensure_finalized()
    build.manifest_files = {}
    held = {(ROOT / file).resolve() for file in build.find_data_files("ppeconv.zoo", "ppeconv/zoo")}
    assert held >= {file for name in ("record.json", "weights.safetensors") for file in shelf.FOLDER.rglob(name)}
    assert {weights.path for weights in ALL.values()} <= held
    assert sum(file.stat().st_size for file in held) <= MOST


def test_weights_are_kept_of_the_rows_that_say_so():
    first = [job for job in read_jobs() if job.seed == job.row.seeds[0]]
    done = [job for job in first if (shelf.FOLDER / job.folder / "record.json").is_file()]
    assert set(ALL) == {job.row.name for job in done if job.row.weights}


@pytest.mark.parametrize("name", ROWS)
def test_counts_are_those_of_the_config(name):
    record = Record.read(next((shelf.FOLDER / name).glob("seed*")))
    model, _ = Parts(configs.load(record.config)).model()
    counts = count(model, [1, *record.config["Infer"]["image_shape"]])
    assert (counts.params, counts.macs) == (record.params, record.macs)


@pytest.mark.parametrize("data", sorted({weights.data for weights in ALL.values()}))
def test_accuracy_on_the_test_set_is_the_recorded_one(data, data_root):
    """Of the network with the fewest MACs, on all images, as a part of them has no accuracy on record."""
    result = check(cheapest(lambda weights: weights.data == data))
    assert result.images == 10_000
    assert result.holds, result


@pytest.mark.parametrize("name", ALL)
def test_a_network_finds_its_weights(name):
    weights = ALL[name]
    found = trained_in(Network.of(weights.config), data_set(weights))
    assert str(found.network) == str(weights.network)
    assert (found.images_sha256, found.top1 >= weights.top1) == (weights.images_sha256, True)
    assert sum(other.network.same_as(weights.network) for other in ALL.values()) == sum(
        str(other.network) == str(weights.network) for other in ALL.values()
    )


def test_what_is_known_of_weights():
    records = [Record.read(file.parent) for file in OPERATOR.path.parents[1].glob("seed*/record.json")]
    assert OPERATOR.accuracies == tuple(record.last_top1 for record in records)
    low, high = OPERATOR.spread
    assert low <= OPERATOR.mean_top1 <= high
    assert OPERATOR.top1 in OPERATOR.accuracies
    assert len(OPERATOR.class_names) == OPERATOR.config["Arch"]["class_num"]
    assert str(OPERATOR.network).startswith(f"{OPERATOR.config['Arch']['name']}, {OPERATOR.config['Operator']['name']}")
    assert ppeconv.list_pretrained(OPERATOR.name.upper()) == {OPERATOR.name: OPERATOR}
    assert ppeconv.list_pretrained("no such*") == {}
    with pytest.raises(UserError, match="list_pretrained takes a pattern of names, such as 'resnet20\\*'; got None"):
        ppeconv.list_pretrained(None)


def test_create_model_loads_what_a_run_of_the_zoo_holds(own_shelf):
    model = arrays(create(OPERATOR, pretrained=True))
    expected = arrays(Experiment.open(f"zoo:{OPERATOR.name}").model)
    for other in (arrays(create(OPERATOR, pretrained=OPERATOR.name)), expected):
        assert model.keys() == other.keys()
        assert all((model[name] == other[name]).all() for name in model)


def test_another_class_count_leaves_the_last_layer_as_initialised(own_shelf):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as Paddle warns of arrays that are missing on purpose
        model = create(OPERATOR, pretrained=True, class_num=3)
    kept = read_weights(OPERATOR.path).arrays
    shapes = {name: (value.shape, kept[name].shape) for name, value in arrays(model).items()}
    new = [name for name, (ours, theirs) in shapes.items() if ours != theirs]
    assert 1 <= len(new) <= 2
    assert {shapes[name][0][-1] for name in new} == {3}
    assert all((value == kept[name]).all() for name, value in arrays(model).items() if name not in new)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 0.7}, "no weights of .*width=0.7.*the nearest: '{name}' is of {network}"),
        ({"operator": None, "operator_args": None, "rules": None}, "the nearest: '{name}' is of {network}"),
        ({"rules": {"min_channels": 9}}, "no weights of .*min_channels"),
        ({"anywidth": {}}, "no weights of .*, any-width awn come"),
        ({"pretrained": "x" + "{name}"}, "no weights called 'x{name}' come with ppeconv; did you mean '{name}'?"),
        ({"pretrained": "{name}", "width": 0.7}, "the weights {name} are of {network}; got .*width=0.7"),
        ({"anywidth": {"kind": "anw"}}, "no any-width network of kind 'anw'; did you mean 'awn'"),
        ({"pretrained": [1]}, "True or False, or the name of weights; got \\[1\\]"),
        ({"pretrained": ""}, "should be True or False, or the name of weights; got ''"),
        ({"operator": "nothing"}, "no operator, change of branches, recalibration block or head called 'nothing'"),
    ],
)
def test_a_network_without_weights_is_told_the_nearest(own_shelf, given, message):
    facts = {"name": OPERATOR.name, "network": re.escape(str(OPERATOR.network))}
    wanted = {"pretrained": True, **given}
    if isinstance(wanted["pretrained"], str):
        wanted["pretrained"] = wanted["pretrained"].format(**facts)
    with pytest.raises(UserError, match=message.format(**facts)):
        create(OPERATOR, **wanted)


def test_two_data_sets_are_told_apart_by_that_of_the_config_or_by_name(own_shelf):
    other = own_shelf.parents[1] / "other" / own_shelf.name
    shutil.copytree(own_shelf, other)
    change(other, row="other", images_sha256="0" * 64, data="Others")
    with pytest.raises(UserError, match=f"several data sets: '{OPERATOR.name}' .* and 'other' \\(Others\\); name"):
        create(OPERATOR, pretrained=True)
    config = json.loads((other / "record.json").read_text("utf-8"))["config"]
    config["DataLoader"]["Train"]["dataset"]["name"] = "Digits"
    change(other, config=config)
    assert trained_in(OPERATOR.network, "Digits").name == "other"
    assert trained_in(OPERATOR.network, data_set(OPERATOR)).name == OPERATOR.name
    assert weight_file("zoo:other").path == other / "weights.safetensors"


def test_of_several_on_the_same_images_the_most_accurate_is_taken(own_shelf):
    other = own_shelf.parents[1] / "other" / own_shelf.name
    shutil.copytree(own_shelf, other)
    for top1, name in ((1.0, "other"), (0.0, OPERATOR.name)):
        change(other, row="other", last_top1=top1)
        assert trained_in(OPERATOR.network).name == name


def test_a_damaged_file_and_a_record_alone_are_sentences(own_shelf):
    payload = bytearray((own_shelf / "weights.safetensors").read_bytes())
    payload[len(payload) // 2] ^= 1
    (own_shelf / "weights.safetensors").write_bytes(payload)
    with pytest.raises(UserError, match=r"weights\.safetensors is damaged: its SHA-256 is .*install ppeconv anew"):
        create(OPERATOR, pretrained=True)
    (own_shelf / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"cannot read .*weights\.safetensors"):
        Experiment.open(f"zoo:{OPERATOR.name}").model  # noqa: B018
    change(own_shelf, weights_sha256=None)
    with pytest.raises(UserError, match=f"of {OPERATOR.name} a record is kept and no weights"):
        Experiment.open(f"zoo:{OPERATOR.name}")


def test_networks_of_paddle_take_pretrained_as_before(monkeypatch):
    asked = []

    def network(num_classes, **given):
        asked.append(given)
        return paddle.nn.Linear(4, num_classes)

    monkeypatch.setattr("paddle.vision.models.LeNet", network)
    create_model("paddle.vision.LeNet", pretrained=True)
    create_model("paddle.vision.LeNet")
    with pytest.raises(UserError, match=r"pretrained of paddle\.vision\.LeNet should be True or False; .*; got 'x'"):
        create_model("paddle.vision.LeNet", pretrained="x")
    assert asked == [{"pretrained": True}, {}]


@pytest.mark.parametrize("start", ["zoo", "zoo:{name}"])
def test_a_config_starts_from_the_zoo_and_is_evaluated_with_it_until_it_is_trained(own_shelf, tmp_path, start):
    values = {"Arch.pretrained": start.format(name=OPERATOR.name), "Global.output_dir": str(tmp_path)}
    experiment = Experiment(OPERATOR.config, values)
    assert experiment.parts.starting_weights().path == own_shelf / "weights.safetensors"
    kept = read_weights(OPERATOR.path).arrays
    assert all((value == kept[name]).all() for name, value in arrays(experiment.model).items())
    experiment.run.path.mkdir()
    (experiment.run.path / "config.yaml").touch()
    with pytest.raises(UserError, match="there are no weights"):
        Experiment(OPERATOR.config, values).model  # noqa: B018


def test_a_teacher_may_come_from_the_zoo(own_shelf):
    def loss(teacher):
        return Parts(configs.load(OPERATOR.config, {"Loss.Train": [{"DistillLoss": {"teacher": teacher}}]})).loss(
            "Train"
        )

    loss(f"zoo:{OPERATOR.name}").require_fit(OPERATOR.class_names, list(OPERATOR.image_shape))
    with pytest.raises(UserError, match="no weights called 'nothing'"):
        loss("zoo:nothing")


def test_every_row_is_a_network_that_can_be_compared():
    networks = {str(Network.of(job.experiment().config.model_dump())) for job in read_jobs()}
    assert len(networks) > 1
    wide = Network("ResNet20", {"width": 2**0.5}, anywidth={"kind": "awn"})
    assert wide.same_as(Network("resnet20", {"width": 1.4142, "class_num": 7}, anywidth={"min_width": 0.25}))
    assert not wide.same_as(Network("ResNet20", {"width": 1.4142}))


def test_fine_tuning_on_pictures_of_ones_own_starts_from_the_zoo(own_shelf, tmp_path, capsys):
    channels, *size = OPERATOR.image_shape
    images = np.random.default_rng(0).integers(0, 256, (12, *size, channels), np.uint8)
    arch, operator = ({**OPERATOR.config[name]} for name in ("Arch", "Operator"))
    config = {"Arch": {**arch, "class_num": None, "pretrained": "zoo"}, "Operator": operator}
    settings = {"Global.epochs": 1, "Global.use_visualdl": False, "Global.output_dir": str(tmp_path)}
    experiment = Experiment(config, settings, data=((images, np.arange(12) % 3),) * 2)
    experiment.train()
    assert "skipped (other name or shape)" in capsys.readouterr().out
    assert experiment.config.Arch.pretrained == "zoo"
    best = read_weights(experiment.run.path / "best_model.pdparams").arrays
    assert all((value == best[name]).all() for name, value in arrays(experiment.model).items())


def test_a_run_that_started_from_weights_is_used_with_its_own(tmp_path):
    start = trained_run(tmp_path / "a", "Global.max_steps=1", name="lenet_conv_digits")
    setting = f"Global.pretrained_model={start.path}"
    run = trained_run(tmp_path / "b", "Global.max_steps=1", setting, name="lenet_conv_digits")
    own, first = (read_weights(weight_file(folder.path)).arrays for folder in (run, start))
    opened = arrays(Experiment.open(run.path).model)
    assert all((value == own[name]).all() for name, value in opened.items())
    assert any((value != first[name]).any() for name, value in opened.items())
    again = arrays(Experiment.open(run.path, [setting]).model)
    assert all((value == first[name]).all() for name, value in again.items())


def test_predict_classifies_out_of_the_box_and_leaves_nothing(own_shelf, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save("photo.png")
    before = sorted(tmp_path.iterdir())
    code, output, errors = call(capsys, "predict", "--model", f"zoo:{OPERATOR.name}", "photo.png", "--json")
    assert (code, errors) == (0, "")
    (expected,) = Experiment.open(f"zoo:{OPERATOR.name}").predict("photo.png")
    said = json.loads(output.splitlines()[-1])  # behind the log, where another test has turned it on
    assert said["class_names"] == expected.class_names
    assert set(said["class_names"]) <= set(OPERATOR.class_names)
    assert said["scores"] == pytest.approx(expected.scores, abs=1e-5)
    assert sorted(tmp_path.iterdir()) == before
    code, _, errors = call(capsys, "predict", "--model", f"zoo:{OPERATOR.name}", "photo.png", "--budget-ms", 3)
    assert (code, "one width; leave it out" in errors) == (2, True)


def test_the_list_names_all_with_what_is_known_of_them(capsys):
    code, output, _ = call(capsys, "list", "pretrained", "--counts")
    assert code == 0
    for weights in ALL.values():
        assert f"{weights.name:<24} {weights}" in output
        assert f"{weights.params:,} parameters, {weights.macs:,} MACs" in output
