"""CIFAR's files: both published layouts, the download, and every way they can be wrong, at a hundredth of the size."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import socket
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qtrain.data.archive import Archive
from qtrain.data.cifar import CIFAR10, CIFAR100, CifarFormat, data_folder, load_cifar
from qtrain.errors import UserError
from tests.web import serve

SMALL10 = replace(CIFAR10, train_size=500, test_size=100)
SMALL100 = replace(CIFAR100, train_size=500, test_size=100)
FORMATS = pytest.mark.parametrize("layout", [SMALL10, SMALL100], ids=["cifar10", "cifar100"])


@dataclass(frozen=True)
class Content:
    """What the written files hold."""

    images: np.ndarray
    labels: np.ndarray


def content(layout: CifarFormat, size: int, seed: int) -> Content:
    rng = np.random.default_rng(seed)
    classes = len(layout.class_names)
    labels = rng.permutation(np.arange(size) % classes)
    return Content(rng.integers(0, 256, (size, 3, 32, 32), np.uint8), labels)


def write_binary(layout: CifarFormat, folder: Path) -> tuple[Content, Content]:
    """Write the published binary layout; a coarse label is a quarter of the fine one, so that a mix-up shows."""
    folder.mkdir(parents=True)
    made = content(layout, layout.train_size, 0), content(layout, layout.test_size, 1)
    for split, files in zip(made, (layout.train_files, layout.test_files), strict=True):
        for name, rows in zip(files, np.split(np.arange(len(split.labels)), len(files)), strict=True):
            fine = split.labels[rows, None].astype(np.uint8)
            columns = [fine] if layout.label_bytes == 1 else [fine // 4, fine]
            np.hstack([*columns, split.images[rows].reshape(len(rows), -1)]).tofile(folder / name)
    return made


def python2_pickle(pixels: np.ndarray, label_key: bytes, labels: np.ndarray) -> bytes:
    """Return {"data": pixels, label_key: labels} in the opcodes that Python 2 and NumPy 1 wrote the files with."""

    def word(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R" + b"(K\x03" + text(b"|") + b"NNN" + word(-1) * 2
    raw = pixels.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + word(pixels.shape[0]) + word(pixels.shape[1]) + b"\x86" + dtype + b"K\x00tb\x89"
    array += b"T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(label_key) + numbers + b"u."


def write_pickles(layout: CifarFormat, folder: Path) -> tuple[CifarFormat, tuple[Content, Content]]:
    """Write torchvision's folder; return the layout with the digests of what was written."""
    folder.mkdir(parents=True)
    made = content(layout, layout.train_size, 2), content(layout, layout.test_size, 3)
    digests = []
    for split, files in zip(made, (layout.train_pickles, layout.test_pickles), strict=True):
        found = []
        for (name, _), rows in zip(files, np.split(np.arange(len(split.labels)), len(files)), strict=True):
            raw = python2_pickle(split.images[rows].reshape(len(rows), -1), layout.pickle_label_key, split.labels[rows])
            (folder / name).write_bytes(raw)
            found.append((name, hashlib.md5(raw).hexdigest()))
        digests.append(tuple(found))
    return replace(layout, train_pickles=digests[0], test_pickles=digests[1]), made


def assert_loads(layout: CifarFormat, root: Path, made: tuple[Content, Content]) -> None:
    for split, expected in zip(load_cifar(layout, root, download=False), made, strict=True):
        assert torch.equal(split.images, torch.from_numpy(expected.images))
        assert torch.equal(split.labels, torch.from_numpy(expected.labels))


def refusal(layout: CifarFormat, root: Path, *, download: bool = False) -> str:
    """Return the one line that loading ends in."""
    with pytest.raises(UserError) as caught:
        load_cifar(layout, root, download=download)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- found on disk


@FORMATS
def test_the_binary_layout_is_read_bit_for_bit_with_fine_labels(layout: CifarFormat, tmp_path: Path) -> None:
    made = write_binary(layout, tmp_path / layout.archive.folder)
    assert_loads(layout, tmp_path, made)


@FORMATS
@pytest.mark.parametrize("name", ["published", "renamed"])
def test_the_root_may_be_the_folder_itself(layout: CifarFormat, name: str, tmp_path: Path) -> None:
    folder = tmp_path / (layout.archive.folder if name == "published" else "mine")
    assert_loads(layout, folder, write_binary(layout, folder))


@FORMATS
def test_torchvisions_folder_is_read_bit_for_bit(layout: CifarFormat, tmp_path: Path) -> None:
    known, made = write_pickles(layout, tmp_path / layout.pickle_folder)
    assert_loads(known, tmp_path, made)
    assert_loads(known, tmp_path / layout.pickle_folder, made)


def test_the_folder_is_the_root_else_the_variable_else_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QTRAIN_DATA", str(tmp_path / "variable"))
    assert data_folder(tmp_path / "root") == tmp_path / "root"
    assert data_folder(None) == tmp_path / "variable"
    monkeypatch.delenv("QTRAIN_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "qtrain" in data_folder(None).parts


def test_missing_data_without_download_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    says = refusal(SMALL10, tmp_path)
    for part in (str(tmp_path), "cifar-10-batches-bin", "cifar-10-batches-py", CIFAR10.archive.url, "QTRAIN_DATA"):
        assert part in says


# ---- damaged


def damage(kind: str, path: Path) -> None:
    raw = path.read_bytes()
    changed = {
        "truncated": raw[:-1],
        "fewer records": raw[: 3073 * 10],
        "empty": b"",
        "foreign": b"\xff" * len(raw),
        "zeros": bytes(len(raw)),
    }
    path.write_bytes(changed[kind])


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", "data_batch_2.bin is truncated or foreign: it has 307299 bytes, but 100 records of 3073 bytes"),
        ("fewer records", "data_batch_2.bin is truncated or foreign: it has 30730 bytes"),
        ("empty", "data_batch_2.bin is truncated or foreign: it has 0 bytes"),
        ("foreign", "data_batch_2.bin is foreign: it has a label 255, but labels are 0 to 9"),
        ("zeros", "of its 500 images are labelled 'airplane', but 50 should be"),
    ],
)
def test_a_damaged_binary_file_is_refused_with_what_it_has_and_should_have(
    kind: str, says: str, tmp_path: Path
) -> None:
    write_binary(SMALL10, tmp_path / "cifar-10-batches-bin")
    damage(kind, tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin")
    message = refusal(SMALL10, tmp_path)
    assert says in message
    assert message.endswith(SMALL10.help_text)


@FORMATS
def test_a_missing_file_is_named_and_not_downloaded_over(layout: CifarFormat, tmp_path: Path) -> None:
    write_binary(layout, tmp_path / layout.archive.folder)
    path = tmp_path / layout.archive.folder / layout.test_files[0]
    path.unlink()
    assert f"{path} is missing" in refusal(layout, tmp_path, download=True)


def test_a_folder_in_a_files_place_is_refused(tmp_path: Path) -> None:
    write_binary(SMALL10, tmp_path / "cifar-10-batches-bin")
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    path.unlink()
    path.mkdir()
    assert f"{path} is a folder, and a file is needed" in refusal(SMALL10, tmp_path)


def test_cifar100_files_are_not_taken_for_cifar10(tmp_path: Path) -> None:
    write_binary(SMALL100, tmp_path / "cifar-100-binary")
    (tmp_path / "cifar-100-binary").rename(tmp_path / "cifar-10-batches-bin")
    (tmp_path / "cifar-10-batches-bin" / "train.bin").rename(tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin")
    assert "data_batch_1.bin is truncated or foreign" in refusal(SMALL10, tmp_path)


class Attack:
    """Creates a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("forged_digest", [False, True], ids=["wrong digest", "forged digest"])
def test_a_malicious_pickle_does_not_run(forged_digest: bool, tmp_path: Path) -> None:
    layout, _ = write_pickles(SMALL10, tmp_path / "cifar-10-batches-py")
    mark = tmp_path / "attacked"
    raw = pickle.dumps(Attack(mark), protocol=2)
    pickle.loads(raw)  # it does attack where nobody checks
    mark.rmdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(raw)
    if forged_digest:
        first = ("data_batch_1", hashlib.md5(raw).hexdigest())
        layout = replace(layout, train_pickles=(first, *layout.train_pickles[1:]))
    says = refusal(layout, tmp_path)
    assert "data_batch_1" in says
    assert ("mkdir is not allowed" if forged_digest else "it was not opened") in says
    assert not mark.exists()


@pytest.mark.parametrize("raw", [pickle.dumps([1]), pickle.dumps({b"data": 1}), b"", b"\x80\x02}("])
def test_a_pickle_of_something_else_is_refused(raw: bytes, tmp_path: Path) -> None:
    layout, _ = write_pickles(SMALL100, tmp_path / "cifar-100-python")
    (tmp_path / "cifar-100-python" / "train").write_bytes(raw)
    layout = replace(layout, train_pickles=(("train", hashlib.md5(raw).hexdigest()),))
    assert "does not hold CIFAR images" in refusal(layout, tmp_path)


# ---- downloaded


@dataclass(frozen=True)
class Server:
    """A web server of one folder on this machine."""

    folder: Path
    url: str
    asked: list[str]

    def publish(self, layout: CifarFormat, extra: tuple[tarfile.TarInfo, ...] = ()) -> CifarFormat:
        """Serve a layout's archive; return the layout that names it."""
        source = self.folder / "source" / layout.archive.folder
        write_binary(layout, source)
        (source / "readme.html").write_text("not asked for")
        name = layout.archive.url.rsplit("/", 1)[-1]
        with tarfile.open(self.folder / name, "w:gz") as tar:
            for entry in extra:
                tar.addfile(entry, io.BytesIO(b"x" * entry.size))
            tar.add(source, layout.archive.folder)
        digest = hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
        members = layout.archive.members
        archive = Archive(f"{self.url}/{name}", f"sha256:{digest}", layout.archive.folder, members)
        return replace(layout, archive=archive)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "web"
    folder.mkdir()
    with serve(folder) as (url, asked):
        yield Server(folder, url, asked)


@FORMATS
def test_a_download_happens_once_and_leaves_only_the_needed_files(
    layout: CifarFormat, server: Server, tmp_path: Path
) -> None:
    published = server.publish(layout)
    root = tmp_path / "new" / "root"
    first = load_cifar(published, root)
    assert len(server.asked) == 1
    assert [path.name for path in root.iterdir()] == [layout.archive.folder]
    assert {path.name for path in (root / layout.archive.folder).iterdir()} == set(layout.archive.members)
    second = load_cifar(published, root)
    assert len(server.asked) == 1
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("existing", [True, False], ids=["existing root", "new root"])
@pytest.mark.parametrize("kind", ["flipped byte", "truncated", "error page"])
def test_a_damaged_download_is_refused_and_leaves_nothing(
    kind: str, existing: bool, server: Server, tmp_path: Path
) -> None:
    published = server.publish(SMALL10)
    path = server.folder / "cifar-10-binary.tar.gz"
    raw = path.read_bytes()
    damaged = {
        "flipped byte": raw[:5000] + bytes([raw[5000] ^ 1]) + raw[5001:],
        "truncated": raw[:-100],
        "error page": b"<html>please log in</html>",
    }
    path.write_bytes(damaged[kind])
    root = tmp_path / "root"
    if existing:
        root.mkdir()
    says = refusal(published, root, download=True)
    assert "damaged or foreign" in says
    assert published.archive.known_hash in says
    assert list(root.iterdir()) == [] if existing else not root.exists()


def test_a_published_file_that_is_no_archive_is_refused(server: Server, tmp_path: Path) -> None:
    (server.folder / "a.tar.gz").write_bytes(b"no archive")
    archive = replace(
        CIFAR10.archive, url=f"{server.url}/a.tar.gz", known_hash=f"sha256:{hashlib.sha256(b'no archive').hexdigest()}"
    )
    assert "is not a .tar.gz file" in refusal(replace(SMALL10, archive=archive), tmp_path / "root", download=True)
    assert not (tmp_path / "root").exists()


def test_an_archive_that_lacks_a_file_is_refused_whole(server: Server, tmp_path: Path) -> None:
    published = server.publish(SMALL10)
    more = replace(published.archive, members=(*published.archive.members, "data_batch_6.bin"))
    says = refusal(replace(published, archive=more), tmp_path / "root", download=True)
    assert "lacks cifar-10-batches-bin/data_batch_6.bin" in says
    assert not (tmp_path / "root").exists()


def test_names_and_links_in_an_archive_decide_nothing(server: Server, tmp_path: Path) -> None:
    outside = tarfile.TarInfo("../escaped")
    outside.size = 10
    absolute = tarfile.TarInfo(str(tmp_path / "absolute"))
    absolute.size = 10
    link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "linked")
    published = server.publish(SMALL10, (outside, absolute, link))
    train, _ = load_cifar(published, tmp_path / "root")
    assert len(train) == 500
    assert not (tmp_path / "root" / "cifar-10-batches-bin" / "data_batch_1.bin").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"web", "root"}
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["cifar-10-batches-bin"]


def test_an_address_that_is_not_there_is_named(server: Server, tmp_path: Path) -> None:
    archive = replace(CIFAR10.archive, url=f"{server.url}/moved.tar.gz")
    says = refusal(replace(SMALL10, archive=archive), tmp_path / "root", download=True)
    assert "404" in says
    assert "moved.tar.gz" in says
    assert str(tmp_path / "root") in says


def test_no_network_says_where_it_looked_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    archive = replace(CIFAR10.archive, url=f"http://127.0.0.1:{port}/cifar-10-binary.tar.gz")
    says = refusal(replace(SMALL10, archive=archive), tmp_path / "root", download=True)
    for part in (str(tmp_path / "root"), archive.url, "Connection refused", "QTRAIN_DATA"):
        assert part in says
    assert not (tmp_path / "root").exists()


def test_a_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("in the way")
    says = refusal(SMALL10, root, download=True)
    assert f"cannot write cifar-10-batches-bin to {root}" in says
    assert root.read_text() == "in the way"
