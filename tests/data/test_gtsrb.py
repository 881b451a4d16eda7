"""GTSRB's archives and folders, and every way they can be wrong, with a few signs a class."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qtrain.data import DATASETS, class_names, image_shape
from qtrain.data.gtsrb import GTSRB, GtsrbFormat
from qtrain.errors import UserError
from tests.web import serve

SMALL = replace(GTSRB, train_counts=(3, 2) + (2,) * 41, test_counts=(1,) * 43)
TRAIN_ZIP, TEST_ZIP, LIST_ZIP = (name for name, _ in GTSRB.publication.files)
HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n"


def sign(label: int, number: int) -> Image.Image:
    """Return an image of another size for each sign, with its class in its colour and a frame as the margin."""
    width, height = 30 + label, 28 + number
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[4:-4, 4:-4] = (5 * label, 255 - 5 * label, 20 * number)
    return Image.fromarray(pixels)


def files() -> Iterator[tuple[str, str, bytes]]:
    """Yield archive, name in it and content of all published files."""
    for label, count in enumerate(SMALL.train_counts):
        rows = HEADER
        for number in range(count):
            name = f"{number // 30:05}_{number % 30:05}.ppm"
            rows += row(name, label, number)
            yield TRAIN_ZIP, f"GTSRB/Final_Training/Images/{label:05}/{name}", ppm(sign(label, number))
        yield TRAIN_ZIP, f"GTSRB/Final_Training/Images/{label:05}/GT-{label:05}.csv", rows.encode()
    yield TEST_ZIP, "GTSRB/Final_Test/Images/GT-final_test.test.csv", b"Filename;Width;Height\r\n"
    rows = HEADER
    for label in reversed(range(43)):
        rows += row(f"{42 - label:05}.ppm", label, 9)
        yield TEST_ZIP, f"GTSRB/Final_Test/Images/{42 - label:05}.ppm", ppm(sign(label, 9))
    yield LIST_ZIP, "GT-final_test.csv", rows.encode()


def row(name: str, label: int, number: int) -> str:
    width, height = sign(label, number).size
    return f"{name};{width};{height};5;6;{width - 5};{height - 5};{label}\r\n"


def ppm(image: Image.Image) -> bytes:
    raw = io.BytesIO()
    image.save(raw, "PPM")
    return raw.getvalue()


def unpack(folder: Path) -> None:
    """Write what the archives unpack to."""
    for _, name, raw in files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)


def pack(folder: Path, changes: dict[str, bytes | None] | None = None) -> GtsrbFormat:
    """Write the archives; with other content, or without what is None. Return the layout that knows their digests."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (TRAIN_ZIP, TEST_ZIP, LIST_ZIP):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for where, member, raw in files():
                content = (changes or {}).get(member, raw)
                if where == name and content is not None:
                    archive.writestr(member, content)
    known = tuple((name, digest(folder / name)) for name in (TRAIN_ZIP, TEST_ZIP, LIST_ZIP))
    return replace(SMALL, publication=replace(SMALL.publication, files=known))


def digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def assert_reads(layout: GtsrbFormat, root: Path, *, download: bool = False) -> None:
    train, test = layout.read(root, download)
    assert train.labels.bincount().tolist() == list(SMALL.train_counts)
    assert test.labels.tolist() == list(reversed(range(43)))
    for split, i, made in ((train, 0, sign(0, 0)), (train, 6, sign(2, 1)), (test, 1, sign(41, 9))):
        small = np.asarray(made.resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.array_equal(split.images[i].numpy(), small)
        assert not small[:, 0, 0].any()  # the margin is there: the whole image was taken


def refusal(layout: GtsrbFormat, root: Path, *, download: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        layout.read(root, download)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("folder", ["", "gtsrb", "GTSRB"])
def test_the_archives_are_read_without_unpacking_them(folder: str, tmp_path: Path) -> None:
    assert_reads(pack(tmp_path / folder), tmp_path)
    assert len(list((tmp_path / folder).iterdir())) == 3


@pytest.mark.parametrize("root", ["", "gtsrb", "gtsrb/GTSRB"])
def test_an_unpacked_folder_is_read_too(root: str, tmp_path: Path) -> None:
    unpack(tmp_path / "gtsrb")
    assert_reads(SMALL, tmp_path / root)


def test_the_list_of_the_test_images_may_lie_beside_them(tmp_path: Path) -> None:
    unpack(tmp_path)
    there = tmp_path / "GTSRB" / "Final_Test" / "Images" / "GT-final_test.csv"
    (tmp_path / "GT-final_test.csv").rename(there)
    assert_reads(SMALL, tmp_path)
    there.unlink()
    assert f"GT-final_test.csv is missing: unpack {LIST_ZIP}" in refusal(SMALL, tmp_path)


def test_missing_files_say_where_they_were_looked_for_and_what_to_do(tmp_path: Path) -> None:
    says = refusal(GTSRB, tmp_path)
    for part in (str(tmp_path), TRAIN_ZIP, GTSRB.publication.url, "QTRAIN_DATA"):
        assert part in says


def test_torchvisions_smaller_training_set_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "gtsrb" / "GTSRB" / "Training" / "00000").mkdir(parents=True)
    assert "holds torchvision's 26,640 training images, not the 39,209" in refusal(SMALL, tmp_path)


def test_a_cut_archive_is_not_opened(tmp_path: Path) -> None:
    known = pack(tmp_path)
    path = tmp_path / TRAIN_ZIP
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path} is damaged or foreign: its SHA256 is" in refusal(known, tmp_path)
    path.unlink()
    assert f"{path} is missing" in refusal(known, tmp_path)


IMAGE = "GTSRB/Final_Training/Images/00001/00000_00001.ppm"
LIST = "GTSRB/Final_Training/Images/00001/GT-00001.csv"
GOOD_ROWS = row("00000_00000.ppm", 1, 0) + row("00000_00001.ppm", 1, 1)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
@pytest.mark.parametrize(
    ("member", "content", "says"),
    [
        (IMAGE, None, "00000_00001.ppm is missing"),
        (IMAGE, ppm(sign(1, 1))[:-9], "00000_00001.ppm is damaged (image file is truncated"),
        (IMAGE, b"", "00000_00001.ppm is damaged (cannot identify image file"),
        (IMAGE, ppm(sign(1, 2)), "00000_00001.ppm is foreign: it has 31x30 pixels, but its list says 31x29"),
        (LIST, None, "GT-00001.csv is missing"),
        (LIST, b"", "GT-00001.csv has no column Filename, Width, Height, ClassId"),
        (LIST, f"{HEADER}{GOOD_ROWS}".encode()[:-3], "GT-00001.csv is damaged in line 3"),
        (LIST, f"{HEADER}{row('../../x.ppm', 1, 0)}".encode(), "GT-00001.csv is damaged in line 2"),
        (
            LIST,
            f"{HEADER}{row('00000_00000.ppm', 1, 0)}".encode(),
            "1 of its 86 images are labelled 'speed limit 30', but 2",
        ),
        (LIST, f"{HEADER}{GOOD_ROWS}".replace(";1\r", ";43\r").encode(), "it has a label 43, but labels are 0 to 42"),
    ],
)
def test_a_damaged_file_is_named(member: str, content: bytes | None, says: str, packed: bool, tmp_path: Path) -> None:
    known = SMALL
    if packed:
        known = pack(tmp_path, {member: content})
    else:
        unpack(tmp_path)
        (tmp_path / member).unlink()
        if content is not None:
            (tmp_path / member).write_bytes(content)
    assert says in refusal(known, tmp_path)


def test_a_download_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    known = pack(tmp_path / "web")
    with serve(tmp_path / "web") as (url, asked):
        known = replace(known, publication=replace(known.publication, url=f"{url}/"))
        assert_reads(known, tmp_path / "root", download=True)
        assert_reads(known, tmp_path / "root", download=True)
    assert asked == [f"/{name}" for name in (TRAIN_ZIP, TEST_ZIP, LIST_ZIP)]


def test_a_network_trains_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable) -> None:
    monkeypatch.setattr("qtrain.data.gtsrb.GTSRB", pack(tmp_path / "data"))
    words = ["train", "CNV_1W1A", "--data", "gtsrb", "--data-root", tmp_path / "data", "--out", tmp_path / "run"]
    outcome = cli(*words, "--epochs", 1, "--validation-size", 43, "--batch-size", 20, "--width", 0.0625)
    assert outcome.status == 0, outcome.err


def test_the_published_set_is_what_its_paper_says() -> None:
    assert (sum(GTSRB.train_counts), sum(GTSRB.test_counts)) == (39_209, 12_630)
    assert len(class_names("gtsrb")) == len(GTSRB.train_counts) == len(GTSRB.test_counts) == 43
    assert image_shape("gtsrb") == (3, 32, 32)
    assert not DATASETS.get("gtsrb").flip
    assert torch.tensor(GTSRB.train_counts).min() == 210
