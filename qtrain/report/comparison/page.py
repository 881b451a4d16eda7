"""A comparison as one interactive web page in one file, with its figures beside it as PNGs."""

import base64
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qtrain.records.files import write_whole
from qtrain.report.colours import colours_of, looks_of
from qtrain.report.comparison.describe import CAPTIONS, KINDS, curve_facts, lead, page_words, plot_texts
from qtrain.report.comparison.figures import FIGURES, overview
from qtrain.report.comparison.page_data import differs, page_data
from qtrain.report.comparison.read import ComparisonData, Run, read_comparison
from qtrain.report.comparison.tables import comparison_tables
from qtrain.report.comparison.text import accuracy_text, difference_text, notes, reference, verdict, words
from qtrain.report.comparison.verdict_words import CLASSES
from qtrain.report.graph import Graph
from qtrain.report.pages import fill_page, plotly, png_of, script_json
from qtrain.report.proof import proof_rows
from qtrain.report.statistics import tuned_numbers
from qtrain.schedulers.catalogue import label_of

REPORT = "report.html"
PICTURES = "report"
_LINE = 88  # characters of a command's line
_NOT_SHARED = ("scheduler", "seed")  # a comparison's recipe has the first run's, which its table would misstate
_PICTURES = {  # what a still figure shows, and its caption, by its name: those of the plot in its place
    "accuracy": "accuracy",
    "learning_rate": "lr",
    "validation_accuracy": "validation_accuracy",
    "training_loss": "train_loss",
}


def write_report(folder: Path) -> Path:
    """Write ``report.html`` and ``report/*.png`` into a comparison's folder, all made of its records.

    The page holds its data, images, styles and scripts and refers to nothing outside; each file appears whole or not at
    all.

    Args:
        folder: that ``qtrain compare`` wrote.

    Returns:
        The page's path.

    Raises:
        UserError: the folder's files are missing, damaged or contradict each other, or plotly is not installed.
    """
    data = read_comparison(folder)
    pictures = {name: png_of(draw(data)) for name, draw in FIGURES.items()}
    page = render(data, pictures)
    pictures["overview"] = png_of(overview(data))
    (folder / PICTURES).mkdir(exist_ok=True)
    for name, png in pictures.items():
        write_whole(folder / PICTURES / f"{name}.png", png)
    write_whole(folder / REPORT, page.encode())
    return folder / REPORT


def render(data: ComparisonData, pictures: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        data: the comparison.
        pictures: PNG files by the figure's name.
    """
    answer, sentence = verdict(data)
    exported = [run for run in data.runs if run.export is not None]
    place = f"{data.recipe.get('network')} on {data.recipe.get('data')}"
    looks = looks_of(data.schedulers)
    curves = {kind: curve_facts(data, kind) for kind in KINDS}
    texts = plot_texts(data)
    return fill_page(
        "comparison/report.html",
        colours_of(data.schedulers),
        title=f"{place}: {label_of(data.challenger)} against {', '.join(data.others)}",
        lead=lead(data),
        state=CLASSES[answer],
        verdict=sentence,
        words=[*page_words(len(data.seeds)), *words(data)],
        tiles=_tiles(data, exported),
        tables=comparison_tables(data),
        looks=looks,
        seeds=data.seeds,
        challenger=label_of(data.challenger),
        curves=curves,
        texts=texts,
        captions=CAPTIONS,
        differences=differs([data]),
        notes=notes(data),
        pictures=[_picture(name, png, texts, curves) for name, png in pictures.items()],
        proofs=[_proof(run) for run in exported],
        networks=_networks(exported),
        recipe=recipe_facts([data]),
        machine=machine_facts(data.runs),
        command=rebuild_command([data], data.name),
        data=script_json(page_data([data], looks)),
        plotly=plotly(),
    )


def _picture(
    name: str, png: bytes, texts: Mapping[str, str], curves: Mapping[str, Mapping[str, Any]]
) -> tuple[str, str, str]:
    """Return what is to be seen on a still figure, its caption, and the figure."""
    plot = _PICTURES[name]
    caption = CAPTIONS[plot] if plot in CAPTIONS else curves[plot]["words"]
    return texts[plot], caption, base64.b64encode(png).decode()


def recipe_facts(comparisons: Sequence[ComparisonData]) -> dict[str, str]:
    """Return the recipe that all runs share, as the command line reads it; where comparisons differ, all values."""
    facts: dict[str, dict[str, None]] = {}
    for data in comparisons:
        for name, value in data.recipe.items():
            if name not in _NOT_SHARED:
                facts.setdefault(name, {})[_plain(value)] = None
    return {name: "; ".join(values) for name, values in facts.items()}


def rebuild_command(comparisons: Sequence[ComparisonData], out: str) -> str:
    """Return the command that repeats comparisons, with every field of the recipe, so that no default matters.

    Args:
        comparisons: one, or those of a grid; where they differ in more than their networks, each gets its own command.
        out: name of their folder.
    """
    options = [_options(data) for data in comparisons]
    networks = [_plain(data.recipe.get("network")) for data in comparisons]
    if all(values == options[0] for values in options):
        return _command(",".join(networks), options[0] | {"out": out})
    commands = []
    for network, values, data in zip(networks, options, comparisons, strict=True):
        commands.append(_command(network, values | {"out": f"{out}/{data.name}"}))
    return "\n".join(commands)


def _command(network: str, options: Mapping[str, Any]) -> str:
    words = [f"--{name.replace('_', '-')} {shlex.quote(_plain(value))}" for name, value in options.items()]
    return _wrapped(f"qtrain compare {shlex.quote(network)}", words)


def _options(data: ComparisonData) -> dict[str, Any]:
    """Return what a comparison was made with, apart from its network and its folder."""
    options: dict[str, Any] = {}
    for name, value in data.recipe.items():
        if name not in ("network", *_NOT_SHARED):
            options[name] = value
    options |= {
        "seed": data.seeds[0],
        "schedulers": ",".join(data.schedulers),
        "seeds": len(data.seeds),
        "tolerance": data.tolerance,
        "challenger": data.challenger,
        "against": ",".join(data.judged),
    }
    if data.tuning:
        options["tuning"] = ",".join(f"{name}={runs}" for name, runs in data.tuning.items())
    exports = [run.export for run in data.runs if run.export is not None]
    if exports:
        shown = exports[0].manifest
        options |= {"board": shown.board, "target_fps": f"{shown.target_fps:g}", "clock_ns": shown.clock_ns}
    return options | {"device": _device(data.runs)}


def _device(runs: Sequence[Run]) -> str:
    """Return the kind of device that the first run was trained on, as ``--device`` takes it."""
    recorded = runs[0].machine.get("device", "auto") if runs else "auto"
    return str(recorded).partition(":")[0]


def _wrapped(command: str, words: Iterable[str]) -> str:
    """Return a command with its options, on as many shell lines as it needs."""
    lines = [command]
    for word in words:
        if len(lines[-1]) + len(word) > _LINE:
            lines.append(" ")
        lines[-1] += f" {word}"
    return " \\\n".join(lines)


def _tiles(data: ComparisonData, exported: list[Run]) -> list[tuple[str, str]]:
    """Return the few numbers to see first."""
    ours = data.challenger
    theirs = reference(data)
    tiles = [(f"{name}: test accuracy, %", accuracy_text(data, name)) for name in (ours, theirs)]
    difference = data.difference(theirs)
    if difference is not None:
        tiles.append((f"{label_of(ours)} minus {theirs}, points", difference_text(difference)))
    our_numbers = len(tuned_numbers(ours, data.recipe))
    their_numbers = len(tuned_numbers(theirs, data.recipe))
    tiles.append((f"rates to tune, {ours} and {theirs}", f"{our_numbers} and {their_numbers}"))
    exports = [run.export for run in exported if run.export is not None]
    if exports:
        proofs = [export.manifest.proof for export in exports]
        equal = sum(proof.equal for proof in proofs)
        images = sum(proof.images for proof in proofs)
        tiles.append(("test images equal in graph and torch", f"{equal} of {images}"))
        tiles.append(("weights of all layers", _size_text(exports[0].graph.weight_bits)))
    return tiles


def _proof(run: Run) -> dict[str, Any]:
    """Return the proof of a run's export, as the page shows it."""
    assert run.export is not None
    manifest = run.export.manifest
    graph = run.export.graph
    rows = proof_rows(manifest.proof)
    rows.append(("nodes of the final graph", f"{graph.nodes}"))
    rows.append(("model.onnx", f"{graph.file_bytes:,} bytes"))
    return {
        "run": f"{run.scheduler}, seed {run.seed}",
        "rows": rows,
        "board": f"{manifest.board}, {manifest.target_fps:g} frames/s, {manifest.clock_ns:g} ns clock",
        "stages": manifest.stages,
    }


def _networks(exported: list[Run]) -> list[dict[str, Any]]:
    """Return weights by layer, once for all runs with the same layers."""
    runs_of: dict[Any, list[str]] = {}
    graphs: dict[Any, Graph] = {}
    for run in exported:
        assert run.export is not None
        graph = run.export.graph
        same = (graph.layers, graph.other_values)
        graphs.setdefault(same, graph)
        runs_of.setdefault(same, []).append(f"{run.scheduler}-seed{run.seed}")
    return [_network(graph, runs_of[same]) for same, graph in graphs.items()]


def _network(graph: Graph, runs: list[str]) -> dict[str, Any]:
    """Return what the page shows of the network of these runs."""
    layers = []
    for layer in graph.layers:
        shape = " x ".join(map(str, layer.shape))
        layers.append((layer.name, shape, f"{layer.count:,}", str(layer.bits), f"{layer.count * layer.bits:,}"))
    return {
        "runs": ", ".join(runs),
        "layers": layers,
        "weights": f"{graph.weights:,}",
        "bits": f"{graph.weight_bits:,}",
        "size": _size_text(graph.weight_bits),
        "others": f"{graph.other_values:,}",
        "parameters": f"{graph.weights + graph.other_values:,}",
    }


def _size_text(bits: int) -> str:
    """Return a number of bits in three digits or more, with its unit."""
    for unit, scale in (("Mbit", 1e6), ("kbit", 1e3)):
        if bits >= 1000 * scale:
            return f"{bits / scale:.0f} {unit}"
        if bits >= scale:
            return f"{bits / scale:.3g} {unit}"
    return f"{bits} bit"


def machine_facts(runs: Iterable[Run]) -> dict[str, str]:
    """Return facts of the machines, versions and code; where runs differ, all values."""
    facts: dict[str, list[str]] = {}
    for run in runs:
        recorded = {name: value for name, value in run.machine.items() if name != "versions"}
        recorded |= run.machine.get("versions") or {}
        for name, value in recorded.items():
            text = _data_text(value) if name == "data" and isinstance(value, dict) else _entries_text(value)
            known = facts.setdefault(str(name), [])
            if text not in known:
                known.append(text)
    dates = facts.pop("date", [])
    shown = {"trained": _period(dates)} if dates else {}
    for name, values in facts.items():
        shown[name] = ", ".join(values)
    return shown


def _data_text(facts: Mapping[str, Any]) -> str:
    """Return what a run's record says of its data, without the means, which the drawn split moves."""
    shape = "x".join(map(str, facts.get("shape") or ()))
    parts = [str(facts.get("name")), f"{len(facts.get('class_names') or ())} classes", f"{shape} {facts.get('layout')}"]
    if facts.get("value_range"):
        parts.append("values {:g} to {:g}".format(*facts["value_range"]))
    if facts.get("digest"):
        parts.append(f"digest {facts['digest']}")
    return ", ".join(parts)


def _entries_text(value: Any) -> str:
    """Return a recorded value without braces, and without entries that hold nothing."""
    if value is None:
        return "not recorded"
    if not isinstance(value, dict):
        return _plain(value)
    return ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items() if entry not in (None, [], {}, ""))


def _period(dates: Iterable[str]) -> str:
    """Return the only date, or the first and the last one."""
    ordered = sorted(date.replace("T", " ").replace("+00:00", " UTC") for date in dates)
    if len(ordered) == 1:
        return ordered[0]
    return f"{ordered[0]} to {ordered[-1]}"


def _plain(value: Any) -> str:
    """Return a value as the command line reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        entries = ", ".join(f"{name}: {_plain(entry)}" for name, entry in value.items())
        return f"{{{entries}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return str(value)
