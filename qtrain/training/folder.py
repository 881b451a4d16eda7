"""The run folder: made for a new run, checked before one goes on, cleared after one that never began; no torch here."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtrain.errors import UserError
from qtrain.recipe import Recipe, difference, dump_recipe, load_recipe
from qtrain.records.files import write_whole
from qtrain.records.format import JsonFile
from qtrain.records.leftovers import clear, is_free, remove_left_over
from qtrain.records.runs import RECORDS, Result, read_records, read_result

if TYPE_CHECKING:
    from qtrain.data import DataSet

RECIPE = "recipe.yaml"
LAST = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"  # the one before, for where the last is damaged; none in a finished run
BEST = "best.pt"
BEGUN = ".begun.json"


@dataclass(frozen=True)
class _Beginning(JsonFile):
    """What a new run's folder holds until the run's own record is written.

    Attributes:
        files: that it gets before its recipe, by name.
        record: what its own record is to say besides.
    """

    FILE = BEGUN
    MADE_BY = "qtrain train"
    MEND = "train again in a new folder"
    files: tuple[str, ...]
    record: Mapping[str, Any]


def folder_recipe(folder: Path) -> Recipe:
    """The recipe of a run folder.

    Raises:
        UserError: not a run folder, or its recipe is damaged, or not that which the run was begun with.
    """
    path = folder / RECIPE
    if not path.is_file():
        raise UserError(f"{folder} is not a run folder (no {RECIPE}); name one that qtrain train wrote")
    recipe = load_recipe(path)
    records = read_records(folder) if (folder / RECORDS).exists() else []
    begun = [
        record["recipe"] for record in records if record["type"] == "run" and isinstance(record.get("recipe"), dict)
    ]
    if begun and (other := difference(begun[-1], recipe.to_dict())):
        raise UserError(
            f"{path} differs from what the run was begun with, by {RECORDS} {other}; put that back, or train anew in "
            "another folder"
        )
    return recipe


def check_free(out: Path) -> None:
    """See that a new run may be written to ``out``.

    Raises:
        UserError: it is a file, or a folder that holds anything.
    """
    if (out / RECIPE).is_file():
        raise UserError(f"{out} holds a run already; name a new folder, or continue the run with --resume {out}")
    if not is_free(out, but=_begun(out)):
        raise UserError(f"{out} holds other things already and nothing is overwritten; name a new or empty folder")


def check_run(out: Path, recipe: Recipe, otherwise: str = f"resume it with its own {RECIPE}") -> None:
    """See that ``out`` is a run folder of ``recipe``.

    Args:
        out: the folder.
        recipe: wanted there.
        otherwise: what to do where it is another; the error's end.

    Raises:
        UserError: it is none, or of another recipe.
    """
    if other := difference(folder_recipe(out).to_dict(), recipe.to_dict()):
        raise UserError(f"{out} is a run of another recipe ({other}); {otherwise}")


def check_data(out: Path, data: "DataSet") -> None:
    """See that data of one's own are still those that the run in ``out`` began with.

    Raises:
        UserError: they have changed since.
    """
    records = read_records(out) if (out / RECORDS).exists() else []
    facts = [record["data"] for record in records if record["type"] == "run" and isinstance(record.get("data"), dict)]
    if facts and facts[-1].get("digest") != data.digest:
        raise UserError(
            f"{data.name} has changed since {out} was trained on it; put the old data back, or train anew in another "
            "folder"
        )


def has_checkpoint(out: Path) -> bool:
    """Whether a run has saved its state, the last or the one before."""
    return (out / LAST).exists() or (out / PREVIOUS).exists()


def has_begun(out: Path) -> bool:
    """Whether there is a checkpoint to continue from; a run that was killed in its first epoch starts again.

    True also where the records know of more than that epoch, so that a lost checkpoint is an error.
    """
    if has_checkpoint(out) or not (out / RECORDS).exists():
        return has_checkpoint(out)
    return sum(record["type"] == "epoch" for record in read_records(out)) > 1


def last_result(out: Path) -> Result | None:
    """The result in a run folder's records, None where the run has not ended.

    Raises:
        UserError: the records are damaged, or lost.
    """
    if not has_begun(out):
        return None
    return read_result(out)


@contextmanager
def new_run(
    out: Path, recipe: Recipe, names: Collection[str], record: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Make a new run's folder. Inside, files go into it; the recipe, which makes it a run's, comes last.

    One that is killed before is free to be made again.

    Args:
        out: the folder, which the caller holds.
        recipe: of the run.
        names: of those files.
        record: entries for the run's own record; ``unrecorded`` reads them back until ``recorded`` is called.

    Raises:
        UserError: the folder holds other things, or cannot be written.
    """
    check_free(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in _begun(out):  # of one that was killed
            (out / name).unlink(missing_ok=True)
        remove_left_over(out)
        _Beginning(tuple(names), dict(record or {})).write(out)
        yield
        write_whole(out / RECIPE, dump_recipe(recipe).encode())
    except BaseException as error:
        clear(out, last=BEGUN)
        if isinstance(error, OSError):
            raise UserError(f"cannot write to {out} ({error.strerror}); name another folder") from None
        raise


@contextmanager
def run_folder(
    out: Path, recipe: Recipe, files: Mapping[str, bytes], extra: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Make a new run's folder; a run that fails inside, before its first checkpoint, leaves nothing.

    Args:
        out: as of ``new_run``.
        recipe: of the run.
        files: what else the folder gets, by name.
        extra: entries for the run's own record.

    Raises:
        UserError: as ``new_run``.
    """
    with new_run(out, recipe, files, extra):
        for name, content in files.items():
            write_whole(out / name, content)
    try:
        yield
    except BaseException:
        if not has_checkpoint(out):
            clear(out, last=RECIPE)
        raise


@contextmanager
def known_folder(out: Path) -> Iterator[None]:
    """Go on in a run's folder, which the caller holds."""
    remove_left_over(out)
    yield


def unrecorded(out: Path) -> dict[str, Any]:
    """Return what the own record of a run is to say besides, where it was killed before that was written.

    Raises:
        UserError: that is damaged.
    """
    return dict(_Beginning.read(out).record) if _Beginning.is_in(out) else {}


def _begun(out: Path) -> tuple[str, ...]:
    """Return the files that a run began with, its recipe aside, where it was killed before its own record.

    The one that names the others comes last: whoever takes them away may be killed in between.
    """
    return (*_Beginning.read(out).files, BEGUN) if _Beginning.is_in(out) else ()


def recorded(out: Path) -> None:
    """Note that the run's own record is on disk."""
    (out / BEGUN).unlink(missing_ok=True)
