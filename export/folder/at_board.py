"""What a FINN folder says for the board, and ``board/`` in it, which is copied there: images, classes, the check."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from qtrain.errors import UserError
from qtrain.export.compiler.boards import get_board
from qtrain.export.errors import ProofError
from qtrain.export.folder.contents import MANIFEST, SHIPPED_FROM
from qtrain.export.foreign.arrays import read_npy
from qtrain.export.inputs import input_facts
from qtrain.records.data import DataFacts
from qtrain.records.format import Source, from_json, to_json
from qtrain.records.plain_files import read_plain, read_plain_text

BOARD = "board"
SCRIPT = f"{BOARD}/check_on_board.py"
IMAGES = f"{BOARD}/images.npy"
LABELS = f"{BOARD}/labels.npy"
EXPECTED = f"{BOARD}/expected.npy"
CLASSES = f"{BOARD}/classes.json"
ABOUT = f"{BOARD}/about.json"
FILES = (IMAGES, LABELS, EXPECTED, CLASSES, ABOUT, SCRIPT)
ENTRIES = ("input", "at_board", "tried_with", "commands")  # of a manifest; all of them, or none in an earlier one

TRIED = (
    "FINN+ (`finn-plus` 1.6.1)",
    "official FINN `main`, commit 39f0c9a6b, with qonnx fd61cfe",
    "official FINN `dev`, commit 73ba5ed64, with qonnx f5c9819",
)
COMMANDS = {
    "finn_plus": "finn build build_config.yaml model.onnx",
    "finn_plus_estimates": "qtrain estimate FOLDER",
    "official": "./run-docker.sh build_custom FOLDER",
    "official_estimates": (
        'FINN_DOCKER_EXTRA="-v FOLDER:FOLDER -w FOLDER " ./run-docker.sh python build.py --estimates'
    ),
    "estimates": "python build.py --estimates",
}


def handover(facts: Mapping[str, Any], data: DataFacts) -> dict[str, Any]:
    """Return the entries of a manifest that say what a board is fed and what is to be expected of it.

    Args:
        facts: the manifest so far; ``target_fps``, ``clock_ns``, ``proof``, and ``folding`` where one was saved.
        data: what is known of the images.
    """
    entries = {"input": to_json(data), "tried_with": list(TRIED), "commands": dict(COMMANDS)}
    return {**entries, "at_board": at_board({**facts, **entries})}


def at_board(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what follows from the rest of a manifest for the board: layout, bytes and their values, expectations."""
    channels, height, width = manifest["input"]["shape"]
    low, high = manifest["input"]["value_range"]
    folding = manifest.get("folding") or {}
    return {
        "input": {"type": "uint8", "layout": "NHWC", "shape": [height, width, channels]},
        "values": {"0": low, "255": high, "formula": f"{low:g} + byte * {high - low:g} / 255"},
        "output": "the class of each image, counted from 0",
        "expected": {
            "accuracy": manifest["proof"]["accuracy_graph"],
            "images": manifest["proof"]["images"],
            "target_fps": manifest["target_fps"],
            "estimated_fps": folding.get("estimated_fps"),
            "fclk_mhz": round(1000 / manifest["clock_ns"], 3),
        },
    }


def board_texts(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts in ``board/`` that follow from a manifest, by path."""
    label = get_board(manifest["board"]).label
    about = {"network": manifest["network"], "board": label, **manifest["at_board"]["expected"]}
    return {CLASSES: _json(manifest["input"]["class_names"]), ABOUT: _json(about)}


def write_board(folder: Path, manifest: Mapping[str, Any], pixels: Tensor, labels: Tensor, classes: Tensor) -> None:
    """Write ``board/``: what a board needs to repeat the proof on its own hardware.

    Args:
        folder: FINN folder.
        manifest: of it, with the entries of ``handover``.
        pixels: the test set, uint8 [N, C, H, W].
        labels: int64 [N].
        classes: that torch in float64 gives, int64 [N].
    """
    (folder / BOARD).mkdir()
    for name, values in _arrays(pixels, labels, classes).items():
        np.save(folder / name, values)
    for name, text in board_texts(manifest).items():
        (folder / name).write_text(text)
    shutil.copyfile(_shipped(), folder / SCRIPT)


def check_script(folder: Path, *, trust: bool = False) -> None:
    """See that the check that somebody will run on a board, often as root, is the one that qtrain ships.

    Raises:
        ProofError: it is another, and not trusted.
    """
    if not trust and read_plain(folder / SCRIPT) != _shipped().read_bytes():
        raise ProofError(
            f"{folder / SCRIPT} is not what this qtrain ships, and a board executes it; export the run again, or read "
            "it and give --trust where you know who wrote it"
        )


def check_board(
    folder: Path, manifest: Mapping[str, Any], pixels: Tensor, labels: Tensor, classes: Tensor, outputs: int
) -> None:
    """See that a folder says and holds for the board what its proof is over; one of an earlier export says nothing.

    Args:
        folder: FINN folder.
        manifest: of it.
        pixels: of the proof, uint8 [N, C, H, W].
        labels: int64 [N].
        classes: that the proof expects, int64 [N].
        outputs: how many classes the network tells apart.

    Raises:
        ProofError: names what differs.
    """
    if "input" not in manifest:
        return
    _check_entries(folder, manifest, pixels.shape[1:], outputs)
    for name, values in _arrays(pixels, labels, classes).items():
        found = read_npy(folder / name)
        if found.dtype != values.dtype or found.shape != values.shape:
            raise ProofError(
                f"{name} holds {found.dtype} {list(found.shape)} where by proof/ {values.dtype} {list(values.shape)} "
                "belongs; export the run again"
            )
        if len(different := np.flatnonzero((found != values).reshape(len(values), -1).any(1))):
            raise ProofError(f"{name} is not what proof/ has, first at image {different[0]}; export the run again")
    for name, text in board_texts(manifest).items():
        if read_plain_text(folder / name) != text:
            raise ProofError(f"{name} is not what follows from {MANIFEST}; export the run again")


def _check_entries(folder: Path, manifest: Mapping[str, Any], shape: Sequence[int], outputs: int) -> None:
    """Compare what the manifest says for the board with what follows from the rest of it."""
    if missing := [name for name in ENTRIES if name not in manifest]:
        raise ProofError(f"{MANIFEST} has no {missing[0]}, which every export writes; export again")
    data = from_json(DataFacts, manifest["input"], Source(folder / MANIFEST, "export the run again"), "input")
    try:
        input_facts(data, shape, outputs)
    except UserError as error:
        raise ProofError(f"{MANIFEST} says of its input what cannot be: {error}") from None
    ours = {"input": to_json(data), "at_board": at_board(manifest), "commands": COMMANDS}
    for name, value in ours.items():
        if manifest[name] != value:
            raise ProofError(f"{MANIFEST} says another {name} than follows from the rest of it; export the run again")
    tried = manifest["tried_with"]
    if not isinstance(tried, list) or not all(isinstance(version, str) for version in tried):
        raise ProofError(f"{MANIFEST} is damaged (tried_with); export the run again")


def _arrays(pixels: Tensor, labels: Tensor, classes: Tensor) -> dict[str, np.ndarray]:
    """Return the arrays of ``board/`` by path: images uint8 [N, H, W, C], labels and classes int64 [N]."""
    images = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    return {IMAGES: images, LABELS: labels.numpy(), EXPECTED: classes.long().numpy()}


def _shipped() -> Path:
    return SHIPPED_FROM / Path(SCRIPT).name


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
