"""The checksum of a checkpoint covers every bit of it, and nothing that reads such files minds it."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from qtrain.training import checkpoint
from qtrain.training.seal import is_whole, records_match, seal
from tests.checks import same
from tests.damage import bit_of_each_byte, flipped

STATE = {"format": 1, "recipe": {"lr": 0.1}, "model": {"weight": torch.arange(24.0).view(4, 6)}, "epoch": 3}


def written(*, sealed: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    if sealed:
        seal(buffer)
    return buffer.getvalue()


def loaded(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=True)


def test_every_flipped_bit_is_seen() -> None:
    content = written(sealed=True)
    assert is_whole(content)
    assert not [bit for bit in range(8 * len(content)) if is_whole(flipped(content, bit))]


def test_torch_alone_takes_flipped_bits_for_weights() -> None:
    content = written(sealed=True)
    place = content.index(STATE["model"]["weight"].numpy().tobytes())
    assert not same(loaded(flipped(content, 8 * place + 100)), STATE)  # what the checksum is for


def test_what_is_cut_or_has_more_behind_it_is_seen() -> None:
    content = written(sealed=True)
    assert not [end for end in range(len(content)) if is_whole(content[:end])]
    assert not is_whole(content + b"\0")
    assert not is_whole(written(sealed=False) + b"\0")


def test_torch_and_readers_of_zips_pass_it_over(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.LAST
    checkpoint.save(path, STATE)
    assert is_whole(path.read_bytes())
    assert same(torch.load(path, weights_only=True), STATE)
    assert same(torch.load(path, weights_only=True, mmap=True), STATE)
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        assert file.comment.startswith(b"qtrain sha256 ")


def test_a_checkpoint_of_before_is_held_against_the_zips_own_checksums() -> None:
    content = written(sealed=False)
    assert is_whole(content)
    taken = [bit for bit in bit_of_each_byte(content) if is_whole(flipped(content, bit))]
    assert 0 < len(taken) < len(content) / 2  # padding, dates and what else of the zip means nothing to torch
    for bit in taken:
        try:
            found = loaded(flipped(content, bit))
        except (RuntimeError, ValueError):  # torch refuses it then
            continue
        assert same(found, STATE)


def test_a_file_that_is_no_zip_has_no_checksums_to_match() -> None:
    legacy = io.BytesIO()
    torch.save(STATE, legacy, _use_new_zipfile_serialization=False)
    assert records_match(legacy.getvalue())
    assert not is_whole(legacy.getvalue())
    assert not is_whole(b"")


@pytest.mark.parametrize("sealed", [True, False])
def test_what_was_read_and_saved_again_is_whole(sealed: bool) -> None:
    buffer = io.BytesIO()
    torch.save(loaded(written(sealed=sealed)), buffer)
    assert is_whole(buffer.getvalue())
