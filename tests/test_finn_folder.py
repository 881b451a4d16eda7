"""A folder of ours in the hands of the real FINN: its configuration is read, its network is taken, untouched."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qtrain.data import load_data
from qtrain.export import export_finn
from qtrain.export.compiler import compiler_environment, estimate_build, find_compiler
from qtrain.models import build_model

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="finn-plus is not installed (make finn)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CNV with 2-bit weights and 3-bit activations whose statistics have moved."""
    data = load_data("digits")
    torch.manual_seed(0)
    model = build_model("CNV_2W3A", width=0.125)
    for images in data.train.images.split(64)[:4]:
        model(images.float() / 255)
    out = tmp_path_factory.mktemp("folder") / "finn"
    export_finn(model, out, pixels=data.test.images[:40], labels=data.test.labels[:40], board="Pynq-Z1")
    return out


def test_finn_reads_both_configurations_and_they_say_the_same(folder: Path, tmp_path: Path) -> None:
    code = """
import pathlib, sys
from finn.builder.build_dataflow_config import DataflowBuildConfig as C
folder = pathlib.Path(sys.argv[1])
one = C.from_json((folder / "dataflow_build_config.json").read_text())
two = C.from_yaml((folder / "build_config.yaml").read_text())
assert one == two
print(one.board, one.target_fps, one.synth_clk_period_ns, one._resolve_fpga_part(), len(one.generate_outputs))
"""
    command = [find_compiler() or sys.executable, "-W", "ignore", "-c", code, str(folder)]
    run = subprocess.run(
        command, env=compiler_environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-5:] == ["Pynq-Z1", "1000", "10.0", "xc7z020clg400-1", "6"]


def test_finn_takes_the_whole_network_and_every_graph_of_it_answers_as_torch_did(folder: Path, tmp_path: Path) -> None:
    build = estimate_build(folder, board="Pynq-Z1", target_fps=1000, out=tmp_path / "build", images=2)
    assert build.accepted, build.reason
    assert build.software_nodes == ()
    assert build.verified == ("finn_onnx_python", "initial_python", "streamlined_python", "hardware_python")
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
