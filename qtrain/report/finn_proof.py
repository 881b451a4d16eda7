"""The table of ``qtrain verify --finn``: one row a step of the compiler."""

from collections.abc import Mapping, Sequence
from typing import Any

from qtrain.report.console import report_console
from qtrain.report.table import TableData, print_notes, print_table


def stage_rows(stages: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """Return step, nodes, equal images, compared tensors, and what differs, as text.

    Args:
        stages: the fields of ``qtrain.export.proof.inside_finn.FinnStage`` each.
    """
    rows: list[tuple[str, ...]] = []
    for stage in stages:
        name = stage["step"].removeprefix("step_").replace("_", " ")
        images = f"{stage['equal']:,} of {stage['images']:,}"
        tensors = f"{stage['tensors']} of {stage['of_tensors']}"
        rows.append((name, str(stage["nodes"]), images, tensors, _finding(stage)))
    return tuple(rows)


def _finding(stage: Mapping[str, Any]) -> str:
    """Return what was found after a step: no change, equality, or the first quantizer that differs."""
    if stage["unchanged"]:
        return "graph unchanged"
    difference = stage["difference"]
    if difference is None:
        return "equal" if stage["equal"] == stage["images"] else "classes differ"
    finding = f"{difference['quantizer']}: {difference['values']} of {difference['of']} values"
    return f"{finding} (float32 rounding)" if stage["rounding"] else finding


def print_finn_proof(proof: Mapping[str, Any]) -> None:
    """Print the table and what it rests on.

    Args:
        proof: the fields of ``qtrain.export.proof.inside_finn.FinnProof``.
    """
    console = report_console()
    head = ("after FINN's step", "nodes", "equal\nimages", "tensors\ncompared", "finding")
    print_table(TableData(head, stage_rows(proof["stages"])), console)
    images = f"{proof['images']:,} of {proof['of_images']:,} images"
    notes = [f"{images} after each step; every threshold layer's output on 16."]
    golden = len(proof["build"]["verified"])
    if golden:
        notes.append(
            f"FINN's own executor gave the right classes for {golden} of these graphs, on its few golden images."
        )
    print_notes(dict.fromkeys(notes, "dim"), console)
