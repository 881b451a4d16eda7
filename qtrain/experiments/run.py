"""One run: from a recipe to a run folder, and from the folder to the trained network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from qtrain.errors import UserError
from qtrain.experiments.lr_range import resolve_lr
from qtrain.experiments.model import initial_model, model_of
from qtrain.experiments.own_source import CODE, changed_code, code_of
from qtrain.experiments.teacher import read_teacher
from qtrain.recipe import AUTO, Recipe
from qtrain.records.leftovers import clear
from qtrain.records.runs import RECORDS, read_records
from qtrain.training import Result, train
from qtrain.training.callbacks import Callback
from qtrain.training.checkpoint import load_best
from qtrain.training.context import HERE, RunContext
from qtrain.training.folder import RECIPE, check_free, folder_recipe, has_begun, last_result


def train_recipe(
    recipe: Recipe, out: str | Path, context: RunContext = HERE, *, callbacks: Sequence[Callback] = ()
) -> Result:
    """Build the recipe's network and train it into the run folder ``out``.

    Where the recipe's rate is auto, the range test chooses it first; what that found and cost is in the run's record
    as ``lr_range``, and ``context.say`` is told.

    Args:
        recipe: decides everything.
        out: new or empty folder.
        context: where the run happens, and who is told of it.
        callbacks: as ``train``'s.

    Raises:
        UserError: as ``initial_model``, ``read_teacher``, ``resolve_lr`` and ``train`` do; nothing is written then.
    """
    out = Path(out)
    check_free(out)  # before weights are read
    extra: dict[str, Any] = {}
    teacher = read_teacher(recipe, context.data_root)
    if recipe.lr == AUTO:
        recipe, found = resolve_lr(recipe, context)
        extra = {"lr_range": found}
        context.say(f"lr {recipe.lr:g} from the range test ({found['steps']} steps, {found['seconds']:.1f} s)")
    model, start = initial_model(recipe, context.data_root)
    code, copies = code_of(recipe)
    if code:
        extra[CODE] = code
    return train(
        model,
        recipe,
        out,
        context,
        callbacks=callbacks,
        extra=extra,
        built=True,
        start=start,
        teacher=teacher,
        files=copies,
    )


def resume_run(folder: str | Path, context: RunContext = HERE, *, callbacks: Sequence[Callback] = ()) -> Result:
    """Continue the run in ``folder`` by its own recipe.

    Args:
        folder: of the run.
        context: where the run happens, and who is told of it.
        callbacks: as ``train``'s; those that the run began with.

    Raises:
        UserError: the folder is not a run's, or damaged; or what it starts or learns from has changed.
    """
    folder = Path(folder)
    recipe = folder_recipe(folder)
    for line in changed_code(folder, recipe):
        context.say(line)
    if recipe.init_from is not None and not has_begun(folder):  # killed before its first checkpoint: starts again
        model, start = initial_model(recipe, context.data_root)
        _check_same_start(folder, start)
    else:
        model = model_of(recipe, context.data_root)
        start = None
    ended = last_result(folder) is not None  # then nothing is learned any more
    teacher = None if ended else read_teacher(recipe, context.data_root)
    return train(
        model, recipe, folder, context, resume=True, callbacks=callbacks, built=True, start=start, teacher=teacher
    )


def complete_run(
    recipe: Recipe,
    folder: Path,
    context: RunContext = HERE,
    *,
    callbacks: Sequence[Callback] = (),
    from_the_start: bool = False,
) -> Result:
    """Bring a run to its end: read what is there, continue it, or train it anew where it never came to a checkpoint.

    Args:
        recipe: of the run.
        folder: new, or that of the same run, which the caller has checked: what a run that never came to a checkpoint
            has left there is removed, whatever it is.
        context: where the run happens, and who is told of it.
        callbacks: as ``train``'s.
        from_the_start: train anew also where the run cannot be continued.

    Raises:
        UserError: as ``resume_run`` and ``train_recipe`` do.
    """
    if (folder / RECIPE).is_file() and has_begun(folder):
        if (known := last_result(folder)) is not None:
            return known
        try:
            return resume_run(folder, context, callbacks=callbacks)
        except UserError:
            if not from_the_start:
                raise
    clear(folder)  # of a run that was killed before its first checkpoint
    return train_recipe(recipe, folder, context, callbacks=callbacks)


def _check_same_start(folder: Path, start: Mapping[str, Any] | None) -> None:
    """See that the weights are those that the run in ``folder`` has on record, if it came so far."""
    records = read_records(folder) if (folder / RECORDS).exists() else []
    known = [record["start"] for record in records if record["type"] == "run" and "start" in record]
    if start is not None and known and known[0]["sha256"] != start["sha256"]:
        raise UserError(f"{start['path']} has changed since {folder} began; put the old weights there, or train anew")


def load_run(folder: Path, data_root: str | Path | None = None) -> tuple[Recipe, nn.Module]:
    """Return recipe and trained network (best validation accuracy, evaluation mode, on the CPU) of a run folder.

    Raises:
        UserError: not a run folder, nothing trained yet, damaged, or a checkpoint of another network.
    """
    recipe = folder_recipe(folder)
    model = model_of(recipe, data_root)
    load_best(model, recipe, folder)
    return recipe, model.eval()
