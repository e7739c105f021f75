"""What is fed with damaged and hostile content: a strategy of contents, and what reads one.

Whatever is read, the answer is a result or a UserError, within SECONDS.
"""

from __future__ import annotations

import io
import json
import pickle
import signal
import tarfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import strategies as st
from PIL import Image

from ppeconv import UserError, create_model
from ppeconv.config import find, load, shipped
from ppeconv.data.archives import read_cifar, read_idx
from ppeconv.data.images import read_image
from ppeconv.data.lists import read_list
from ppeconv.deployment.manifest import FILE, ClassifierManifest
from ppeconv.engine import checkpoint
from ppeconv.engine.weights import read_weights, write_weights

SECONDS = 20


@dataclass(frozen=True)
class Target:
    """Something that reads."""

    contents: Callable[[Path], st.SearchStrategy]
    """Given a folder for what it starts from, made once."""
    read: Callable[[Path, Any], object]
    """Given an empty file name in a folder of its own, and a content."""


@contextmanager
def in_time() -> Iterator[None]:
    """Raise a TimeoutError where the block takes longer than SECONDS."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def survives(target: Target, file: Path, content: Any) -> bool:
    """Whether the content was taken; False where it was refused by a UserError with a text."""
    refusal = None
    try:
        with in_time():
            target.read(file, content)
    except UserError as error:
        refusal = str(error)
    assert refusal is None or (refusal and not any(map(_controls, refusal)))
    return refusal is None


def _controls(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in "\n\t"


@st.composite
def damaged(draw: Any, originals: list[bytes]) -> bytes:
    """A content with bytes changed, cut out, put in, doubled or cut off."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 8))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(["change", "insert", "delete", "cut", "double", "number"]))
        if kind == "change" and content:
            content[place] = draw(st.integers(0, 255))
        elif kind == "insert":
            content[place:place] = draw(st.binary(max_size=8))
        elif kind == "delete":
            del content[place : place + draw(st.integers(1, 64))]
        elif kind == "cut":
            del content[place:]
        elif kind == "double":
            content[place:place] = content[place : place + draw(st.integers(1, 64))]
        else:
            content[place : place + 8] = draw(st.sampled_from([b"\xff" * 8, b"\0" * 8, (2**62).to_bytes(8, "little")]))
    return bytes(content)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../x", "/", "\0", "~", "a" * 300, "nan", "1e400", "0x_", "2024-99-99", "{", "auto", ""]),
    st.lists(st.integers(-3, 3), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


@st.composite
def altered(draw: Any, originals: list[dict[str, Any]]) -> dict[str, Any]:
    """A mapping with some of its values, at any depth, replaced, left out or put elsewhere."""
    values = json.loads(json.dumps(draw(st.sampled_from(originals))))
    for _ in range(draw(st.integers(1, 4))):
        place: Any = values
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            action = draw(st.sampled_from(["replace", "delete", "add"]))
            if action == "delete":
                del place[key]
            elif action == "replace" or isinstance(place, list):
                place[key] = draw(ODD)
            else:
                place[draw(st.text(max_size=6))] = draw(ODD)
            break
    return values


def _config_texts(folder: Path) -> st.SearchStrategy:
    files = [find(name) for name in shipped()[::9]]
    originals = [yaml.safe_load(file.read_text("utf-8")) for file in files]
    texts = damaged([file.read_bytes() for file in files])
    return st.one_of(texts, altered(originals).map(lambda values: yaml.safe_dump(values, allow_unicode=True).encode()))


def _read_config(file: Path, content: bytes) -> object:
    file.with_suffix(".yaml").write_bytes(content)
    return load(str(file.with_suffix(".yaml")))


KEYS = [
    "Global.epochs",
    "Global.seed",
    "Arch.name",
    "Arch.width",
    "Arch.pretrained",
    "Operator",
    "Operator.ratio",
    "Operator.rules.include",
    "Optimizer.lr.learning_rate",
    "Optimizer.lr.name",
    "DataLoader.Train.dataset.transform_ops.0",
    "Loss.Train.0.CELoss.weight",
    "DataLoader.Eval.sampler.batch_size",
    "AnyWidth.widths",
    "Infer.image_shape",
]
_assignments = st.tuples(st.one_of(st.sampled_from(KEYS), st.text(max_size=20)), st.one_of(ODD.map(str), st.text()))


def _read_overrides(file: Path, content: list[tuple[str, str]]) -> object:
    return load("resnet20_spconv_cifar10", [f"{key}={value}" for key, value in content])


def _lists(folder: Path) -> st.SearchStrategy:
    lines = st.tuples(st.text(max_size=12), st.sampled_from([" ", "\t", ",", ";", "  "]), st.one_of(st.integers(), ODD))
    texts = st.lists(lines.map(lambda line: "".join(map(str, line))), max_size=6).map("\n".join)
    encoded = st.sampled_from(["utf-8", "utf-16", "gb18030"])
    return st.one_of(
        damaged([b"a.png 0\nb.png 1\n", "猫/1.jpg\t3\r\n".encode("gb18030")]),
        st.builds(lambda text, encoding: text.encode(encoding, "replace"), texts, encoded),
        st.binary(max_size=64),
    )


def _read_list(file: Path, content: bytes) -> object:
    file.write_bytes(content)
    return read_list(file, file.parent)


def _images(folder: Path) -> st.SearchStrategy:
    pixels, originals = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8), []
    for kind, channels, options in [
        ("PNG", 4, {}),
        ("PNG", 3, {"interlace": 1}),
        ("JPEG", 3, {}),
        ("JPEG", 3, {"progressive": True}),
        ("BMP", 3, {}),
        ("GIF", 3, {}),
        ("TIFF", 3, {"compression": "tiff_lzw"}),
        ("TIFF", 3, {}),
        ("WEBP", 4, {}),
        ("PPM", 3, {}),
    ]:
        stream = io.BytesIO()
        Image.fromarray(pixels[..., :channels].copy()).save(stream, kind, **options)
        originals.append(stream.getvalue())
    return st.one_of(damaged(originals), st.binary(max_size=64))


def _read_image(file: Path, content: bytes) -> object:
    file.write_bytes(content)
    return read_image(file)


def _weights(folder: Path) -> st.SearchStrategy:
    originals = []
    model = create_model("LeNet")
    for ending in (".pdparams", ".safetensors"):
        write_weights(model, folder / f"weights{ending}")
        originals.append((folder / f"weights{ending}").read_bytes())
    small = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": {"c": np.ones(2)}, "d": [1, 2.5, None, "text"]}
    originals += [pickle.dumps(small, protocol) for protocol in (2, 4, 5)] * 3
    return st.tuples(damaged(originals), st.sampled_from([".pdparams", ".safetensors", ".pth"]))


def _read_weights(file: Path, content: tuple[bytes, str]) -> object:
    file = file.with_suffix(content[1])
    file.write_bytes(content[0])
    return read_weights(file)


def _read_checkpoint(file: Path, content: tuple[bytes, str]) -> object:
    file.with_suffix(".json").write_bytes(content[0])
    file.with_suffix(".pdparams").write_bytes(b"x")
    checkpoint.finish(file)
    if problem := checkpoint.problem(file):
        raise UserError(problem)
    return checkpoint.read(file.with_suffix(".pdparams"))


def _checkpoint_manifests(folder: Path) -> st.SearchStrategy:
    original = {"format": 1, "sha256": {".pdparams": "0" * 64, ".pdopt": "1" * 64}, "keep": "previous"}
    texts = altered([original]).map(lambda values: json.dumps(values).encode())
    return st.tuples(st.one_of(texts, damaged([json.dumps(original).encode()])), st.just(""))


def _manifests(folder: Path) -> st.SearchStrategy:
    original = {
        "format": 1,
        "input_shape": [3, 32, 32],
        "class_names": ["a", "b"],
        "transform_ops": [{"Resize": {"size": [32, 32]}}, {"Normalize": {"mean": [0.5], "std": [0.5]}}],
        "runtimes": ["paddle"],
        "sha256": {"inference.pdiparams": "0" * 64},
    }
    texts = altered([original]).map(lambda values: yaml.safe_dump(values).encode())
    return st.one_of(texts, damaged([yaml.safe_dump(original).encode()]))


def _read_manifest(file: Path, content: bytes) -> object:
    (file.parent / FILE).write_bytes(content)
    manifest = ClassifierManifest.read(file.parent)
    manifest.check_files(file.parent, ["inference.pdiparams"])
    return manifest


def _archives(folder: Path) -> st.SearchStrategy:
    batch = pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2]}, protocol=2)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        member.size = len(batch)
        archive.addfile(member, io.BytesIO(batch))
    idx = b"\0\0\x08\3\0\0\0\2\0\0\0\x1c\0\0\0\x1c" + bytes(2 * 28 * 28)
    return st.one_of(
        st.tuples(st.just("cifar"), damaged([stream.getvalue()])),
        st.tuples(st.just("idx"), damaged([idx, b"\0\0\x08\1\0\0\0\2\1\2"])),
    )


def _read_archive(file: Path, content: tuple[str, bytes]) -> object:
    kind, data = content
    file.write_bytes(data)
    return read_cifar(file, "test_batch", "labels") if kind == "cifar" else read_idx(file, file)


TARGETS = {
    "config": Target(_config_texts, _read_config),
    "overrides": Target(lambda folder: st.lists(_assignments, min_size=1, max_size=3), _read_overrides),
    "list": Target(_lists, _read_list),
    "image": Target(_images, _read_image),
    "weights": Target(_weights, _read_weights),
    "checkpoint": Target(_checkpoint_manifests, _read_checkpoint),
    "manifest": Target(_manifests, _read_manifest),
    "archive": Target(_archives, _read_archive),
}
