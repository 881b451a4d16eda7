"""Data sets that are published as single files: where they may lie, how they are downloaded, and their checksums."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qtrain.data.archive import download, fill
from qtrain.data.cifar_files import read_bytes
from qtrain.errors import UserError
from qtrain.records.plain_files import open_plain

_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Publication:
    """The files of a data set, and where they are published.

    Attributes:
        name: of the data set; a download goes to the folder of this name.
        url: of the folder that the files are published in, with the slash at its end.
        files: name and known hash of each, as in ``("a.zip", "sha256:58a8...")``.
        folders: more places where they are looked for, inside the folder of the data: where other tools leave them.
        alternatives: names by which unpacked files are known too.
    """

    name: str
    url: str
    files: tuple[tuple[str, str], ...]
    folders: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()

    @property
    def help_text(self) -> str:
        """What to do where the files are wrong."""
        return f"put the files of {self.url} there, or remove the folder to have them downloaded"

    def known_hash(self, name: str) -> str:
        """Return the known hash of a file."""
        return dict(self.files)[name]

    def folder(self, root: str | Path | None, download: bool) -> Path:
        """Return the folder that holds some of the files; where there is none, download them all.

        Args:
            root: the folder of the data, or the one that holds the files; default what QTRAIN_DATA names, else the
                user's cache.
            download: whether to download what is not there.

        Raises:
            UserError: the files are not there and cannot be downloaded.
        """
        place = data_folder(root)
        names = (*(name for name, _ in self.files), *self.alternatives)
        for candidate in (place / self.name, *(place / folder for folder in self.folders), place):
            if any((candidate / name).is_file() for name in names):
                return candidate
        if not download:
            raise UserError(
                f"no {self.name} in {place}: {self.files[0][0]} is in none of {self._places()}, and downloading is "
                f"off; allow it, or put the files of {self.url} there, or name another folder with --data-root or "
                "QTRAIN_DATA"
            )
        return self._fetch(place)

    def verified(self, path: Path) -> Path:
        """Return the path of a file whose bytes are the published ones; it is hashed at every call.

        Raises:
            UserError: the file is missing, unreadable or another one.
        """
        algorithm, known = self.known_hash(path.name).split(":")
        found = hashlib.new(algorithm, usedforsecurity=False)
        try:
            with open_plain(path) as file:
                while part := file.read(_AT_ONCE):
                    found.update(part)
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing; {self.help_text}") from error
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {self.help_text}") from error
        if found.hexdigest() != known:
            raise UserError(
                f"{path} is damaged or foreign: its {algorithm.upper()} is {found.hexdigest()}, not {known}; it was "
                f"not opened; {self.help_text}"
            )
        return path

    def read(self, path: Path) -> bytes:
        """Return the bytes of an unpacked file, whose checksum nobody published.

        Raises:
            UserError: the file is missing or unreadable.
        """
        return read_bytes(path, self.help_text)

    def _places(self) -> str:
        return ", ".join((self.name, *self.folders, "the folder itself"))

    def _fetch(self, place: Path) -> Path:
        def files(scratch: Path, into: Path) -> None:
            what_else = (
                f"put the files of {self.url} into {place / self.name} yourself, or name their folder with "
                "--data-root or QTRAIN_DATA"
            )
            for name, known_hash in self.files:
                found = download(self.url + name, known_hash, scratch, self.name, what_else)
                found.rename(into / name)

        return fill(place, self.name, files)


def check_counts(
    where: object, labels: np.ndarray, counts: Sequence[int], names: Sequence[str], publication: Publication
) -> None:
    """See that each class has its number of images: no checksum of unpacked files is published.

    Args:
        where: the labels were read, for the error.
        labels: int [N].
        counts: images of each class, as published.
        names: of the classes.
        publication: that they are of.

    Raises:
        UserError: a label is none of the classes', or a class has another number of images.
    """
    found = np.bincount(labels, minlength=len(counts))
    if len(found) > len(counts):
        raise UserError(
            f"{where} is foreign: it has a label {len(found) - 1}, but labels are 0 to {len(counts) - 1}; "
            f"{publication.help_text}"
        )
    if (found != counts).any():
        odd = int(np.abs(found - np.asarray(counts)).argmax())
        raise UserError(
            f"{where} is not {publication.name}: {found[odd]} of its {len(labels)} images are labelled {names[odd]!r}, "
            f"but {counts[odd]} should be; {publication.help_text}"
        )


def data_folder(root: str | Path | None) -> Path:
    """Return the folder to look in: `root`, else what QTRAIN_DATA names, else the user's cache."""
    place = root or os.environ.get("QTRAIN_DATA")
    if place:
        return Path(place).expanduser()
    import pooch

    return Path(pooch.os_cache("qtrain"))
