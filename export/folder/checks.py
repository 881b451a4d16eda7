"""What a FINN folder must hold and nothing else: its files, its build, and whose Python that is, before it runs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import onnx

from qtrain.export.compiler.boards import get_board
from qtrain.export.errors import ProofError
from qtrain.export.folder import contents as finn_folder
from qtrain.export.folder.at_board import FILES as BOARD_FILES
from qtrain.export.folder.at_board import SCRIPT, check_script
from qtrain.export.folder.build_files import MVAU_WWIDTH_MAX, write_build_files
from qtrain.export.folder.contents import DIALECT_MODEL, MANIFEST, few
from qtrain.export.folder.readme import README, folder_readme
from qtrain.export.foreign.arrays import read_npy
from qtrain.export.foreign.boundary import one_line
from qtrain.export.passes import PASSES
from qtrain.export.proof import beyond
from qtrain.records.files import temporary_folder
from qtrain.records.plain_files import read_plain, read_plain_text
from qtrain.records.plain_yaml import load_yaml

FOLDING_ENTRY = "folding_config_file"
STAGES = tuple(f"stages/{number}_{name}.onnx" for number, name in enumerate(["exported", *(p.name for p in PASSES)]))
_PROOF = ("model.onnx", "input.npy", "expected_output.npy", "proof/images.npy", "proof/expected.npz", beyond.FILE)
# What a build is for: a folder that says one thing in its manifest and another in its build is refused even if trusted.
_TARGET = (
    "board",
    "fpga_part",
    "shell_flow_type",
    "target_fps",
    "synth_clk_period_ns",
    "verify_input_npy",
    "output_dir",
)


def check_folder(folder: Path, manifest: Mapping[str, Any], *, trust: bool = False) -> None:
    """See that a folder holds the files of an export, all of them, nothing else, and the build that qtrain writes.

    Args:
        folder: FINN folder.
        manifest: of it.
        trust: take Python and build steps that qtrain has not written.

    Raises:
        ProofError: names what is wrong and what to do.
    """
    with _written(manifest) as ours:
        own = sorted(path.name for path in ours.iterdir())
        board = BOARD_FILES if "input" in manifest else ()  # an earlier export has none
        required = {*_PROOF, *STAGES, *own, README, *board}
        listed = set(manifest["files"])
        if missing := sorted(required - listed):
            raise ProofError(f"{MANIFEST} does not name {few(missing)}, which every export writes; export again")
        python = frozenset(_python([*own, *board]))
        finn_folder.check_files(folder, manifest, changed_too=python if trust else frozenset())
        foldings = {name for path in ours.iterdir() if (name := _check_build_file(folder, path, manifest, trust))}
        if strange := sorted(listed - required - foldings - {DIALECT_MODEL}):
            raise ProofError(f"{MANIFEST} names {few(strange)}, which no export writes; take it out of the folder")
    if SCRIPT in required:
        check_script(folder, trust=trust)
    for name in ("model.onnx", *STAGES):
        _check_weights_inside(folder / name)
    _check_readme(folder, manifest)


@contextmanager
def _written(manifest: Mapping[str, Any]) -> Iterator[Path]:
    """The build files that this version writes for a manifest's board, target and clock, in a temporary folder."""
    with temporary_folder("qtrain-build-files-") as temporary:
        board = get_board(manifest["board"])
        folding = manifest.get("folding")
        width = folding.get("mvau_wwidth_max") if isinstance(folding, dict) else MVAU_WWIDTH_MAX
        write_build_files(
            temporary,
            board,
            manifest["target_fps"],
            manifest["clock_ns"],
            mvau_wwidth_max=width or MVAU_WWIDTH_MAX,
        )
        yield temporary


def _python(names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".py")]


def _check_build_file(folder: Path, ours: Path, manifest: Mapping[str, Any], trust: bool) -> str | None:
    """Compare a build file with ours; return the folding that a configuration names."""
    if ours.suffix in (".json", ".yaml"):
        return _check_config(folder / ours.name, _config(ours), manifest, trust)
    content = read_plain(folder / ours.name)
    if content != ours.read_bytes() and not trust:
        raise ProofError(
            f"{folder / ours.name} is not what this qtrain ships, and a build executes it; export the run again, or "
            "read it and give --trust where you know who wrote it"
        )
    return None


def _config(path: Path) -> dict[str, Any]:
    with one_line(path):
        config = json.loads(read_plain_text(path)) if path.suffix == ".json" else load_yaml(path)
    if not isinstance(config, dict):
        raise ProofError(f"{path} is no build configuration; export the run again")
    return config


def _check_config(path: Path, ours: dict[str, Any], manifest: Mapping[str, Any], trust: bool) -> str | None:
    config = _config(path)
    folding = config.pop(FOLDING_ENTRY, None)
    if folding is not None and (folding not in manifest["files"] or not str(folding).endswith(".json")):
        raise ProofError(f"{path} builds with the folding {str(folding)[:80]!r}, which {MANIFEST} does not name")
    ours = {name: value for name, value in ours.items() if name != FOLDING_ENTRY}
    different = [name for name in {**ours, **config} if config.get(name) != ours.get(name)]
    if stated := [name for name in different if name in _TARGET]:
        name = stated[0]
        raise ProofError(
            f"{path} has {name} {str(config.get(name))[:80]!r}, but by {MANIFEST} it is {ours.get(name)!r}; export the "
            "run again"
        )
    if different and not trust:
        raise ProofError(
            f"{path} has another {different[0]} than qtrain writes; look at it, and give --trust where you know who "
            "wrote it"
        )
    return str(folding) if folding is not None else None


def _check_weights_inside(path: Path) -> None:
    """See that a graph keeps its weights in its own file: an export does, and others are no part of the proof."""
    with one_line(path):
        graph = onnx.load(str(path), load_external_data=False).graph
        outside = [tensor for tensor in graph.initializer if tensor.external_data]
    if not graph.node:
        raise ProofError(f"{path} holds no graph; export the run again")
    if outside:
        where = next((entry.value for entry in outside[0].external_data if entry.key == "location"), "another file")
        raise ProofError(f"{path} keeps its weights in {where[:80]!r}, outside its own file; export the run again")


def _check_readme(folder: Path, manifest: Mapping[str, Any]) -> None:
    """See that the words beside the manifest are those that follow from it."""
    with one_line(folder / README):
        ours = folder_readme(manifest, read_npy(folder / "input.npy").shape[1:])
        text = read_plain_text(folder / README)
    for line, theirs in zip_longest(ours.splitlines(), text.splitlines()):
        if line != theirs:
            raise ProofError(f"{README} says {str(theirs)[:80]!r}, where by {MANIFEST} it is {str(line)[:80]!r}")


def said_of_steps(folder: Path) -> str:
    """One line for a command that executes a folder's steps."""
    names = [name for name in finn_folder.SHIPPED if (folder / name).is_file()]
    known = all(_is_known(folder / name) for name in names)
    whose = "which qtrain ships" if known else "which qtrain does not know and you trust"
    return f"executing the folder's own build steps, {' and '.join(names)}, {whose}"


def _is_known(path: Path) -> bool:
    return read_plain(path) == (finn_folder.SHIPPED_FROM / path.name).read_bytes()
