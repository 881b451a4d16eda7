"""A bit that flips in any file of a FINN folder is found, or changes nothing that is read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.export.errors import ProofError
from qtrain.export.folder.checks import check_folder
from qtrain.export.folder.contents import MANIFEST, read_manifest
from qtrain.records.manifest import read_export
from tests.checks import check_refusal
from tests.damage import bit_of_each_byte, check_flips, flipped, some_bits


def test_a_flip_in_the_manifest_is_found(finn: Path) -> None:
    path = finn / MANIFEST
    bits = some_bits(path.read_bytes(), 400)
    assert check_flips(path, bits, lambda: read_manifest(finn)) > 0.99 * len(bits)
    some = bits[::5]
    assert check_flips(path, some, lambda: (read_manifest(finn), read_export(finn))) > 0.98 * len(some)


@pytest.mark.slow
def test_a_flip_in_any_byte_of_the_manifest_is_found(finn: Path) -> None:
    path = finn / MANIFEST
    bits = list(bit_of_each_byte(path.read_bytes()))
    assert check_flips(path, bits, lambda: read_manifest(finn)) > 0.995 * len(bits)


@pytest.mark.parametrize("count", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_a_flip_in_any_other_file_is_found(finn: Path, count: int) -> None:
    manifest = read_manifest(finn)
    for name in manifest["files"]:
        whole = (finn / name).read_bytes()
        for bit in some_bits(whole, count):
            (finn / name).write_bytes(flipped(whole, bit))
            with pytest.raises(ProofError, match="is not what was exported") as raised:
                check_folder(finn, manifest)
            assert name in str(raised.value)
        (finn / name).write_bytes(whole)


def test_verify_says_it_in_one_line(finn: Path, cli: Callable) -> None:
    whole = (finn / MANIFEST).read_bytes()
    (finn / MANIFEST).write_bytes(flipped(whole, 8 * whole.index(b'"versions"') + 8 * 20))
    check_refusal(cli("verify", finn), 2, f"{finn / MANIFEST} is damaged", "export the run again")
    (finn / MANIFEST).write_bytes(whole)
    content = (finn / "model.onnx").read_bytes()
    (finn / "model.onnx").write_bytes(flipped(content, 4 * len(content)))
    check_refusal(cli("verify", finn), 3, "is not what was exported (changed: model.onnx)", "export the run again")


def test_the_manifest_of_an_earlier_version_has_no_checksum_and_is_read(finn: Path) -> None:
    manifest = read_manifest(finn)
    (finn / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    assert read_manifest(finn) == manifest
    check_folder(finn, manifest)
    shutil.rmtree(finn)
