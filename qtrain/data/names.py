"""Whether there are data of a name, and where they lie; nothing is read, and nothing here needs torch."""

import os
from pathlib import Path

from qtrain.data.catalogue import DATASETS
from qtrain.errors import UserError

Root = str | Path | None
FORMS = "a folder of images, an .npz file, or my_module:load"


def is_own(name: str, root: Root = None) -> bool:
    """Whether a name is no data set that is known, but a place or code of one's own; nothing is read."""
    if name in DATASETS or not name.strip():
        return False
    return ":" in name or name.endswith((".npz", os.sep)) or place_of(name, root).exists() or os.sep in name


def check_name(name: str, root: Root = None) -> None:
    """See that a name is a data set's, or a place or code of one's own.

    Raises:
        UserError: it is none of these.
    """
    if name not in DATASETS and not is_own(name, root):
        raise UserError(
            f"unknown data set {name!r}; choose one of {', '.join(DATASETS.names())}, or name {FORMS}"
            f"{DATASETS.hint(name)}"
        )


def place_of(name: str, root: Root) -> Path:
    """Return where a folder or file lies: as it is named, or in the folder of the data."""
    given = Path(name).expanduser()
    folder = root or os.environ.get("QTRAIN_DATA")
    if given.exists() or given.is_absolute() or not folder:
        return given
    inside = Path(folder).expanduser() / name
    return inside if inside.exists() else given
