"""SVHN's cropped digits: the published files of MATLAB, and every way they can be wrong, at a small size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from qtrain.data import DATASETS, class_names, image_shape
from qtrain.data.svhn import SVHN, SvhnFormat
from qtrain.errors import UserError
from tests.web import serve

SMALL = replace(SVHN, train_size=100, test_size=20)
FILES = {"train_32x32.mat": 100, "test_32x32.mat": 20}


def content(size: int) -> dict[str, Any]:
    """Return what a published file holds: X [32, 32, 3, N], y [N, 1] with 10 for the digit 0."""
    rng = np.random.default_rng(size)
    images = rng.integers(0, 256, (32, 32, 3, size), np.uint8)
    return {"X": images, "y": rng.permutation(np.arange(size) % 10 + 1).astype(np.uint8)[:, None]}


def write(folder: Path, layout: SvhnFormat = SMALL, **changes: Any) -> SvhnFormat:
    """Write both files; the first with changes. Return the layout that knows their digests."""
    folder.mkdir(parents=True, exist_ok=True)
    known = []
    for name, size in FILES.items():
        made = content(size) | (changes if name == "train_32x32.mat" else {})
        kept = {key: value for key, value in made.items() if value is not None}
        savemat(folder / name, kept, do_compression=True)
        known.append((name, f"sha256:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}"))
    return replace(layout, publication=replace(layout.publication, files=tuple(known)))


def refusal(layout: SvhnFormat, root: Path, *, download: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        layout.read(root, download)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_reads(layout: SvhnFormat, root: Path, *, download: bool = False) -> None:
    for split, size in zip(layout.read(root, download), FILES.values(), strict=True):
        made = content(size)
        assert split.shape == (3, 32, 32)
        for i in (0, size - 1):
            assert np.array_equal(split.images[i].numpy(), made["X"][..., i].transpose(2, 0, 1))
            assert int(split.labels[i]) == int(made["y"][i, 0]) % 10
        assert torch.equal(split.labels.bincount(), torch.full((10,), size // 10))


@pytest.mark.parametrize("folder", ["", "svhn", "SVHN"])
def test_published_files_are_read_bit_for_bit_and_10_is_the_digit_0(folder: str, tmp_path: Path) -> None:
    assert_reads(write(tmp_path / folder), tmp_path)


def test_missing_files_say_where_they_were_looked_for_and_what_to_do(tmp_path: Path) -> None:
    says = refusal(SVHN, tmp_path)
    for part in (str(tmp_path), "train_32x32.mat", SVHN.publication.url, "QTRAIN_DATA"):
        assert part in says


def test_one_missing_file_is_named_and_not_downloaded_over(tmp_path: Path) -> None:
    known = write(tmp_path)
    (tmp_path / "test_32x32.mat").unlink()
    assert "test_32x32.mat is missing" in refusal(known, tmp_path, download=True)


def test_a_cut_file_is_not_opened(tmp_path: Path) -> None:
    known = write(tmp_path)
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path} is damaged or foreign: its SHA256 is" in refusal(known, tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"y": None}, "does not hold SVHN's X and y ('y')"),
        ({"X": np.zeros((32, 32, 3, 99), np.uint8)}, "it has X uint8 [32, 32, 3, 99] and y [100], but should have X"),
        ({"X": np.zeros((32, 32, 3, 100))}, "it has X float64 [32, 32, 3, 100]"),
        ({"y": np.zeros((100, 1), np.uint8)}, "it has a label 0, but labels are 1 to 10"),
        ({"y": np.full((100, 1), 11)}, "it has a label 11, but labels are 1 to 10"),
    ],
)
def test_a_file_with_something_else_in_it_is_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    assert says in refusal(write(tmp_path, **changes), tmp_path)


@pytest.mark.parametrize("raw", [b"", b"no file of MATLAB" * 20])
def test_what_is_no_file_of_matlab_is_refused_even_under_the_right_digest(raw: bytes, tmp_path: Path) -> None:
    known = write(tmp_path)
    (tmp_path / "train_32x32.mat").write_bytes(raw)
    files = (("train_32x32.mat", f"sha256:{hashlib.sha256(raw).hexdigest()}"), known.publication.files[1])
    forged = replace(known, publication=replace(known.publication, files=files))
    assert "train_32x32.mat does not hold SVHN's X and y" in refusal(forged, tmp_path)


def test_a_download_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    known = write(tmp_path / "web")
    with serve(tmp_path / "web") as (url, asked):
        known = replace(known, publication=replace(known.publication, url=f"{url}/"))
        assert_reads(known, tmp_path / "root", download=True)
    assert asked == ["/train_32x32.mat", "/test_32x32.mat"]
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["svhn"]


def test_a_network_trains_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable) -> None:
    monkeypatch.setattr("qtrain.data.svhn.SVHN", write(tmp_path / "data"))
    words = ["train", "CNV_1W1A", "--data", "svhn", "--data-root", tmp_path / "data", "--out", tmp_path / "run"]
    outcome = cli(*words, "--epochs", 1, "--validation-size", 20, "--batch-size", 40, "--width", 0.0625)
    assert outcome.status == 0, outcome.err
    assert (image_shape("svhn"), class_names("svhn")) == ((3, 32, 32), tuple("0123456789"))
    assert not DATASETS.get("svhn").flip
