"""What is read is a plain file of a bounded size: nothing is waited for, and nothing that never ends is begun."""

import os
import socket
from pathlib import Path

import pytest

from qtrain.errors import UserError
from qtrain.records.plain_files import is_name, open_plain, read_plain, read_plain_text


def test_a_plain_file_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\r\ntwo\rthree\n")
    (tmp_path / "b").symlink_to("a")
    assert read_plain(tmp_path / "b") == b"one\r\ntwo\rthree\n"
    assert read_plain_text(tmp_path / "b") == "one\ntwo\nthree\n"


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


NODES = [
    ("a named pipe", os.mkfifo),
    ("a folder", Path.mkdir),
    ("a socket", make_socket),
    ("a device", lambda path: path.symlink_to("/dev/zero")),
    ("a device", lambda path: path.symlink_to("/dev/random")),
]


@pytest.mark.parametrize(("what", "make"), NODES, ids=[f"{i} {what}" for i, (what, _) in enumerate(NODES)])
def test_what_is_no_file_is_refused_at_once(what: str, make: object, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("odd")
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=f"^odd is {what}, and a file is needed; name one$"):
        open_plain(path)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"sparse has over 64 MiB"):
        read_plain(path)
    path.write_bytes(b"12345")
    assert read_plain(path, most=5) == b"12345"
    with pytest.raises(UserError, match=r"sparse has over 0 KiB"):
        read_plain(path, most=4)


def test_links_in_a_circle_and_names_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels"):
        open_plain(tmp_path / "loop")
    for name in ("a\0b", "a\ud800"):
        with pytest.raises(UserError, match="is no name of a file"):
            open_plain(tmp_path / name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "../a", "a\0"])
def test_a_name_leads_nowhere_else(name: str) -> None:
    assert not is_name(name)


def test_names_of_folders_are_names() -> None:
    assert all(map(is_name, ("TFC_1W1A-seed0", "..a", "a b")))
