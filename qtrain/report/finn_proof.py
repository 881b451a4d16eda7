"""The table of ``qtrain verify --finn``: one row a step of the compiler."""

from collections.abc import Mapping, Sequence
from typing import Any

from qtrain.report.comparison.text import TableData
from qtrain.report.console import ReportConsole
from qtrain.report.tables import print_notes, print_table


def stage_rows(stages: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """Step, nodes, equal images, compared tensors, and what differs, as text.

    Args:
        stages: the fields of ``qtrain.export.proof.inside_finn.FinnStage`` each.
    """
    rows: list[tuple[str, ...]] = []
    for stage in stages:
        difference = stage["difference"]
        if stage["unchanged"]:
            finding = "graph unchanged"
        elif difference is None:
            finding = "equal" if stage["equal"] == stage["images"] else "classes differ"
        else:
            finding = f"{difference['quantizer']}: {difference['values']} of {difference['of']} values"
            finding += " (float32 rounding)" if stage["rounding"] else ""
        name = stage["step"].removeprefix("step_").replace("_", " ")
        tensors = f"{stage['tensors']} of {stage['of_tensors']}"
        rows.append((name, str(stage["nodes"]), f"{stage['equal']:,} of {stage['images']:,}", tensors, finding))
    return tuple(rows)


def print_finn_proof(proof: Mapping[str, Any]) -> None:
    """Print the table and what it rests on.

    Args:
        proof: the fields of ``qtrain.export.proof.inside_finn.FinnProof``.
    """
    console = ReportConsole(highlight=False)
    head = ("after FINN's step", "nodes", "equal\nimages", "tensors\ncompared", "finding")
    print_table(TableData(head, stage_rows(proof["stages"])), console)
    golden = len(proof["build"]["verified"])
    notes = [
        f"{proof['images']:,} of {proof['of_images']:,} images after each step; every threshold layer's output on 16.",
        f"FINN's own executor gave the right classes for {golden} of these graphs, on its few golden images."
        * bool(golden),
    ]
    print_notes(dict.fromkeys(filter(None, notes), "dim"), console)
