"""What a comparison's page says to who knows nothing of it: its first sentence, its words, what each plot shows."""

import re
from collections.abc import Callable, Sequence
from operator import attrgetter

from qtrain.records.runs import Epoch
from qtrain.report.comparison.read import ComparisonData
from qtrain.report.comparison.text import DIVERGED, accuracy_text, difference_text, interval_text
from qtrain.schedulers.catalogue import label_of

Value = Callable[[Epoch], float]
_NAME = re.compile(r"(?P<family>.+)_(?P<bits>\d+W\d+A|FLOAT)")
_COUNTS = {1: "One", 2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six"}
# What is drawn by epoch: of an epoch's record, its name, its axis, what else to know of it.
_CURVES: dict[str, tuple[Value, str, str, str]] = {
    "validation_accuracy": (
        attrgetter("validation_accuracy"),
        "validation accuracy",
        "validation accuracy, %",
        "Validation accuracy: share classified rightly of images that are neither trained nor tested with; the best "
        "epoch is chosen by it.",
    ),
    "train_loss": (
        attrgetter("loss"),
        "training loss",
        "training loss",
        "Training loss: what training makes small, the mean over the training images of an epoch.",
    ),
    "validation_loss": (
        attrgetter("validation_loss"),
        "validation loss",
        "validation loss",
        "Validation loss: the same on images that are not trained with.",
    ),
    "lr": (
        attrgetter("lr"),
        "learning rate",
        "learning rate",
        "Learning rate: how large a step of training is. Of ASLR and what derives from it, the line is the centre, "
        "which moves by whole steps of its first digit; each layer draws its own rate around it before every step, and "
        "the faint dots are the last draw of each layer in an epoch.",
    ),
}
KINDS = tuple(_CURVES)
CAPTIONS = {
    "accuracy": "A marker is a run; thin lines join the runs of one seed; a bar is the mean over all seeds, its thin "
    "whiskers are one standard deviation.",
    "differences": "A filled marker is the mean difference, its line the 95 % interval; hollow ones are single seeds. "
    "Right of 0 the judged scheduler is ahead. It holds where the whole interval is right of the dashed line of the "
    "tolerance, falls short where all of it is left of that line, and is undecided in between or without an interval.",
}
_MEANS = " A thick line is the mean over seeds, the band one standard deviation, thin lines are single seeds."


def split_name(network: str) -> tuple[str, str]:
    """Return family and bits of a network's name; no bits where the name carries none."""
    match = _NAME.fullmatch(network)
    if match is None:
        return network, ""
    return match["family"], match["bits"]


def bits_words(network: str) -> str:
    """Return what the bits in a network's name mean; empty where it carries none."""
    _, bits = split_name(network)
    if bits == "FLOAT":
        return "weights and activations are floats, not quantized"
    found = re.fullmatch(r"(\d+)W(\d+)A", bits)
    if found is None:
        return ""
    return f"{bits}: weights (W) of {_bits(found[1])}, activations (A, what layers hand on) of {_bits(found[2])}"


def _bits(count: str) -> str:
    return "1 bit" if count == "1" else f"{count} bits"


def count_word(count: int) -> str:
    """Return a small number at the start of a sentence as a word."""
    return _COUNTS.get(count, str(count))


def lead(data: ComparisonData) -> str:
    """Return what was compared and what came out, in one sentence."""
    network = str(data.recipe.get("network"))
    meaning = bits_words(network)
    of_bits = f" ({meaning})" if meaning else ""
    runs = "1 run" if len(data.seeds) == 1 else f"{len(data.seeds)} runs"
    return (
        f"{count_word(len(data.schedulers))} schedulers, rules that set the learning rate (how large a step of "
        f"training is), trained the network {network}{of_bits} on the data set {data.recipe.get('data')}, {runs} each. "
        f"Of the test images, {_reached(data)}."
    )


def _reached(data: ComparisonData) -> str:
    """Return what share of the test images each scheduler's networks classified rightly."""
    parts = []
    for scheduler in data.schedulers:
        text = accuracy_text(data, scheduler)
        if text == DIVERGED:
            parts.append(f"{scheduler} {DIVERGED}")
        elif parts:
            parts.append(f"{scheduler} {text} %")
        else:
            parts.append(f"{scheduler} classified {text} % rightly")
    return ", ".join(parts)


def page_words(seeds: int) -> list[str]:
    """Return what the page's words mean that no table explains, a line each.

    Args:
        seeds: how many there are.
    """
    lines = [
        "Test accuracy: the share of the test images classified rightly, in percent; differences are in points, as "
        "92 % is 2 points above 90 %. Seed: the number that all chance of a run comes from, start values and the order "
        "of images; runs of one seed are compared in pairs.",
    ]
    if seeds > 1:
        lines.append(
            "±: one standard deviation over seeds. 95 % interval: where the mean of very many seeds would lie, with "
            "95 % confidence."
        )
    lines.append(
        "Tolerance: how many points the judged scheduler may be behind and still keep up. Tuned: chosen by trying "
        "several values and keeping the best."
    )
    return lines


def value_of(kind: str) -> Value:
    """Return the function that takes a curve's value from an epoch's record."""
    return _CURVES[kind][0]


def curve_facts(data: ComparisonData, kind: str) -> dict[str, str | bool]:
    """Return name, axis and explanation of a curve, and whether its axis is logarithmic."""
    _, name, title, words = _CURVES[kind]
    if kind == "train_loss":
        title = f"{title}, {str(data.recipe.get('loss', '')).replace('_', ' ')}".rstrip(", ")
    means = _MEANS if len(data.seeds) > 1 else ""
    return {"name": name, "title": title, "words": words + means, "log": kind != "validation_accuracy"}


def plot_texts(data: ComparisonData) -> dict[str, str]:
    """Return what is to be seen on each plot, for who does not see it."""
    texts = {"accuracy": accuracy_seen([data]), "differences": differences_seen([data])}
    return texts | {kind: curve_seen(data, kind) for kind in KINDS}


def accuracy_seen(comparisons: Sequence[ComparisonData]) -> str:
    """Return the accuracies of each scheduler, by network where there are several."""
    parts = []
    for data in comparisons:
        reached = [f"{name} {_percent(accuracy_text(data, name))}" for name in data.schedulers]
        parts.append(_named(comparisons, data) + ", ".join(reached))
    return f"Test accuracy. {'; '.join(parts)}."


def differences_seen(comparisons: Sequence[ComparisonData]) -> str:
    """Return the differences with their intervals and verdicts, by network where there are several."""
    parts = []
    for data in comparisons:
        for verdict in data.verdicts:
            text = difference_text(verdict.difference) or "unknown"
            interval = interval_text(verdict.difference)
            if interval:
                text += f" with the interval {interval.replace('..', ' to ')}"
            parts.append(f"{_named(comparisons, data)}minus {verdict.baseline} {text}, {verdict.answer}")
    return f"{label_of(comparisons[0].challenger)} in points: {'; '.join(parts)}."


def curve_seen(data: ComparisonData, kind: str) -> str:
    """Return where a curve of each scheduler begins and ends, the mean over its seeds."""
    value, name, _, _ = _CURVES[kind]
    parts = []
    for scheduler in data.schedulers:
        runs = data.of(scheduler)
        if runs:
            first = sum(value(run.epochs[0]) for run in runs) / len(runs)
            last = sum(value(run.epochs[-1]) for run in runs) / len(runs)
            parts.append(f"{scheduler} from {first:.4g} in epoch 1 to {last:.4g} in epoch {len(runs[0].epochs)}")
    return f"{name[0].upper()}{name[1:]} by epoch: {'; '.join(parts) or 'no run finished'}."


def _named(comparisons: Sequence[ComparisonData], data: ComparisonData) -> str:
    return f"{data.recipe.get('network')}: " if len(comparisons) > 1 else ""


def _percent(text: str) -> str:
    return text if text == DIVERGED else f"{text} %"
