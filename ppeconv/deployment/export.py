"""Export of a trained network to Paddle Inference, checked against the network itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

import ppeconv
from ppeconv.anywidth import at_present_width
from ppeconv.config import to_yaml
from ppeconv.deployment.runtime import PREFIX, PaddleRuntime
from ppeconv.errors import UserError

FORMAT = 1
TOLERANCE = 1e-5
"""Largest difference between exported and trained network, relative to the largest output."""


def export(
    model: nn.Layer, folder: str | Path, input_shape: Sequence[int], description: Mapping[str, Any] | None = None
) -> float:
    """Write `inference.json|.pdmodel`, `inference.pdiparams` and `inference.yml` with a dynamic batch size.

    Args:
        model: the network; it is exported in eval mode, an any-width one at its present width, and left as it was.
        folder: where to; an export that stood there is replaced once the new one is complete.
        input_shape: [C, H, W].
        description: what prediction needs to know, such as class_names and transform_ops.

    Returns:
        The largest difference between exported and given network, relative to the largest output, at batch 1 and 3.

    Raises:
        UserError: the difference is above TOLERANCE, or the folder cannot be written. Nothing is changed then.
    """
    folder = Path(folder)
    model = at_present_width(model)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from None
    training = model.training
    model.eval()
    try:
        _save(model, staged, input_shape)
        difference = _difference(model, PaddleRuntime(staged), input_shape)
        if not difference <= TOLERANCE:
            raise UserError(
                f"the exported network differs from the trained one by {difference:.2g} of its largest "
                f"output, more than {TOLERANCE:g}; nothing was written to {folder}"
            )
        facts = {
            "format": FORMAT,
            "ppeconv": ppeconv.__version__,
            "paddle": paddle.__version__,
            "input_shape": list(input_shape),
            **(description or {}),
        }
        (staged / f"{PREFIX}.yml").write_text(to_yaml(facts), "utf-8")
        _publish(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        if training:
            model.train()
    return difference


def _save(model: nn.Layer, folder: Path, input_shape: Sequence[int]) -> None:
    spec = paddle.static.InputSpec([None, *input_shape], "float32", "image")
    forward = model.forward
    static = paddle.jit.to_static(model, input_spec=[spec], full_graph=True)
    try:
        paddle.jit.save(static, str(folder / PREFIX))
    finally:
        model.forward = forward


def _difference(model: nn.Layer, runtime: PaddleRuntime, input_shape: Sequence[int]) -> float:
    worst = 0.0
    for batch in (1, 3):
        images = np.random.default_rng(batch).standard_normal((batch, *input_shape), np.float32)
        with paddle.no_grad():
            expected = model(paddle.to_tensor(images)).numpy()
        worst = max(worst, float(np.abs(runtime(images) - expected).max() / max(np.abs(expected).max(), 1e-12)))
    return worst


def _publish(staged: Path, folder: Path) -> None:
    """Move the finished files; others in the folder, an older export's apart, stay."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob(f"{PREFIX}.*"):
        old.unlink()
    for new in staged.iterdir():
        new.replace(folder / new.name)
