"""Every notebook runs from its first cell to its last in a new folder, and none is committed with outputs."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SECONDS = 600  # on a busy machine; each says at its head what it takes on a quiet one
QUICK = ("1_", "5_")
MARKED = [pytest.param(path, id=path.stem, marks=() if path.name.startswith(QUICK) else pytest.mark.slow)
          for path in NOTEBOOKS]  # fmt: skip


def test_they_are_numbered() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["1_", "2_", "3_", "4_", "5_"]


@pytest.mark.parametrize("path", MARKED)
def test_it_runs_in_an_empty_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(path.parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    notebook = nbformat.read(path, 4)
    work = tmp_path / "work"
    work.mkdir()
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(work)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs if output.output_type == "stream")
    assert "Warning" not in said
    assert re.search(r"(\d+) of \1 test images|frames/s|no FINN compiler|the whole report|\d+ equal", said)
    assert path.name.startswith("5_") or any("image/png" in output.get("data", {}) for output in outputs)
    assert os.listdir(work) == ["runs"]


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
