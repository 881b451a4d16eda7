"""Published archives: download, check, unpack; all of it or nothing."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qtrain.errors import UserError


@dataclass(frozen=True)
class Archive:
    """Where a data set is published.

    Attributes:
        url: of a .tar.gz file.
        known_hash: algorithm and hex digest of that file, as in "sha256:58a8...".
        folder: the folder inside the archive that holds the members.
        members: names of the files to take out of that folder.
    """

    url: str
    known_hash: str
    folder: str
    members: tuple[str, ...]


def fetch(archive: Archive, root: Path) -> Path:
    """Download an archive with a progress bar and unpack its members to `root / archive.folder`.

    The folder appears in one step once the hash was right and everything is unpacked. After a failure nothing is left.

    Returns:
        The unpacked folder.

    Raises:
        UserError: `root` cannot be written, the server cannot be reached, or the file is not the published one.
    """

    def unpacked(scratch: Path, into: Path) -> None:
        what_else = f"unpack {archive.folder} there yourself, or name its folder with --data-root or QTRAIN_DATA"
        _unpack(download(archive.url, archive.known_hash, scratch, archive.folder, what_else), archive, into)

    return fill(root, archive.folder, unpacked)


def fill(root: Path, folder: str, make: Callable[[Path, Path], None]) -> Path:
    """Make `root / folder` in one step, or leave nothing.

    Args:
        root: created where it is not there.
        folder: one name.
        make: called with a folder for what is needed on the way, and the new folder to fill.

    Raises:
        UserError: `root` cannot be written.
    """
    target = root / folder
    made_root = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as scratch:
            into = Path(scratch) / folder
            into.mkdir()
            make(Path(scratch), into)
            if not target.is_dir():  # another process may have been faster
                into.rename(target)
    except OSError as error:
        raise UserError(
            f"cannot write {folder} to {root} ({error.strerror or error}); "
            "name a folder you can write to with --data-root or QTRAIN_DATA"
        ) from error
    finally:
        if made_root and root.is_dir() and not any(root.iterdir()):
            root.rmdir()
    return target


def download(url: str, known_hash: str, scratch: Path, what: str, what_else: str) -> Path:
    """Download a file with a progress bar and check it.

    Args:
        url: of the file.
        known_hash: algorithm and hex digest of that file, as in "sha256:58a8...".
        scratch: where it is to lie; a folder inside the one that was looked in.
        what: is missing, for errors.
        what_else: the user can do, for errors.

    Raises:
        UserError: the server cannot be reached, or the file is not the published one.
    """
    import pooch
    from tqdm import tqdm

    name = url.rsplit("/", 1)[-1]
    pooch.get_logger().setLevel("WARNING")  # the bar says it
    try:
        with tqdm(
            desc=name, total=1, unit="B", unit_scale=True, leave=False, disable=None
        ) as bar:  # pooch sets the real total
            downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=30)
            return Path(pooch.retrieve(url, known_hash, name, scratch, downloader=downloader))
    except OSError as error:  # requests' errors are OSErrors
        raise UserError(
            f"no {what} in {scratch.parent}, and {url} cannot be downloaded ({_deepest(error)}); "
            f"try again with a network, {what_else}"
        ) from error
    except ValueError as error:  # pooch's only one here: another hash
        raise UserError(
            f"{url} gave a damaged or foreign file, not the one with {known_hash}; nothing was kept "
            f"in {scratch.parent}; try again, {what_else}"
        ) from error


def _deepest(error: BaseException) -> str:
    """Return what went wrong at the bottom, in one line: requests wraps a missing name server four times."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(getattr(error, "strerror", None) or error).split())


def _unpack(path: Path, archive: Archive, into: Path) -> None:
    """Copy out the wanted regular files alone, so that no name or link in the archive decides where bytes go."""
    wanted = {f"{archive.folder}/{member}": into / member for member in archive.members}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for entry in tar:
                source = tar.extractfile(entry) if entry.isfile() else None
                if source is not None and entry.name in wanted:
                    with wanted.pop(entry.name).open("wb") as file:
                        shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive.url} is not a .tar.gz file ({error}); try again later") from error
    if wanted:
        raise UserError(f"{archive.url} lacks {', '.join(wanted)}; try again later")
