"""What trained detectors found, side by side: python scripts/detection_picture.py output/detection drawn.jpg

A column for each run folder with pictures that `detect infer` drew into its `drawn`, a row for each picture.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, HEADING = 400, 300, 28


def main() -> int:
    """Write the picture that the command line names; returns the exit code."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    columns = sorted(Path(sys.argv[1]).glob("*/drawn"))
    names = sorted({file.name for folder in columns for file in folder.iterdir()})
    whole = Image.new("RGB", (WIDTH * len(columns), HEADING + HEIGHT * len(names)), "white")
    write = ImageDraw.Draw(whole)
    for column, folder in enumerate(columns):
        write.text((WIDTH * column + 6, 6), folder.parent.name, "black", ImageFont.load_default(14))
        for row, name in enumerate(names):
            if (folder / name).is_file():
                with Image.open(folder / name) as drawn:
                    whole.paste(drawn.resize((WIDTH, HEIGHT)), (WIDTH * column, HEADING + HEIGHT * row))
    whole.save(sys.argv[2], quality=80)
    print(f"{len(names)} pictures of {len(columns)} runs -> {sys.argv[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
