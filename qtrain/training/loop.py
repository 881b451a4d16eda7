"""The training loop, in one visible function."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qtrain.data import DataSet
from qtrain.errors import UserError
from qtrain.interrupt import Interrupted, stop_on_interrupt
from qtrain.recipe import Recipe
from qtrain.records.runs import Result, read_epochs
from qtrain.training import checkpoint
from qtrain.training.beginning import check_folder, data_for, held_folder, ready, restored
from qtrain.training.callbacks import Callback, Callbacks
from qtrain.training.context import HERE, RunContext
from qtrain.training.curves import too_high
from qtrain.training.distributed import join
from qtrain.training.evaluation import Evaluation, evaluate
from qtrain.training.folder import has_begun, last_result, unrecorded
from qtrain.training.loggers.make import make_loggers
from qtrain.training.losses import training_loss
from qtrain.training.progress import Silent
from qtrain.training.run import Run
from qtrain.training.run_records import epoch_record, opened_records, result_of, result_record
from qtrain.training.saver import Saver
from qtrain.training.setup import choose_device, fast_path
from qtrain.training.teacher import Teacher, teaching


def train(
    model: nn.Module,
    recipe: Recipe,
    out: str | Path,
    context: RunContext = HERE,
    *,
    data: DataSet | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    start: Mapping[str, Any] | None = None,
    teacher: Teacher | None = None,
    extra: Mapping[str, Any] | None = None,
    built: bool = False,
    files: Mapping[str, bytes] | None = None,
) -> Result:
    """Train ``model`` by ``recipe`` and write the run folder ``out``.

    The folder holds ``recipe.yaml``, ``records.jsonl``, ``checkpoint.pt`` (the last state), ``best.pt`` (the weights
    with the best validation accuracy) and what the context's loggers write, by default TensorBoard's events; until the
    result is there ``checkpoint.previous.pt`` too, for where the last state is damaged. Afterwards the model has the
    best weights; the test set is read once, with them.

    Under torchrun the processes train one run: each has its share of every mini-batch, and the first one writes.

    Args:
        model: takes float images [N, C, H, W] in [0, 1], gives logits [N, classes]: ``build_model(recipe)``, or a
            module of your own under a network name of your own. ``model.clip_weights()``, where it exists, is called
            after each step. Brevitas' layers train with the fast forward pass and have their own back afterwards.
        recipe: decides everything else.
        out: new or empty folder, or with ``resume`` the folder of the run.
        context: where the run happens, and who is told of it.
        data: instead of loading what the recipe names.
        resume: continue the run in ``out``; on the CPU bit for bit.
        callbacks: told of the run, its steps and epochs; one of them may end it (``qtrain.training.Callback``).
        start: where the model's weights come from, for the run's record.
        teacher: the network that the recipe learns from, where it names one.
        extra: more entries for the run's record.
        built: ``model`` was built from ``recipe`` a moment ago, so that this need not be looked at again.
        files: more files for the folder of a new run, by name.

    Raises:
        UserError: data, device or folder are not as needed, the model is not the recipe's or gives no logits of the
            data's classes, the loss is not finite, a callback fails, or the package of a logger is missing.
        Interrupted: Ctrl-C or ``stop``; the state is saved.
    """
    ranks = join()
    recipe = ranks.first(recipe)  # a rate that a range test has found may differ in its last digits
    ranks.check_batch(recipe.batch_size)
    told = Callbacks(callbacks, recipe)
    loggers = make_loggers(context.log)
    out = Path(out)
    where = choose_device(context.device)
    check_folder(out, recipe, resume, start)
    data = data_for(recipe, data, context, ranks, out if resume else None).to(where)
    session = ready(model, recipe, data, where, ranks, built)
    data = replace(data, train=session.batches.split)  # one copy of the images: that inside the padding
    if resume and (ended := last_result(out)):
        checkpoint.load_best(model, recipe, out, where)
        return ended
    goes_back = resume and has_begun(out) and restored(session, recipe, out, where, told)
    ranks.wait()  # all have looked at the folder
    if resume:
        extra = unrecorded(out)
    if teacher is not None:
        extra = {"teacher": dict(teacher.facts), **(extra or {})}
    with (
        teaching(teacher, recipe, data, ranks, out) as session.distillation,
        held_folder(out, recipe, context, ranks, resume, files, extra),
        ranks.shared_norms(model),
        fast_path(model, recipe) as left,
        stop_on_interrupt() as interrupted,
        Saver(out) as saver,
    ):
        if goes_back and ranks.is_first:
            checkpoint.go_back(out)
        shown = context.watch if ranks.is_first else Silent()
        run = Run(recipe, data, session, saver, where, shown, told, lambda: ranks.any(context.stop() or interrupted()))
        records = opened_records(run, context, loggers, left, start, extra)
        shown.start(run.title, recipe.epochs * len(session.batches), session.steps_done)
        result = None
        try:
            told.begin(run.seen)
            while not run.ended:
                epoch = session.at.epoch
                started = time.perf_counter()
                loss, images = _train_epoch(run, epoch)
                trained = time.perf_counter()
                validation = _validate(run, epoch)
                lr = session.lr()
                session.method.validated(1 - validation.accuracy / 100)
                session.at.seconds += time.perf_counter() - started
                record = epoch_record(run, epoch, lr, loss, images / (trained - started), validation)
                told.epoch_end(run.seen, record)
                session.next_epoch()
                saver.wait()  # the records are never two epochs ahead of the checkpoint
                records.write(record)
                run.save()
                shown.epoch({**record, "best_accuracy": session.at.best_accuracy}, recipe.epochs)
            if told.stopped and ranks.is_first:
                context.say(f"{told.stopped_by} ended the run after epoch {session.at.epoch}: {told.why_stopped}")
            saver.wait()
            ranks.wait()  # the best weights are written
            test = _test(run)
            result = result_of(run, test)
            if ranks.is_first:
                checkpoint.forget_previous(out)
            records.write(result_record(run, result, test))
            if ranks.is_first and (hint := too_high(read_epochs(out), recipe)):
                context.say(hint)
            return result
        finally:
            shown.finish()
            records.close(done=result is not None)
            told.end(run.seen, result)


def _train_epoch(run: Run, epoch: int) -> tuple[float, int]:
    """Train one epoch, or what is left of it.

    Returns:
        The mean loss over the epoch's images, and how many images this call has seen.

    Raises:
        UserError: the loss is not finite.
        Interrupted: the run is to stop; it is saved.
    """
    session = run.session
    at = run.session.at
    started = time.perf_counter()
    images_seen = 0
    seen = run.seen
    session.model.train()
    # ASLR draws each layer's rate first; a line search asks for the loss more than once
    for loss in session.steps(training_loss(run.recipe)):
        count = session.batches.images_in(at.step)  # on all ranks
        session.after_step()
        images_seen += count
        run.watch.step(count)
        if epoch == 0 and at.step <= 2:  # the second loss is the first to see an update
            _check_finite(session.counted(loss).item(), run.recipe, f"at step {at.step}")
        run.callbacks.step_end(seen, loss)
        if run.stopped():
            at.loss_sum = session.loss_sum.item()
            at.seconds += time.perf_counter() - started
            run.save()
            run.saver.wait()
            session.ranks.wait()
            raise Interrupted(f"stopped in epoch {epoch + 1} after step {at.step}; saved in {run.saver.out}")
    mean_loss = session.loss_sum.item() / len(run.data.train)
    _check_finite(mean_loss, run.recipe, f"in epoch {epoch + 1}")
    return mean_loss, images_seen


def _validate(run: Run, epoch: int) -> Evaluation:
    """Judge the model on the validation images, and keep its weights where they are the best so far.

    Raises:
        UserError: the loss is not finite.
    """
    session = run.session
    at = run.session.at
    with session.judged():
        found = session.validate(run.data.validation, run.loss)
        _check_finite(found.loss, run.recipe, f"on the validation images after epoch {epoch + 1}")
        if found.accuracy > at.best_accuracy:
            at.best_epoch = epoch + 1
            at.best_accuracy = found.accuracy
            best = {"recipe": run.recipe.to_dict(), "model": session.model.state_dict(), "epoch": epoch + 1}
            if session.ranks.is_first:
                run.saver.keep_best(best)
    return found


def _test(run: Run) -> Evaluation:
    """Read the test set, once, with the best weights."""
    session = run.session
    checkpoint.load_best(session.model, run.recipe, run.saver.out, run.where)
    return evaluate(session.model, run.data.test, run.loss, ranks=session.ranks)


def _check_finite(loss: float, recipe: Recipe, when: str) -> None:
    if not torch.isfinite(torch.tensor(loss)):
        raise UserError(f"the loss is {loss} {when}; lower --lr (it is {recipe.lr:g}) or look at the data")
