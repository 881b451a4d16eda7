"""How much a network's validation loss grows with one quantizer narrowed at a time."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch import nn

from qtrain.data import FolderSplit, Split, ordered_batches
from qtrain.experiments.model import initial_model
from qtrain.experiments.sensitivity.structure import WIDEST, Structure
from qtrain.experiments.sensitivity.traces import Outputs, Quantizers, traces
from qtrain.experiments.start import read_start
from qtrain.interrupt import Interrupted
from qtrain.recipe import Recipe
from qtrain.records.fit import Kind, Sensitivity, SensitivityFile
from qtrain.training.batchnorm import norms, re_estimate
from qtrain.training.context import RunContext
from qtrain.training.evaluation import Evaluation, evaluate
from qtrain.training.losses import LOSSES
from qtrain.training.setup import choose_device
from qtrain.training.splits import load_splits

IMAGES = 2000  # of the validation set
NORM_IMAGES = 500  # of the training set
TRACE_IMAGES = 128
_BATCH = 100
Images = Split | FolderSplit


@dataclass(frozen=True)
class Trial:
    """A network with one quantizer narrowed.

    Attributes:
        path: of the quantizer.
        kind: whether it quantizes weights or activations.
        bits: that it is given.
        recipe: of the network.
    """

    path: str
    kind: Kind
    bits: int
    recipe: Recipe


def measured(
    recipe: Recipe,
    run: Path,
    structure: Structure,
    widths: tuple[int, ...],
    out: Path,
    context: RunContext,
    earlier: Path | None = None,
) -> SensitivityFile:
    """Measure every quantizer of a run at the widest bits at every width; errors are those of ``measured_trials``.

    Args:
        recipe: of the run.
        run: its folder.
        structure: of its network.
        widths: bits to try; those of the run need no trial.
        out: folder of the file.
        context: where the data lie, which device, and what stops it.
        earlier: folder of another fit from the same run, whose measurements are taken.
    """
    trials = [Trial(*trial, recipe.replace(bits=f"{trial[0]}={trial[2]}")) for trial in wanted(structure, widths)]
    return measured_trials(recipe, run, structure, trials, out, context, earlier)


def measured_trials(
    recipe: Recipe,
    run: Path,
    quantizers: Quantizers,
    trials: Sequence[Trial],
    out: Path,
    context: RunContext,
    earlier: Path | None = None,
) -> SensitivityFile:
    """Measure networks with one quantizer narrowed, or go on where it was left; ``sensitivity.json`` grows with each.

    The network begins as a candidate does: from the run's weights, adapted to the narrower layer. Then BatchNorm's
    statistics are estimated on fixed training images, and the loss on fixed validation images.

    Args:
        recipe: of the run.
        run: its folder.
        quantizers: of its network, that the trials are of.
        trials: to measure.
        out: folder of the file.
        context: where the data lie, which device, and what stops it.
        earlier: folder of another fit from the same run, whose measurements are taken.

    Raises:
        Interrupted: ``context.stop`` said so.
        UserError: there are no weights, or the file is damaged.
    """
    weights = str(read_start(run).facts["sha256"])
    found = _measured_before(weights, out, earlier, trials)
    if found is not None and found.complete:
        found.write(out)
        return found
    bench = Bench(recipe, run, context)
    if found is None:
        base = bench.judged(bench.begun(recipe))
        found = SensitivityFile(
            weights=weights,
            images=len(bench.validation),
            norm_images=len(bench.training),
            loss=base.loss,
            accuracy=base.accuracy,
        )
    known = {(entry.path, entry.bits) for entry in found.entries}
    images, labels = bench.first_images()
    outputs = Outputs(bench.begun(recipe), images, quantizers)
    context.watch.start(f"sensitivity of {recipe.network}", len(trials), len(known))
    for trial in trials:
        path, bits = trial.path, trial.bits
        if (path, bits) in known:
            continue
        if context.stop():
            raise Interrupted(f"stopped before {path} at {bits} bits")
        started = time.perf_counter()
        model = bench.begun(trial.recipe)
        at = bench.judged(model)
        change = at.loss - found.loss if math.isfinite(at.loss) else None
        moved = 0.0 if change is None else outputs.moved(model, path)
        entry = Sensitivity(path, trial.kind, bits, change, at.accuracy, moved)
        seconds = found.seconds + time.perf_counter() - started
        found = replace(found, entries=(*found.entries, entry), seconds=round(seconds, 3))
        found.write(out)
        context.watch.step(found.images)
    context.watch.finish()
    started = time.perf_counter()
    try:
        found = with_estimates(found, traces(bench.begun(recipe), images, labels, bench.loss, quantizers))
    except RuntimeError as error:
        context.say(f"the changes stand without an estimate by the Hessian's trace: {str(error).splitlines()[0]}")
    found = replace(found, complete=True, estimate_seconds=round(time.perf_counter() - started, 3))
    found.write(out)
    return found


def _measured_before(weights: str, out: Path, earlier: Path | None, trials: Sequence[Trial]) -> SensitivityFile | None:
    """Return what is known of these weights: of this fit, else of an earlier one without what is not asked for here."""
    if SensitivityFile.is_in(out) and (ours := SensitivityFile.read(out)).weights == weights:
        return ours
    if earlier is None or not SensitivityFile.is_in(earlier):
        return None
    found = SensitivityFile.read(earlier)
    if found.weights != weights:
        return None
    asked = {(trial.path, trial.kind, trial.bits) for trial in trials}
    entries = tuple(entry for entry in found.entries if (entry.path, entry.kind, entry.bits) in asked)
    return replace(found, entries=entries, complete=found.complete and len(entries) == len(trials))


def wanted(structure: Structure, widths: tuple[int, ...]) -> Iterator[tuple[str, Kind, int]]:
    """Yield every quantizer with every width that it may be narrowed to."""
    kinds: list[tuple[Kind, tuple[str, ...]]] = [
        ("weights", structure.weights),
        ("activations", structure.activations),
    ]
    for kind, paths in kinds:
        for path in paths:
            for bits in sorted(structure.widths_of(path, widths), reverse=True):
                if bits != WIDEST:
                    yield path, kind, bits


class Bench:
    """Measures networks that begin from one run's weights, all on the same images.

    Args:
        recipe: of the run.
        run: its folder.
        context: where the data lie, and which device.

    Attributes:
        validation: images that the loss is of, evenly spread over the validation set.
        training: images that BatchNorm's statistics are estimated on, likewise, without augmentation.
    """

    def __init__(self, recipe: Recipe, run: Path, context: RunContext):
        data = load_splits(recipe, context.data_root)
        self.device = choose_device(context.device)
        self.validation = _some(data.validation, IMAGES, self.device)
        self.training = _some(data.train, NORM_IMAGES, self.device)
        self.loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = LOSSES[recipe.loss]
        self._recipe = recipe
        self._run = run
        self._context = context

    def network(self, expression: str) -> nn.Module:
        """Return the run's network with these bits, as ``begun`` does."""
        return self.begun(self._recipe.replace(bits=expression))

    def begun(self, recipe: Recipe) -> nn.Module:
        """Return a recipe's network with the run's weights, its norms' statistics estimated anew."""
        model, _ = initial_model(recipe.replace(init_from=str(self._run)), self._context.data_root)
        model = model.to(self.device).eval()
        if norms(model):
            re_estimate(model, (images for images, _ in ordered_batches(self.training, _BATCH)))
        return model

    def judged(self, model: nn.Module) -> Evaluation:
        """Return loss and accuracy of a network."""
        return evaluate(model, self.validation, self.loss)

    def first_images(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the validation images that traces are estimated on, with their labels."""
        return next(ordered_batches(self.validation, min(TRACE_IMAGES, len(self.validation))))


def _some(split: Images, count: int, device: torch.device) -> Images:
    """Return at most so many images, evenly spread."""
    count = min(count, len(split))
    chosen = split.select(torch.linspace(0, len(split) - 1, count).long())
    return chosen.to(device)


def with_estimates(found: SensitivityFile, traces: Mapping[str, float]) -> SensitivityFile:
    """Return the file with the Hessian's estimate beside each change, and how alike both rank the quantizers.

    Args:
        found: with the changes.
        traces: of the Hessian, by quantizer.
    """
    entries = tuple(
        replace(entry, estimate=traces[entry.path] * entry.moved / 2)
        if entry.path in traces and entry.change is not None
        else entry
        for entry in found.entries
    )
    both = [(one.change, one.estimate) for one in entries if one.estimate is not None and one.change is not None]
    correlation = None
    if len(both) > 2:
        ranks = float(spearmanr([change for change, _ in both], [estimate for _, estimate in both]).statistic)
        correlation = None if math.isnan(ranks) else round(ranks, 4)
    return replace(found, entries=entries, rank_correlation=correlation)
