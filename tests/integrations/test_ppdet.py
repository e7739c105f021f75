"""PaddleDetection: the backbone as its registry makes it, from a stand-in of that registry, and its configs."""

import importlib
import os
import pickle
import sys
from collections import namedtuple
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import paddle
import pytest
import yaml
from paddle import nn

import ppeconv
from ppeconv import config as configs
from ppeconv.engine.weights import write_weights
from ppeconv.errors import UserError
from ppeconv.operators.base import ConvOperator
from tests.support.processes import ROOT
from tests.support.runs import call

FOLDER = ROOT / "configs" / "detection"
FILES = sorted(FOLDER.glob("*.yaml"))


class Tagged(yaml.SafeLoader):
    """Reads ppdet's files; an object such as `!COCODataSet` becomes a namespace of its arguments."""


Tagged.add_multi_constructor(
    "!", lambda loader, kind, node: SimpleNamespace(kind=kind, **loader.construct_mapping(node, deep=True))
)


def merged(below, above):
    both = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if nested else value
    return both


def read(path):
    """A file on top of those of its `_BASE_`, as ppdet reads it."""
    values, whole = yaml.load(path.read_text("utf-8"), Tagged), {}
    for base in values.pop("_BASE_", []):
        whole = merged(whole, read(path.parent / base))
    return merged(whole, values)


@pytest.fixture
def workspace(monkeypatch):
    """A stand-in of ppdet's registry: classes by their names, made of the sections of a configuration."""

    def module(name, **content):
        made = ModuleType(name)
        made.__spec__, made.__path__ = ModuleSpec(name, None), []
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    known, config = {}, {}

    def register(kind):
        if kind.__name__ in known:
            raise ValueError(f"Module class already registered: {kind.__name__}")
        known[kind.__name__] = importlib.import_module(kind.__module__)
        return kind

    def create(name):
        return getattr(known[name], name)(**config.get(name, {}))

    def load_config(file):
        config.update(read(Path(file)), filename=Path(file).stem)
        return config

    module("ppdet")
    module("ppdet.core")
    module("ppdet.modeling")
    module("ppdet.engine")
    module("ppdet.modeling.shape_spec", ShapeSpec=namedtuple("ShapeSpec", "channels stride"))
    made = module(
        "ppdet.core.workspace",
        global_config=known,
        register=register,
        serializable=lambda kind: kind,
        create=create,
        load_config=load_config,
        config=config,
    )
    for name in [name for name in sys.modules if name.startswith("ppeconv.integrations")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.import_module("ppeconv.integrations.ppdet")
    return made


def created(workspace, **section):
    workspace.config["PPEConv"] = section
    return workspace.create("PPEConv")


def operators(model):
    return [type(layer).__name__ for layer in model.sublayers() if isinstance(layer, ConvOperator)]


def test_the_backbone_gives_the_stages_and_tells_their_shapes(workspace):
    backbone = created(workspace, name="ResNet18", width=0.25, return_idx=[1, 3])
    assert isinstance(backbone, nn.Layer)
    assert [(shape.channels, shape.stride) for shape in backbone.out_shape] == [(32, 8), (128, 32)]
    maps = backbone({"image": paddle.randn([2, 3, 64, 96])})
    assert [value.shape for value in maps] == [[2, 32, 8, 12], [2, 128, 2, 3]]
    assert operators(backbone) == []


def test_it_is_registered_once(workspace):
    assert list(workspace.global_config) == ["PPEConv"]
    importlib.reload(sys.modules["ppeconv.integrations.ppdet.backbone"])
    assert list(workspace.global_config) == ["PPEConv"]


def test_operators_are_put_in_by_name_or_as_a_config_says(workspace):
    by_name = created(
        workspace, name="ResNet20", operator="HetConv", operator_args={"parts": 2}, rules={"include": ["layer3.*"]},
        return_idx=[0, 2],
    )  # fmt: skip
    as_config = {"name": "HetConv", "parts": 2, "rules": {"include": ["layer3.*"]}}
    by_mapping = created(workspace, name="ResNet20", operator=as_config, return_idx=[0, 2])
    assert set(operators(by_name)) == {"HetConv"}
    assert operators(by_name) == operators(by_mapping)
    several = created(workspace, name="ResNet20", operator=[as_config, {"name": "SE"}], return_idx=[0, 2])
    assert operators(several) == operators(by_name)
    assert ppeconv.parameter_count(several) > ppeconv.parameter_count(by_name)
    names = set(by_name.state_dict())
    assert names == set(by_mapping.state_dict())


def test_weights_are_read_from_a_file(workspace, tmp_path):
    network = ppeconv.create_model("ResNet20", class_num=10)
    write_weights(network, tmp_path / "weights.pdparams")
    backbone = created(workspace, name="ResNet20", return_idx=[2], pretrained=str(tmp_path / "weights.pdparams"))
    backbone.eval()
    network.eval()
    image = paddle.randn([1, 3, 32, 32])
    np.testing.assert_array_equal(backbone({"image": image})[0].numpy(), network.stages(image)[-1].numpy())


def test_frozen_norms_keep_their_statistics(workspace):
    backbone = created(workspace, name="ResNet20", return_idx=[2], freeze_norm=True)
    norms = [layer for layer in backbone.sublayers() if isinstance(layer, nn.BatchNorm2D)]
    before = [norm._mean.numpy().copy() for norm in norms]
    loss = backbone({"image": paddle.randn([2, 3, 32, 32])})[0].mean()
    loss.backward()
    assert norms
    assert all(norm.weight.stop_gradient and norm.bias.stop_gradient for norm in norms)
    assert all((norm._mean.numpy() == mean).all() for norm, mean in zip(norms, before, strict=True))


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"name": "ResNet19"}, "did you mean 'ResNet18'"),
        ({"name": "LeNet"}, "has no feature maps to give"),
        ({"operator": "SPConf"}, "did you mean 'SPConv'"),
        ({"operator": "SPConv", "operator_args": {"ration": 0.5}}, "ration"),
        ({"operator": {"name": "SPConv"}, "rules": {"min_kernel": 1}}, "in a mapping, or a list of them"),
        ({"operator_args": {"ratio": 0.5}}, "no operator; name one"),
        ({"return_idx": [3, 1]}, "numbers from 0 to 3, ascending"),
        ({"return_idx": [1, 4]}, "numbers from 0 to 3, ascending"),
        ({"pretrained": "nowhere"}, "there are no weights nowhere"),
    ],
)
def test_what_is_wrong_is_said(workspace, section, sentence):
    with pytest.raises(UserError, match=sentence):
        created(workspace, **{"width": 0.25, **section})


def test_without_ppdet_a_sentence_says_how_it_is_got(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("ppeconv.integrations", "ppdet"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ppdet", None)
    with pytest.raises(UserError, match="pip install --no-deps paddledet"):
        importlib.import_module("ppeconv.integrations.ppdet")
    code, _, errors = call(capsys, "detect", "train", "-c", "picodet_resnet18_conv_bccd")
    assert code == 2
    assert "needs PaddleDetection, which is not installed; in a clone of ppeconv: pip install -r" in errors


def test_a_package_that_ppdet_lacks_is_named(workspace, monkeypatch):
    from ppeconv.integrations.ppdet.installed import import_ppdet

    with pytest.raises(UserError, match=r"cannot be imported: No module named 'ppdet.metrics'"):
        import_ppdet("metrics")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_shipped_configs_make_their_backbones(workspace, file):
    detector, backbone, operator, data = file.stem.split("_")
    settings = importlib.import_module("ppeconv.integrations.ppdet.settings")
    config = settings.load(file.stem, ["PPEConv.width=0.25"])
    assert config["architecture"].lower() == detector
    assert config[config["architecture"]]["backbone"] == "PPEConv"
    assert config["PPEConv"]["name"].lower() == backbone
    assert Path(config["TrainDataset"].dataset_dir).name == data
    made = {name.lower() for name in operators(workspace.create("PPEConv"))}
    assert made == ({operator} if operator != "conv" else set())
    assert file.stem in configs.files.shipped("detection")
    assert settings.image_shape(config)[0] == 3


def test_values_of_the_command_line_and_the_folder_of_the_data(workspace, monkeypatch, tmp_path):
    settings = importlib.import_module("ppeconv.integrations.ppdet.settings")
    monkeypatch.setenv("PPECONV_DATA", str(tmp_path))
    given = ["epoch=3", "PPEConv.width=0.5", "PPEConv.operator={name: SPConv, ratio: 0.25}", "TrainReader.batch_size=2"]
    config = settings.load("picodet_resnet18_conv_bccd", [*given, "EvalDataset.dataset_dir=elsewhere"])
    assert config["epoch"] == 3
    assert config["PPEConv"]["operator"] == {"name": "SPConv", "ratio": 0.25}
    assert config["TrainReader"]["batch_size"] == 2
    assert config["TrainDataset"].dataset_dir == str(tmp_path / "bccd")
    assert config["EvalDataset"].dataset_dir == "elsewhere"
    assert config["weights"] == "output/detection/picodet_resnet18_conv_bccd/model_final"
    with pytest.raises(UserError, match="TrainDataset is not there"):
        settings.images_of(config, "TrainDataset")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("epochs=3", "did you mean 'epoch'"),
        ("epoch", "should be key=value"),
        ("TrainDataset.datasetdir=x", "did you mean 'dataset_dir'"),
        ("PPEConf.width=1", "did you mean 'PPEConv'"),
        ("TrainDataset.dataset_dir.x=1", "TrainDataset.dataset_dir has no 'x'"),
        ("TrainDataset.x.y=1", "TrainDataset.x has no 'y'"),
        ("PPEConv..width=1", "should be key=value"),
        ("epoch=many", "epoch should be a whole number; got 'many'"),
        ("weights=5", "weights should be a text; got 5"),
        ("use_gpu=maybe", "use_gpu should be true or false"),
        ("OptimizerBuilder={optimizer: {set_param_lr_func: f()}}", "it should be a name"),
    ],
)
def test_a_mistyped_value_is_named(workspace, override, sentence):
    settings = importlib.import_module("ppeconv.integrations.ppdet.settings")
    with pytest.raises(UserError, match=sentence):
        settings.load("picodet_resnet18_conv_bccd", [override])
    with pytest.raises(UserError, match="did you mean 'picodet_resnet18_conv_bccd'"):
        settings.load("picodet_resnet18_conv_bcd")


def test_files_that_would_run_code_are_not_handed_on(workspace, monkeypatch, tmp_path):
    """ppdet reads settings and weights with loaders that call what a file names."""
    settings = importlib.import_module("ppeconv.integrations.ppdet.settings")
    trap, mark = tmp_path / "trap.yml", tmp_path / "mark"
    trap.write_text(f"a: [{{b: !!python/object/apply:pathlib.Path.touch [{mark}]}}]\n_BASE_: [top.yml]\n", "utf-8")
    (tmp_path / "top.yml").write_text("_BASE_: [trap.yml, trap.yml]\narchitecture: PicoDet\n", "utf-8")
    with pytest.raises(UserError, match=r"trap.yml names Python to be called, object/apply:pathlib.Path.touch"):
        settings.load(str(tmp_path / "top.yml"))
    trap.write_text("a: {b: [1", "utf-8")
    with pytest.raises(UserError, match=r"trap.yml is not a configuration"):
        settings.load(str(tmp_path / "top.yml"))
    monkeypatch.setattr(paddle, "load", paddle.load)
    importlib.import_module("ppeconv.integrations.ppdet.workarounds").guard_weights()
    paddle.save({"weight": paddle.ones([2])}, str(tmp_path / "plain.pdparams"))
    assert list(paddle.load(str(tmp_path / "plain.pdparams"))) == ["weight"]
    (tmp_path / "plain.pdopt").write_bytes(pickle.dumps({"weight": Trap(mark)}))
    with pytest.raises(UserError, match=r"plain.pdopt"):
        paddle.load(str(tmp_path / "plain.pdopt"))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("_BASE_: t", "_BASE_ should be a list of files"),
        ("_BASE_: {trap.yml: 1}", "_BASE_ should be a list of files"),
        ("_BASE_: !!set {trap.yml}", "_BASE_ should be a list of files"),
        ("_BASE_: [[trap.yml]]", "_BASE_ should be a list of files"),
        ('_BASE_: ["trap.yml\\0"]', "_BASE_ should be a list of files"),
        ("_BASE_: [~nobody_of_this_name/x.yml]", "is not a configuration"),
        ("a: {<<: {_BASE_: t}}", "_BASE_ should be a list of files"),
        ("optimizer: {set_param_lr_func: open('x')}", "it should be a name"),
        ("V: {norm_layer: !!binary bm4uTGF5ZXJOb3Jt}", "holds bytes"),
        ("V: !VisionTransformer [1, 2]", "its arguments by name"),
        ("T: !MOTImageFolder {video_file: a.mp4}", "goes into a command of the shell"),
        ("R: [DecodeCache: {cache_root: here}]", "is a folder of pickles"),
    ],
)
def test_settings_by_which_ppdet_runs_what_they_say_are_refused(workspace, tmp_path, text, sentence):
    guard = importlib.import_module("ppeconv.integrations.ppdet.guard")
    (tmp_path / "x.yml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        guard.require_plain_settings(tmp_path / "x.yml")
    (tmp_path / "x.yml").write_text(
        "V: !VisionTransformer {norm_layer: nn.LayerNorm, cache_root: null}\n? [a]\n: 1\n_BASE_: []"
    )
    guard.require_plain_settings(tmp_path / "x.yml")


def test_a_checkpoint_that_was_cut_short_is_left_out(workspace, tmp_path):
    class Callback:
        pass

    sys.modules["ppdet.engine"].Callback = Callback
    detector = importlib.import_module("ppeconv.integrations.ppdet.detector")
    assert detector.newest(tmp_path) is None
    for number in range(3):
        for suffix in (".pdparams", ".pdopt"):
            file = tmp_path / f"{number}{suffix}"
            paddle.save({"weight": paddle.ones([2])}, str(file))
            os.utime(file, (number, number))
    assert detector.newest(tmp_path) == tmp_path / "2"
    (tmp_path / "2.pdparams").write_bytes((tmp_path / "2.pdparams").read_bytes()[:-20])
    (tmp_path / "1.pdparams").unlink()
    assert detector.newest(tmp_path) == tmp_path / "0"
    (tmp_path / "results.csv").write_text("epoch,AP\n1,0.5\n")
    assert detector.read_curve(tmp_path / "results.csv") == [{"epoch": 1, "AP": 0.5}]
    for damaged in ("epoch,AP\n1,many\n", "AP\n0.5\n"):
        (tmp_path / "results.csv").write_text(damaged)
        with pytest.raises(UserError, match="move it elsewhere"):
            detector.read_curve(tmp_path / "results.csv")


def test_a_mistyped_file_is_named_without_ppdet(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "ppdet", None)
    code, _, errors = call(capsys, "detect", "eval", "-c", "picodet_resnet18_conv_bcd")
    assert (code, "did you mean 'picodet_resnet18_conv_bccd'" in errors) == (2, True)
    options = ["detect", "infer", "-c", "picodet_resnet18_conv_bccd"]
    code, _, errors = call(capsys, *options, "--infer_img", str(tmp_path / "none.jpg"))
    assert (code, "there is no picture" in errors) == (2, True)
    code, _, errors = call(capsys, *options, "--infer_dir", str(tmp_path))
    assert (code, "there are no pictures" in errors) == (2, True)


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


class ListedHead(nn.Layer):
    """Keeps its layers in plain lists besides and runs them from there, as heads and necks of ppdet do."""

    def __init__(self):
        super().__init__()
        self.towers = []
        for level in range(2):
            tower = [nn.Conv2D(16, 16, 3, padding=1), nn.Conv2D(16, 16, 3, padding=1)]
            for place, layer in enumerate(tower):
                self.add_sublayer(f"tower{level}_{place}", layer)
            self.towers.append(tower)
        last = nn.Conv2D(16, 16, 3, padding=1)
        self.last, self.by_name = (self.add_sublayer("last0", last), 1), {"last": last}

    def forward(self, inputs):
        maps = []
        for x, tower in zip([inputs["image"]] * 2, self.towers, strict=True):
            for layer in tower:
                x = layer(x)
            maps.append(self.by_name["last"](self.last[0](x)))
        return maps


def test_layers_that_are_run_from_plain_lists_are_replaced_too():
    head = ListedHead()
    head, report = ppeconv.replace_conv(head, "HetConv", rules={"min_kernel": 1, "skip_first": False}, parts=2)
    assert "5 of 5" in str(report)
    run = [layer for tower in head.towers for layer in tower] + [head.last[0], head.by_name["last"]]
    assert {type(layer).__name__ for layer in run} == {"HetConv"}
    assert {id(layer) for layer in run} == {id(layer) for layer in head.children()}
    assert head.last[1] == 1
    maps = head({"image": paddle.randn([1, 16, 8, 8])})
    maps[0].mean().backward()
    assert all(parameter.grad is not None for parameter in head.tower0_0.parameters())
