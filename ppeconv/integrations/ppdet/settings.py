"""The settings of a detector: a YAML file in ppdet's own form, and what the command line changes in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ppeconv.config.files import find
from ppeconv.engine.devices import has_gpu
from ppeconv.errors import UserError, first_line, nearest
from ppeconv.integrations.ppdet.guard import require_plain_setting, require_plain_settings
from ppeconv.integrations.ppdet.installed import import_ppdet
from ppeconv.schema.values import from_yaml

DATA_FOLDER = "dataset"
"""A data set whose folder begins with it lies in $PPECONV_DATA where that is set."""
COCO_CLASSES = 80
_DATASETS = "TrainDataset", "EvalDataset", "TestDataset"
_KINDS = {
    **dict.fromkeys(["epoch", "num_classes", "seed"], int),
    **dict.fromkeys(["metric", "save_dir", "weights"], str),
    "use_gpu": bool,
}
"""Of values that every detector has."""
_WORDS = {int: "a whole number", str: "a text", bool: "true or false"}


def load(file: str, overrides: Sequence[str] = ()) -> Any:
    """ppdet's configuration, for one detector in a process.

    Args:
        file: a path, or the name of one that comes with ppeconv.
        overrides: "epoch=1", "PPEConv.width=0.5", "TrainDataset.dataset_dir=DIR".

    Raises:
        UserError: the file cannot be read, or there is nothing of a name.
    """
    path = find(file, "detection")
    require_plain_settings(path)
    workspace = import_ppdet("core.workspace")
    import_ppdet("engine")  # registers all that a file may name
    try:
        config = workspace.load_config(str(path))
    except (OSError, yaml.YAMLError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        raise UserError(f"{path} is not a configuration of PaddleDetection: {first_line(error)}") from None
    if "architecture" not in config:
        raise UserError(f"{path} names no architecture; it should be a configuration of PaddleDetection")
    for text in overrides:
        key, sign, value = text.partition("=")
        names = key.strip().split(".")
        if not sign or not all(names):
            raise UserError(f"-o should be key=value, such as epoch=1; got {text!r}")
        _set(config, names, require_plain_setting(names[-1], from_yaml(value, key)))
    _fill(config)
    _require_kinds(config)
    return config


def run_folder(config: Mapping[str, Any]) -> Path:
    """Where ppdet writes the weights of a detector."""
    return Path(config["save_dir"]) / config["filename"]


def image_shape(config: Mapping[str, Any]) -> list[int]:
    """[C, H, W] of the images that the exported detector takes.

    Raises:
        UserError: the file does not say.
    """
    shape: Any = config
    for name in ("TestReader", "inputs_def", "image_shape"):
        shape = shape.get(name) if isinstance(shape, Mapping) else None
    sides = shape[-3:] if isinstance(shape, list) else []
    if len(sides) < 3 or not all(type(side) is int and side > 0 for side in sides):
        raise UserError("TestReader.inputs_def.image_shape should be [1, 3, height, width] of the exported detector")
    return sides


def images_of(config: Mapping[str, Any], name: str) -> tuple[Path, Path]:
    """The file of annotations and the folder of images of a data set, such as "TrainDataset".

    Raises:
        UserError: one of them is not there.
    """
    dataset = config.get(name)
    named = [getattr(dataset, key, None) or "" for key in ("dataset_dir", "anno_path", "image_dir")]
    if not any(named) or not all(isinstance(it, str) and "\0" not in it for it in named):
        raise UserError(f"{name} should name the folder of a data set, its annotations and images; got {named}")
    folder = Path(named[0])
    annotations, images = folder / named[1], folder / named[2]
    for place in (annotations, images):
        if not os.path.exists(place):
            raise UserError(
                f"{name} is not there: {place}; put the data set into {DATA_FOLDER}/, or into $PPECONV_DATA, or name "
                f"its folder with -o {name}.dataset_dir=DIR (docs/detection.md)"
            )
    return annotations, images


def require_labels(config: Mapping[str, Any]) -> None:
    """Raise a UserError where the annotations of TestDataset are missing, from which classes have their names.

    ppdet takes those of COCO then, which are right where there are as many classes.
    """
    if config["metric"] == "COCO" and config["num_classes"] != COCO_CLASSES:
        images_of(config, "TestDataset")


def _set(config: Any, path: Sequence[str], value: Any) -> None:
    """Change one value; objects of ppdet, such as its data sets, have their attributes changed."""
    if len(path) == 1 and path[0] not in config and (near := nearest(path[0], config)).startswith("; did you mean"):
        raise UserError(f"the configuration has no key {path[0]!r}{near}")
    holder = config
    for depth, name in enumerate(path[:-1]):
        if isinstance(holder, dict):
            if not isinstance(holder.get(name), dict) and not hasattr(holder.get(name), "__dict__"):
                if depth == 0:
                    raise UserError(f"the configuration has no section {name!r}{nearest(name, config)}")
                holder[name] = {}
            holder = holder[name]
        else:
            holder = getattr(holder, name, None)
    if isinstance(holder, dict):
        holder[path[-1]] = value
    elif path[-1] in getattr(holder, "__dict__", {}):
        setattr(holder, path[-1], value)
    else:
        known = getattr(holder, "__dict__", {})
        raise UserError(f"{'.'.join(path[:-1])} has no {path[-1]!r}{nearest(path[-1], known)}")


def _require_kinds(config: Mapping[str, Any]) -> None:
    for name, kind in _KINDS.items():
        if type(config.get(name)) is not kind:
            raise UserError(f"{name} should be {_WORDS[kind]}; got {config.get(name)!r}")


def _fill(config: Any) -> None:
    """What a file may leave out, and where the data lie."""
    for key, value in {"use_gpu": has_gpu(), "use_npu": False, "use_mlu": False, "use_xpu": False, "seed": 0}.items():
        config.setdefault(key, value)
    config.setdefault("save_dir", "output/detection")
    config.setdefault("weights", os.path.join(str(config["save_dir"]), config["filename"], "model_final"))
    data = os.environ.get("PPECONV_DATA")
    for name in _DATASETS:
        dataset = config.get(name)
        folder = Path(str(getattr(dataset, "dataset_dir", None) or ""))
        if data and folder.parts[:1] == (DATA_FOLDER,):
            dataset.dataset_dir = str(Path(data, *folder.parts[1:]))
