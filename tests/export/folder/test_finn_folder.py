"""A folder of ours in the hands of the real FINN: its configuration is read, its network is taken, untouched."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtrain.export.compiler.start import compiler_environment, estimate_build, find_compiler
from qtrain.export.folder.build_files import BUILD_STEPS
from tests.exported_folders import export_cnv

OWN_STEPS = tuple(step.rpartition(".")[2] for step in BUILD_STEPS if step.startswith("custom_steps."))
pytestmark = pytest.mark.usefixtures("finn_plus")


BREAK_A_STEP = """

def _reverse_the_classes(step):
    def step_channels_last(model, cfg):
        model = step(model, cfg)
        last = [node for node in model.graph.node if node.op_type == "MatMul"][-1].input[1]
        kind, weights = model.get_tensor_datatype(last), model.get_initializer(last)
        model.set_initializer(last, -weights)
        model.set_tensor_datatype(last, kind)
        return model
    return step_channels_last


ESTIMATE_STEPS = tuple(_reverse_the_classes(s) if s is step_channels_last else s for s in ESTIMATE_STEPS)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CNV with 2-bit weights and 3-bit activations whose statistics have moved."""
    return export_cnv("CNV_2W3A", tmp_path_factory.mktemp("folder") / "finn", images=40)


def run_with_finn(code: str, folder: Path, home: Path) -> str:
    """Run ``code`` in the compiler's interpreter, with the folder as its first argument; return what it prints."""
    start = "from qtrain.export.compiler._worker import stand_in_for_simulator\nstand_in_for_simulator()\n"
    command = [find_compiler() or sys.executable, "-W", "ignore", "-c", start + code, str(folder)]
    environment = compiler_environment(home)
    run = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_finn_reads_both_configurations_and_they_say_the_same(folder: Path, tmp_path: Path) -> None:
    code = """
import pathlib, sys
from finn.builder.build_dataflow_config import DataflowBuildConfig as C
folder = pathlib.Path(sys.argv[1])
one = C.from_json((folder / "official_build_config.json").read_text())
two = C.from_yaml((folder / "build_config.yaml").read_text())
one.steps, two.fpga_part = two.steps, one.fpga_part
assert one == two
print(one.board, one.target_fps, one.synth_clk_period_ns, one._resolve_fpga_part(), len(one.generate_outputs))
"""
    printed = run_with_finn(code, folder, tmp_path).split()
    assert printed[-5:] == ["Pynq-Z1", "1000", "10.0", "xc7z020clg400-1", "6"]


def test_the_configuration_names_the_steps_that_build_py_passes(folder: Path, tmp_path: Path) -> None:
    code = """
import pathlib, sys
sys.path.append(sys.argv[1])
import custom_steps
from finn.builder.build_dataflow import resolve_build_steps
from finn.builder.build_dataflow_config import DataflowBuildConfig as C
config = C.from_yaml((pathlib.Path(sys.argv[1]) / "build_config.yaml").read_text())
named = resolve_build_steps(config)
config.steps = list(custom_steps.BUILD_STEPS)
assert resolve_build_steps(config) == named
print(len(named))
"""
    assert run_with_finn(code, folder, tmp_path).split()[-1] == str(len(BUILD_STEPS))


def test_a_step_that_changes_the_classes_is_named(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "finn"
    shutil.copytree(folder, broken)
    source = (broken / "custom_steps.py").read_text()
    (broken / "custom_steps.py").write_text(source + BREAK_A_STEP)
    build = estimate_build(broken, board="Pynq-Z1", target_fps=1000, out=tmp_path / "build", images=2)
    assert not build.accepted
    assert "after step_channels_last the graph gives other classes for 2 of 2 images" in build.reason
    assert build.verified == ()


def test_finn_takes_the_whole_network_and_every_graph_of_it_answers_as_torch_did(folder: Path, tmp_path: Path) -> None:
    build = estimate_build(folder, board="Pynq-Z1", target_fps=1000, out=tmp_path / "build", images=2)
    assert build.accepted, build.reason
    assert build.software_nodes == ()
    assert build.verified == ("step_qonnx_to_finn", *OWN_STEPS, "hardware_python")
    assert build.fps >= json.loads((folder / "manifest.json").read_text())["target_fps"]


def test_the_command_prints_the_verdict_and_leaves_an_older_build_alone(
    folder: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    done = cli("estimate", folder, "--out", tmp_path / "build")
    assert (done.status, done.err) == (0, "")
    assert "FINN takes it: the whole network is one dataflow partition" in done.out
    assert (tmp_path / "build" / "report" / "estimate_network_performance.json").is_file()
    again = cli("estimate", folder, "--out", tmp_path / "build")
    assert again.status == 2
    assert re.fullmatch(r"qtrain: .* is not empty.*\n", again.err)
