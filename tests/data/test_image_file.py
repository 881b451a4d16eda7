"""An image of anybody's: no pipe is waited for, no program is run for its format, no bomb is decoded."""

import os
from pathlib import Path

import pytest
from PIL import Image

from qtrain.data.image_file import image_file
from qtrain.data.options import PLAIN
from qtrain.data.own_tree import read_tree
from qtrain.errors import UserError


def make_bomb(path: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(path)


def make_postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


def make_cut(path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(path)
    path.write_bytes(path.read_bytes()[:60])


MADE = [
    (os.mkfifo, "is a named pipe, and a file is needed; name one"),
    (lambda path: path.symlink_to("/dev/zero"), "is a device, and a file is needed; name one"),
    (make_bomb, r"cannot be read as an image \(Image size \(100000000 pixels\) exceeds limit"),
    (make_postscript, r"cannot be read as an image \(it is none that is known\); replace it or take it out"),
    (make_cut, r"cannot be read as an image \(.*\); replace it or take it out"),
]


@pytest.mark.parametrize(("make", "says"), MADE, ids=["pipe", "device", "bomb", "postscript", "cut"])
def test_what_is_no_image_is_named(make: object, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=f"^{path} {says}"), image_file(str(path)) as image:
        image.load()


@pytest.mark.parametrize("way", [".", "..", "../.."])
def test_links_that_lead_back_are_refused(way: str, tmp_path: Path) -> None:
    """Two links in a circle are two to the power of forty ways before the system stops following them."""
    for kind in ("a", "b"):
        folder = tmp_path / "data" / kind
        folder.mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "1.png")
    for name in ("one", "two"):
        (tmp_path / "data" / "a" / name).symlink_to(way)
    with pytest.raises(UserError, match=r"leads to a folder that is in its class already; take the link out"):
        read_tree(tmp_path / "data", PLAIN)
