"""The training loop, in one visible function."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qtrain.data import DataSet, make_batches
from qtrain.errors import UserError
from qtrain.interrupt import Interrupted, stop_on_interrupt
from qtrain.models.fast_forward import fast_forward, plain_forward
from qtrain.recipe import Recipe
from qtrain.records.runs import Result
from qtrain.training import checkpoint
from qtrain.training.check_model import check_labels, check_model, check_same, check_start
from qtrain.training.distributed import join
from qtrain.training.evaluate import evaluate
from qtrain.training.folder import check_free, check_run, has_begun, last_result, load_best, run_folder
from qtrain.training.losses import LOSSES
from qtrain.training.memory import keep_freed_memory
from qtrain.training.progress import Silent, Watcher
from qtrain.training.recorder import NoRecords, RecordWriter, machine
from qtrain.training.session import choose_device, make_session
from qtrain.training.splits import load_splits, thinned
from qtrain.training.tf32 import tf32


def train(
    model: nn.Module,
    recipe: Recipe,
    out: str | Path,
    *,
    data: DataSet | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    watch: Watcher | None = None,
    start: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    built: bool = False,
) -> Result:
    """Train ``model`` by ``recipe`` and write the run folder ``out``.

    The folder holds ``recipe.yaml``, ``records.jsonl``, ``checkpoint.pt`` (the last state), ``best.pt`` (the weights
    with the best validation accuracy) and TensorBoard's events. Afterwards the model has the best weights; the test
    set is read once, with them.

    Under torchrun the processes train one run: each has its share of every mini-batch, and the first one writes.

    Args:
        model: takes float images [N, C, H, W] in [0, 1], gives logits [N, classes]: ``build_model(recipe)``, or a
            module of your own under a network name of your own. ``model.clip_weights()``, where it exists, is called
            after each step. Brevitas' layers train with the fast forward pass and have their own back afterwards.
        recipe: decides everything else.
        out: new or empty folder, or with ``resume`` the folder of the run.
        data: instead of loading what the recipe names.
        data_root: where to look for the data; else QTRAIN_DATA, else the user's cache.
        device: auto, cpu, cuda or cuda:N.
        resume: continue the run in ``out``; on the CPU bit for bit.
        stop: asked after every step; True saves and raises Interrupted, as Ctrl-C does.
        watch: told where the run is.
        start: where the model's weights come from, for the run's record.
        extra: more entries for the run's record.
        built: ``model`` was built from ``recipe`` a moment ago, so that this need not be looked at again.

    Raises:
        UserError: data, device or folder are not as needed, the model is not the recipe's or gives no logits of the
            data's classes, or the loss is not finite.
        Interrupted: Ctrl-C or ``stop``; the state is saved.
    """
    ranks = join()
    recipe = ranks.first(recipe)  # a rate that a range test has found may differ in its last digits
    ranks.check_batch(recipe.batch_size)
    out, where, watch = Path(out), choose_device(device), (watch if ranks.is_first else None) or Silent()
    if resume:
        check_run(out, recipe)
    else:
        check_free(out)
        check_start(recipe, start)
    data = load_splits(recipe, data_root) if data is None else thinned(data, recipe)
    check_labels(data)
    data = data.to(where)
    batches = make_batches(
        data.train,
        recipe.batch_size,
        seed=recipe.seed,
        augment=recipe.augment,
        flip=data.flip,
        jitter=recipe.jitter,
        rank=ranks.rank,
        ranks=ranks.size,
    )
    if where.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(recipe.seed)  # for dropout and the like; a resumed run restores its own state
    model.to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.1 to 1.2 times faster
    check_model(model, data)
    if not built:
        check_same(model, recipe, data)
    ranks.start_alike(model)
    session = make_session(model, recipe, batches, ranks, classes=data.classes)
    if resume:
        if result := last_result(out):
            load_best(model, recipe, out, where)
            return result
        if has_begun(out):
            session.restore(out / checkpoint.LAST, recipe, where)
    loss_function, at = LOSSES[recipe.loss], session.at
    clip_weights: Callable[[], None] = getattr(model, "clip_weights", lambda: None)
    facts = {"seed": recipe.seed, "protocol": recipe.protocol, "scheduler": recipe.scheduler}
    computer = machine(where, ranks.size)

    left = fast_forward(model, recipe.precision)
    ranks.wait()  # all have looked at the folder
    folder = run_folder(out, recipe, resume or not ranks.is_first)
    fast = recipe.precision == "fast"
    with folder, ranks.shared_norms(model), tf32(fast), stop_on_interrupt() as interrupted:
        records = RecordWriter(out, at.epoch) if ranks.is_first else NoRecords()
        if records.empty:
            run = {"type": "run", "date": datetime.now(UTC).isoformat(timespec="seconds"), **computer}
            began = {"start": dict(start)} if start else {}
            forward = {"precision": recipe.precision, "brevitas": left}  # layers that keep Brevitas' forward pass
            records.write({**run, "recipe": recipe.to_dict(), "forward": forward, **began, **(extra or {})})
        title = f"{recipe.network} {recipe.scheduler} seed {recipe.seed}"
        watch.start(title, recipe.epochs * len(batches), at.epoch * len(batches) + at.step)
        try:
            for epoch in range(at.epoch, recipe.epochs):
                started, images_seen = time.perf_counter(), 0
                loss_sum = torch.tensor(at.loss_sum, dtype=torch.float64, device=where)
                model.train()
                for images, labels in batches.epoch(epoch, start=at.step):
                    count = batches.images_in(at.step)  # on all ranks
                    # ASLR draws each layer's rate first; a line search asks for the loss more than once
                    loss = session.step(loss_function, images, labels)
                    clip_weights()
                    session.after_step()
                    loss_sum += session.counted(loss) * count
                    images_seen += count
                    watch.step(count)
                    if epoch == 0 and at.step <= 2:  # the second loss is the first to see an update
                        _check_finite(session.counted(loss).item(), recipe, f"at step {at.step}")
                    if ranks.any(stop() or interrupted()):
                        at.loss_sum = loss_sum.item()
                        at.seconds += time.perf_counter() - started
                        if ranks.is_first:
                            checkpoint.save(out / checkpoint.LAST, session.state(recipe))
                        ranks.wait()
                        raise Interrupted(f"stopped in epoch {epoch + 1} after step {at.step}; saved in {out}")
                mean_loss = loss_sum.item() / len(data.train)
                _check_finite(mean_loss, recipe, f"in epoch {epoch + 1}")
                trained = time.perf_counter()
                with session.judged():
                    validation = evaluate(model, data.validation, loss_function, ranks=ranks)
                    _check_finite(validation.loss, recipe, f"on the validation images after epoch {epoch + 1}")
                    if validation.accuracy > at.best_accuracy:
                        at.best_epoch, at.best_accuracy = epoch + 1, validation.accuracy
                        best = {"recipe": recipe.to_dict(), "model": model.state_dict(), "epoch": epoch + 1}
                        if ranks.is_first:
                            checkpoint.save(out / checkpoint.BEST, best)
                lr = session.lr()
                session.method.validated(1 - validation.accuracy / 100)
                at.seconds += time.perf_counter() - started
                record = {
                    "type": "epoch",
                    "epoch": epoch + 1,
                    "lr": lr,
                    "loss": mean_loss,
                    "validation_loss": validation.loss,
                    "validation_accuracy": validation.accuracy,
                    "images_per_second": images_seen / (trained - started),
                    "seconds": at.seconds,
                    "draws": session.draws(),
                    "counts": session.method.counts,
                    **facts,
                }
                at.epoch, at.step, at.loss_sum = epoch + 1, 0, 0.0
                records.write(record)
                if ranks.is_first:
                    checkpoint.save(out / checkpoint.LAST, session.state(recipe))
                watch.epoch(record, recipe.epochs)
            ranks.wait()  # the best weights are written
            load_best(model, recipe, out, where)
            test = evaluate(model, data.test, loss_function, ranks=ranks)
            result = Result(test.accuracy, at.best_accuracy, at.best_epoch, recipe.epochs, at.seconds)
            records.write(
                {"type": "result", **asdict(result), "test_loss": test.loss, "resumed": at.resumed, **facts, **computer}
            )
            return result
        finally:
            watch.finish()
            records.close()
            plain_forward(model)


def _check_finite(loss: float, recipe: Recipe, when: str) -> None:
    if not torch.isfinite(torch.tensor(loss)):
        raise UserError(f"the loss is {loss} {when}; lower --lr (it is {recipe.lr:g}) or look at the data")
