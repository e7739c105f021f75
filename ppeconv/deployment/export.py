"""Export of a trained network to several runtimes, checked against the network itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn

import ppeconv
from ppeconv import observe
from ppeconv.anywidth import narrow
from ppeconv.deployment.eager import EagerRuntime
from ppeconv.deployment.manifest import Manifest
from ppeconv.deployment.outputs import arrays, named_outputs
from ppeconv.deployment.publish import publishing
from ppeconv.deployment.rewrite import deploy, fusing_forms, require_float32, with_affine_norms
from ppeconv.deployment.runtimes import Runtime, by_preference
from ppeconv.deployment.source import Source
from ppeconv.errors import UserError, nearest
from ppeconv.registry import RUNTIMES
from ppeconv.schema.values import listed

Form = Literal["deployed", "trained"]
CHECKED_BATCHES = 1, 3
TOLERANCE = 1e-5
"""Largest difference between exported and trained network, relative to the largest output."""


def export(
    model: nn.Layer,
    folder: str | Path,
    input_shape: Sequence[int],
    description: Mapping[str, Any] | None = None,
    *,
    form: Form = "deployed",
    forms: Mapping[str, str] | None = None,
    to: str | Sequence[str] = ("paddle",),
    targets: Sequence[str] | None = None,
    images: np.ndarray | None = None,
    calibration: Iterable[np.ndarray] | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Write a network of dynamic batch size and `inference.yml`.

    Args:
        model: the network; it is exported in eval mode, an any-width one at its present width, and left as it was. It
            gives a tensor, or a tuple, list or dict of tensors, whose names `inference.yml` holds as `outputs`.
        folder: where to; an export that stood there is replaced once the new one is complete.
        input_shape: [C, H, W].
        description: what prediction needs to know. Not given, class_names are the numbers of the classes, and
            transform_ops a Resize to `input_shape` and a Normalize to numbers from 0 to 1.
        form: "deployed", see `ppeconv.deploy`, or "trained", layer by layer the network as it is.
        forms: what operators take in the deployed form, see `ppeconv.deploy`; `tune` finds the fastest. Not given, each
            takes its usual one, or that with the fewest MACs where the first runtime is best with it ("onednn").
        to: one runtime, or several as a list or with commas between; their `files` are written, see
            `ppeconv.deployment.runtimes`.
        targets: an older name of `to`.
        images: real images [N, C, H, W], normalised, on which the results are compared besides random ones.
        calibration: batches of such images for runtimes that quantize ("int8").
        tolerance: largest difference from the given network, relative to the largest output, that counts as rounding.

    Returns:
        The largest difference between exported and given network, relative to the largest output, at batch 1 and 3.

    Raises:
        UserError: the difference is above the tolerance, the network gives something else, the folder cannot be
            written, or a package is missing. Nothing is changed then.
    """
    folder = Path(folder).expanduser()
    targets = as_targets(to if targets is None else targets)
    kinds = [RUNTIMES.get(target) for target in targets]
    for kind in kinds:
        kind.require_package()
    if calibration is None and (rounded := [name for name in targets if RUNTIMES.get(name).quantizes]):
        raise UserError(f"{rounded[0]} needs calibration images, from which the ranges of the activations are taken")
    if forms and form != "deployed":
        raise UserError(f"forms of operators are for the deployed form; got form {form!r} and forms {dict(forms)}")
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise UserError(f"input_shape is [C, H, W] with positive sizes; got {list(input_shape)}")
    require_float32(model)
    model = narrow(model)
    outputs = _shapes(observe.require_fit(model, input_shape))
    usual = fusing_forms() if kinds[0].fuses else {}
    network = deploy(model, input_shape, {**usual, **(forms or {})}) if form == "deployed" else with_affine_norms(model)
    with publishing(folder) as staged:
        with (
            tempfile.TemporaryDirectory(dir=staged) as scratch,
            observe.evaluating(model),
            observe.evaluating(network),
        ):
            source = Source(network, input_shape, Path(scratch), () if calibration is None else calibration)
            opened = _exact(kinds, source, staged)
            batches = [*_random_images(input_shape), *([] if images is None else [images])]
            difference = max(_difference(model, runtime, batches) for runtime in opened)
            if not difference <= tolerance:
                raise UserError(
                    f"the exported network differs from the trained one by {difference:.2g} of its largest "
                    f"output, more than {tolerance:g}; nothing was written to {folder}"
                )
            _write([kind for kind in kinds if kind.quantizes], source, staged)
        facts = {
            "ppeconv": ppeconv.__version__,
            "paddle": paddle.__version__,
            "form": form,
            **({"forms": dict(forms)} if forms else {}),
            "runtimes": list(targets),
            **({"opset": source.opset} if source.opset else {}),
            "input_shape": list(input_shape),
            **_usual_description(input_shape, outputs),
            **(description or {}),
        }
        Manifest.write(staged, facts)
    return difference


def as_targets(to: str | Sequence[str]) -> list[str]:
    """The runtimes that are meant; raises UserError for an unknown one."""
    targets = listed(to)
    for target in targets or [""]:
        if not RUNTIMES.knows(target):
            raise UserError(f"a network cannot be exported to {target!r}{nearest(target, by_preference())}")
    return [RUNTIMES.canonical(target) for target in targets]


def _exact(kinds: Sequence[type[Runtime]], source: Source, folder: Path) -> list[Runtime]:
    """The runtimes that compute what the network does, written and opened; for one that quantizes, what it starts from.

    What was not asked for is written into a folder that is thrown away.
    """
    exact = [kind for kind in kinds if not kind.quantizes]
    aside = {RUNTIMES.get(kind.quantizes) for kind in kinds if kind.quantizes} - set(exact)
    _write(exact, source, folder)
    if aside:
        (source.scratch / "aside").mkdir()
        _write(aside, source, source.scratch / "aside")
    return [*(kind(folder) for kind in exact), *(kind(source.scratch / "aside") for kind in aside)]


def _write(kinds: Iterable[type[Runtime]], source: Source, folder: Path) -> None:
    """Several may have the same files, which are written once."""
    for kind in kinds:
        if not kind.held_by(folder):
            kind.write(source, folder)


def _usual_description(input_shape: Sequence[int], outputs: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """What the user need not say: classes by their numbers and plain transforms, or the names of several outputs."""
    channels, *sides = input_shape
    numbers = {"mean": [0.0] * channels, "std": [1.0] * channels}
    transforms = {"transform_ops": [{"Resize": {"size": sides}}, {"Normalize": numbers}]}
    named = {} if list(outputs) == [""] else {"outputs": list(outputs)}
    scores = [shape for shape in outputs.values() if len(shape) == 2]
    classes = {"class_names": list(map(str, range(scores[0][1])))} if len(scores) == len(outputs) == 1 else {}
    return {**named, **classes, **transforms}


def _random_images(input_shape: Sequence[int]) -> list[np.ndarray]:
    return [
        np.random.default_rng(batch).standard_normal((batch, *input_shape), np.float32) for batch in CHECKED_BATCHES
    ]


def _difference(model: nn.Layer, runtime: Runtime, batches: Sequence[np.ndarray]) -> float:
    """The largest one of any output, relative to the largest number in it."""
    worst, eager = 0.0, EagerRuntime(model)
    for images in batches:
        for found, expected in zip(arrays(runtime(images)), arrays(eager(images)), strict=True):
            distance = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max()
            worst = max(worst, float(distance / max(np.abs(expected).max(), 1e-12)))
    return worst


def _shapes(given: Any) -> dict[str, list[int]]:
    """Name of each output that a network gave, and its shape."""
    return {name: list(output.shape) for name, output in named_outputs(given).items()}
