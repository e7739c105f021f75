"""The YAML files that stand beside exported networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ppeconv.errors import UserError


def read_facts(file: Path, version: int, keys: Sequence[str], what: str, maker: str) -> dict[str, Any]:
    """What such a file says.

    Args:
        version: the `format` that is read.
        keys: what has to be there.
        what: the folder that the file makes, such as "an exported model".
        maker: the command that writes it.

    Raises:
        UserError: the file is missing, damaged or of another format.
    """
    try:
        facts = yaml.safe_load(file.read_text("utf-8"))
    except OSError:
        raise UserError(f"{file.parent} is not {what}: it has no {file.name}; {maker} makes one") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        facts = None
    if not isinstance(facts, dict) or not {"format", *keys} <= facts.keys():
        raise UserError(f"{file} is damaged; make it again with {maker}")
    if facts["format"] != version:
        raise UserError(
            f"{file} has format {facts['format']}, and this ppeconv reads format {version}; make it again with {maker}"
        )
    return facts
