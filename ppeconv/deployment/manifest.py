"""`inference.yml`, which says what an exported folder holds, with the checksums of the files beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ppeconv import files
from ppeconv.deployment.facts import Facts, checked, read_facts
from ppeconv.errors import UserError
from ppeconv.schema import check
from ppeconv.schema.values import from_yaml, to_yaml

if TYPE_CHECKING:
    from typing_extensions import Self

PREFIX = "inference"
"""How the names of exported files begin."""
FORMAT = 1
FILE = f"{PREFIX}.yml"
_MAKER = "tools/export.py"


class Manifest(Facts):
    """What an export says of itself; further keys are the user's own."""

    ppeconv: str | None = None
    paddle: str | None = None
    """The versions that wrote it."""
    form: str | None = None
    """Of the operators: "deployed" or "trained"."""
    forms: dict[str, str] | None = None
    """Those that were chosen, see `deploy`."""
    runtimes: list[str] | None = None
    """What it was exported to."""
    opset: int | None = None
    """Operator set of the ONNX file that runtimes were given."""
    input_shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    """[C, H, W]."""
    outputs: list[str] | None = None
    """Names of several outputs."""
    sha256: Annotated[dict[str, str], Field(min_length=1)] | None = None
    """File -> checksum; folders of older exports have none."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """That of a folder; raises UserError where it is missing or wrong."""
        return read_facts(folder / FILE, cls, FORMAT, "an exported model", _MAKER)

    @classmethod
    def write(cls, folder: Path, facts: Mapping[str, Any]) -> None:
        """Write that of a folder, whose other files are complete, with their checksums.

        Args:
            facts: the keys that are declared here, but for `format` and `sha256`, and the user's own.

        Raises:
            UserError: it could not be read.
        """
        text = to_yaml({"format": FORMAT, **facts, "sha256": _checksums(folder)})
        check(ClassifierManifest if "class_names" in facts else cls, from_yaml(text, FILE), FILE)
        (folder / FILE).write_text(text, "utf-8")

    def check_files(self, folder: Path, names: Iterable[str]) -> None:
        """Raise a UserError where one of these files is there and not the one that was exported."""
        sums = self.sha256 or {}
        for name in names if sums else []:
            file = folder / name
            if file.is_file() and _digest(file) != sums.get(name):
                raise UserError(
                    f"{file} is damaged or was replaced: its checksum is not the one in {FILE}; make it again with "
                    f"{_MAKER}"
                )


class ClassifierManifest(Manifest):
    """That of a network of one output, by which images are classified."""

    class_names: Annotated[list[str], Field(min_length=1)]
    transform_ops: list[dict[str, dict[str, Any] | None]]
    """What is done to an image."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """That of a folder; raises UserError where it is missing or wrong, or of another network."""
        manifest = Manifest.read(folder)
        outputs = manifest.outputs or []
        if len(outputs) > 1:
            raise UserError(
                f"the network in {folder} gives {len(outputs)} outputs ({', '.join(outputs)}), and classes are "
                "predicted from one; run it with ppeconv.deployment.runtimes.open_runtime"
            )
        return checked(cls, dict(manifest), folder / FILE, _MAKER)


def _checksums(folder: Path) -> dict[str, str]:
    return {file.name: _digest(file) for file in sorted(folder.iterdir()) if file.is_file()}


def _digest(file: Path) -> str:
    try:
        return files.digest(file)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
