"""Weight files of other programs: number types, nesting, names and layouts of PyTorch."""

import collections
import io
import itertools
import json
import pickle
import shutil
import struct
import types
import zipfile
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from ppeconv import UserError, create_model
from ppeconv.cli.main import main
from ppeconv.engine import checkpoint
from ppeconv.engine.run import Run
from ppeconv.engine.weights import load_weights, read_weights
from ppeconv.experiment.parts import Parts
from ppeconv.experiment.training import train
from tests.support.runs import call, digits_config, trained_run

safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")


def arrays_of(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def randomised(model):
    """The network with other values in every array, statistics too."""
    rng = np.random.default_rng(0)
    model.set_state_dict({name: rng.random(value.shape, "float32") for name, value in arrays_of(model).items()})
    return model


def as_torch_has_them(model):
    """The same weights under torchvision's names, with linear weights as [out, in] and PyTorch's counters."""
    linear = {f"{path}.weight" for path, layer in model.named_sublayers() if isinstance(layer, nn.Linear)}
    arrays = {}
    for name, value in arrays_of(model).items():
        arrays[name.replace("_mean", "running_mean").replace("_variance", "running_var")] = (
            np.ascontiguousarray(value.T) if name in linear else value
        )
        if name.endswith("_variance"):
            arrays[name.replace("_variance", "num_batches_tracked")] = np.array(7)
    return arrays


def bfloat16(value):
    return (value.view(np.uint32) >> 16).astype(np.uint16)


def saved(tmp_path, content, name="weights.pdparams"):
    file = tmp_path / name
    payload = safetensors.save(content) if file.suffix == ".safetensors" else pickle.dumps(content, protocol=4)
    file.write_bytes(payload)
    return file


def assert_same(model, other):
    own, theirs = arrays_of(model), arrays_of(other)
    for name, value in own.items():
        np.testing.assert_array_equal(value, theirs[name], name)


STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage", "uint16": "BFloat16Storage"}


class TorchPickler(pickle.Pickler):
    """Writes arrays as `torch.save` writes tensors, uint16 ones as bfloat16; the numbers go to `storages`."""

    def __init__(self, stream, torch, row):
        super().__init__(stream, protocol=2)
        self.torch, self.row, self.storages = torch, row, []

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        self.storages.append(value.array)
        kind = getattr(self.torch, STORAGES[value.array.dtype.name])
        return ("storage", kind, str(len(self.storages) - 1), "cpu", value.array.size, *([None] if self.row else []))

    def reducer_override(self, value):
        if not isinstance(value, np.ndarray):
            return NotImplemented
        flat = np.concatenate([np.zeros(3, value.dtype), value.ravel(order="F")])  # an offset, and columns first
        strides = tuple(np.cumprod([1, *value.shape[:-1]]).tolist()) if value.ndim else ()
        rebuild = self.torch._utils._rebuild_tensor_v2
        return rebuild, (Storage(flat), 3, value.shape, strides, False, collections.OrderedDict())


class Storage:
    def __init__(self, array):
        self.array = array


@pytest.fixture
def torch_saved(tmp_path, monkeypatch):
    """A function that writes what `torch.save` does, in its present or its old format, with stand-ins for its names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch._utils = utils
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    utils._rebuild_tensor_v2 = types.FunctionType((lambda *_: None).__code__, {}, "_rebuild_tensor_v2")
    utils._rebuild_tensor_v2.__module__, utils._rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    monkeypatch.setitem(__import__("sys").modules, "torch", torch)
    monkeypatch.setitem(__import__("sys").modules, "torch._utils", utils)

    def save(content, old):
        stream, file = io.BytesIO(), tmp_path / ("old.pth" if old else "new.pt")
        pickler = TorchPickler(stream, torch, old)
        pickler.dump(content)
        if not old:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("new/data.pkl", stream.getvalue())
                archive.writestr("new/byteorder", "little")
                for key, array in enumerate(pickler.storages):
                    archive.writestr(f"new/data/{key}", array.tobytes())
            return file
        head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        keys = [str(key) for key in range(len(pickler.storages))]
        numbers = [struct.pack("<q", array.size) + array.tobytes() for array in pickler.storages]
        file.write_bytes(
            b"".join([*(pickle.dumps(value, 2) for value in head), stream.getvalue(), pickle.dumps(keys, 2), *numbers])
        )
        return file

    return save


def test_all_102_arrays_of_a_torchvision_resnet18_load(tmp_path):
    source = randomised(create_model("ResNet18"))
    file, target = saved(tmp_path, as_torch_has_them(source), "resnet18.safetensors"), create_model("ResNet18")
    said = load_weights(target, file, complete=True)
    assert_same(target, source)
    assert "102 of the network's 102 arrays loaded" in said
    for part in ("20 running_mean as _mean", "20 running_var as _variance", "20 num_batches_tracked left out"):
        assert part in said
    assert "transposed: 1 linear weights" in said


@pytest.mark.parametrize("old", [False, True])
def test_files_of_torch_save_load_without_torch(torch_saved, old):
    source = randomised(create_model("ResNet20"))
    tensors = collections.OrderedDict(as_torch_has_them(source))
    tensors["fc.bias"] = tensors["fc.bias"].astype("float16")
    tensors["bn1.bias"] = bfloat16(tensors["bn1.bias"])
    file, target = torch_saved({"state_dict": tensors, "epoch": 3, "best": 0.5}, old), create_model("ResNet20")
    said = load_weights(target, file, complete=True)
    for own, theirs in ((target.fc.bias, source.fc.bias), (target.bn1.bias, source.bn1.bias)):
        np.testing.assert_allclose(own.numpy(), theirs.numpy(), rtol=2**-7, atol=1e-6)
        own.set_value(theirs)
    assert_same(target, source)
    assert "taken from 'state_dict'" in said
    assert "1 converted from bfloat16" in said
    assert "1 converted from float16" in said
    damaged = file.with_name("damaged.pth")
    damaged.write_bytes(file.read_bytes()[: -file.stat().st_size // 2])
    with pytest.raises(UserError, match="not a file of weights"):
        read_weights(damaged)


@pytest.mark.parametrize("old", [False, True])
def test_a_torch_file_that_holds_more_than_tensors_is_not_opened_and_says_how_to_convert_it(torch_saved, old):
    file = torch_saved({"model": print}, old)
    with pytest.raises(UserError, match=r"(?s)wants to call \w+\.print.*import torch, safetensors.torch\n .*save_file"):
        read_weights(file)
    file = torch_saved({"weight": Storage(np.ones(3, "float32"))}, old)
    with pytest.raises(UserError, match="holds no weights"):
        read_weights(file)


def test_a_tensor_outside_its_storage_is_refused(torch_saved, monkeypatch):
    monkeypatch.setattr(
        TorchPickler,
        "reducer_override",
        lambda self, value: (
            (self.torch._utils._rebuild_tensor_v2, (Storage(value.ravel()), 0, (9, 9), (9, 1)))
            if isinstance(value, np.ndarray)
            else NotImplemented
        ),
    )
    for old in (False, True):
        with pytest.raises(UserError, match="not a file of weights"):
            read_weights(torch_saved({"weight": np.ones((2, 2), "float32")}, old))


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
@pytest.mark.parametrize("kind", ["float16", "float64", "bfloat16"])
def test_weights_of_every_float_type_load(kind, suffix, tmp_path):
    source = randomised(create_model("LeNet"))
    arrays = arrays_of(source)
    stored = {name: bfloat16(value) if kind == "bfloat16" else value.astype(kind) for name, value in arrays.items()}
    file = saved(tmp_path, stored, f"weights{suffix}")
    if (kind, suffix) == ("bfloat16", ".safetensors"):
        header = {name: {"dtype": "BF16", "shape": value.shape} for name, value in stored.items()}
        ends = np.cumsum([0, *(value.nbytes for value in stored.values())]).tolist()
        for entry, offsets in zip(header.values(), itertools.pairwise(ends), strict=True):
            entry["data_offsets"] = offsets
        text = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(value.tobytes() for value in stored.values()))
    target = create_model("LeNet")
    said = load_weights(target, file, complete=True)
    tolerance = {"float64": 0, "float16": 2**-11, "bfloat16": 2**-7}[kind]
    for name, value in arrays_of(target).items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, arrays[name], rtol=tolerance, atol=1e-6 if tolerance else 0)
    assert f"10 converted from {kind}" in said


def test_bfloat16_of_paddle_save(tmp_path):
    model = randomised(nn.Linear(3, 4))
    expected = arrays_of(model)
    model.bfloat16()
    paddle.save(model.state_dict(), str(tmp_path / "w.pdparams"))
    target = nn.Linear(3, 4)
    load_weights(target, tmp_path / "w.pdparams", complete=True)
    for name, value in arrays_of(target).items():
        np.testing.assert_allclose(value, expected[name], rtol=2**-8)


def test_foreign_values_are_refused_by_name(tmp_path):
    arrays = arrays_of(create_model("LeNet"))
    for values, sentence in (
        (np.array([None] * 10), "this file has arrays of object"),
        (np.ones(10, "complex64"), "fc.4.bias holds values of type complex64; weights are floats"),
        (np.array(["x"] * 10), "fc.4.bias holds values of type <U1"),
        (np.ones(10, "int8"), "fc.4.bias holds values of type int8, the network's are"),
        (np.full(10, 1e300), "fc.4.bias has numbers too large"),
    ):
        with pytest.raises(UserError, match=sentence):
            load_weights(create_model("LeNet"), saved(tmp_path, {**arrays, "fc.4.bias": values}))


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda arrays: {"state_dict": arrays, "epoch": 7}, "taken from 'state_dict'"),
        (lambda arrays: {"params": arrays}, "taken from 'params'"),
        (lambda arrays: {"mine": arrays, "config": {"depth": 5}}, "taken from 'mine'"),
        (lambda arrays: {"model": {"state_dict": arrays}, "lr": 0.1}, "taken from 'model' / 'state_dict'"),
        (
            lambda arrays: {
                "state_dict": {name: value + 1 for name, value in arrays.items()},
                "state_dict_ema": arrays,
                "optimizer": {"state": {0: {"momentum_buffer": np.ones(3)}}},
            },
            "taken from 'state_dict_ema'",
        ),
        (lambda arrays: {f"module.{name}": value for name, value in arrays.items()}, "without the 'module.'"),
        (lambda arrays: {f"_layers.{name}": value for name, value in arrays.items()}, "without the '_layers.'"),
        (
            lambda arrays: {"model": {f"module.model.{name}": value for name, value in arrays.items()}},
            "without the 'module.model.'",
        ),
    ],
)
def test_nested_and_wrapped_weights_load(wrap, said, tmp_path):
    source, target = randomised(create_model("LeNet")), create_model("LeNet")
    summary = load_weights(target, saved(tmp_path, wrap(arrays_of(source))), complete=True)
    assert_same(target, source)
    assert said in summary


def test_several_groups_of_weights_are_named(tmp_path):
    with pytest.raises(UserError, match="it has 'student', 'teacher'"):
        read_weights(saved(tmp_path, {"student": {"w": np.ones(2)}, "teacher": {"w": np.ones(2)}}))


def perceptron(*widths):
    pairs = itertools.pairwise(widths)
    return randomised(nn.Sequential(*(layer for a, b in pairs for layer in (nn.Linear(a, b), nn.BatchNorm1D(b)))))


def test_square_linear_weights_follow_the_others_then_the_names():
    """As many as can be told: by the oblong ones of the same file, by the names, by who wrote it."""
    from ppeconv.engine.weight_names import fitted

    oblong, square = perceptron(4, 4, 6), perceptron(4, 4)
    for model in (oblong, square):
        own = arrays_of(model)
        for from_torch in (False, True):
            for arrays, transposed in ((as_torch_has_them(model), True), (own, False)):
                found, _ = fitted(arrays, model, from_torch)
                for name, value in own.items():
                    np.testing.assert_array_equal(found[name], value, f"{name} {transposed}")
    bare = nn.Sequential(nn.Linear(4, 4))
    own = arrays_of(randomised(bare))
    assert (fitted(own, bare, False)[0]["0.weight"] == own["0.weight"]).all()
    assert (fitted(own, bare, True)[0]["0.weight"] == own["0.weight"].T).all()
    headless = {name: value for name, value in as_torch_has_them(oblong).items() if not name.startswith("3.")}
    headless["2.weight"] = np.zeros((100, 4), "float32")  # a head of another class count tells nothing
    assert (fitted(headless, oblong, False)[0]["0.weight"] == arrays_of(oblong)["0.weight"]).all()


def test_a_training_says_how_its_start_was_understood(tmp_path, capsys):
    source = randomised(create_model("LeNet"))
    wrapped = {"state_dict": {f"module.{name}": value.astype("float16") for name, value in arrays_of(source).items()}}
    start = saved(tmp_path, wrapped)
    config = digits_config(tmp_path / "runs", f"Global.pretrained_model={start}", name="lenet_conv_digits")
    train(Parts(config), Run(tmp_path / "run"))
    text = capsys.readouterr().out
    assert "10 of the network's 10 arrays loaded; taken from 'state_dict'; without the 'module.'" in text
    code, text, error = call(capsys, "eval", "-c", "lenet_conv_digits", "-o", f"Global.pretrained_model={start}")
    assert code == 0, error
    assert "10 converted from float16" in text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one step, exported."""
    run = trained_run(tmp_path_factory.mktemp("run"), "Global.max_steps=1", name="lenet_conv_digits")
    assert main(["export", "--run", str(run.path)]) == 0
    return run


def flip(file):
    """Change one bit in the middle."""
    payload = bytearray(file.read_bytes())
    payload[len(payload) // 2] ^= 1
    file.write_bytes(payload)


@pytest.fixture
def copy(run, tmp_path):
    """The run, to be damaged."""
    return Run(shutil.copytree(run.path, tmp_path / "copy"))


def replace(file):
    """Another network's weights of the same shapes."""
    file.write_bytes(pickle.dumps(arrays_of(randomised(create_model("LeNet")))))


@pytest.mark.parametrize("damage", [flip, replace])
def test_best_weights_that_are_not_those_of_the_run_are_refused_everywhere(damage, copy, tmp_path, capsys):
    damage(copy.best.with_suffix(".pdparams"))
    start = ["train", "-c", "lenet_conv_digits", "-o", f"Global.output_dir={tmp_path / 'new'}"]
    for command in (
        ["eval", "--run", copy.path],
        ["export", "--run", copy.path],
        ["eval", "-c", "lenet_conv_digits", "-o", f"Global.pretrained_model={copy.best}"],
        [*start, f"Arch.pretrained={copy.path}"],
        [*start, f"Global.pretrained_model={copy.best}"],
    ):
        code, _, error = call(capsys, *command)
        assert code == 2
        assert "best_model.pdparams is damaged or was replaced: its checksum is not the one in best_model.json" in error
        assert "Traceback" not in error
    elsewhere = shutil.copy(copy.best.with_suffix(".pdparams"), tmp_path / "mine.pdparams")
    if damage is replace:
        load_weights(create_model("LeNet"), Path(elsewhere), complete=True)


@pytest.mark.parametrize(
    "text",
    ['{"format": 1, "sha256": {}, "keep": null}', '{"format": 1, "sha256": {".pdopt": "0"}, "keep": null}', "{}", ""],
)
def test_a_manifest_without_the_checksum_does_not_pass(text, copy):
    for prefix in (copy.best, copy.latest):
        prefix.with_suffix(".json").write_text(text, "utf-8")
        with pytest.raises(UserError, match="is damaged: it does not hold the checksum"):
            read_weights(prefix.with_suffix(".pdparams"))
        assert checkpoint.problem(prefix)


def test_every_part_of_a_checkpoint_needs_its_checksum_to_be_resumed(copy):
    manifest = copy.latest.with_suffix(".json")
    content = json.loads(manifest.read_text("utf-8"))
    del content["sha256"][".pdopt"]
    manifest.write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match=r"latest\.pdopt is damaged or was replaced"):
        checkpoint.read(copy.latest.with_suffix(".pdopt"))


def test_weights_that_a_crash_left_between_two_renamings_are_read(copy):
    """The new file is in its place, its manifest not yet."""
    weights, manifest = copy.best.with_suffix(".pdparams"), copy.best.with_suffix(".json")
    old = manifest.read_bytes()
    checkpoint.save(copy.best, {".pdparams": {"w": np.ones(2)}})
    manifest.rename(copy.path / "best_model.writing.json")
    manifest.write_bytes(old)
    assert (read_weights(weights).arrays["w"] == 1).all()


def test_a_program_of_the_same_name_is_no_manifest(tmp_path):
    file = saved(tmp_path, {"w": np.ones(2)}, "resnet18.pdparams")
    file.with_suffix(".json").write_text('{"base_code": {"magic": "pir"}, "program": {}}', "utf-8")
    assert (read_weights(file).arrays["w"] == 1).all()
