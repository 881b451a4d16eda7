"""MNIST's and Fashion-MNIST's files: packed, unpacked, downloaded, and every way they can be wrong, at a small size."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qtrain.data import DATASETS, class_names, image_shape, load_data
from qtrain.data.mnist import FASHION_MNIST, MNIST, IdxFormat
from qtrain.errors import UserError
from qtrain.recipe import default_recipe
from tests.web import serve

COUNTS = (9, 11, 10, 10, 10, 10, 10, 10, 10, 10)
SMALL = replace(MNIST, train_counts=COUNTS, test_counts=(3,) * 10)
SMALL_FASHION = replace(FASHION_MNIST, train_counts=(10,) * 10, test_counts=(3,) * 10)
FORMATS = pytest.mark.parametrize("layout", [SMALL, SMALL_FASHION], ids=["mnist", "fashion_mnist"])
Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


def idx(array: np.ndarray) -> bytes:
    """Return a file of the idx format: a magic number, the sizes, the bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def content(layout: IdxFormat) -> Arrays:
    """Return images in whose labels is a pattern, so that a network can learn them, by the names of the parts."""
    rng = np.random.default_rng(0)
    made = {}
    for part, counts in (("train", layout.train_counts), ("t10k", layout.test_counts)):
        labels = rng.permutation(np.repeat(np.arange(10), counts)).astype(np.uint8)
        images = rng.integers(0, 100, (len(labels), 28, 28), np.uint8)
        images[np.arange(len(labels)), 2 * labels] = 255
        made[part] = (images, labels)
    return made


def write(layout: IdxFormat, folder: Path, *, packed: bool = True) -> tuple[IdxFormat, Arrays]:
    """Write the four files; return the layout that knows their digests, and what they hold."""
    folder.mkdir(parents=True, exist_ok=True)
    made = content(layout)
    known = []
    for part, (images, labels) in made.items():
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            raw = gzip.compress(idx(array), mtime=0)
            known.append((f"{name}.gz", f"sha256:{hashlib.sha256(raw).hexdigest()}"))
            (folder / (f"{name}.gz" if packed else name)).write_bytes(raw if packed else idx(array))
    return replace(layout, publication=replace(layout.publication, files=tuple(known))), made


def assert_reads(layout: IdxFormat, root: Path, made: Arrays, *, download: bool = False) -> None:
    for split, (images, labels) in zip(layout.read(root, download), made.values(), strict=True):
        assert torch.equal(split.images, torch.from_numpy(images)[:, None])
        assert torch.equal(split.labels, torch.from_numpy(labels).long())


def refusal(layout: IdxFormat, root: Path, *, download: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        layout.read(root, download)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- found on disk


@FORMATS
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
@pytest.mark.parametrize("where", ["", "own name", "torchvision", "inside torchvision"])
def test_published_files_are_read_bit_for_bit(layout: IdxFormat, packed: bool, where: str, tmp_path: Path) -> None:
    theirs = layout.publication.folders[0]
    folder = {"": "", "own name": layout.publication.name}.get(where, theirs)
    known, made = write(layout, tmp_path / "data" / folder, packed=packed)
    root = tmp_path / "data" / ("" if where != "inside torchvision" else theirs.split("/")[0])
    assert_reads(known, root, made)


def test_missing_files_say_where_they_were_looked_for_and_what_to_do(tmp_path: Path) -> None:
    says = refusal(MNIST, tmp_path)
    for part in (str(tmp_path), "train-images-idx3-ubyte.gz", "MNIST/raw", MNIST.publication.url, "QTRAIN_DATA"):
        assert part in says


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
def test_one_missing_file_is_named_and_not_downloaded_over(packed: bool, tmp_path: Path) -> None:
    known, _ = write(SMALL, tmp_path / "mnist", packed=packed)
    name = f"t10k-labels-idx1-ubyte{'.gz' if packed else ''}"
    (tmp_path / "mnist" / name).unlink()
    assert "t10k-labels-idx1-ubyte.gz is missing" in refusal(known, tmp_path, download=True)


# ---- damaged


@pytest.mark.parametrize("kind", ["cut", "flipped bit", "empty"])
def test_a_packed_file_that_is_not_the_published_one_is_not_opened(kind: str, tmp_path: Path) -> None:
    known, _ = write(SMALL, tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    raw = path.read_bytes()
    path.write_bytes({"cut": raw[:-9], "flipped bit": raw[:99] + bytes([raw[99] ^ 1]) + raw[100:], "empty": b""}[kind])
    says = refusal(known, tmp_path)
    assert f"{path} is damaged or foreign: its SHA256 is " in says
    assert says.endswith(known.publication.help_text)


def test_a_packed_file_with_the_right_digest_may_still_be_no_gz_file(tmp_path: Path) -> None:
    known, _ = write(SMALL, tmp_path)
    for raw in (b"no gz file", gzip.compress(b"x" * 99)[:-9]):
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(raw)
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        files = (("train-images-idx3-ubyte.gz", digest), *known.publication.files[1:])
        forged = replace(known, publication=replace(known.publication, files=files))
        assert "train-images-idx3-ubyte.gz is no .gz file" in refusal(forged, tmp_path)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("cut", "train-images-idx3-ubyte is truncated or foreign: it has 78415 bytes that start with 0000080300"),
        ("longer", "train-images-idx3-ubyte is truncated or foreign: it has 78417 bytes"),
        ("empty", "train-images-idx3-ubyte is truncated or foreign: it has 0 bytes"),
        ("header", "train-images-idx3-ubyte is truncated or foreign: it has 78416 bytes that start with 00000d03"),
    ],
)
def test_an_unpacked_file_of_another_size_or_header_is_refused(kind: str, says: str, tmp_path: Path) -> None:
    known, _ = write(SMALL, tmp_path, packed=False)
    path = tmp_path / "train-images-idx3-ubyte"
    raw = path.read_bytes()
    changed = {"cut": raw[:-1], "longer": raw + b"x", "empty": b"", "header": b"\x00\x00\x0d" + raw[3:]}
    path.write_bytes(changed[kind])
    assert says in refusal(known, tmp_path)


@pytest.mark.parametrize(
    ("label", "says"),
    [(200, "has a label 200, but labels are 0 to 9"), (3, "is not mnist: .* of its 100 images are labelled '3', but")],
)
def test_labels_that_are_not_the_published_ones_are_refused(label: int, says: str, tmp_path: Path) -> None:
    known, made = write(SMALL, tmp_path, packed=False)
    labels = made["train"][1].copy()
    labels[:20] = label
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    with pytest.raises(UserError, match=says):
        known.read(tmp_path, False)


def test_unpacked_mnist_is_not_taken_for_fashion(tmp_path: Path) -> None:
    write(SMALL, tmp_path, packed=False)
    assert "is not fashion_mnist" in refusal(SMALL_FASHION, tmp_path)


# ---- downloaded


def test_a_download_happens_once_and_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    known, made = write(SMALL, tmp_path / "web")
    root = tmp_path / "new" / "root"
    with serve(tmp_path / "web") as (url, asked):
        known = replace(known, publication=replace(known.publication, url=f"{url}/"))
        assert_reads(known, root, made, download=True)
        assert_reads(known, root, made, download=True)
    assert len(asked) == 4
    assert [path.name for path in root.iterdir()] == ["mnist"]
    assert len(list((root / "mnist").iterdir())) == 4


@pytest.mark.parametrize("kind", ["damaged", "missing"])
def test_a_failed_download_leaves_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    known, _ = write(SMALL, tmp_path / "web")
    path = tmp_path / "web" / "t10k-images-idx3-ubyte.gz"
    if kind == "damaged":
        path.write_bytes(b"<html>please log in</html>")
    else:
        path.unlink()
    with serve(tmp_path / "web") as (url, _):
        known = replace(known, publication=replace(known.publication, url=f"{url}/"))
        says = refusal(known, tmp_path / "root", download=True)
    assert ("damaged or foreign" if kind == "damaged" else "cannot be downloaded") in says
    assert f"{url}/t10k-images-idx3-ubyte.gz" in says
    assert not (tmp_path / "root").exists()


# ---- as a data set


@FORMATS
def test_the_published_set_is_what_its_papers_say(layout: IdxFormat) -> None:
    published = {"mnist": MNIST, "fashion_mnist": FASHION_MNIST}[layout.publication.name]
    assert (sum(published.train_counts), sum(published.test_counts)) == (60_000, 10_000)
    row = DATASETS.get(layout.publication.name)
    assert (row.flip, row.validation_size) == (False, 6000)
    assert image_shape(layout.publication.name) == (1, 28, 28)
    assert class_names(layout.publication.name) == published.class_names


@pytest.mark.parametrize("network", ["TFC_1W1A", "SFC_2W2A", "LFC_1W2A"])
def test_finns_own_networks_train_on_it_by_their_recipe(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable
) -> None:
    known, made = write(SMALL, tmp_path / "data" / "MNIST" / "raw")
    monkeypatch.setattr("qtrain.data.mnist.MNIST", known)
    words = ["train", network, "--data", "mnist", "--data-root", tmp_path / "data", "--out", tmp_path / "run"]
    outcome = cli(*words, "--epochs", 1, "--validation-size", 20, "--batch-size", 20, "--width", 0.25)
    assert outcome.status == 0, outcome.err
    exported = cli("export", tmp_path / "run", "--data-root", tmp_path / "data", "--board", "Pynq-Z1")
    assert exported.status == 0, exported.err
    assert "30 of 30" in exported.out
    recipe = default_recipe(network, "mnist")
    assert (recipe.optimizer, recipe.lr, recipe.batch_size, recipe.loss) == ("adam", 0.02, 100, "squared_hinge")
    data = load_data("mnist", root=tmp_path / "data", validation_size=20)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [80, 20, 30]
    assert torch.equal(data.test.images[:, 0], torch.from_numpy(made["t10k"][0]))
