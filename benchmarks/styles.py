"""The most frames a second that fit a board, in FINN's own styles and with other memory and resource styles chosen.

Networks are untrained; FINN's estimates do not depend on what the weights are, but for the widths of sums. Both numbers
are of one search: the fastest folding that fits without a change of style, and the fastest of all that fit.

Usage: python -W ignore -m benchmarks.styles [--networks CNV_8W8A:0.25] [--board Pynq-Z1] [--out results/styles.jsonl]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import append
from benchmarks.records import RESULTS
from qtrain.export import lint_network
from qtrain.export.compiler.start import estimate_build
from qtrain.export.foreign.graph_file import folder_of
from qtrain.models import FAMILIES, build_model, parse_name
from qtrain.records.files import temporary_folder

FIRST_FPS = 1000  # target that the search begins with


def searched(network: str, width: float, board: str) -> dict[str, Any]:
    """Return both numbers of a network on a board."""
    torch.manual_seed(0)
    model = build_model(network, width=width).eval()
    linted = lint_network(model, FAMILIES.get(parse_name(network).family).shape)
    with temporary_folder("qtrain-styles-") as work:
        graph = work / "model.onnx"
        linted.graph().save(str(graph))
        with folder_of(graph) as folder:
            build = estimate_build(
                folder, board=board, target_fps=FIRST_FPS, out=work / "build", max_fps_within=1.0, timeout_s=3600
            )
    fitting = [probe for probe in build.probes if probe["fits"]]
    own = [probe for probe in fitting if not probe.get("styles")]
    best = build.best or {}
    return {
        "network": network,
        "width": width,
        "board": board,
        "versions": dict(build.versions),
        "probes": len(build.probes),
        "own_fps": max((probe["fps"] for probe in own), default=None),
        "fps": best.get("fps"),
        "used": {kind: best[kind] for kind in ("LUT", "BRAM_18K", "URAM", "DSP") if kind in best},
        "used_in_own": best.get("own", {}),
        "styles": best.get("styles", {}),
    }


def main() -> None:
    """Search each network, and record what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="CNV_8W8A:0.25,CNV_2W2A:1", help="name:width, comma-separated")
    parser.add_argument("--board", default="Pynq-Z1")
    parser.add_argument("--out", type=Path, default=RESULTS / "styles.jsonl")
    options = parser.parse_args()
    for entry in options.networks.split(","):
        name, _, width = entry.partition(":")
        found = searched(name, float(width or 1), options.board)
        append("styles", found, options.out)
        print(f"{name} width {width}: {found['own_fps']} frames/s in FINN's own styles, {found['fps']} of all that fit")


if __name__ == "__main__":
    main()
