"""Put a folding into a FINN folder: the hardware build then starts from it, and the folder still proves itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qtrain.errors import UserError
from qtrain.export.boards import Board
from qtrain.export.finn_folder import MANIFEST, build_config, check_files, checksums, read_manifest
from qtrain.files import write_whole

FOLDING = "folding_config.json"
CONFIGS = ("dataflow_build_config.json", "build_config.yaml")


def saved_folding(folder: Path) -> Path | None:
    """Return the folding configuration that a folder's build starts from, None where FINN folds for the target."""
    try:
        config = json.loads((folder / CONFIGS[0]).read_text())
    except (OSError, json.JSONDecodeError):
        return None
    name = config.get("folding_config_file") if isinstance(config, dict) else None
    return folder / name if name else None


def read_folding(path: Path) -> dict[str, Any]:
    """Read a folding configuration of FINN.

    Raises:
        UserError: it is missing or no JSON object.
    """
    try:
        folding = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no folding configuration ({error}); save one with --save-folding") from None
    if not isinstance(folding, dict):
        raise UserError(f"{path} is no folding configuration (no object in it); save one with --save-folding")
    return folding


def save_folding(folder: Path, folding: Mapping[str, Any], board: Board, target_fps: int, clock_ns: float) -> None:
    """Write ``folding_config.json`` and name it in both build configurations; the manifest takes the new checksums.

    Board, target and clock of the folder become those that the folding is for. All files change or, on an error or
    Ctrl-C, none.

    Args:
        folder: that ``qtrain export`` wrote, unchanged since.
        folding: FINN's ``auto_folding_config.json``.
        board: folded for.
        target_fps: folded for.
        clock_ns: clock period in nanoseconds.

    Raises:
        UserError: the folder is none of ours, or cannot be written.
        ProofError: a file of it was changed or is missing.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    config = {**build_config(board, target_fps, clock_ns), "folding_config_file": FOLDING}
    texts = {FOLDING: _json(folding), CONFIGS[0]: _json(config), CONFIGS[1]: yaml.safe_dump(config, sort_keys=False)}
    known = {*manifest["files"], FOLDING}

    def manifest_text() -> str:
        files = {name: digest for name, digest in checksums(folder).items() if name in known}
        facts = {"board": board.name, "target_fps": target_fps, "clock_ns": clock_ns}
        return _json({**manifest, **facts, "files": files})

    old = {name: _content(folder / name) for name in (*texts, MANIFEST)}
    try:
        for name, text in texts.items():
            write_whole(folder / name, text.encode())
        write_whole(folder / MANIFEST, manifest_text().encode())
    except BaseException as error:  # Ctrl-C too
        for name, content in old.items():
            if content is None:
                (folder / name).unlink(missing_ok=True)
            elif _content(folder / name) != content:
                write_whole(folder / name, content)
        if isinstance(error, OSError):
            raise UserError(f"cannot write to {folder} ({error.strerror}); nothing in it was changed") from None
        raise


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
