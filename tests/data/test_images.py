"""Image files: what their pixels mean, and which files in a folder are images."""

import os

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ppeconv import UserError
from ppeconv.data.check import look_at
from ppeconv.data.datasets import ImageFolder
from ppeconv.data.found import find_images, images_of
from ppeconv.data.images import image_problem, read_image

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 23


def grey(path):
    return read_image(path, 1)[..., 0]


def test_grey_and_colour(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == GREY[..., None].repeat(3, 2)).all()
    assert (grey(tmp_path / "grey.png") == GREY).all()


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_once(orientation, ending, tmp_path):
    """Bright in one corner of a rectangle: `np.rot90` and mirroring say where the tag puts it."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :16] = 255
    expected = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    extra = {"tiffinfo": {274: orientation}} if ending == "tif" else {"exif": exif}
    Image.fromarray(pixels).save(tmp_path / f"image.{ending}", **extra)
    image = read_image(tmp_path / f"image.{ending}")
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 10  # JPEG and WebP lose a little


@pytest.mark.parametrize("ending", ["png", "tif", "jp2"])
def test_grey_of_16_bits_is_scaled_from_its_range(ending, tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / f"deep.{ending}")
    assert (grey(tmp_path / f"deep.{ending}") == GREY).all()
    assert (read_image(tmp_path / f"deep.{ending}") == GREY[..., None]).all()


def test_other_ranges_of_grey(tmp_path):
    """The levels of a PGM are written in its header, a TIFF may count from white."""
    (tmp_path / "deep.pgm").write_bytes(b"P5 4 3 65535\n" + (GREY.astype(">u2") * 257).tobytes())
    assert (grey(tmp_path / "deep.pgm") == GREY).all()
    white_is_zero = TiffImagePlugin.ImageFileDirectory_v2()
    white_is_zero[262] = 0
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "inverse.tif", tiffinfo=white_is_zero)
    assert (grey(tmp_path / "inverse.tif") == 255 - GREY).all()


def test_floats_go_from_0_to_1(tmp_path):
    Image.fromarray(GREY / np.float32(255)).save(tmp_path / "float.tif")
    assert (grey(tmp_path / "float.tif") == GREY).all()


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (GREY.astype(np.float32), "floats from 0 to 253, and 0 is read as black, 1 as white"),
        (GREY - np.float32(1), "floats from -1"),
        (np.full((2, 2), np.nan, np.float32), "floats from nan"),
        (GREY.astype(np.int32), "32-bit integers"),
    ],
)
def test_grey_without_a_known_range_is_refused(pixels, words, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "unknown.tif")
    with pytest.raises(UserError, match=rf"unknown\.tif cannot be read as an image: .*{words}"):
        read_image(tmp_path / "unknown.tif")
    assert words in image_problem(tmp_path / "unknown.tif")


def palette():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    return image


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.fromarray(np.array([[[255, 0, 0, 0], [0, 0, 200, 255]]], np.uint8)), {}),
        (palette(), {"transparency": 0}),
        (Image.fromarray(np.array([[[255, 0, 0], [0, 0, 200]]], np.uint8)), {"transparency": (255, 0, 0)}),
    ],
    ids=["RGBA", "palette", "RGB with a colour key"],
)
def test_what_is_transparent_lies_over_white(image, options, tmp_path):
    image.save(tmp_path / "hole.png", **options)
    assert read_image(tmp_path / "hole.png").tolist() == [[[255, 255, 255], [0, 0, 200]]]
    assert grey(tmp_path / "hole.png")[0, 0] == 255


def test_half_transparent_grey_is_mixed_with_white(tmp_path):
    Image.fromarray(np.array([[[0, 0], [0, 51], [0, 255]]], np.uint8), "LA").save(tmp_path / "grey.png")
    assert grey(tmp_path / "grey.png").tolist() == [[255, 204, 0]]


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="a folder, a pipe or a device"):
        read_image(tmp_path / "pipe.png")
    assert find_images(tmp_path).paths == []
    assert "1 not files (pipe.png)" in find_images(tmp_path).left_out()


def test_damaged_files_are_sentences(tmp_path):
    Image.fromarray(GREY.repeat(40, 0)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    for name, damaged in [("cut", content[:-30]), ("text", b"no picture"), ("empty", b"")]:
        (tmp_path / f"{name}.png").write_bytes(damaged)
        assert f"{name}.png cannot be read as an image" in image_problem(tmp_path / f"{name}.png")
    assert image_problem(tmp_path / "whole.png") == ""
    assert "there is no image" in image_problem(tmp_path / "none.png")


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path, "PNG")


def cluttered(folder):
    """A data folder as people have it; 5 images of 2 classes."""
    for name in ("ant/1.png", "ant/sub/2.JFIF", "bee/3.ppm", "elsewhere/4.avif", "elsewhere/deep/5.jpe"):
        photo(folder / name)
    (folder / "elsewhere").rename(folder.parent / "elsewhere")
    (folder / "bee" / "linked").symlink_to(folder.parent / "elsewhere")
    (folder / "bee" / "round").symlink_to(folder / "bee")
    for name in (
        *("ant/.ipynb_checkpoints/1-checkpoint.png", ".ipynb_checkpoints/a.png", "__MACOSX/ant/._1.png"),
        *("ant/._1.png", "ant/1-checkpoint.png", "stray.png"),
    ):
        photo(folder / name)
    for name in ("ant/Thumbs.db", "bee/notes.txt", "bee/noending", ".DS_Store"):
        (folder / name).write_text("")
    (folder / "bee" / "gone.png").symlink_to(folder / "nothing")
    return folder


def test_only_images_that_people_put_there_are_taken(tmp_path):
    folder = cluttered(tmp_path / "photos" / "train")
    dataset = ImageFolder(tmp_path, "train", image_root="photos")
    assert dataset.class_names == ["ant", "bee"]
    assert [path.name for path in dataset.paths] == ["1.png", "2.JFIF", "3.ppm", "4.avif", "5.jpe"]
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1]
    assert dataset.read(np.arange(5))[4].shape == (4, 4, 3)
    assert [path.name for path in images_of([str(folder / "ant"), str(folder / "bee" / "*")]).paths] == [
        *("1.png", "2.JFIF"),
        "3.ppm",
    ]


def test_what_was_left_out_is_said(tmp_path):
    cluttered(tmp_path / "photos" / "train")
    dataset = ImageFolder(tmp_path, "train", image_root="photos")
    said = next(line for line in look_at([dataset, dataset]) if "left out" in line)
    assert said.startswith("training data, left out: 7 hidden or made by a system or a notebook (")
    for words in (
        *("__MACOSX", "2 not images by their endings (without one, .txt)", "1 not files (gone.png)"),
        "1 outside the class folders (stray.png)",
    ):
        assert words in said


def test_a_folder_of_nothing_but_other_files(tmp_path):
    (tmp_path / "train" / "ant").mkdir(parents=True)
    (tmp_path / "train" / "ant" / "1.heic").write_text("")
    with pytest.raises(UserError, match=r"no image in a class folder .*\.heic"):
        ImageFolder(tmp_path, "train", image_root=".")
    with pytest.raises(UserError, match=r"there is no image .*\.heic"):
        images_of([str(tmp_path)])


def test_a_class_folder_whose_name_is_no_text(tmp_path):
    photo(tmp_path / "train" / "ant" / "1.png")
    os.mkdir(os.fsencode(tmp_path / "train") + b"/caf\xe9")
    with pytest.raises(UserError, match="is not UTF-8"):
        ImageFolder(tmp_path, "train", image_root=".")


def test_grey_images_of_ones_own(tmp_path):
    (tmp_path / "train" / "ant").mkdir(parents=True)
    Image.fromarray(GREY).save(tmp_path / "train" / "ant" / "1.png")
    dataset = ImageFolder(tmp_path, "train", image_root=".", channels=1)
    assert dataset.shape == (256, 256, 1)
    assert (dataset.read(np.array([0]))[0][..., 0] == GREY).all()
