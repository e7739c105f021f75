"""Files that others made, in every place where a file is read: nothing of them runs, and the answer is a sentence."""

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib

import numpy as np
import pytest
import yaml
from PIL import Image

from ppeconv import UserError, config, files
from ppeconv.choosing.kept import Kept
from ppeconv.data.archives import read_cifar, read_idx
from ppeconv.data.images import read_image
from ppeconv.data.lists import read_list
from ppeconv.deployment.manifest import FILE, ClassifierManifest
from ppeconv.deployment.widths import AnyWidthPredictor
from ppeconv.engine import checkpoint
from ppeconv.engine.results import read_results
from ppeconv.engine.resume import find_checkpoint
from ppeconv.engine.run import Run
from ppeconv.engine.weights import read_weights
from ppeconv.pretrained.record import Record
from tests.fuzz.targets import in_time
from tests.support.runs import trained_run

TEXT = {"encoding": "utf-8"}


class Touches:
    """Pickled as a call that leaves a file behind."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return os.mkdir, (self.file,)


def of_config(file):
    file.rename(file.with_suffix(".yaml"))
    config.load(str(file.with_suffix(".yaml")))


def of_base(file):
    config.load({"_base_": str(file)})


def of_weights(ending):
    def read(file):
        read_weights(file.rename(file.with_suffix(ending)))

    return read


def of_manifest(file):
    (file.parent / "latest.pdparams").write_bytes(b"")
    file.rename(file.parent / "latest.json")
    find_checkpoint("auto", Run(file.parent))


def of_states(file):
    checkpoint.read(file.rename(file.parent / "latest.pdstates"))


def of_kept(file):
    kept = Kept({}, file.parent)
    file.rename(kept.file)
    kept.read()


def named(name, read):
    def rename_and_read(file):
        file.rename(file.parent / name)
        read(file.parent)

    return rename_and_read


READERS = {
    "config": of_config,
    "base of a config": of_base,
    "weights of Paddle": of_weights(".pdparams"),
    "weights of PyTorch": of_weights(".pth"),
    "safetensors": of_weights(".safetensors"),
    "manifest of a checkpoint": of_manifest,
    "states of a checkpoint": of_states,
    "list": lambda file: read_list(file, file.parent),
    "image": read_image,
    "CIFAR archive": lambda file: read_cifar(file, "data_batch", "labels"),
    "idx": lambda file: read_idx(file, file),
    "inference.yml": named(FILE, ClassifierManifest.read),
    "widths.yml": named("widths.yml", AnyWidthPredictor),
    "table of results": read_results,
    "record": named("record.json", Record.read),
    "kept measurements": of_kept,
}


def zip_of(**options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        archive.writestr("a/data.pkl", bytes(2**20))
    return stream.getvalue()


def png(width, height):
    """One that announces a size and holds nothing."""
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "PNG")
    content = bytearray(stream.getvalue())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def safetensors(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def contents(marker):
    """What stands in a hostile file, by its kind."""
    calls = pickle.dumps({"a": Touches(marker)})
    with_code = io.BytesIO()
    with zipfile.ZipFile(with_code, "w") as archive:
        archive.writestr("a/data.pkl", calls)
    anchors = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    return {
        "nothing": b"",
        "zeros": bytes(4096),
        "any bytes": bytes(np.random.default_rng(0).integers(0, 256, 4096, np.uint8)),
        "a pickle that calls": calls,
        "an old pickle that calls": pickle.dumps(Touches(marker), 0),
        "a packed pickle that calls": gzip.compress(calls),
        "an archive of PyTorch that calls": with_code.getvalue(),
        "a tag that calls": f"a: !!python/object/apply:os.mkdir ['{marker}']\n".encode(),
        "anchors of anchors": anchors.encode(),
        "lists in lists": b"[\n" * 100_000,
        "mappings in mappings": b'{"a":' * 100_000,
        "tuples in tuples of a pickle": b"\x80\x04" + b"(" * 100_000 + b"t" * 100_000 + b".",
        "a number without end": b'{"format": ' + b"9" * 100_000 + b"}",
        "a line without end": b"epoch,loss\n" + b"1" * 200_000,
        "numbers out of every range": b"format: 1e400\nsha256: .nan\nepoch: -99999999999999999999\n",
        "bytes that steer a terminal": b"\x1b]0;title\x07: \x1b[2J",
        "zeros, packed": gzip.compress(bytes(2**26)),
        "a compressed zip archive": zip_of(compression=zipfile.ZIP_DEFLATED),
        "a zip archive": zip_of(),
        "an image of 60,000 x 60,000": png(60_000, 60_000),
        "a header of 2^62 bytes": struct.pack("<Q", 2**62) + b"{}",
        "an array outside the file": safetensors({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        "a shape below 0": safetensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
        "an idx file of 4 billion images": struct.pack(">4I", 0x803, 2**32 - 1, 28, 28),
        "a pickle of 2 GB of zeros": b"\x80\x04cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n",
    }


def special(kind, file):
    """A file of which reading does not end, or takes all memory."""
    if kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a device":
        file.symlink_to("/dev/zero")
    elif kind == "a folder":
        file.mkdir()
    else:
        with open(file, "wb") as stream:
            stream.truncate(2**40)


KINDS = [*contents("marker"), "a pipe", "a device", "a folder", "1 TiB"]
HARMLESS = {
    *(("table of results", kind) for kind in ("a pipe", "a device", "a folder")),  # a run may have none
    ("states of a checkpoint", "tuples in tuples of a pickle"),  # plain values, if odd ones
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_hostile_is_refused_by_a_sentence(reader, kind, tmp_path, monkeypatch):
    marker, folder = tmp_path / "marker", tmp_path / "folder"
    monkeypatch.setenv("PATH", str(ghostscript_that_touches(tmp_path / "bin", marker)), prepend=os.pathsep)
    folder.mkdir()
    file = folder / "file"
    made = contents(marker)
    file.write_bytes(made[kind]) if kind in made else special(kind, file)
    refusal = None
    with in_time():
        try:
            READERS[reader](file)
        except UserError as error:
            refusal = str(error)
    assert not marker.exists()
    assert (refusal is None) == ((reader, kind) in HARMLESS)
    assert refusal is None or (len(refusal) > 20 and "\x1b" not in refusal)


def ghostscript_that_touches(folder, marker):
    """A folder with programs that Pillow starts for PostScript."""
    folder.mkdir()
    for name in ("gs", "gswin64c", "djpeg"):
        (folder / name).write_text(f"#!/bin/sh\nmkdir '{marker}'\n", **TEXT)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_run(tmp_path_factory.mktemp("run"), "Global.max_steps=3")


@pytest.fixture
def copy(run, tmp_path):
    """A copy of a run that has been trained for 3 steps."""
    return Run(shutil.copytree(run.path, tmp_path / run.path.name))


def resume(run, *settings):
    trained_run(run.path.parent, "Global.checkpoints=auto", "Global.max_steps=4", *settings)


def change(*keys, to):
    """A change of states, at some keys inside."""

    def apply(states):
        place = states
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to
        return states

    return apply


ODD_STATES = {
    "a list": lambda states: [states],
    "nothing": lambda states: {},
    "no progress": change("progress", to=None),
    "another word for a step": change("progress", "stride", to=1),
    "a method in place of a number": change("progress", "of", to=1),
    "text as a step": change("progress", "step", to="first"),
    "a step below 0": change("progress", "step", to=-5),
    "an epoch without end": change("progress", "epoch", to=float("inf")),
    "listeners in a list": change("listeners", to=[1]),
    "rows that are none": change("listeners", "Results", "rows", to=[{"epoch": "one"}]),
    "rows in a number": change("listeners", "Results", "rows", to=7),
    "records of a length below 0": change("listeners", "VisualDL", "sizes", to={"train": "-x"}),
    "who computed it, in a text": change("listeners", "Checkpoints", "computed_by", to="me"),
    "a batch size of 0": change("global_batch_size", to=[0]),
    "arithmetic in a list": change("arithmetic", to=[1]),
}


@pytest.mark.parametrize("odd", ODD_STATES)
def test_states_that_no_training_wrote_are_a_sentence(odd, copy):
    states = checkpoint.read(copy.path / "latest.pdstates")
    parts = {suffix: checkpoint.read(copy.path / f"latest{suffix}") for suffix in (".pdparams", ".pdopt")}
    checkpoint.save(copy.latest, {**parts, ".pdstates": ODD_STATES[odd](states)})
    for file in copy.path.glob("previous.*"):
        file.unlink()
    with pytest.raises(UserError, match="no state of a training"):
        resume(copy)


@pytest.mark.parametrize("odd", [{"a": 1}, [1, 2], {"conv1.weight": np.zeros(3)}, {"LR_Scheduler": 5}])
def test_an_optimizer_that_is_none_is_a_sentence(odd, copy):
    parts = {suffix: checkpoint.read(copy.path / f"latest{suffix}") for suffix in (".pdparams", ".pdstates")}
    checkpoint.save(copy.latest, {**parts, ".pdopt": odd})
    with pytest.raises(UserError, match="no state of a training"):
        resume(copy)


@pytest.mark.parametrize("name", ["train.log", "vdl/train/vdlrecords.1.log", "vdl/eval/vdlrecords.1.log"])
def test_a_run_does_not_write_through_a_link(name, copy, tmp_path):
    (tmp_path / "own").write_text("mine", **TEXT)
    (copy.path / name).unlink()
    (copy.path / name).symlink_to(tmp_path / "own")
    with pytest.raises(UserError, match=r"(train|vdlrecords\.1)\.log is a link"):
        resume(copy)
    assert (tmp_path / "own").read_text(**TEXT) == "mine"


def test_links_in_place_of_files_that_are_written_whole_are_replaced(copy, tmp_path):
    places = [copy.path / name for name in ("results.csv", "config.yaml", "latest.pdparams")]
    own = [file.replace(tmp_path / file.name) for file in places]
    before = [file.read_bytes() for file in own]
    for file, target in zip(places, own, strict=True):
        file.symlink_to(target)
    resume(copy)
    assert not any(file.is_symlink() for file in places)
    assert [file.read_bytes() for file in own] == before


def test_a_file_is_not_written_through_a_link_under_its_other_name(tmp_path):
    (tmp_path / "own").write_text("mine", **TEXT)
    files.staged(tmp_path / "file").symlink_to(tmp_path / "own")
    with pytest.raises(UserError, match=r"cannot write .*file\.writing"):
        files.write_whole(tmp_path / "file", b"other")
    assert (tmp_path / "own").read_text(**TEXT) == "mine"


@pytest.mark.parametrize("folder", ["..", "../other", "/tmp", ".", "width_1/../.."])
def test_a_table_of_widths_names_no_folder_outside(folder, tmp_path):
    table = {"format": 1, "runtime": "paddle", "threads": 1}
    table["widths"] = [{"width": 1.0, "folder": folder, "latency_ms": {1: 1.0}}]
    (tmp_path / "widths.yml").write_text(yaml.safe_dump(table), **TEXT)
    with pytest.raises(UserError, match=r"widths\.0\.folder"):
        AnyWidthPredictor(tmp_path)
