"""What FINN estimates of a network, and what a network costs on any hardware: tables on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from qtrain.report.console import plain_text, report_console
from qtrain.report.estimate_styles import short_name, style_sentence, style_table
from qtrain.report.table import TableData, print_facts, print_notes, print_table

_LAYER_AMOUNTS = ("cycles", "lut", "bram_18k", "uram", "dsp")
_COSTS = ("macs", "bops", "weight_bits", "output_bits")


def print_estimate(estimate: Mapping[str, Any], verified: Sequence[str]) -> None:
    """Print FINN's estimates layer by layer, and in all against what the board has.

    Args:
        estimate: what ``qtrain.records.estimate.Estimate.to_json`` writes.
        verified: the graphs that FINN executed with the right answer.
    """
    console = report_console()
    if verified:
        graphs = f"{len(verified)} graphs, {verified[0]} to {verified[-1]}" if len(verified) > 1 else verified[0]
        _print_line(f"FINN executed {graphs}: all answers are torch's", console)
    print_table(layer_table(estimate), console, left=2)
    console.print()
    print_facts(estimate_rows(estimate), console)
    if sentence := style_sentence(estimate):
        console.print()
        print_table(style_table(estimate), console, left=3)
        _print_line(sentence, console)
    if estimate["probes"]:
        console.print()
        print_table(probe_table(estimate), console, left=0)
        _print_line(search_sentence(estimate), console)
    fit_style = "bold green" if estimate["fits"] else "bold red"
    print_notes({fit_sentence(estimate): fit_style, f"{estimate['label']}.": "dim"}, console)


def layer_table(estimate: Mapping[str, Any]) -> TableData:
    """Return the layers of the hardware in order."""
    rows = []
    for layer in estimate["layers"]:
        amounts = [f"{layer[amount]:,}" for amount in _LAYER_AMOUNTS]
        rows.append((layer["place"], short_name(layer), *amounts))
    return TableData(("layer", "FINN's layer", "cycles", *estimate["used"]), tuple(rows))


def probe_table(estimate: Mapping[str, Any]) -> TableData:
    """Return what a search for the largest target tried, in its order."""
    rows = []
    for probe in estimate["probes"]:
        amounts = [f"{probe[kind]:,.0f}" if kind in probe else "" for kind in estimate["used"]]
        rows.append(
            (
                f"{probe['target_fps']:,}",
                f"{probe['mvau_wwidth_max']:,}",
                f"{probe['fps']:,.0f}",
                *amounts,
                _fits(probe),
            )
        )
    return TableData(("tried: target", "weight bits", "frames/s", *estimate["used"], "fits"), tuple(rows))


def _fits(probe: Mapping[str, Any]) -> str:
    if probe.get("styles"):
        return f"{len(probe['styles'])} styled"
    return "yes" if probe["fits"] else "no"


def search_sentence(estimate: Mapping[str, Any]) -> str:
    """Return how far the search for the largest target went."""
    tried = len(estimate["probes"])
    styled = ""
    if any(probe.get("styles") for probe in estimate["probes"]):
        styled = ' "2 styled": fits with two layers in other styles than FINN\'s own.'
    if estimate["all_faster_tried"]:
        faster = "among them every one that is faster than this one, at those widths of streams"
        return f"{tried} foldings tried, {faster}.{styled}"
    why = "larger is not always larger in memory, so another one may fit"
    return f"{tried} foldings tried, not all there are: {why}.{styled}"


def estimate_rows(estimate: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what FINN estimated in all, one row each."""
    rows = [
        ("frames a second", f"{estimate['fps']:,.0f} of {estimate['target_fps']:,}"),
        ("latency", f"{estimate['latency_ns'] / 1e6:,.2f} ms"),
        ("slowest layer", f"{_slowest_layer(estimate)}: {estimate['cycles']:,} cycles"),
    ]
    for kind, has in estimate["available"].items():
        used = estimate["used"][kind]
        share = f" ({used / has:.0%})" if has else ""
        rows.append((kind, f"{used:,} of {has:,}{share}"))
    return rows


def fit_sentence(estimate: Mapping[str, Any]) -> str:
    """Return whether the network fits, by the resource that is used most."""
    # a share is None where a resource is used that the board has none of
    shares = {kind: float("inf") if share is None else share for kind, share in estimate["shares"].items()}
    fullest = max(shares, key=lambda kind: shares[kind])
    amount = f"{shares[fullest]:.0%}"
    if not estimate["available"][fullest]:
        amount = f"{estimate['used'][fullest]} of 0"
    allowed = ""
    if estimate["max_utilization"] != 1:
        allowed = f", {estimate['max_utilization']:.0%} may be used"
    verb = "Fits" if estimate["fits"] else "Does not fit"
    return f"{verb} {estimate['board']}: {amount} {fullest}{allowed}."


def print_cost(cost: Mapping[str, Any]) -> None:
    """Print what a network costs on any hardware.

    Args:
        cost: the fields of ``qtrain.export.compiler.cost.NetworkCost``.
    """
    head = ("layer", "MACs", "BOPs", "weights, bits", "outputs, bits\n(accumulators)")
    rows = [_cost_row(layer["name"], layer) for layer in cost["layers"]]
    rows.append(_cost_row("in all", cost))
    print_table(TableData(head, tuple(rows)), report_console())


def _cost_row(name: str, cost: Mapping[str, Any]) -> tuple[str, ...]:
    return (name, *(f"{cost[field]:,}" for field in _COSTS))


def _slowest_layer(estimate: Mapping[str, Any]) -> str:
    """Return FINN's name of the slowest layer, with the network's behind it where it has one."""
    layer = next(layer for layer in estimate["layers"] if layer["name"] == estimate["slowest"])
    if layer["place"]:
        return f"{layer['name']} ({layer['place']})"
    return str(layer["name"])


def _print_line(text: str, console: Console) -> None:
    """Print a sentence that is never broken by rich."""
    console.print(plain_text(text, console), soft_wrap=True)
