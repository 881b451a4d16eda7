"""The tables of a fit: its candidates, the winner layer by layer, and how far the cost model was off."""

from qtrain.records.fit import Candidate
from qtrain.report.fit.read import FitData
from qtrain.report.table import TableData

KINDS = ("LUT", "BRAM_18K", "DSP")
HEAD = ("network", "validation\n%", "test\n%", "LUT", "BRAM_18K", "DSP", "frames/s", "verdict")
PREDICTED = "predicted\nLUT"


def candidates_table(data: FitData) -> TableData:
    """Return what came of each candidate, beside what the cost model had predicted."""
    head = (*HEAD[:4], PREDICTED, *HEAD[4:])
    return TableData(head, tuple(_row(data, one) for one in data.found.candidates))


def short_table(data: FitData) -> TableData:
    """Return what came of each candidate, in 80 columns."""
    whole = candidates_table(data)
    at = whole.head.index(PREDICTED)
    return TableData(HEAD, tuple((*row[:at], *row[at + 1 :]) for row in whole.rows))


def _row(data: FitData, one: Candidate) -> tuple[str, ...]:
    used = one.used or {}
    star = " ★" if one.name == data.found.winner else ""
    return (
        f"{one.name}{star}",
        _number(one.validation_accuracy, ".2f"),
        _number(one.test_accuracy, ".2f"),
        _number(used.get("LUT"), ",.0f"),
        _number(one.predicted.get("LUT"), ",.0f"),
        _number(used.get("BRAM_18K"), ",.0f"),
        _number(used.get("DSP"), ",.0f"),
        _number(one.fps, ",.0f"),
        _verdict(data, one),
    )


def _verdict(data: FitData, one: Candidate) -> str:
    if one.state == "failed":
        return f"failed: {one.error}"
    if one.state == "planned":
        return "waits"
    return "fits" if data.fits(one) else "does not fit"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def layers_table(data: FitData) -> TableData:
    """Return the winner's bits and folding, with what the bits cost in loss by the measured sensitivity."""
    winner = data.winner
    head = ("quantizer", "bits", "PE", "SIMD", "growth of the loss")
    if winner is None:
        return TableData(head, ())
    entries = data.sensitivity.entries if data.sensitivity else ()
    changes = {(entry.path, entry.bits): entry.change for entry in entries}
    folding = winner.folding if winner.own_folding else {}
    rows = []
    for path, bits in winner.bits.items():
        pe, simd = folding.get(path, ("", ""))
        rows.append((path, str(bits), str(pe), str(simd), _number(changes.get((path, bits)), "+.2g")))
    return TableData(head, tuple(rows))


def errors_table(data: FitData) -> TableData:
    """Return how far the cost model was off at the beginning of each round."""
    head = ("round", "networks judged on", "LUT, median", "LUT, most", "LUT of a layer", "BRAM_18K", "DSP", "cycles")
    rows = []
    for number, error in enumerate(data.found.errors, 1):
        rows.append(
            (
                str(number),
                str(error["networks"]),
                f"{error['lut']:.2%}",
                f"{error['lut_most']:.2%}",
                f"{error['layer_lut']:.2%}",
                f"{error['bram']:.1f}",
                f"{error['dsp']:.1f}",
                f"{error['cycles']:.2%}",
            )
        )
    return TableData(head, tuple(rows))


def sensitivity_table(data: FitData) -> TableData:
    """Return the growth of the loss for every quantizer and width, from the widest on."""
    found = data.sensitivity
    entries = found.entries if found else ()
    widths = sorted({entry.bits for entry in entries}, reverse=True)
    changes = {(entry.path, entry.bits): entry.change for entry in entries}
    rows = []
    for path, kind in dict.fromkeys((entry.path, entry.kind) for entry in entries):
        rows.append((path, kind, *(_number(changes.get((path, bits)), "+.2g") for bits in widths)))
    return TableData(("quantizer", "of", *(f"{bits} bits" for bits in widths)), tuple(rows))


def verdict(data: FitData) -> tuple[str, str]:
    """Return whether there is a winner, ``holds`` or ``undecided``, and that in a sentence."""
    winner = data.winner
    plan = data.plan
    if winner is None:
        return "undecided", f"No network is chosen yet; {len(data.ended)} have been trained."
    used = winner.used or {}
    amounts = ", ".join(f"{used[kind]:,} of {plan.limits[kind]:,.0f} {kind}" for kind in KINDS)
    return "holds", (
        f"{winner.name}: {winner.validation_accuracy:.2f} % of the validation images, {winner.test_accuracy:.2f} % of "
        f"the test images, {winner.fps:,.0f} of {plan.min_fps:,} frames/s, {amounts}, by FINN's estimate."
    )
