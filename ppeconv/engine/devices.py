"""What this Paddle computes on."""

from __future__ import annotations

import paddle

from ppeconv.errors import UserError


def has_gpu() -> bool:
    """Whether this Paddle is built for GPUs and sees one."""
    return paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0


def require_gpu(what: str) -> None:
    """Raise a UserError where there is none; `what` is the option that asks for it."""
    if not has_gpu():
        raise UserError(
            f"{what} is gpu, but this Paddle sees no GPU; use cpu, or install a GPU build of Paddle "
            "(requirements-gpu.txt)"
        )
