"""A fit as a page in one file, and as tables on the console."""

import base64
from pathlib import Path

from qtrain.records.files import write_whole
from qtrain.report.comparison.page import REPORT
from qtrain.report.console import report_console
from qtrain.report.fit.figures import pareto_figure
from qtrain.report.fit.read import FitData, luts, read_fit
from qtrain.report.fit.tables import (
    candidates_table,
    errors_table,
    layers_table,
    sensitivity_table,
    short_table,
    verdict,
)
from qtrain.report.pages import fill_page, png_of
from qtrain.report.table import print_notes, print_table


def write_fit_report(folder: Path) -> Path:
    """Write ``report.html`` into a fit's folder, made of its records; it refers to nothing outside.

    Args:
        folder: that ``qtrain fit`` wrote; it need not be finished.

    Returns:
        The page's path.

    Raises:
        UserError: there is no fit, or a file is damaged.
    """
    page = render_fit(read_fit(folder))
    write_whole(folder / REPORT, page.encode())
    return folder / REPORT


def render_fit(data: FitData) -> str:
    """Return the page."""
    plan = data.plan
    network = plan.recipe["network"]
    state, sentence = verdict(data)
    picture = base64.b64encode(png_of(pareto_figure(data))).decode() if data.ended or data.found.fronts else ""
    return fill_page(
        "fit/fit_page.html",
        {},
        title=f"{network} on {plan.recipe['data']}: what fits {plan.board}",
        lead=f"The most accurate network that reaches {plan.min_fps:,} frames/s on {plan.board} within the limits.",
        verdict=sentence,
        state=state,
        tiles=_tiles(data),
        words=(),
        picture=picture,
        seen=_seen(data),
        candidates=candidates_table(data),
        layers=layers_table(data),
        errors=errors_table(data),
        sensitivities=sensitivity_table(data),
        compared=_compared(data),
        limits=_limits(data),
        command=plan.command,
        repeat=data.found.command,
    )


def print_fit(folder: Path) -> None:
    """Print the candidates, the winner and how far the cost model was off."""
    data = read_fit(folder)
    console = report_console()
    print_table(short_table(data), console)
    _, sentence = verdict(data)
    notes = {sentence: "bold"}
    if data.found.errors:
        last = data.found.errors[-1]
        notes[f"The cost model was {last['lut']:.1%} off in LUT (median of {last['networks']} networks)."] = ""
    print_notes(notes, console)


def _tiles(data: FitData) -> list[tuple[str, str]]:
    winner = data.winner
    tiles = [] if winner is None else [("validation accuracy, %", f"{winner.validation_accuracy:.2f}")]
    tiles.append(("networks trained", str(sum(1 for one in data.ended if one.round))))
    tiles.append(("hours spent", f"{data.found.spent / 3600:.2f} of {data.plan.hours:g}"))
    if data.found.errors:
        tiles.append(("cost model off in LUT, median", f"{data.found.errors[-1]['lut']:.1%}"))
    return tiles


def _seen(data: FitData) -> str:
    """Return what is to be seen on the picture."""
    points = []
    for one in data.front():
        points.append(f"{one.name} {one.validation_accuracy:.2f} % at {luts(one):,.0f} LUT")
    return f"Pareto front: {'; '.join(points) or 'no network yet'}."


def _compared(data: FitData) -> str:
    found = data.sensitivity
    if found is None:
        return ""
    text = (
        f"Change of the mean validation loss ({found.loss:.4g} at the widest bits, {found.images:,} images) with one "
        f"quantizer narrowed, BatchNorm estimated anew on {found.norm_images:,} training images."
    )
    if found.rank_correlation is not None:
        text += f" Spearman's rank correlation with the Hessian's trace: {found.rank_correlation:.2f}."
    return text


def _limits(data: FitData) -> dict[str, str]:
    plan = data.plan
    limits = {kind: f"{most:,.0f}" for kind, most in plan.limits.items()}
    limits |= {"frames/s at least": f"{plan.min_fps:,}", "clock, ns": f"{plan.clock_ns:g}"}
    if plan.min_accuracy is not None:
        limits["validation accuracy at least, %"] = f"{plan.min_accuracy:g}"
    limits |= {"bits": ", ".join(map(str, plan.widths)), "epochs of a network": str(plan.candidate_epochs)}
    return limits
