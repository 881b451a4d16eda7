"""What a sweep's page says to who knows nothing of it: its first sentence, its words, what its pictures show."""

from qtrain.report.sweep.amounts import short
from qtrain.report.sweep.figures import heat_map_title, points_by_widths
from qtrain.report.sweep.rows import AXES, Axis, Point, SweepData

_WORDS = {
    "bops": "BOPs: bit operations an image, multiplications and additions weighted by the bits of what they multiply; "
    "known without a compiler.",
    "lut": "LUT: look-up tables, the small truth tables that the logic of an FPGA (a chip wired by a file) is made of. "
    "BRAM: its blocks of memory, 18 kbit each. Frames/s: images a second at the clock. All three are FINN's estimates; "
    "FINN is the compiler that turns a network into hardware.",
}


def lead(data: SweepData) -> str:
    """Return what was swept and what came out, in a sentence or two."""
    plan = data.plan
    seeds = len(plan["seeds"])
    of_seeds = "1 run" if seeds == 1 else f"up to {seeds} runs"
    text = (
        f"{plan['family']} was trained on {plan['data']} at {len(data.points)} settings of its bits, {of_seeds} each: "
        "a name as CNV_2W4A says weights (W) of 2 bits and activations (A, what layers hand on) of 4 bits."
    )
    trained = [(point.mean(), point) for point in data.points]
    ends = sorted(((mean, point) for mean, point in trained if mean is not None), key=lambda found: found[0])
    if not ends:
        return f"{text} None of them trained."
    low_mean, low = ends[0]
    high_mean, high = ends[-1]
    if low is high:
        return f"{text} {low.name} classified {low_mean:.2f} % of the test images rightly."
    return (
        f"{text} The share of test images classified rightly goes from {low_mean:.2f} % ({low.name}) to "
        f"{high_mean:.2f} % ({high.name})."
    )


def page_words(data: SweepData) -> list[str]:
    """Return what the page's words mean, a line each."""
    keys = {axis.key for axis in data.axes()}
    lines = [text for key, text in _WORDS.items() if key in keys]
    lines.append(
        "Seed: the number that all chance of a run comes from; a point is the mean over its seeds, ± one standard "
        "deviation. Pareto front: the points that no other point beats in both accuracy and cost."
    )
    if any(point.proof for point in data.points):
        lines.append("Proven: the exported graph gave every test image the class that torch gave it.")
    if data.pairs():
        lines.append("Warm start: training began from the weights of a network with more bits; from scratch: anew.")
    return lines


def cost_seen(data: SweepData, axis: Axis) -> str:
    """Return what accuracy against a cost looks like."""
    shown = [point for point in data.points if point.cost(axis) is not None and point.mean() is not None]
    front = data.front(axis)
    text = f"Mean test accuracy of {len(shown)} points against {axis.label}."
    if not front:
        return text
    if len(front) == 1:
        return f"{text} {_spot(front[0], axis)} beats all others in both."
    return f"{text} The Pareto front goes from {_spot(front[0], axis)} to {_spot(front[-1], axis)}."


def map_seen(data: SweepData, start: str, bits: str) -> str:
    """Return what a map of accuracy by bits looks like."""
    points = points_by_widths(data.points, start, bits)
    means = [(mean, point) for mean, point in ((p.mean(), p) for p in points.values()) if mean is not None]
    text = f"Mean test accuracy by bits of weights and activations, {heat_map_title(start, bits)}"
    if not means:
        return f"{text}: none trained."
    low_mean, low = min(means, key=lambda found: found[0])
    high_mean, high = max(means, key=lambda found: found[0])
    return f"{text}: from {low_mean:.1f} % ({low.network}) to {high_mean:.1f} % ({high.network})."


def _spot(point: Point, axis: Axis) -> str:
    mean = point.mean()
    cost = point.cost(axis)
    assert mean is not None
    assert cost is not None
    return f"{point.name} ({mean:.2f} % at {short(cost)} {axis.label.partition(',')[0].partition(' (')[0]})"


def axis_seen(data: SweepData) -> dict[str, str]:
    """Return ``cost_seen`` by the key of every axis that the page has."""
    return {axis.key: cost_seen(data, axis) for axis in AXES if axis in data.axes()}
