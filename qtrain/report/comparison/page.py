"""A comparison as one self-contained web page, with its figures beside it as PNGs."""

import base64
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qtrain.records.files import write_whole
from qtrain.report.comparison.figures import FIGURES, overview
from qtrain.report.comparison.read import ComparisonData, Run, read_comparison
from qtrain.report.comparison.text import accuracy_text, comparison_tables, notes, reference, verdict, words
from qtrain.report.comparison.verdict_words import CLASSES
from qtrain.report.graph import Graph
from qtrain.report.pages import fill_page, png_of
from qtrain.report.statistics import tuned_numbers
from qtrain.report.tables import proof_rows
from qtrain.schedulers.catalogue import label_of, row_of

REPORT, PICTURES = "report.html", "report"
_NOT_SHARED = ("scheduler", "seed")  # a comparison's recipe has the first run's, which its table would misstate
_CAPTIONS = {
    "accuracy": "Test accuracy by scheduler: dots are seeds, thin lines join the runs of one seed, bars are means.",
    "learning_rate": "Learning rate of every epoch. ASLR's centre moves by whole steps of its first digit; each layer "
    "draws its own rate around it before every optimizer step, the dots are the last draw of an epoch.",
    "validation_accuracy": "Validation accuracy by epoch: mean over seeds, one standard deviation as a band, single "
    "seeds thin.",
    "training_loss": "Training loss by epoch: mean over seeds, one standard deviation as a band, single seeds thin.",
}


def write_report(folder: Path) -> Path:
    """Write ``report.html`` and ``report/*.png`` into a comparison's folder, all made of its records.

    The page holds its images and styles and refers to nothing outside; each file appears whole or not at all.

    Args:
        folder: that ``qtrain compare`` wrote.

    Returns:
        The page's path.

    Raises:
        UserError: the folder's files are missing, damaged or contradict each other.
    """
    data = read_comparison(folder)
    pictures = {name: png_of(draw(data)) for name, draw in FIGURES.items()}
    page = render(data, pictures)
    (folder / PICTURES).mkdir(exist_ok=True)
    for name, png in {**pictures, "overview": png_of(overview(data))}.items():
        write_whole(folder / PICTURES / f"{name}.png", png)
    write_whole(folder / REPORT, page.encode())
    return folder / REPORT


def render(data: ComparisonData, pictures: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        data: the comparison.
        pictures: PNG files by the figure's name.
    """
    answer, sentence = verdict(data)
    exported = [run for run in data.runs if run.export is not None]
    return fill_page(
        "comparison/report.html",
        title=f"{data.recipe.get('network')} on {data.recipe.get('data')}: {label_of(data.challenger)} against "
        f"{', '.join(data.others)}",
        state=CLASSES[answer],
        verdict=sentence,
        words=words(data),
        tiles=_tiles(data, exported),
        tables=comparison_tables(data),
        colours={s: row_of(s).colour for s in data.schedulers},
        notes=notes(data),
        figures=[(_CAPTIONS[name], base64.b64encode(png).decode()) for name, png in pictures.items()],
        proofs=[_proof(run) for run in exported],
        networks=_networks(exported),
        recipe={k: _plain(v) for k, v in data.recipe.items() if k not in _NOT_SHARED},
        machine=_machine(data.runs),
        command=rebuild_command(data),
    )


def rebuild_command(data: ComparisonData) -> str:
    """The command line that repeats the comparison: every field of the recipe, so that no default matters."""
    fields = {k: v for k, v in data.recipe.items() if k not in ("network", *_NOT_SHARED)}
    options = {**fields, "seed": data.seeds[0], "schedulers": ",".join(data.schedulers), "seeds": len(data.seeds)}
    options |= {"tolerance": data.tolerance, "challenger": data.challenger, "against": ",".join(data.judged)}
    if data.tuning:
        options["tuning"] = ",".join(f"{name}={runs}" for name, runs in data.tuning.items())
    export = next((run.export for run in data.runs if run.export is not None), None)
    if export is not None:
        shown = export.manifest
        options |= {"board": shown.board, "target_fps": f"{shown.target_fps:g}", "clock_ns": shown.clock_ns}
    options["device"] = str(data.runs[0].machine.get("device", "auto") if data.runs else "auto").partition(":")[0]
    options["out"] = data.name
    words = [f"--{name.replace('_', '-')} {shlex.quote(_plain(value))}" for name, value in options.items()]
    lines = [f"qtrain compare {shlex.quote(_plain(data.recipe.get('network')))}"]
    for word in words:
        if len(lines[-1]) + len(word) > 88:
            lines.append(" ")
        lines[-1] += f" {word}"
    return " \\\n".join(lines)


def _tiles(data: ComparisonData, exported: list[Run]) -> list[tuple[str, str]]:
    """The few numbers to see first."""
    baseline, ours = reference(data), label_of(data.challenger)
    tiles = [(f"{s}: test accuracy, %", accuracy_text(data, s)) for s in (data.challenger, baseline)]
    if found := data.difference(baseline):
        tiles.append((f"{ours} minus {baseline}, points", f"{found.mean:+.2f}"))
    counts = [len(tuned_numbers(s, data.recipe)) for s in (data.challenger, baseline)]
    tiles.append((f"rates to tune, {data.challenger} and {baseline}", f"{counts[0]} and {counts[1]}"))
    if exported and exported[0].export is not None:
        proofs = [run.export.manifest.proof for run in exported if run.export]
        equal = sum(proof.equal for proof in proofs)
        images = sum(proof.images for proof in proofs)
        tiles.append(("test images equal in graph and torch", f"{equal} of {images}"))
        tiles.append(
            ("weights of all layers", _bits(sum(layer.count * layer.bits for layer in exported[0].export.graph.layers)))
        )
    return tiles


def _proof(run: Run) -> dict[str, Any]:
    assert run.export is not None
    manifest, graph = run.export.manifest, run.export.graph
    return {
        "run": f"{run.scheduler}, seed {run.seed}",
        "rows": [
            *proof_rows(manifest.proof),
            ("nodes of the final graph", f"{graph.nodes}"),
            ("model.onnx", f"{graph.file_bytes:,} bytes"),
        ],
        "board": f"{manifest.board}, {manifest.target_fps:g} frames/s, {manifest.clock_ns:g} ns clock",
        "stages": manifest.stages,
    }


def _networks(exported: list[Run]) -> list[dict[str, Any]]:
    """Weights by layer, once for all runs with the same layers."""
    graphs: dict[Any, tuple[Graph, list[str]]] = {}
    for run in exported:
        assert run.export is not None
        graph = run.export.graph
        graphs.setdefault((graph.layers, graph.other_values), (graph, []))[1].append(f"{run.scheduler}-seed{run.seed}")
    return [
        {
            "runs": ", ".join(runs),
            "layers": [
                (la.name, " x ".join(map(str, la.shape)), f"{la.count:,}", str(la.bits), f"{la.count * la.bits:,}")
                for la in graph.layers
            ],
            "weights": f"{sum(la.count for la in graph.layers):,}",
            "bits": f"{sum(la.count * la.bits for la in graph.layers):,}",
            "size": _bits(sum(la.count * la.bits for la in graph.layers)),
            "others": f"{graph.other_values:,}",
            "parameters": f"{sum(la.count for la in graph.layers) + graph.other_values:,}",
        }
        for graph, runs in graphs.values()
    ]


def _bits(bits: int) -> str:
    for unit, scale in (("Mbit", 1e6), ("kbit", 1e3)):
        if bits >= scale:
            return f"{bits / scale:.3g} {unit}" if bits < 1000 * scale else f"{bits / scale:.0f} {unit}"
    return f"{bits} bit"


def _machine(runs: Iterable[Run]) -> dict[str, str]:
    """Facts of the machines, versions and code; where runs differ, all values."""
    facts: dict[str, list[str]] = {}
    for run in runs:
        flat = {k: v for k, v in run.machine.items() if k != "versions"}
        for key, value in {**flat, **dict(run.machine.get("versions") or {})}.items():
            text = "not recorded" if value is None else _plain(value)
            if text not in facts.setdefault(str(key), []):
                facts[str(key)].append(text)
    dates = sorted(date.replace("T", " ").replace("+00:00", " UTC") for date in facts.pop("date", []))
    if dates:
        facts = {"trained": dates[:1] if len(dates) == 1 else [f"{dates[0]} to {dates[-1]}"], **facts}
    return {key: ", ".join(values) for key, values in facts.items()}


def _plain(value: Any) -> str:
    """A value as the command line reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_plain(entry)}" for name, entry in value.items()) + "}"
    return f"[{', '.join(map(_plain, value))}]" if isinstance(value, list) else str(value)
