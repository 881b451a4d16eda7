"""Tables of a comparison, a proof and an estimate, printed on the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtrain.records.manifest import Proof
from qtrain.report.comparison.read import read_comparison
from qtrain.report.comparison.text import TableData, comparison_tables, notes, verdict, words
from qtrain.report.comparison.verdict_words import STYLES
from qtrain.report.console import ReportConsole


def proof_rows(proof: Proof) -> list[tuple[str, str]]:
    """What was proven and the number, one row each."""
    differs = proof.float32_torch_differs
    return [
        ("test images with equal classes", f"{proof.equal} of {proof.images}"),
        ("accuracy of torch, float64", f"{proof.accuracy_torch:.2f} %"),
        ("accuracy of the exported graph", f"{proof.accuracy_graph:.2f} %"),
        ("largest difference of logits", f"{proof.largest_logit_difference:.1e}"),
        ("images whose best logits tie", f"{proof.ties}"),
        ("images that float32 torch classifies otherwise", "not measured" if differs is None else f"{differs}"),
        ("equal classes in qonnx's own executor", f"{proof.qonnx_equal} of {proof.qonnx_images}"),
        *(("the proof leaves open", caveat) for caveat in proof.caveats),
    ]


def print_comparison(folder: Path) -> None:
    """Print the tables of a comparison, what they say, and the verdict last.

    Args:
        folder: that ``qtrain compare`` wrote.

    Raises:
        UserError: its files are missing or damaged.
    """
    data, console = read_comparison(folder), _console()
    for i, table in enumerate(comparison_tables(data)):
        if i:
            console.print()
        print_table(table, console)
    answer, sentence = verdict(data)
    print_notes({**dict.fromkeys([*notes(data), *words(data)], "dim"), sentence: STYLES[answer]}, console)


def print_table(table: TableData, console: Console, left: int = 1) -> None:
    """Print a table of text, its first ``left`` columns flush left."""
    grid = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for i, head in enumerate(table.head):
        justify: Any = "right" if i >= left else "left"
        grid.add_column(_text(head, console), justify=justify, overflow="fold", vertical="bottom")
    for row in table.rows:
        grid.add_row(*(_text(cell if cell or i < left else "-", console) for i, cell in enumerate(row)))
    console.print(grid)


def print_notes(styles: Mapping[str, str], console: Console) -> None:
    """Print sentences in their styles; a pipe gets each as one line."""
    for note, style in styles.items():
        console.print(_text(note, console, style), soft_wrap=not console.is_terminal)


def print_proof(proof: Proof) -> None:
    """Print the numbers of a proof."""
    console = _console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for what, number in proof_rows(proof):
        table.add_row(_text(what, console), _text(number, console, "bold"))
    console.print(table)


def print_estimate(estimate: Mapping[str, Any], verified: Sequence[str]) -> None:
    """Print FINN's estimates layer by layer, and in all against what the board has.

    Args:
        estimate: what ``qtrain.records.estimate.Estimate.to_json`` writes.
        verified: the graphs that FINN executed with the right answer.
    """
    console = _console()
    if verified:
        note = f"Graphs that FINN executed and that answered as torch did: {', '.join(verified)}"
        console.print(_text(note, console), soft_wrap=True)
    print_table(layer_table(estimate), console, left=2)
    console.print()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    for what, number in estimate_rows(estimate):
        table.add_row(_text(what, console), _text(number, console, "bold"))
    console.print(table)
    if estimate["probes"]:
        console.print()
        print_table(probe_table(estimate), console, left=0)
        console.print(_text(search_sentence(estimate), console), soft_wrap=True)
    notes = {fit_sentence(estimate): "bold green" if estimate["fits"] else "bold red", f"{estimate['label']}.": "dim"}
    print_notes(notes, console)


def layer_table(estimate: Mapping[str, Any]) -> TableData:
    """The layers of the hardware in order; FINN's longest name is shortened as in its own ``InferConvInpGen``."""
    amounts = ("cycles", "lut", "bram_18k", "uram", "dsp")
    rows = [
        (
            layer["place"],
            layer["name"].replace("ConvolutionInputGenerator", "ConvInpGen"),
            *(f"{layer[amount]:,}" for amount in amounts),
        )
        for layer in estimate["layers"]
    ]
    return TableData(("layer", "FINN's layer", "cycles", *estimate["used"]), tuple(rows))


def probe_table(estimate: Mapping[str, Any]) -> TableData:
    """What a search for the largest target tried, in its order."""
    rows = [
        (
            f"{probe['target_fps']:,}",
            f"{probe['mvau_wwidth_max']:,}",
            f"{probe['fps']:,.0f}",
            *(f"{probe[kind]:,.0f}" if kind in probe else "" for kind in estimate["used"]),
            "yes" if probe["fits"] else "no",
        )
        for probe in estimate["probes"]
    ]
    return TableData(("tried: target", "weight bits", "frames/s", *estimate["used"], "fits"), tuple(rows))


def search_sentence(estimate: Mapping[str, Any]) -> str:
    """How far the search went."""
    tried = len(estimate["probes"])
    if estimate["all_faster_tried"]:
        return f"{tried} foldings tried, among them every one that is faster than this one, at those widths of streams."
    return f"{tried} foldings tried, not all there are: larger is not always larger in memory, so another one may fit."


def estimate_rows(estimate: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What FINN estimated in all, one row each."""
    slowest = next(layer for layer in estimate["layers"] if layer["name"] == estimate["slowest"])
    name = f"{slowest['name']} ({slowest['place']})" if slowest["place"] else slowest["name"]
    rows = [
        ("frames a second", f"{estimate['fps']:,.0f} of {estimate['target_fps']:,}"),
        ("latency", f"{estimate['latency_ns'] / 1e6:,.2f} ms"),
        ("slowest layer", f"{name}: {estimate['cycles']:,} cycles"),
    ]
    for kind, has in estimate["available"].items():
        used = estimate["used"][kind]
        rows.append((kind, f"{used:,} of {has:,}{f' ({used / has:.0%})' if has else ''}"))
    return rows


def fit_sentence(estimate: Mapping[str, Any]) -> str:
    """Whether it fits, by the resource that is used most."""
    shares = {kind: float("inf") if share is None else share for kind, share in estimate["shares"].items()}
    fullest = max(shares, key=lambda kind: shares[kind])
    amount = f"{shares[fullest]:.0%}" if estimate["available"][fullest] else f"{estimate['used'][fullest]} of 0"
    allowed = "" if estimate["max_utilization"] == 1 else f", {estimate['max_utilization']:.0%} may be used"
    return f"{'Fits' if estimate['fits'] else 'Does not fit'} {estimate['board']}: {amount} {fullest}{allowed}."


def print_cost(cost: Mapping[str, Any]) -> None:
    """Print what a network costs on any hardware.

    Args:
        cost: the fields of ``qtrain.export.compiler.cost.NetworkCost``.
    """
    fields = ("macs", "bops", "weight_bits", "output_bits")
    rows = [(layer["name"], *(f"{layer[field]:,}" for field in fields)) for layer in cost["layers"]]
    rows.append(("in all", *(f"{cost[field]:,}" for field in fields)))
    head = ("layer", "MACs", "BOPs", "weights, bits", "outputs, bits\n(accumulators)")
    print_table(TableData(head, tuple(rows)), _console())


def _console() -> Console:
    return ReportConsole(highlight=False)


def _text(value: str, console: Console, style: str = "") -> Text:
    """Plain text, never read as markup; in ASCII where the terminal's encoding has nothing else."""
    if not console.encoding.lower().startswith("utf"):
        value = value.replace("±", "+/-").encode("ascii", "replace").decode()
    return Text(value, style)
