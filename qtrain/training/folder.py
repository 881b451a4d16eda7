"""The run folder: made for a new run, checked before one goes on, cleared after one that never began; no torch here."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qtrain.errors import UserError
from qtrain.recipe import Recipe, difference, dump_recipe, load_recipe
from qtrain.records.files import write_whole
from qtrain.records.runs import RECORDS, Result, read_records, read_result

if TYPE_CHECKING:
    from qtrain.data import DataSet

RECIPE = "recipe.yaml"
LAST = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"  # the one before, for where the last is damaged; none in a finished run
BEST = "best.pt"


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
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
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
def run_folder(out: Path, recipe: Recipe, resume: bool, files: Mapping[str, bytes]) -> Iterator[None]:
    """Make a new run's folder, or go on in one; a run that fails before its first checkpoint leaves nothing.

    Args:
        out: the folder.
        recipe: of the run.
        resume: go on in it.
        files: what else a new folder gets, by name.

    Raises:
        UserError: the folder holds other things, or cannot be made.
    """
    if resume:
        yield
        return
    check_free(out)
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_whole(out / RECIPE, dump_recipe(recipe).encode())
            for name, content in files.items():
                write_whole(out / name, content)
        except OSError as error:
            raise UserError(f"cannot write to {out} ({error.strerror}); name another folder") from None
        yield
    except BaseException:
        if not has_checkpoint(out):
            _remove(out, made)
        raise


def _remove(out: Path, made: list[Path]) -> None:
    """Take away a run's files, then those of the folders ``made`` for it that are empty."""
    for entry in out.iterdir() if out.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():  # a logger's
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for folder in made:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
