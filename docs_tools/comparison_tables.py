"""Recorded comparisons of schedulers, grids of them and what tuning the baseline cost, as sections of results."""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.records import lines, table
from qtrain.report.statistics import paired_difference
from qtrain.schedulers.catalogue import row_of

Record = dict[str, Any]
CHOICES = """Read these with how they came about. Two rows compare ASLR with a baseline tuned for that length: 12
epochs at 0.1, where ASLR falls short, and 30 epochs at 0.05, where it is behind and three seeds leave
it undecided. The recipe's length was raised from 12 to 30 epochs after the first of them, and the rate
0.02 of the last one was picked with ASLR's test accuracies in view."""

GRIDS = """Test accuracy in percent, mean ± standard deviation over paired seeds; in brackets ASLR minus the row,
with the 95 % interval of the mean (Student's t). One recipe, one lr0 and no tuning for any bit width: rivals run at
their packages' defaults, the milestones are the recipe's. Small networks and short runs: they show how schedulers
compare under a short budget, not what CNV reaches."""


# What comparisons of one table have in common, beside their network's family and their day.
SAME = ("data", "width", "epochs", "batch_size", "train_size", "split_seed", "optimizer", "lr", "bits")


def comparisons() -> str:
    """Return every comparison that was run, in that order, below what to know of them."""
    rows = []
    for record in lines("comparisons.jsonl"):
        if not _is_of_a_grid(record):
            rows += _comparison_rows(record)
    head = ["runs", "lr0 of all", "scheduler (milestones)", "test accuracy, %", "ASLR minus it, points", "seeds"]
    return f"{CHOICES}\n\n{table(head, rows)}"


def _is_of_a_grid(record: Record) -> bool:
    return "challenger" in record


def _comparison_rows(record: Record) -> list[list[str]]:
    """Return a row for each scheduler of a comparison."""
    recipe = record["recipe"]
    what = f"{recipe['network']} width {recipe['width']:g}, {recipe['data']}, {recipe['epochs']} epochs"
    rows = []
    for name in record["schedulers"]:
        shown = name
        if row_of(name).reads_milestones:
            shown += f" ({_joined(recipe['milestones'])})"
        values = [cell["test_accuracy"] for cell in record["cells"] if cell["scheduler"] == name]
        gap = record["differences"].get(name)
        ahead = f"{statistics.mean(gap):+.2f} [{min(gap):+.2f}..{max(gap):+.2f}]" if gap else ""
        rows.append([what, f"{recipe['lr']:g}", shown, _mean(values), ahead, str(len(values))])
    return rows


def grids() -> str:
    """Return every comparison over bit widths: a table for each data set, width and length."""
    newest = {}
    for record in filter(_is_of_a_grid, lines("comparisons.jsonl")):
        newest[record["recipe"]["network"], setting(record)] = record
    by_setting: dict[tuple[Any, ...], list[Record]] = {}
    for (_, key), record in newest.items():
        by_setting.setdefault(key, []).append(record)
    parts = [GRIDS]
    for records in by_setting.values():
        parts += _grid(sorted(records, key=lambda record: str(record["recipe"]["network"])))
    return "\n\n".join(parts)


def setting(record: Record) -> tuple[Any, ...]:
    """Return what comparisons of one table have in common; the day too, since single runs differ between machines."""
    recipe = record["recipe"]
    family = recipe["network"].split("_")[0]
    return (family, record["machine"]["date"][:10], *(recipe.get(key) for key in SAME))


def _grid(records: Sequence[Record]) -> list[str]:
    """Return the paragraphs of one table, whose columns are the records' networks."""
    names: dict[str, None] = {}
    for record in records:
        names |= dict.fromkeys(record["schedulers"])
    rows = [[name, *(grid_cell(record, name) for record in records)] for name in names]
    parts = [_grid_title(records[0]), table(["scheduler", *(record["recipe"]["network"] for record in records)], rows)]
    parts += [option_line(records, name) for name in names if name.startswith("aslr_")]
    for record in records:
        for failed in record["failed"]:
            network = record["recipe"]["network"]
            parts.append(f"- {network}, {failed['scheduler']} seed {failed['seed']}: {failed['reason']}")
    return parts


def _grid_title(record: Record) -> str:
    recipe = record["recipe"]
    day = record["machine"]["date"][:10]
    images = f"{recipe['train_size']:,}" if recipe["train_size"] else "all"
    if recipe.get("split_seed") is not None:
        images = f"the same {images} for all seeds as"
    return (
        f"**{recipe['network'].split('_')[0]} width {recipe['width']:g} on {recipe['data']}**, {day}: {images} "
        f"training images, {recipe['epochs']} epochs, {recipe['optimizer']}, lr0 {recipe['lr']:g} for all that "
        "take one."
    )


def grid_cell(record: Record, name: str) -> str:
    """Return mean and deviation; for others than ASLR how far ASLR is ahead."""
    values = list(by_seed(record, name).values())
    if not values:
        return "diverged" if name in record["schedulers"] else ""
    ahead = gap(record, record["challenger"], name)
    if name == record["challenger"] or not ahead:
        return _mean(values)
    return f"{_mean(values)} (ASLR {ahead})"


def option_line(records: Sequence[Record], name: str) -> str:
    """Say how far an option of ASLR is ahead of the recipe's hand-tuned baseline, network by network."""
    baseline = records[0]["recipe"]["baseline"]
    found = []
    for record in records:
        ahead = gap(record, name, baseline)
        if ahead:
            found.append(f"{record['recipe']['network']} {ahead}")
    return f"- {name} minus {baseline}: {', '.join(found)}"


def by_seed(record: Record, name: str) -> dict[int, float]:
    """Return the test accuracies of a scheduler's finished runs."""
    return {cell["seed"]: cell["test_accuracy"] for cell in record["cells"] if cell["scheduler"] == name}


def gap(record: Record, ours: str, theirs: str) -> str:
    """Return the difference of two schedulers in points, paired by seed, with its 95 % interval; "" without a pair."""
    of_ours = by_seed(record, ours)
    of_theirs = by_seed(record, theirs)
    seeds = sorted(set(of_ours) & set(of_theirs))
    if not seeds:
        return ""
    found = paired_difference([of_ours[seed] for seed in seeds], [of_theirs[seed] for seed in seeds])
    if found.low is None:
        return f"{found.mean:+.1f}"
    return f"{found.mean:+.1f} [{found.low:+.1f}..{found.high:+.1f}]"


def tuning() -> str:
    """Return what the baseline's tuning cost."""
    rows = []
    for record in lines("tuning.jsonl"):
        recipe = record["recipe"]
        for point in record["points"]:
            accuracy = f"{statistics.mean(point['validation_accuracy']):.2f}"
            what = [recipe["data"], str(recipe["epochs"]), f"{point['lr']:g}", _joined(point["milestones"])]
            rows.append([*what, accuracy, f"{point['seconds']:.0f}"])
    return table(["data", "epochs", "lr", "milestones (fractions)", "validation accuracy, %", "seconds"], rows)


def _joined(milestones: Sequence[float]) -> str:
    return ", ".join(f"{milestone:g}" for milestone in milestones)


def _mean(values: Sequence[float]) -> str:
    """Return the mean, with the standard deviation of more than one."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
