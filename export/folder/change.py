"""Several files of a FINN folder changed together: all or none, also where the process is killed between two of them.

The new files are made in a folder inside, which gets its name when all are whole. From then on the change is decided:
what is left in that folder is moved to its place, the manifest last, by whoever changes the folder next.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from qtrain.errors import UserError
from qtrain.export.errors import ProofError
from qtrain.export.folder.at_board import ABOUT, CLASSES
from qtrain.export.folder.build_files import FINN_PLUS_CONFIG, OFFICIAL_CONFIG
from qtrain.export.folder.contents import CHANGE, DIALECT_MODEL, FOLDING, MANIFEST, OFFICIAL_FOLDING, SIGNATURES
from qtrain.export.folder.readme import README
from qtrain.records.files import write_whole
from qtrain.records.leftovers import partial_of
from qtrain.records.lock import only_here

# A folder may come from a stranger: no other file is moved, wherever it lies.
CHANGEABLE = {
    *(FOLDING, OFFICIAL_FOLDING, FINN_PLUS_CONFIG, OFFICIAL_CONFIG, DIALECT_MODEL),
    *(README, CLASSES, ABOUT, MANIFEST),
}


def change_files(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Write files of a FINN folder, all or none; its signature, over another manifest, goes.

    Args:
        folder: that ``qtrain export`` wrote; the caller holds it.
        files: content by relative path, each one of ``CHANGEABLE``, the manifest among them.

    Returns:
        Whether there was a signature.

    Raises:
        UserError: it cannot be written; nothing in it was changed.
    """
    decided = folder / CHANGE
    work = partial_of(decided)
    try:
        shutil.rmtree(work, ignore_errors=True)  # of a process that was killed before it had decided
        for name, content in files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(work / name, content)
        os.replace(work, decided)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}); nothing in it was changed") from None
    finally:  # Ctrl-C too
        shutil.rmtree(work, ignore_errors=True)
        unsigned = _end(folder)
    return unsigned


def end_change(folder: Path) -> None:
    """End what a killed process has begun to change in a FINN folder.

    Raises:
        UserError: another process changes it now, or it cannot be written.
        ProofError: it holds other files to be moved than qtrain changes.
    """
    if not (folder / CHANGE).is_dir():
        return
    with only_here(folder, beside=True):
        try:
            _end(folder)
        except OSError as error:
            raise UserError(
                f"{folder} is half changed, and the rest cannot be written ({error.strerror}); make it writable"
            ) from None


def _end(folder: Path) -> bool:
    """Move what is left of a decided change to its place; say whether a signature had to go."""
    decided = folder / CHANGE
    if decided.is_symlink() or not decided.is_dir():
        return False
    found = [Path(place) / name for place, folders, files in os.walk(decided) for name in files]
    names = [path.relative_to(decided).as_posix() for path in found]
    places = {(folder / name).parent for name in names}
    if any(path.is_symlink() for path in (*found, *places - {folder})) or not CHANGEABLE.issuperset(names):
        raise ProofError(f"{decided} holds other files than qtrain changes; take it out of the folder")
    signatures = [folder / name for name in SIGNATURES if names and (folder / name).is_file()]
    for path in signatures:
        path.unlink()
    for name in sorted(names, key=lambda name: name == MANIFEST):
        os.replace(decided / name, folder / name)
    shutil.rmtree(decided)
    return bool(signatures)
