"""The folders below a folder, with the files in them that say something of runs; links are never followed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qtrain.errors import UserError, is_out_of_files
from qtrain.records.comparison import ComparisonFile, FailureFile, GridFile
from qtrain.records.estimate import Estimate
from qtrain.records.fit import FitFile
from qtrain.records.manifest import MANIFEST
from qtrain.records.runs import RECORDS
from qtrain.records.status import StatusFile
from qtrain.records.sweep import CELL, ROWS, SweepFile

RECIPE = "recipe.yaml"
# What makes a folder a run's, and a comparison's, a sweep's or a fit's.
OF_RUN = (RECIPE, RECORDS, CELL, FailureFile.FILE)
OF_SEVERAL = (StatusFile.FILE, ComparisonFile.FILE, GridFile.FILE, SweepFile.FILE, FitFile.FILE)
_READ = {*OF_RUN, *OF_SEVERAL, ROWS, MANIFEST, Estimate.FILE}

Signature = tuple[int, int, int]  # time of the last change in ns, bytes, inode: another one, and the file is another


@dataclass
class Listing:
    """What a folder holds of the files that are read.

    Attributes:
        files: plain files, by name, with what tells an old version from a new one.
        odd: links and whatever else is no plain file, by name; they are named, never opened.
    """

    files: dict[str, Signature] = field(default_factory=dict)
    odd: set[str] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        """Of all of them."""
        return self.odd | self.files.keys()


@dataclass(frozen=True)
class Tree:
    """All folders at and below one.

    Attributes:
        root: as it was given.
        folders: those with a file that is read, in order.
        unread: folders that cannot be listed, with the reason.
    """

    root: Path
    folders: dict[Path, Listing]
    unread: dict[Path, str]

    def runs(self) -> list[Path]:
        """Return the run folders, in order."""
        return [folder for folder, listing in self.folders.items() if not listing.names.isdisjoint(OF_RUN)]

    def several(self) -> list[Path]:
        """Return the folders of comparisons and sweeps, in order."""
        return [folder for folder, listing in self.folders.items() if not listing.names.isdisjoint(OF_SEVERAL)]

    def at(self, folder: Path) -> Listing:
        """Return what a folder holds; nothing where it was not found."""
        return self.folders.get(folder, Listing())


def scan(root: Path) -> Tree:
    """Look through a folder and all below it but hidden ones.

    Raises:
        UserError: there is no such folder.
    """
    if not root.is_dir():
        raise UserError(f"{root} is {'a file' if root.exists() else 'not there'}; name a folder with runs below it")
    unread: dict[Path, str] = {}
    return Tree(root, dict(sorted(_walk(root, unread))), unread)


def _walk(root: Path, unread: dict[Path, str]) -> Iterator[tuple[Path, Listing]]:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        listing = Listing()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith("."):
                            waiting.append(folder / entry.name)
                    elif entry.name in _READ:
                        _note(entry, listing)
        except OSError as error:  # not ours to read, or gone since
            if is_out_of_files(error):
                raise
            if not isinstance(error, FileNotFoundError):
                unread[folder] = error.strerror or str(error)
            continue
        if listing.names:
            yield folder, listing


def _note(entry: "os.DirEntry[str]", listing: Listing) -> None:
    if not entry.is_file(follow_symlinks=False):
        listing.odd.add(entry.name)
        return
    found = entry.stat(follow_symlinks=False)
    listing.files[entry.name] = (found.st_mtime_ns, found.st_size, found.st_ino)
