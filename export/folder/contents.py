"""The FINN folder: one folder that official FINN and FINN+ build from, with the proof inside it."""

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from torch import Tensor, from_numpy

from qtrain.errors import UserError
from qtrain.export.errors import ProofError
from qtrain.export.foreign.arrays import read_npy, read_npz
from qtrain.records.files import open_plain, read_plain_text, write_json
from qtrain.records.format import Source
from qtrain.records.manifest import FORMAT, MANIFEST

SIGNATURES = (f"{MANIFEST}.sig", f"{MANIFEST}.minisig")  # over the manifest, so it cannot list them
PRODUCTS = ("output", "estimate")  # where builds and `qtrain estimate` write, and nothing reads
# Numbers beyond are damaged.
MOST_FPS = 10**12
_AT_ONCE = 1 << 24  # bytes of a file
MOST_CLOCK_NS = 10**9
_PACKAGES = ("qtrain", "torch", "brevitas", "qonnx", "onnx", "onnxruntime", "numpy")

SHIPPED = ("custom_steps.py", "custom_transforms.py")
SHIPPED_FROM = Path(__file__).with_name("shipped")


def check_destination(out: Path) -> None:
    """See that ``out`` is free.

    Raises:
        UserError: it is a file, or a folder that holds anything.
    """
    if out.is_file():
        raise UserError(f"{out} is a file; name a new or empty folder")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} holds other things already and nothing is overwritten; name a new or empty folder")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``out`` at the end, whole, or disappears on an error."""
    check_destination(out)
    made = [folder for folder in out.parents if not folder.exists()]
    try:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        except OSError as error:
            raise UserError(f"cannot write to {out} ({error.strerror}); name another folder") from None
        try:
            yield work
            work.chmod(0o755)
            if out.is_dir():
                out.rmdir()
            os.replace(work, out)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def versions() -> dict[str, str]:
    """Versions of the packages that an export depends on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def write_golden_pair(folder: Path, pixels: Tensor, classes: Tensor) -> None:
    """FINN's own check: raw 0..255 images float32 [N, C, H, W] and their classes float32 [N, 1]."""
    np.save(folder / "input.npy", pixels.float().numpy())
    np.save(folder / "expected_output.npy", classes.reshape(-1, 1).float().numpy())


def write_proof_data(folder: Path, pixels: Tensor, labels: Tensor, logits: Tensor) -> None:
    """The test set and what torch answered, so that the folder alone can repeat the proof."""
    proof = folder / "proof"
    proof.mkdir()
    np.save(proof / "images.npy", pixels.numpy())
    np.savez(proof / "expected.npz", labels=labels.numpy(), logits=logits.numpy())


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under ``folder`` but the manifest and its signature, by relative path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (MANIFEST, *SIGNATURES))
    return {p.relative_to(folder).as_posix(): checksum(p) for p in files}


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, which is read in parts."""
    found = hashlib.sha256()
    with open_plain(path) as file:
        while part := file.read(_AT_ONCE):
            found.update(part)
    return found.hexdigest()


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``facts`` with versions and checksums; the last file written."""
    manifest = {"format": FORMAT, **facts, "versions": versions(), "files": checksums(folder)}
    write_json(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a FINN folder's manifest.

    Raises:
        UserError: no such folder, not one of ours, or of another format.
    """
    source = Source(folder / MANIFEST, "export the run again")
    try:
        text = read_plain_text(source.path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is not a FINN folder (no {MANIFEST}); name one that qtrain export wrote") from None
    except UnicodeDecodeError as error:
        raise source.damaged(str(error)) from None
    manifest = source.parse(text)
    found = manifest.get("format")
    if isinstance(found, int) and not isinstance(found, bool) and 0 < found < FORMAT:
        raise UserError(
            f"{folder} was written by an earlier version of qtrain (format {found}, now {FORMAT}), whose manifest does "
            "not hold all that is proven now; export the run again into a new folder"
        )
    if found != FORMAT:
        raise UserError(f"{folder} has format {found!r}, this qtrain reads {FORMAT}; export the run again")
    if not isinstance(manifest.get("files"), dict) or not isinstance(manifest.get("proof"), dict):
        raise UserError(f"{folder / MANIFEST} is damaged (no files or no proof in it); export the run again")
    _check_facts(folder, manifest)
    return manifest


def _check_facts(folder: Path, manifest: Mapping[str, Any]) -> None:
    """See that what is read of a manifest is there, of its type, and that its files are inside the folder.

    Raises:
        UserError: names the entry.
    """
    kinds: dict[str, Any] = {"board": str, "target_fps": int, "clock_ns": (int, float)}
    for name, kind in kinds.items():
        value = manifest.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UserError(f"{folder / MANIFEST} is damaged ({name} is {str(value)[:40]!r}); export the run again")
    if not 1 <= manifest["target_fps"] <= MOST_FPS or not 0 < manifest["clock_ns"] < MOST_CLOCK_NS:
        raise UserError(f"{folder / MANIFEST} is damaged (target_fps or clock_ns is no target); export the run again")
    for name, checksum in manifest["files"].items():
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or "\0" in name or not isinstance(checksum, str):
            raise UserError(f"{folder / MANIFEST} is damaged (files has {name[:80]!r}); export the run again")


def check_files(folder: Path, manifest: Mapping[str, Any], changed_too: frozenset[str] = frozenset()) -> None:
    """See that every recorded file is there, unchanged, and no other; what a build wrote is left alone.

    Args:
        folder: FINN folder.
        manifest: of it.
        changed_too: files that may be changed.

    Raises:
        ProofError: names the files that are missing, changed or not recorded.
    """
    recorded: dict[str, str] = manifest["files"]
    present = {name: folder / name for name in recorded if (folder / name).is_file()}
    changed = [name for name, path in present.items() if checksum(path) != recorded[name]]
    wrong = {
        "missing": sorted(set(recorded) - set(present)),
        "changed": [name for name in changed if name not in changed_too],
        "not named by the manifest": _others(folder, recorded),
    }
    if any(wrong.values()):
        parts = [f"{what}: {few(names)}" for what, names in wrong.items() if names]
        alone = not wrong["missing"] and not wrong["changed"]
        mend = "take it out of the folder" if alone else "export the run again"
        raise ProofError(f"{folder} is not what was exported ({'; '.join(parts)}); {mend}")


def _others(folder: Path, recorded: Mapping[str, str]) -> list[str]:
    """Relative paths of the files and links that are not recorded."""
    known = {MANIFEST, *SIGNATURES, *recorded}
    found = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if here == folder:
            folders[:] = [name for name in folders if name not in PRODUCTS]
        links = [name for name in folders if (here / name).is_symlink()]
        found += [(here / name).relative_to(folder).as_posix() for name in [*files, *links]]
    return sorted(name for name in found if name not in known)


def few(names: Sequence[str], most: int = 4) -> str:
    """Return the first names, cut to what a line holds, and how many more there are."""
    more = f" and {len(names) - most} more" if names[most:] else ""
    return ", ".join(name[:60] for name in names[:most]) + more


def read_proof_data(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels uint8 [N, C, H, W], labels int64 [N] and expected logits float64 [N, classes]."""
    file = folder / "proof" / "expected.npz"
    labels, logits = read_npz(file, "labels", "logits")
    images = read_npy(folder / "proof" / "images.npy")
    count = len(images) if images.ndim == 4 else 0
    _check_array(folder / "proof" / "images.npy", images, "uint8", (max(count, 1), *images.shape[1:4]))
    _check_array(file, labels, "int64", (count,))
    outputs = logits.shape[1] if logits.ndim == 2 else 1
    _check_array(file, logits, "float64", (count, outputs))
    return from_numpy(images), from_numpy(labels), from_numpy(logits)


def read_golden_pair(folder: Path, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """FINN's own check: images float32 [N, *shape], and their classes float32 [N].

    Raises:
        UserError: a file is damaged, or holds something else.
    """
    images = read_npy(folder / "input.npy")
    classes = read_npy(folder / "expected_output.npy")
    count = len(images) if images.ndim else 0
    _check_array(folder / "input.npy", images, "float32", (count, *shape))
    _check_array(folder / "expected_output.npy", classes, "float32", (count, 1))
    return from_numpy(images), from_numpy(classes.reshape(-1))


def _check_array(path: Path, array: np.ndarray, kind: str, shape: tuple[int, ...]) -> None:
    if array.dtype != kind or array.shape != shape:
        raise UserError(
            f"{path} holds {array.dtype} {list(array.shape)} where {kind} {list(shape)} belongs; export the run again"
        )
