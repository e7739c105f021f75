"""What ppdet 2.6.0 needs to run with libraries that are younger than it, and with files of others, in one place."""

from __future__ import annotations

import functools
import os
from types import ModuleType
from typing import Any

import numpy as np
import paddle
from PIL import ImageDraw

from ppeconv.integrations.ppdet.guard import require_plain_weights
from ppeconv.integrations.ppdet.installed import import_ppdet


def work_around() -> None:
    """Let detectors of ppdet train, be exported and be drawn; a second call changes nothing."""
    guard_weights()
    if int(paddle.__version__.split(".")[0]) >= 3:
        _wrap(import_ppdet("data.transform.batch_operators").PadGT, "__call__", _with_long_labels)
        _wrap(import_ppdet("modeling.ops"), "multiclass_nms", _traced_nms)
    if not hasattr(ImageDraw.ImageDraw, "textsize"):
        ImageDraw.ImageDraw.textsize = _textsize  # type: ignore[attr-defined]


def guard_weights() -> None:
    """Have `paddle.load` look at a file before it reads it, as it runs what a pickle names; for the whole process."""
    _wrap(paddle, "load", _of_plain_files)


def _wrap(owner: type | ModuleType, name: str, wrapper: Any) -> None:
    """Put a wrapper around a function, once."""
    original = getattr(owner, name)
    if getattr(original, "wrapped_by", None) is not wrapper:
        wrapped: Any = functools.wraps(original)(wrapper(original))
        wrapped.wrapped_by = wrapper
        setattr(owner, name, wrapped)


def _of_plain_files(load: Any) -> Any:
    """ppdet reads what settings name, downloads among them."""

    def plain(path: Any, **settings: Any) -> Any:
        if isinstance(path, (str, os.PathLike)):
            require_plain_weights(path)
        return load(path, **settings)

    return plain


def _with_long_labels(padded: Any) -> Any:
    """Assigners add indices of the labels' type to others of int64, and Paddle 3 adds no int32 to int64."""

    def call(self: Any, samples: Any, context: Any = None) -> Any:
        samples = padded(self, samples, context)
        for sample in samples:
            sample["gt_class"] = np.asarray(sample["gt_class"], np.int64)
        return samples

    return call


def _traced_nms(eager: Any) -> Any:
    """In a program that is traced, ppdet appends the operation in a way that Paddle 3 no longer has."""

    def multiclass_nms(
        bboxes: Any,
        scores: Any,
        score_threshold: float,
        nms_top_k: int,
        keep_top_k: int,
        nms_threshold: float = 0.3,
        normalized: bool = True,
        nms_eta: float = 1.0,
        background_label: int = -1,
        return_index: bool = False,
        return_rois_num: bool = True,
        rois_num: Any = None,
    ) -> Any:
        limits = score_threshold, nms_top_k, keep_top_k, nms_threshold, normalized, nms_eta, background_label
        if paddle.in_dynamic_mode():
            return eager(bboxes, scores, *limits, return_index, return_rois_num, rois_num)
        found, index, count = paddle._C_ops.multiclass_nms3(bboxes, scores, rois_num, *limits)
        return found, count if return_rois_num else None, index if return_index else None

    return paddle.jit.not_to_static(multiclass_nms)


def _textsize(self: Any, text: str, font: Any = None) -> tuple[int, int]:
    """What Pillow had until version 10: width and height of a text."""
    left, top, right, bottom = self.textbbox((0, 0), text, font)
    return int(right - left), int(bottom - top)
