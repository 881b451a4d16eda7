"""Files are there whole or not at all, and an error names the one that could not be written."""

import errno
from pathlib import Path

import numpy as np
import pytest

from qtrain.records.files import write_json_lines, write_whole, writing


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    write_whole(path, b"old")
    (tmp_path / ".checkpoint.pt.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*/checkpoint\.pt'") as raised:
        write_whole(path, b"new")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"]


def test_a_folder_that_takes_no_file_is_said_by_the_name_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        write_json_lines(tmp_path / "gone" / "records.jsonl", [{}])
    assert raised.value.filename == str(tmp_path / "gone" / "records.jsonl")


def test_what_numpy_cannot_write_is_an_error_of_the_folder_that_it_becomes(tmp_path: Path) -> None:
    (tmp_path / "a.npy").symlink_to("/dev/full")
    with pytest.raises(OSError, match="finn") as raised, writing(tmp_path / "finn", tmp_path):
        np.save(tmp_path / "a.npy", np.zeros(100_000))
    assert raised.value.filename == str(tmp_path / "finn")
    assert raised.value.errno


def test_an_error_of_another_file_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised, writing(tmp_path / "finn", tmp_path / "work"):
        (tmp_path / "other").read_bytes()
    assert raised.value.filename == str(tmp_path / "other")
