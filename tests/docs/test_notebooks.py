"""Every notebook runs from its first cell to its last in a new folder, and none is committed with outputs."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from qtrain.export.compiler.start import INSTALL, find_compiler

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What a notebook says at its end; every proof is on all test images.
PROVEN = r"(\d+) of \1 test images"
BUILT = "accepted: True" if find_compiler() else "FINN was not asked"
ENDS = {"1_": PROVEN, "2_": PROVEN, "3_": "the whole report", "4_": BUILT, "5_": PROVEN}
SECONDS = 600  # on a busy machine; each says at its head what it takes on a quiet one
MARKED = [pytest.param(path, id=path.stem, marks=pytest.mark.slow) for path in NOTEBOOKS]


def test_they_are_numbered() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["1_", "2_", "3_", "4_", "5_"]


def run(notebook: nbformat.NotebookNode, work: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Execute a notebook in a new folder beside the examples; return what its cells print."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(work.parent / ".ipython"))
    work.mkdir()
    (work.parent / "examples").symlink_to(ROOT / "examples")
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(work)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs if output.output_type == "stream")
    assert "Warning" not in said
    assert os.listdir(work) == ["runs"]
    return said


@pytest.mark.parametrize("path", MARKED)
def test_it_runs_in_an_empty_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(path, 4)
    said = run(notebook, tmp_path / "work", monkeypatch)
    assert re.search(ENDS[path.name[:2]], said)
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.slow
def test_without_the_compiler_the_build_flow_counts_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = nbformat.read(NOTEBOOKS[3], 4)
    settings = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert "ASK_FINN = True" in settings.source
    settings.source = settings.source.replace("ASK_FINN = True", "ASK_FINN = False").replace("EPOCHS = 3", "EPOCHS = 1")
    said = run(notebook, tmp_path / "work", monkeypatch)
    assert f"FINN was not asked: the counts above are all there is. For estimates {INSTALL}." in said
    assert "accepted" not in said
    assert "finn build build_config.yaml model.onnx" in said
    assert "run-docker.sh python build.py" in said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs_and_says_what_it_costs(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
    head = notebook.cells[0].source
    assert re.search(r"\*\*Costs\*\* about \d+", head)
    assert "CIFAR-10" in head
    assert "GPU" in head
