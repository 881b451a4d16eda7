"""What happens before a run's first step: its folder, its data, its model, and the state that it goes on from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qtrain.data import DataSet
from qtrain.recipe import Recipe
from qtrain.records.lock import only_here
from qtrain.training import checkpoint
from qtrain.training.callbacks import Callbacks
from qtrain.training.check_model import check_labels, check_model, check_same, check_start
from qtrain.training.context import RunContext
from qtrain.training.distributed import Ranks
from qtrain.training.folder import check_data, check_free, check_run, known_folder, run_folder
from qtrain.training.memory import keep_freed_memory
from qtrain.training.saved_state import restoring
from qtrain.training.session import Session
from qtrain.training.setup import batches_of, make_session, place
from qtrain.training.splits import load_splits, thinned


def check_folder(out: Path, recipe: Recipe, resume: bool, start: Mapping[str, Any] | None) -> None:
    """See that the run can be written to ``out``, or that it is the run to be resumed."""
    if resume:
        check_run(out, recipe)
        return
    check_free(out)
    check_start(recipe, start)


def data_for(recipe: Recipe, given: DataSet | None, context: RunContext, ranks: Ranks, resumed: Path | None) -> DataSet:
    """Return the run's splits, and say what a person should know of them.

    Args:
        recipe: names the data, and how much of it.
        given: instead of loading what the recipe names.
        context: where the data lie, and who is told.
        ranks: the processes of the run.
        resumed: the folder of the run that goes on; its data must be the same. None: a new run.

    Raises:
        UserError: the data cannot be had, are not those of the resumed run, or have labels that are no classes.
    """
    data = load_splits(recipe, context.data_root) if given is None else thinned(given, recipe)
    check_labels(data)
    if resumed is not None:
        check_data(resumed, data)
    elif ranks.is_first:
        for note in data.notes:
            context.say(note)
    return data


def ready(model: nn.Module, recipe: Recipe, data: DataSet, where: torch.device, ranks: Ranks, built: bool) -> Session:
    """Bring the model to the device, see that it fits recipe and data, and make the run's session."""
    batches = batches_of(recipe, data, ranks)
    if where.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(recipe.seed)  # for dropout and the like; a resumed run restores its own state
    place(model, where)
    check_model(model, data)
    if not built:
        check_same(model, recipe, data)
    ranks.start_alike(model)
    return make_session(model, recipe, batches, ranks, classes=data.classes)


def restored(session: Session, recipe: Recipe, out: Path, where: torch.device, told: Callbacks) -> bool:
    """Put session and callbacks into the state of the last whole checkpoint.

    Returns:
        Whether that is the one before the last, since the last is damaged.

    Raises:
        UserError: no checkpoint is whole, or it is of another run.
    """
    origin = checkpoint.last_whole(out)
    state = session.restore(origin, recipe, where)
    with restoring(origin):
        told.load_state_dict(state)
    checkpoint.check_best(out, recipe, session.at.best_epoch, session.at.epoch)
    return origin.name == checkpoint.PREVIOUS


@contextmanager
def held_folder(
    out: Path,
    recipe: Recipe,
    context: RunContext,
    ranks: Ranks,
    resume: bool,
    files: Mapping[str, bytes] | None,
    extra: Mapping[str, Any] | None,
) -> Iterator[None]:
    """Inside, the first rank holds the run's folder, which is made where the run is new.

    Args:
        out: the folder.
        recipe: written into a new one.
        context: says who holds it where that is another.
        ranks: the processes of the run; only the first writes.
        resume: the folder is there already.
        files: more files of a new one, by name.
        extra: more entries of a new run's record.
    """
    if not ranks.is_first:
        yield
        return
    with (
        only_here(out, again=True, say=context.say),  # the command or the engine holds it too
        known_folder(out) if resume else run_folder(out, recipe, files or {}, extra),
    ):
        yield
