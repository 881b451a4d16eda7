"""finn-plus' own command line, called by examples/finn_build.sh: estimates, verification on, success reported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qtrain.export import get_board
from qtrain.export.compiler.start import compiler_environment
from qtrain.export.folder.build_files import VERIFIED
from qtrain.export.folder.folding import save_folding
from tests.checks import tree
from tests.exported_folders import export_tfc

# What stands in for Vivado's simulator, which FINN imports and an estimate never calls.
STAND_INS = """
import finn.xsi
for name in finn.xsi._LAZY_NAMES:
    setattr(finn.xsi, name, type(name, (), {}))
finn.xsi.ensure_available = lambda: True
"""
SCRIPT = Path(__file__).parents[3] / "examples" / "finn_build.sh"
IMAGES = 4
OUTPUT = "output"


def finn_build(python: str, folder: Path, place: Path) -> str:
    """Run ``finn build`` in the folder as its README says, up to the estimates; return what it prints."""
    (place / "site").mkdir(parents=True, exist_ok=True)
    (place / "site" / "sitecustomize.py").write_text(STAND_INS)
    environment = compiler_environment(place) | {"PYTHONPATH": str(place / "site"), "PYTHONWARNINGS": "ignore"}
    environment["PATH"] = f"{Path(python).parent}:{environment['PATH']}"
    command = [SCRIPT, "--plus", "--estimate", folder]
    run = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def cycles(folder: Path) -> dict[str, int]:
    report: dict[str, int] = json.loads((folder / OUTPUT / "report" / "estimate_layer_cycles.json").read_text())
    return report


@pytest.mark.skipif(sys.platform != "linux", reason="FINN runs on Linux")
def test_it_builds_untouched_verifies_and_starts_from_a_saved_folding(finn_plus: str, tmp_path: Path) -> None:
    folder = export_tfc(tmp_path / "finn", images=IMAGES)
    before = tree(folder)
    printed = finn_build(finn_plus, folder, tmp_path / "home")
    assert "Running step: step_generate_estimate_reports" in printed.replace("\n", " ")
    assert {name: content for name, content in tree(folder).items() if not name.startswith(OUTPUT)} == before
    verdicts = [p.stem.rpartition("_")[2] for p in (folder / OUTPUT / "verification_output").glob("*.npy")]
    assert verdicts == ["SUCCESS"] * IMAGES * len(VERIFIED)
    first = cycles(folder)

    folding = json.loads((folder / OUTPUT / "report" / "auto_folding_config.json").read_text())
    save_folding(
        folder, folding, get_board("Pynq-Z1"), target_fps=1, clock_ns=10.0, made_by="finn-plus"
    )  # a target that asks for less
    (folder / OUTPUT).rename(tmp_path / "first")
    finn_build(finn_plus, folder, tmp_path / "home")
    assert cycles(folder) == first
