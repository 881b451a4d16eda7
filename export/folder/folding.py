"""Put a folding into a FINN folder: the hardware build then starts from it, and the folder still proves itself.

A folding names layers, and compilers name them differently: where FINN+ has ``ConvolutionInputGenerator_rtl_6`` and
``Pool_hls_0``, official FINN's main has ``StreamingMaxPool_hls_0``, and all later generators have other numbers. So
only FINN+ takes the folding that it made; official FINN takes what means the same layer in all of them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from qtrain.errors import UserError
from qtrain.export.compiler.boards import Board
from qtrain.export.folder.at_board import at_board, board_texts
from qtrain.export.folder.build_files import FINN_PLUS_CONFIG, MVAU_WWIDTH_MAX, configurations
from qtrain.export.folder.change import change_files
from qtrain.export.folder.contents import FOLDING, MANIFEST, OFFICIAL_FOLDING, check_files, read_manifest
from qtrain.export.folder.readme import README, folder_readme
from qtrain.export.foreign.arrays import read_npy
from qtrain.records.files import json_text
from qtrain.records.lock import only_here
from qtrain.records.plain_files import read_plain_text
from qtrain.records.plain_yaml import load_yaml

# Layers that every compiler makes of the same nodes in the same order, and the attributes that all of them know.
# Memory styles and resource types have the same names and values too.
SHARED = re.compile(r"(MVAU|VVAU|Thresholding)_(hls|rtl)_\d+")
PARALLELISM = ("PE", "SIMD")
Styles = Mapping[str, Mapping[str, str | int]]


def saved_folding(folder: Path) -> Path | None:
    """Return the folding configuration that a folder's build starts from, None where FINN folds for the target."""
    try:
        config = load_yaml(folder / FINN_PLUS_CONFIG)
    except (OSError, ValueError):
        return None
    name = config.get("folding_config_file") if isinstance(config, dict) else None
    return folder / name if isinstance(name, str) and name else None


def official_folding(folding: Mapping[str, Any], styles: Styles | None = None) -> dict[str, Any]:
    """Translate FINN+'s folding for official FINN.

    Args:
        folding: FINN+'s, by layer names.
        styles: attributes of it that are not as FINN sets them, by layer name.

    Returns:
        Parallelism and such styles of matrix units and thresholds; official FINN folds generators and pools for the
        target itself, in its own styles.
    """
    chosen = styles or {}
    shared = {name: layer for name, layer in folding.items() if SHARED.fullmatch(name) and isinstance(layer, dict)}
    units = {
        name: {key: layer[key] for key in (*PARALLELISM, *chosen.get(name, ())) if key in layer}
        for name, layer in shared.items()
    }
    return {"Defaults": {}, **units}


def read_folding(path: Path) -> dict[str, Any]:
    """Read a folding configuration of FINN.

    Raises:
        UserError: it is missing or no JSON object.
    """
    try:
        folding = json.loads(read_plain_text(path))
    except UserError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no folding configuration ({error}); save one with --save-folding") from None
    if not isinstance(folding, dict):
        raise UserError(f"{path} is no folding configuration (no object in it); save one with --save-folding")
    return folding


def save_folding(
    folder: Path,
    folding: Mapping[str, Any],
    board: Board,
    target_fps: int,
    clock_ns: float,
    *,
    made_by: str,
    mvau_wwidth_max: int = MVAU_WWIDTH_MAX,
    estimated_fps: float | None = None,
    styles: Styles | None = None,
) -> bool:
    """Write the folding and its translation for official FINN, each named in its compiler's build configuration.

    Board, target, clock and width of the folder become those that the folding is for; README and manifest say so and
    which compiler made it. All files change, or none; a signature goes.

    Args:
        folder: that ``qtrain export`` wrote, unchanged since.
        folding: FINN+'s ``auto_folding_config.json``.
        board: folded for.
        target_fps: folded for.
        clock_ns: clock period in nanoseconds.
        made_by: compiler and version, as ``finn-plus 1.6.1``.
        mvau_wwidth_max: bits of a weight stream that the folding was made with; official FINN, which folds the other
            layers for the target, needs as wide ones to reach it.
        estimated_fps: frames a second that the compiler estimates with it.
        styles: as of ``official_folding``.

    Returns:
        Whether there was a signature.

    Raises:
        UserError: the folder is none of ours or of an earlier qtrain, cannot be written, or is being changed.
        ProofError: a file of it was changed or is missing.
    """
    with only_here(folder, beside=True):
        manifest = read_manifest(folder)
        check_files(folder, manifest)
        facts = {"board": board.name, "target_fps": target_fps, "clock_ns": clock_ns}
        estimated = {} if estimated_fps is None else {"estimated_fps": estimated_fps}
        folding_facts = {"made_by": made_by, "mvau_wwidth_max": mvau_wwidth_max, **estimated}
        manifest = {**manifest, **facts, "folding": folding_facts}
        for_board = {}
        if "input" in manifest:  # not of an earlier export
            manifest["at_board"] = at_board(manifest)
            for_board = board_texts(manifest)
        names = {"folding": FOLDING, "official_folding": OFFICIAL_FOLDING}
        texts = {
            FOLDING: _json(folding),
            OFFICIAL_FOLDING: _json(official_folding(folding, styles)),
            **configurations(board, target_fps, clock_ns, **names, mvau_wwidth_max=mvau_wwidth_max),
            README: folder_readme(manifest, read_npy(folder / "input.npy").shape[1:]),
            **for_board,
        }
        files = {name: text.encode() for name, text in texts.items()}
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        known = {**manifest["files"], **digests}
        listed = {name: known[name] for name in sorted(known, key=PurePosixPath)}
        return change_files(folder, {**files, MANIFEST: json_text({**manifest, "files": listed}).encode()})


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"
