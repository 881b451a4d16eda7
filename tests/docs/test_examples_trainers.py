"""The examples in which another trainer drives ASLR: their code is on the page, and they end in a folder that is proven."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qtrain.export.folder.contents import read_manifest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
BLOCK = re.compile(r"(<!-- test -->\n)?```python\n(.*?)```", re.DOTALL)


def run(name: str, *words: object) -> str:
    """Run an example for one epoch, and return what it prints."""
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / name), "--epochs", "1", *map(str, words)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_pages_code_is_the_examples() -> None:
    examples = "\n".join(path.read_text() for path in sorted(EXAMPLES.glob("*_aslr.py")))
    shown = [code for mark, code in BLOCK.findall((ROOT / "docs" / "lightning.md").read_text()) if not mark]
    assert len(shown) == 4
    for code in shown:
        assert code in examples


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--linear-lr",)], ids=["warmup_steps", "LinearLR"])
def test_what_lightning_trained_is_a_proven_folder(options: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs the extra: pip install qtrain[lightning]")
    said = run("lightning_aslr.py", *options, "--out", tmp_path)
    assert "397 of 397 equal in torch and in the graph" in said
    manifest = read_manifest(tmp_path / "finn")
    assert manifest["proof"]["equal"] == 397
    assert manifest["network"] == "SmallNet_4W4A"
    assert manifest["proof"]["accuracy_torch"] > 50


@pytest.mark.slow
def test_what_accelerate_trained_is_a_proven_folder_and_resumes(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs the extra: pip install qtrain[lightning]")
    assert "397 of 397 equal in torch and in the graph" in run("accelerate_aslr.py", "--out", tmp_path / "a")
    again = run("accelerate_aslr.py", "--out", tmp_path / "b", "--resume", tmp_path / "a" / "state", "--epochs", "2")
    assert "397 of 397 equal in torch and in the graph" in again
    first = read_manifest(tmp_path / "a" / "finn")["proof"]["accuracy_torch"]
    second = read_manifest(tmp_path / "b" / "finn")["proof"]["accuracy_torch"]
    assert first > 50
    assert second != first  # the second epoch was trained, from the first one's weights
