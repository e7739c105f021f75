"""What a runtime is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ppeconv.deployment.manifest import FILE, PREFIX, Manifest
from ppeconv.deployment.precision import require_bf16
from ppeconv.errors import UserError, first_line
from ppeconv.extras import present
from ppeconv.registry import RUNTIMES

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppeconv.deployment.source import Source

__all__ = ["PREFIX", "Runtime"]


class Runtime(ABC):
    """A way to run exported networks; an instance is a network that is open.

    It is called with float32 [N, C, H, W], of any N, and gives float32 [N, classes], or a list of arrays where the
    network has several outputs (see `named_outputs` for their order); calls may come from several threads.

    Runtimes are listed without importing their libraries: these, Paddle too, are imported where they are used.

    Args:
        folder: what was exported.
        threads: CPU threads; the library's own choice when not given.
        device: one of `devices`.
        precision: one of `precisions`; what is given and returned stays float32.
    """

    files: ClassVar[tuple[str, ...]]
    """Names of its files in an exported folder, beginning with PREFIX."""
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    """Number formats that it computes in."""
    quantizes: ClassVar[str | None] = None
    """Of one that rounds to few bits, with ranges from calibration images: the runtime whose network it rounds, and
    which is compared with the trained one in its place. None where results are exact."""
    fuses: ClassVar[bool] = False
    """Whether sums, gates and activations are done inside the convolution before them: operators then
    take their `fusing_form`."""
    package: ClassVar[str | None] = None
    """What is imported, besides Paddle."""
    extra: ClassVar[str | None] = None
    """The extra of ppeconv that installs it; None where it is its own."""
    preference: ClassVar[int] = 100
    """Its place in lists, the lowest first; see `by_preference`."""

    @abstractmethod
    def __init__(self, folder: Path, threads: int | None = None, device: str = "cpu", precision: str = "float32"):
        """Open the network of a folder; what may be asked for was checked by `open`."""

    @abstractmethod
    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Run the network."""

    @classmethod
    @abstractmethod
    def write(cls, source: Source, folder: Path) -> None:
        """Write `files` into a folder.

        Raises:
            UserError: the network cannot be run by it.
        """

    @classmethod
    def held_by(cls, folder: Path) -> bool:
        """Whether its files are in a folder."""
        return all((folder / name).is_file() for name in cls.files)

    @classmethod
    def open(cls, folder: Path, threads: int | None = None, device: str = "cpu", precision: str = "float32") -> Self:
        """The network in a folder.

        Raises:
            UserError: it does not run on that device or in that precision, its package is missing, or its files are, or
                are not those that were exported.
        """
        name = RUNTIMES.name_of(cls)
        if device not in cls.devices:
            raise UserError(f"the runtime {name} is for the {' and '.join(cls.devices).upper()}; got device {device!r}")
        if precision not in cls.precisions:
            able = by_precision(precision)
            raise UserError(
                f"the runtime {name!r} does not compute in {precision}; {', '.join(able) or 'none'} "
                f"{'do' if len(able) > 1 else 'does'}"
            )
        if precision == "bf16":
            require_bf16(device)
        if not cls.held_by(folder):
            held = [other for other, kind in by_preference().items() if kind.held_by(folder)]
            raise UserError(
                f"{folder} holds nothing for the runtime {name!r}; it holds {', '.join(held) or 'no network'}; "
                f"make it with tools/export.py --to {name}"
            )
        cls.require_package()
        if (folder / FILE).is_file():
            Manifest.read(folder).check_files(folder, cls.files)
        try:
            return cls(folder, threads, device, precision)
        except UserError:
            raise
        except Exception as error:  # each library has its own kinds for a damaged file
            raise UserError(
                f"the runtime {name!r} cannot open the network in {folder} ({first_line(error)}); make it again with "
                "tools/export.py"
            ) from None

    @classmethod
    def require_package(cls) -> None:
        """Raise a UserError where its package is not installed."""
        if cls.package:
            present(cls.package, cls.extra)


def by_preference() -> dict[str, type[Runtime]]:
    """Name -> runtime; a folder is run by the first that it has files for, unless another is asked for."""
    kinds = {name: RUNTIMES.get(name) for name in RUNTIMES.names()}
    return dict(sorted(kinds.items(), key=lambda item: item[1].preference))


def by_precision(precision: str) -> list[str]:
    """The runtimes that compute in a number format."""
    return [name for name, kind in by_preference().items() if precision in kind.precisions]
