"""The training loop, in one visible function."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qtrain.data import DataSet
from qtrain.errors import UserError
from qtrain.interrupt import Interrupted, stop_on_interrupt
from qtrain.recipe import Recipe
from qtrain.records.format import to_json
from qtrain.records.runs import Epoch, Result
from qtrain.training import checkpoint
from qtrain.training.callbacks import Callback, Callbacks, TrainingRun
from qtrain.training.check_model import check_labels, check_model, check_same, check_start
from qtrain.training.context import HERE, RunContext
from qtrain.training.distributed import Ranks, join
from qtrain.training.evaluation import Evaluation, evaluate
from qtrain.training.folder import check_data, check_free, check_run, has_begun, last_result, run_folder
from qtrain.training.loggers.make import make_loggers
from qtrain.training.losses import LOSSES, training_loss
from qtrain.training.memory import keep_freed_memory
from qtrain.training.progress import Silent, Watcher
from qtrain.training.recorder import NoRecords, RecordWriter, machine
from qtrain.training.saved_state import restoring
from qtrain.training.saver import Saver
from qtrain.training.session import Loss, Session
from qtrain.training.setup import batches_of, choose_device, fast_path, make_session, place
from qtrain.training.splits import load_splits, thinned
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
    _check_folder(out, recipe, resume, start)
    data = load_splits(recipe, context.data_root) if data is None else thinned(data, recipe)
    check_labels(data)
    if resume:
        check_data(out, data)
    elif ranks.is_first:
        for note in data.notes:
            context.say(note)
    data = data.to(where)
    session = _ready(model, recipe, data, where, ranks, built)
    data = replace(data, train=session.batches.split)  # one copy of the images: that inside the padding
    if resume and (ended := last_result(out)):
        checkpoint.load_best(model, recipe, out, where)
        return ended
    goes_back = False
    if resume and has_begun(out):
        origin = checkpoint.last_whole(out)
        state = session.restore(origin, recipe, where)
        with restoring(origin):
            told.load_state_dict(state)
        checkpoint.check_best(out, recipe, session.at.best_epoch, session.at.epoch)
        goes_back = origin.name == checkpoint.PREVIOUS
    ranks.wait()  # all have looked at the folder
    if goes_back and ranks.is_first:
        checkpoint.go_back(out)
    folder = run_folder(out, recipe, resume or not ranks.is_first, files or {})
    if teacher is not None:
        extra = {"teacher": dict(teacher.facts), **(extra or {})}
    with (
        teaching(teacher, recipe, data, ranks, out) as session.distillation,
        folder,
        ranks.shared_norms(model),
        fast_path(model, recipe) as left,
        stop_on_interrupt() as interrupted,
        Saver(out) as saver,
    ):
        shown = context.watch if ranks.is_first else Silent()
        run = _Run(recipe, data, session, saver, where, shown, told, lambda: ranks.any(context.stop() or interrupted()))
        title = f"{recipe.network} {recipe.scheduler} seed {recipe.seed}"
        records = RecordWriter(out, session.at.epoch, title, loggers, context.say) if ranks.is_first else NoRecords()
        if records.empty:
            records.write(_first_record(run, left, start, extra))
        result = None
        if ranks.is_first:
            for fact in _facts(run, left):
                context.detail(fact)
        title = f"{recipe.network} {recipe.scheduler} seed {recipe.seed}"
        shown.start(title, recipe.epochs * len(session.batches), session.steps_done)
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
                record = _epoch_record(run, epoch, lr, loss, images / (trained - started), validation)
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
            result, last_record = _test(run)
            if ranks.is_first:
                checkpoint.forget_previous(out)
            records.write(last_record)
            return result
        finally:
            shown.finish()
            records.close(done=result is not None)
            told.end(run.seen, result)


def _check_folder(out: Path, recipe: Recipe, resume: bool, start: Mapping[str, Any] | None) -> None:
    """See that the run can be written to ``out``, or that it is the run to be resumed."""
    if resume:
        check_run(out, recipe)
        return
    check_free(out)
    check_start(recipe, start)


def _ready(model: nn.Module, recipe: Recipe, data: DataSet, where: torch.device, ranks: Ranks, built: bool) -> Session:
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


@dataclass(frozen=True)
class _Run:
    """What the parts of the loop share.

    Attributes:
        recipe: of the run.
        data: on the device.
        session: all that changes while the run trains.
        saver: writes to its folder.
        where: its device.
        watch: told of every step; silent on all ranks but the first.
        callbacks: the run's own, on all ranks.
        stopped: whether the run is to be saved and ended now; all ranks ask together.
    """

    recipe: Recipe
    data: DataSet
    session: Session
    saver: Saver
    where: torch.device
    watch: Watcher
    callbacks: Callbacks
    stopped: Callable[[], bool]

    @property
    def facts(self) -> dict[str, Any]:
        """What every record but the first says of the run."""
        return {"seed": self.recipe.seed, "protocol": self.recipe.protocol, "scheduler": self.recipe.scheduler}

    @property
    def loss(self) -> Loss:
        """The recipe's loss, of logits and labels, that validation and test have."""
        return LOSSES[self.recipe.loss]

    @property
    def seen(self) -> TrainingRun:
        """The run as callbacks see it."""
        return TrainingRun(self.recipe, self.saver.out, self.session)

    @property
    def ended(self) -> bool:
        """Whether there is no epoch to train any more: all are behind, or a callback has ended the run after one."""
        at = self.session.at
        return at.epoch >= self.recipe.epochs or (self.callbacks.stopped and at.step == 0)

    def save(self) -> None:
        """Begin to write the checkpoint to go on from."""
        if self.session.ranks.is_first:
            self.saver.save(self.session.state(self.recipe) | self.callbacks.state_dict())


def _train_epoch(run: _Run, epoch: int) -> tuple[float, int]:
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


def _validate(run: _Run, epoch: int) -> Evaluation:
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


def _epoch_record(
    run: _Run, epoch: int, lr: float, loss: float, images_per_second: float, validation: Evaluation
) -> dict[str, Any]:
    """Return what the records say of an epoch, counted from 0 here and from 1 there."""
    record = Epoch(
        epoch=epoch + 1,
        lr=lr,
        loss=loss,
        validation_loss=validation.loss,
        validation_accuracy=validation.accuracy,
        images_per_second=images_per_second,
        seconds=run.session.at.seconds,
        draws=run.session.draws(),
        counts=run.session.method.counts,
        **run.facts,
    )
    return {"type": "epoch", **to_json(record)}


def _test(run: _Run) -> tuple[Result, dict[str, Any]]:
    """Read the test set, once, with the best weights; return the result and its record."""
    session = run.session
    at = run.session.at
    checkpoint.load_best(session.model, run.recipe, run.saver.out, run.where)
    test = evaluate(session.model, run.data.test, run.loss, ranks=session.ranks)
    result = Result(
        test_accuracy=test.accuracy,
        validation_accuracy=at.best_accuracy,
        best_epoch=at.best_epoch,
        epochs=at.epoch,
        seconds=at.seconds,
        stopped_by=run.callbacks.stopped_by,
        why_stopped=run.callbacks.why_stopped,
    )
    computer = machine(run.where, session.ranks.size)
    more = {"test_loss": test.loss, "resumed": at.resumed, **run.facts, **computer}
    return result, {"type": "result", **to_json(result), **more}


def _first_record(
    run: _Run, left: list[str], start: Mapping[str, Any] | None, extra: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the run's own record.

    Args:
        run: that begins.
        left: layers that keep Brevitas' forward pass.
        start: where the model's weights come from.
        extra: more entries.
    """
    return {
        "type": "run",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine(run.where, run.session.ranks.size),
        "recipe": run.recipe.to_dict(),
        "data": to_json(run.data.facts()),
        "forward": {"precision": run.recipe.precision, "brevitas": left},
        **({"start": dict(start)} if start else {}),
        **(extra or {}),
    }


def _facts(run: _Run, left: list[str]) -> list[str]:
    """Say what a run works with, for a person who wants to know all.

    Args:
        run: that begins.
        left: layers that keep Brevitas' forward pass.
    """
    data = run.data
    weights = sum(parameter.numel() for parameter in run.session.model.parameters())
    sizes = f"{len(data.train):,} to train, {len(data.validation):,} to validate, {len(data.test):,} to test with"
    where = f"{run.where.type}, {torch.get_num_threads()} threads, {run.session.ranks.size} processes"
    facts = [
        f"{run.recipe.network}: {weights:,} parameters, {len(run.session.batches):,} steps an epoch",
        f"{data.name}: {data.classes} classes, images {sizes}",
        f"trains on {where}, products {run.recipe.precision}",
    ]
    if left:
        facts.append(f"layers that keep Brevitas' own forward pass: {', '.join(left)}")
    return facts


def _check_finite(loss: float, recipe: Recipe, when: str) -> None:
    if not torch.isfinite(torch.tensor(loss)):
        raise UserError(f"the loss is {loss} {when}; lower --lr (it is {recipe.lr:g}) or look at the data")
