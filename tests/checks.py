"""Checks that several test files make: of refusals, of folders, of equality bit for bit."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from qtrain.records.files import write_json


def tree(folder: Path) -> dict[str, str | None]:
    """Every path below a folder with its content's hash."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else None
        for p in folder.rglob("*")
    }


def forge(folder: Path) -> None:
    """Make the manifest agree with the files, as someone would who tampers with care."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in manifest["files"]}
    write_json(folder / "manifest.json", manifest)


def check_refusal(outcome: object, status: int, *fragments: str) -> None:
    """One line on standard error, and what it must say."""
    assert outcome.status == status, outcome
    assert "Traceback" not in outcome.out + outcome.err
    line = outcome.err.rpartition("\r")[2]  # a download's progress bar wipes itself out
    assert line.startswith("qtrain: ")
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert len(line) < 500
    for fragment in fragments:
        assert fragment in line
    for internal in ("jsonargparse", "<class", "typing.", "Parser key", "NoneType", "UserError", "Namespace"):
        assert internal not in line


def same(a: Any, b: Any) -> bool:
    """Bit for bit, through dicts and lists."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
