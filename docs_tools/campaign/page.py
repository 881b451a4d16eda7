"""The campaign's section of results/README.md and what the README says of it, written from the records alone."""

import statistics

from benchmarks.campaign_plan import (
    AUTO,
    CHOICE_SEEDS,
    FULL,
    GRID,
    HOME,
    RATES,
    RIVAL_BITS,
    SEEDS,
    SENSITIVITY,
    TUNED_ONCE,
)
from docs_tools.campaign import first_rate, rivals, ways, widths
from docs_tools.campaign.cells import FOLDER, Found
from docs_tools.campaign.shows import LIMITS, shows
from qtrain.report.comparison.verdict import TOLERANCE
from qtrain.report.comparison.verdict_words import words_line
from qtrain.schedulers.catalogue import DEFAULT

FIRST_RATE_PLOT, WIDTHS_PLOT = "sensitivity.png", "bits.png"
SETTING = (
    "CNV at width 0.25 on CIFAR-10, 5,000 images held out by one split for all runs, Adam, batch 100, one core a run; "
    "`make campaign` trains what is missing."
)
ONE_RATE = (
    f"All 45,000 training images, 20 epochs, {len(SEEDS)} seeds: test accuracy in percent, mean ± standard deviation. "
    f"The one rate is the range test's at {HOME} bits; multi-step was tuned on validation accuracy over lr "
    f"{', '.join(f'{lr:g}' for lr in GRID)}, a run each with seed {SEEDS[0]}; so was {TUNED_ONCE} at {HOME} bits, a "
    "column that was added when the others had been seen. wsd is constant with the decay of aslr_decay and "
    "aslr_capped, so that their difference to it is what the search brings."
)
GAPS = (
    "Differences in points, paired by seed, with the 95 % interval of their mean. "
    f"{words_line(TOLERANCE)} In brackets behind undecided: the further seeds that would decide if mean and spread "
    "stayed as they are."
)


def written(found: Found) -> str:
    """Return the section of results/README.md; writes the plots beside the records."""
    draw(found)
    parts = [
        SETTING,
        "### One rate at every bit width",
        ONE_RATE,
        widths.accuracy_table(found),
        GAPS,
        widths.gap_table(found),
    ]
    if has_widths(found):
        parts += [
            widths.verdict_line(found),
            f"![difference to the tuned baseline by bit width](campaign/{WIDTHS_PLOT})",
            "Epochs until the validation accuracy that the tuned multi-step ended with, a number a seed:",
            widths.reach_table(found),
        ]
    if any(ways.cell(found, way, bits) for way in ways.OTHERS for bits in RIVAL_BITS):
        parts += [
            "Other schedulers at the same rate, beside the multi-step tuned at each width:",
            rivals.rival_table(found),
        ]
    if ways.cell(found, ways.ONCE, HOME):
        parts += [rivals.ONCE_TEXT, rivals.once_table(found)]
    parts += [shows(found), LIMITS]
    parts += [
        "### How much depends on the first rate",
        f"10,000 training images, 12 epochs, {len(SEEDS)} seeds: test accuracy in percent, mean ± standard deviation.",
        first_rate.first_rate_table(found),
        f"![test accuracy over the first learning rate](campaign/{FIRST_RATE_PLOT})",
        first_rate.warned_text(found),
        "With lr auto the range test finds the first rate before the training, here in 300 steps; the runs have 1,200. "
        f"Whether that is as good as the best of the rates was asked on seeds {', '.join(map(str, CHOICE_SEEDS))}, on "
        "which nothing else is judged:",
        first_rate.choice_table(found),
        spent(found),
    ]
    return "\n\n".join(part for part in parts if part)


def readme(found: Found) -> str:
    """Return what the README says: the accuracies and the plot; the intervals are in results/README.md."""
    gaps = f"![difference to the tuned baseline by bit width, CIFAR-10](results/campaign/{WIDTHS_PLOT})"
    verdicts = f"{widths.verdict_line(found)} {words_line(TOLERANCE)} [Each interval](results/README.md)."
    parts = [first_rate_text(found, bits) for bits in first_rate.WIDTHS]
    known = " ".join(part for part in parts if part)
    sensitivity = f"How much depends on the first rate ({runs_ended(found, SENSITIVITY)} runs of 12 epochs). {known}"
    picture = f"![test accuracy over the first learning rate, CIFAR-10](results/campaign/{FIRST_RATE_PLOT})"
    table = widths.accuracy_table(found)
    return "\n\n".join([shows(found), f"{SETTING} {ONE_RATE}", table, gaps, verdicts, LIMITS, sensitivity, picture])


def runs_ended(found: Found, part: str) -> int:
    """Return how many runs of a part of the campaign have ended."""
    return sum(name.startswith(f"{part}-") for name in found)


def first_rate_text(found: Found, bits: int) -> str:
    """Return what ASLR's default ends with from its best first rate, from the ends of them all, and from lr auto."""
    best, accuracy = _best(found, DEFAULT, bits)
    auto = first_rate.cell(found, DEFAULT, bits, AUTO)
    ends = [first_rate.cell(found, DEFAULT, bits, lr) for lr in (RATES[0], RATES[-1])]
    if not all((auto, *ends)):
        return ""
    low, high, found_rate = (statistics.mean(of.values()) for of in (*ends, auto))
    others = [f"{_best(found, name, bits)[1]:.1f} with `{name}`" for name in ("wsd", "multistep", "aslr")]
    return (
        f"At {bits} bit{'s' if bits > 1 else ''} `{DEFAULT}` ends at {accuracy:.1f} % from {best:g}, the best of "
        f"{len(RATES)} first rates, at {low:.1f} from {RATES[0]:g} and at {high:.1f} from {RATES[-1]:g}; the range "
        f"test (`--lr auto`) takes it to {found_rate:.1f}. From their own best rates: {', '.join(others)}."
    )


def _best(found: Found, scheduler: str, bits: int) -> tuple[float, float]:
    """Return the first rate of the best mean, and that mean."""
    cells = {lr: first_rate.cell(found, scheduler, bits, lr) for lr in RATES}
    means = {lr: statistics.mean(of.values()) for lr, of in cells.items() if of}
    best = max(means, key=lambda lr: means[lr], default=RATES[0])
    return best, means.get(best, 0.0)


def has_widths(found: Found) -> bool:
    """Whether any run of the table over bit widths has ended."""
    return runs_ended(found, FULL) > 0


def draw(found: Found) -> None:
    """Write the plots beside the records."""
    first_rate.first_rate_figure(found).savefig(FOLDER / FIRST_RATE_PLOT, dpi=110)
    if has_widths(found):
        widths.gap_figure(found).savefig(FOLDER / WIDTHS_PLOT, dpi=110)


def spent(found: Found) -> str:
    """Return hours, machines, and how often a run was cut."""
    hours = sum(records[-1].get("seconds", 0.0) for records in found.values()) / 3600
    facts = [record for records in found.values() for record in records if record["type"] == "campaign"]
    resumed = sum(fact["resumed"] > 0 for fact in facts)
    cpus = ", ".join(sorted({fact["cpu"] for fact in facts}))
    return f"{len(found)} runs, {hours:.1f} hours of one core so far ({cpus}); {resumed} were cut and went on."
