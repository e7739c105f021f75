"""What a run computes on: the device, and the layers of a CPU."""

from __future__ import annotations

import paddle

from ppeconv import backend
from ppeconv.engine.devices import has_gpu, require_gpu


def select_device(name: str) -> str:
    """Make "cpu" or "gpu" Paddle's device; "auto" takes a GPU where this Paddle has one."""
    if name == "gpu":
        require_gpu("Global.device")
    device = ("gpu" if has_gpu() else "cpu") if name == "auto" else name
    paddle.set_device(device)
    return device


def select_backend(layers: str, device: str) -> str:
    """Switch the fast CPU layers on or off; returns which layers are used and why, as a sentence."""
    sentence = backend.select(layers, device)
    if device == "cpu":
        backend.keep_freed_pages()
    return sentence
