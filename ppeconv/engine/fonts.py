"""Fonts of pictures with names in them that matplotlib's own font cannot write, such as Chinese ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties


def font_for(texts: Iterable[str]) -> FontProperties | None:
    """The default font where it has every character of the texts, else an installed one that has; None if none has."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    wanted = {ord(character) for text in texts for character in text if character.isprintable()}
    default = FontProperties()
    if wanted <= _characters(findfont(default)):
        return default
    regular = [font for font in fontManager.ttflist if font.style == "normal" and font.weight in (400, "normal")]
    files = (font.fname for font in sorted(regular, key=lambda font: ("Sans" not in font.name, font.name)))
    return next((FontProperties(fname=file) for file in files if wanted <= _characters(file)), None)


def _characters(file: str) -> set[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return set(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a font that was removed, or of a kind that cannot be drawn
        return set()
