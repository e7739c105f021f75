"""The YAML files that stand beside exported networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from ppeconv import files
from ppeconv.errors import UserError
from ppeconv.schema import check
from ppeconv.schema.values import from_yaml


class Facts(BaseModel):
    """What every such file says; others of its keys are for the reader's eyes."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    format: int


Kind = TypeVar("Kind", bound=Facts)


def read_facts(file: Path, schema: type[Kind], version: int, what: str, maker: str) -> Kind:
    """What such a file says.

    Args:
        schema: what has to be there.
        version: the `format` that is read.
        what: the folder that the file makes, such as "an exported model".
        maker: the command that writes it.

    Raises:
        UserError: the file is missing, damaged, of another format, or says something that cannot be.
    """
    again = f"make it again with {maker}"
    try:
        facts = from_yaml(files.read(file, files.YAML).decode(), str(file))
    except (FileNotFoundError, NotADirectoryError):
        inside = next(file.parent.glob(f"*/{file.name}"), None)
        advice = f"{inside.parent} is one" if inside else f"{maker} makes one"
        raise UserError(f"{file.parent} is not {what}: it has no {file.name}; {advice}") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except (UserError, UnicodeDecodeError):
        facts = None
    if not isinstance(facts, dict) or "format" not in facts:
        raise UserError(f"{file} is damaged; {again}")
    if facts["format"] != version:
        raise UserError(f"{file} has format {facts['format']}, and this ppeconv reads format {version}; {again}")
    return checked(schema, {str(key): value for key, value in facts.items()}, file, maker)


def checked(schema: type[Kind], facts: Mapping[str, Any], file: Path, maker: str) -> Kind:
    """What a file was found to say, by a schema; raises UserError where that cannot be."""
    try:
        return check(schema, facts)
    except UserError as error:
        raise UserError(f"{file}: {error}; make it again with {maker}") from None
