"""List files as Windows, spreadsheets and PaddleClas write them."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppeconv import UserError
from ppeconv.data.classes import class_names
from ppeconv.data.datasets import ImageList
from ppeconv.data.lists import read_list


def opened(folder, content, **options):
    (folder / "list.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return ImageList(folder, "train", image_root="photos", cls_label_path="list.txt", **options)


def test_image_list(tmp_path):
    (tmp_path / "photos" / "bee").mkdir(parents=True)
    Image.fromarray(np.zeros((21, 30, 3), np.uint8)).save(tmp_path / "photos" / "bee" / "1.png")
    dataset = opened(tmp_path, "ant/0.png 0\nbee/1.png 1\n\nbee/2.png 1\n")
    assert dataset.labels.tolist() == [0, 1, 1]
    assert dataset.class_names == ["0", "1"]
    assert dataset.read(np.array([1]))[0].shape == (21, 30, 3)
    assert opened(tmp_path, "bee/1.png 0\n", channels=1).read(np.array([0]))[0].shape == (21, 30, 1)


TEXT = "猫/1 号.jpg 0\n狗/2.jpg 1\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("gbk"),
        TEXT.encode("utf-16"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("jpg ", "jpg\t").encode(),
        TEXT.replace("jpg ", "jpg,").encode(),
        TEXT.replace("jpg ", "jpg, ").encode(),
        TEXT.replace("/", "\\").encode("gbk"),
        b'"\xe7\x8c\xab/1 \xe5\x8f\xb7.jpg",0\n"\xe7\x8b\x97/2.jpg";1\n',
    ],
    ids=["utf-8", "bom", "gbk", "utf-16", "crlf", "tabs", "commas", "comma and space", "backslashes", "quotes"],
)
def test_lists_of_other_programs_are_understood(content, tmp_path):
    dataset = opened(tmp_path, content)
    assert dataset.paths == [tmp_path / "photos" / "猫" / "1 号.jpg", tmp_path / "photos" / "狗" / "2.jpg"]
    assert dataset.labels.tolist() == [0, 1]


def test_a_backslash_in_a_name_is_left_where_the_file_has_it(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a\\b.png").write_text("")
    assert opened(tmp_path, "a\\b.png 0\n").paths == [tmp_path / "photos" / "a\\b.png"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a.png zero\n", "line 1 should have a path and a label number, .* it is 'a.png zero'"),
        ("a.png 0\nb.png 0.5\n", "line 2 should have a path and a label number"),
        ("path,label\na.png,0\n", "line 1 should have .* it is 'path,label'"),
        ("\n", "names no image"),
        (b"\xef\xbb\xbf", "names no image"),
        ("a.png -1\n", "line 1 has the label -1; labels start at 0"),
        ("a.png\n", "a path and a label number"),
        ("a.png 7\n", "only 2 class_names"),
        ("a.png\t0,1,0,1\n", "line 1: .* has several labels"),
        ("a b.jpg 3 5\n", "several labels for an image are not supported"),
        (b"\xff\x00\xff", "no text in UTF-8, GBK or UTF-16"),
        ("a.png " + "9" * 5000, "a path and a label number"),
    ],
)
def test_wrong_lists(content, words, tmp_path):
    with pytest.raises(UserError, match=words):
        opened(tmp_path, content, class_names=["a", "b"])


def test_a_folder_in_place_of_a_list(tmp_path):
    with pytest.raises(UserError, match="there is no list file"):
        ImageList(tmp_path, "train", image_root=".", cls_label_path=".")


@pytest.mark.parametrize("label", [20231101, 231101])
def test_dates_are_no_classes(label, tmp_path):
    """Neither memory for millions of names, nor a network with as many outputs."""
    tracemalloc.start()
    with pytest.raises(UserError, match="labels number the classes"):
        class_names(opened(tmp_path, f"a.png {label}\nb.png {label + 1}\n"), None)
    assert tracemalloc.get_traced_memory()[1] < 64e6
    tracemalloc.stop()
    assert len(class_names(opened(tmp_path, "a.png 0\nb.png 999\n"), 1000)) == 1000


@pytest.mark.parametrize("path", ["/etc/hostname", "../a.png", "cats/../../a.png", "..\\a.png"])
def test_a_list_names_no_file_outside_its_folder(path, tmp_path):
    (tmp_path / "images").mkdir()
    listing = tmp_path / "list.txt"
    listing.write_text(f"{path} 0\n", "utf-8")
    with pytest.raises(UserError, match=r"line 1 leads out of image_root"):
        read_list(listing, tmp_path / "images")
    assert read_list(listing, Path("/"))[0].label == 0
    listing.write_text(f"{tmp_path}/images/..b/../a.png 0\n", "utf-8")
    assert read_list(listing, tmp_path / "images")
