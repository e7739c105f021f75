"""VOC annotations as COCO files: python scripts/voc_to_coco.py dataset/bccd/BCCD --classes RBC,WBC,Platelets

DIR/ImageSets/Main/{train,val,test}.txt and DIR/Annotations/*.xml become train.json, val.json and test.json beside DIR,
or in --out. VOC counts pixels from 1 and names the last one of a box, COCO counts from 0 and gives its width. Boxes
without an area are left out and counted.
"""

import argparse
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

SPLITS = "train", "val", "test"
SUFFIXES = ".jpg", ".jpeg", ".png", ".JPG"


def main() -> int:
    """Convert what the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to (default: beside DIR)")
    parser.add_argument("--classes", metavar="NAME,NAME", help="numbered from 1 (default: all, in the order of names)")
    arguments = parser.parse_args()
    try:
        classes = arguments.classes.split(",") if arguments.classes else None
        convert(arguments.folder, arguments.out or arguments.folder.resolve().parent, classes)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        print(f"voc_to_coco: error: {error}", file=sys.stderr)
        return 2
    return 0


def convert(folder: Path, out: Path, classes: list[str] | None) -> None:
    """Write the COCO file of every split that there is."""
    splits = {name: file for name in SPLITS if (file := folder / "ImageSets" / "Main" / f"{name}.txt").is_file()}
    if not splits:
        raise ValueError(
            f"{folder} has no ImageSets/Main/train.txt, val.txt or test.txt; give a folder in VOC's layout"
        )
    pictures = {
        name: [read_picture(folder, stem) for stem in file.read_text("utf-8").split()] for name, file in splits.items()
    }
    known = sorted({kind for found in pictures.values() for picture in found for kind, _ in picture["boxes"]})
    names = classes or known
    if unknown := set(known) - set(names):
        raise ValueError(f"there are boxes of {', '.join(sorted(unknown))}, which --classes does not name")
    for name, found in pictures.items():
        left_out = write(out / f"{name}.json", found, names)
        boxes = sum(len(picture["boxes"]) for picture in found) - left_out
        print(f"{out / name}.json: {len(found)} pictures, {boxes} boxes of {', '.join(names)}; {left_out} left out")


def read_picture(folder: Path, stem: str) -> dict:
    """File name, size and boxes (class, [x, y, width, height]) of a picture."""
    tree = ElementTree.parse(folder / "Annotations" / f"{stem}.xml")
    images = [file for suffix in SUFFIXES if (file := folder / "JPEGImages" / f"{stem}{suffix}").is_file()]
    if not images:
        raise ValueError(f"there is no picture {folder / 'JPEGImages' / stem}.jpg")
    boxes = []
    for entry in tree.iter("object"):
        corners = [float(entry.findtext(f"bndbox/{key}", "nan")) for key in ("xmin", "ymin", "xmax", "ymax")]
        left, top, right, bottom = corners
        boxes.append((entry.findtext("name", "").strip(), [left - 1, top - 1, right - left + 1, bottom - top + 1]))
    width, height = (int(tree.findtext(f"size/{key}", "0")) for key in ("width", "height"))
    return {"file": images[0].name, "width": width, "height": height, "boxes": boxes}


def write(file: Path, pictures: list[dict], names: list[str]) -> int:
    """Write one COCO file; returns how many boxes have no area and are left out."""
    numbers = {name: number for number, name in enumerate(names, 1)}
    images, annotations, left_out = [], [], 0
    for number, picture in enumerate(pictures, 1):
        size = {key: picture[key] for key in ("width", "height")}
        images.append({"id": number, "file_name": picture["file"], **size})
        for kind, box in picture["boxes"]:
            if not (box[2] > 1 and box[3] > 1):
                left_out += 1
                continue
            facts = {"category_id": numbers[kind], "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": number, **facts})
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content), "utf-8")
    return left_out


if __name__ == "__main__":
    sys.exit(main())
