"""The FINN compiler is started, judged and ended as promised; the real finn-plus builds where it is installed."""

import dataclasses
import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import onnx.helper as oh
import pytest
import torch
from brevitas.export import export_qonnx
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from onnx import TensorProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.transformation.insert_topk import InsertTopK
from qonnx.util.basic import qonnx_make_model
from qonnx.util.cleanup import cleanup_model
from torch import nn

from qtrain.errors import UserError
from qtrain.export.compiler import _worker as _finn_worker
from qtrain.export.compiler import child as _child
from qtrain.export.compiler import result as verdict
from qtrain.export.compiler.start import estimate_build, find_compiler

SPAWN = """
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("pids.part", "w") as file:
    file.write(f"{os.getpid()} {grandchild.pid}")
os.rename("pids.part", "pids")
time.sleep(600)
"""


class Net(nn.Module):
    """A CNV in small: UINT8 pixels, 2x-1 and an 8-bit input quantizer, convolutions, max-pools, a linear layer."""

    def __init__(self, head: str):
        super().__init__()
        weights = {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": 2, "bias": False}
        self.input = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, return_quant_tensor=False)
        blocks = [
            (qnn.QuantConv2d(a, b, 3, **weights), nn.BatchNorm2d(b), qnn.QuantReLU(Uint8ActPerTensorFloat, bit_width=2))
            for a, b in ((3, 4), (4, 8))
        ]
        last = {"maxpool": nn.MaxPool2d(2), "avgpool": nn.AvgPool2d(2)}[head]
        self.features = nn.Sequential(*blocks[0], nn.MaxPool2d(2), *blocks[1], nn.Identity(), last)
        self.classifier = qnn.QuantLinear(8 * 6 * 6, 10, **weights)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.features(self.input(2.0 * (pixels / 255.0) - 1.0))
        return self.classifier(x.reshape(x.shape[0], -1))


def write_folder(folder: Path, head: str, wrong: bool = False) -> Path:
    """Write a minimal FINN folder: the graph with UINT8 input and TopK, and a golden pair of two images."""
    torch.manual_seed(1)
    folder.mkdir()
    net, pixels = Net(head), torch.randint(0, 256, (2, 3, 32, 32)).float()
    net(torch.randint(0, 256, (32, 3, 32, 32)).float())  # statistics of the normalizations and the quantizers
    net.eval()
    export_qonnx(net, pixels[:1], str(folder / "model.onnx"), dynamo=False)
    model = cleanup_model(ModelWrapper(str(folder / "model.onnx")))
    model.set_tensor_datatype(model.graph.input[0].name, DataType["UINT8"])
    model.transform(InsertTopK(1)).transform(InferShapes()).save(str(folder / "model.onnx"))
    with torch.no_grad():
        classes = net.double()(pixels.double()).argmax(1, keepdim=True).numpy()
    np.save(folder / "input.npy", pixels.numpy())
    np.save(folder / "expected_output.npy", (classes + 1) % 10 if wrong else classes)
    return folder


@pytest.fixture(scope="module")
def builds(finn_plus, tmp_path_factory):
    """Build three folders with the real compiler, two at a time."""
    tmp = tmp_path_factory.mktemp("builds")
    cases = {"good": ("maxpool", False), "wrong": ("maxpool", True), "avgpool": ("avgpool", False)}
    folders = {name: write_folder(tmp / name, *case) for name, case in cases.items()}
    (folders["wrong"] / "custom_steps.py").write_text("def step_own(model, cfg):\n    return model\n")

    def build(name: str):
        steps = ["custom_steps.step_own", "step_qonnx_to_finn"] if name == "wrong" else None
        out = tmp / f"{name}-build"
        return estimate_build(folders[name], board="Pynq-Z1", target_fps=100, out=out, timeout_s=300, steps=steps)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(cases, pool.map(build, cases), strict=True))


def test_finn_accepts_a_small_cnv_and_every_graph_of_it_computes_the_classes(builds):
    result = builds["good"]
    assert result.accepted, f"{result.reason}\n{result.log.read_text()[-2000:]}"
    assert result.software_nodes == ()
    assert result.verified == ("finn_onnx_python", "initial_python", "streamlined_python", "hardware_python")


def test_the_estimates_fit_each_other(builds):
    result = builds["good"]
    assert result.fps == pytest.approx(1e9 / 10.0 / result.cycles)
    assert result.fps >= 100
    assert result.latency_ns >= 10.0 * result.cycles
    assert result.lut > 0
    assert min(result.bram_18k, result.uram, result.dsp) >= 0


def test_the_result_names_versions_log_and_time(builds):
    result = builds["good"]
    assert {"python", "finn-plus", "qonnx", "onnx"} <= set(result.versions)
    assert "step_streamline" in result.log.read_text()
    assert (result.log.parent / "report" / "estimate_layer_resources.json").exists()
    assert result.seconds > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.accepted = False


def test_an_average_pool_is_refused_and_its_nodes_are_named(builds):
    result = builds["avgpool"]
    assert not result.accepted
    assert any("AveragePool" in name for name in result.software_nodes)
    assert all(name in result.reason for name in result.software_nodes)
    assert result.verified == ()


def test_a_failed_verification_is_a_refusal_though_finn_ends_with_success(builds):
    result = builds["wrong"]
    assert not result.accepted
    assert result.software_nodes == ()
    assert "finn_onnx_python failed for 2 of 2 images" in result.reason


def test_a_step_of_the_folders_own_is_run_in_its_place(builds):
    assert {path.stem for path in (builds["wrong"].log.parent / "intermediate_models").iterdir()} == {
        "step_own",
        "step_qonnx_to_finn",
    }


@pytest.mark.parametrize(
    ("equal", "reason"),
    [
        ([[True, True], [True, False], [True, True]], None),  # float32 between two quantizers, right again afterwards
        ([[True, True], [True, False], [True, False]], "after early the graph gives other classes for 1 of 2 images"),
        ([[True, True], [True, True], [False, False]], "after exact the graph gives other classes for 2 of 2 images"),
    ],
)
def test_a_difference_counts_where_the_graph_is_exact_and_its_first_step_is_named(tmp_path, equal, reason):
    names = ("step_qonnx_to_finn", "early", "exact")
    checks = [{"step": name, "error": None, "equal": row} for name, row in zip(names, equal, strict=True)]
    answer = {"exit_code": 0, "verify_steps": [], "checks": checks, "exact_from": "exact"}
    told = verdict.refusal(tmp_path, answer, 2, ())
    assert told == (reason or "FINN made no dataflow partition; the steps must hold step_create_dataflow_partition")


def test_where_the_time_for_checks_ended_before_the_exact_step_the_hardware_decides(tmp_path):
    checks = [{"step": "early", "error": None, "equal": [True, False]}]
    answer = {"exit_code": 0, "verify_steps": [], "checks": checks, "exact_from": "exact"}
    assert "no dataflow partition" in str(verdict.refusal(tmp_path, answer, 2, ()))
    hardware = {"hardware": {"error": None, "equal": [False]}}
    assert "other classes for 1 of 1 images" in str(verdict.refusal(tmp_path, answer | hardware, 2, ()))


@pytest.mark.parametrize(("seconds", "images", "steps"), [(600, 2, ["one", "two"]), (1e-9, 1, ["one"])])
def test_steps_are_executed_while_the_time_lasts(tmp_path, seconds, images, steps):
    def one(model, cfg):
        return model

    def two(model, cfg):
        return model

    pair = {f"verify_{name}_npy": tmp_path / f"{name}.npy" for name in ("input", "expected_output")}
    for path in pair.values():
        np.save(path, np.ones((4, 3), dtype=np.float32))
    ends = [oh.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3)) for name in "xy"]
    graph = oh.make_graph([oh.make_node("Relu", ["x"], ["y"])], "g", [ends[0]], [ends[1]])
    model = ModelWrapper(qonnx_make_model(graph))
    checker = _finn_worker.StepChecker(pair, 2, seconds)
    for step in (one, two):
        assert checker.after(step)(model, None) is model
    assert checker.checks == [{"step": name, "error": None, "equal": [True] * images} for name in steps]


def test_a_graph_that_cannot_be_executed_names_its_step(tmp_path):
    check = {"step": "step_own", "error": "KeyError: 'w'", "equal": []}
    answer = {"exit_code": 0, "verify_steps": [], "checks": [check], "exact_from": None}
    assert "could not be executed after step_own: KeyError" in str(verdict.refusal(tmp_path, answer, 2, ()))


@pytest.fixture
def folder(tmp_path):
    """A folder whose model is never read: the errors here come earlier."""
    (tmp_path / "finn").mkdir()
    (tmp_path / "finn" / "model.onnx").write_bytes(b"")
    return tmp_path / "finn"


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    home = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(home, symlinks=True)
    return str(home / "bin" / "python")


def test_without_finn_plus_the_error_says_how_to_install_it(folder, bare_python, tmp_path):
    with pytest.raises(UserError, match=r"finn-plus is not installed.*make finn"):
        estimate_build(folder, board="ZCU104", target_fps=1, out=tmp_path / "out", python=bare_python)
    assert not (tmp_path / "out").exists()


def test_without_finn_plus_in_this_interpreter_the_error_says_so_too(folder, tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.delenv("QTRAIN_FINN_PYTHON", raising=False)
    with pytest.raises(UserError, match=r"has no finn-plus.*make finn"):
        estimate_build(folder, board="ZCU104", target_fps=1, out=tmp_path / "out")


def test_an_interpreter_that_does_not_exist_is_a_user_error(folder, tmp_path):
    with pytest.raises(UserError, match="make finn"):
        estimate_build(folder, board="ZCU104", target_fps=1, out=tmp_path / "out", python=str(tmp_path / "nowhere"))


def test_the_interpreter_can_be_named_in_the_environment(monkeypatch, bare_python):
    monkeypatch.setenv("QTRAIN_FINN_PYTHON", bare_python)
    assert find_compiler() == bare_python
    assert find_compiler(sys.executable) == sys.executable


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"board": "ZCU105"}, "did you mean ZCU104"),
        ({"target_fps": 0}, "target_fps is 0"),
        ({"clock_ns": -1.0}, "clock_ns is -1"),
        ({"timeout_s": 0}, "timeout_s is 0"),
    ],
)
def test_wrong_arguments_are_user_errors(folder, tmp_path, change, message):
    arguments = {"board": "ZCU104", "target_fps": 1, "out": tmp_path / "out", **change}
    with pytest.raises(UserError, match=message):
        estimate_build(folder, **arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"no model\.onnx"):
        estimate_build(tmp_path, board="ZCU104", target_fps=1, out=tmp_path / "out")


def test_an_output_folder_that_holds_things_is_left_alone(folder, tmp_path, bare_python):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        estimate_build(folder, board="ZCU104", target_fps=1, out=tmp_path / "out", python=bare_python)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def wait_until(condition, seconds: float = 30.0):
    """Wait for a truth that comes soon; the limit is only there to fail instead of hanging."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def pids(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "pids").read_text().split()] if (folder / "pids").exists() else []


def gone(pid: int) -> bool:
    """Whether no process, or only a zombie that nobody has collected, has this number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_timeout_ends_the_child_and_its_children(tmp_path):
    command = ["sh", "-c", "sleep 600 & echo $$ $! > pids; wait"]
    status = _child.run_group(command, env=dict(os.environ), cwd=tmp_path, log=tmp_path / "log", timeout_s=2)
    assert status is None
    assert len(pids(tmp_path)) == 2
    wait_until(lambda: all(map(gone, pids(tmp_path))))


def test_ctrl_c_ends_the_child_and_its_children(tmp_path):
    caller = (
        "import os, runpy, sys; from pathlib import Path; here = Path.cwd()\n"
        f"run_group = runpy.run_path({_child.__file__!r})['run_group']\n"
        f"run_group([sys.executable, '-c', {SPAWN!r}], env=dict(os.environ), cwd=here, log=here / 'log', timeout_s=600)"
    )
    # A shell starts background jobs with SIGINT ignored, and children inherit that.
    caller = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{caller}"
    process = subprocess.Popen([sys.executable, "-c", caller], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_until(lambda: pids(tmp_path))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    wait_until(lambda: all(map(gone, pids(tmp_path))))


def test_the_worker_ends_itself_and_its_children_when_its_caller_dies(tmp_path):
    worker = f"import runpy; runpy.run_path({_finn_worker.__file__!r})['end_with_parent']()\n{SPAWN}"
    process = subprocess.Popen(
        [sys.executable, "-c", worker], cwd=tmp_path, stdin=subprocess.PIPE, start_new_session=True
    )
    wait_until(lambda: pids(tmp_path))
    process.stdin.close()  # what the system does to the pipe of a caller that is gone
    assert process.wait(30) == -signal.SIGKILL
    wait_until(lambda: all(map(gone, pids(tmp_path))))


def test_the_output_and_the_status_of_a_child_are_kept(tmp_path):
    command = [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(5)"]
    assert _child.run_group(command, env={}, cwd=tmp_path, log=tmp_path / "log", timeout_s=60) == 5
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]


def test_the_compiler_cannot_reach_a_host(tmp_path):
    script = tmp_path / "connect.py"
    script.write_text(
        "import runpy, socket, sys\n"
        f"sys.addaudithook(runpy.run_path({_finn_worker.__file__!r})['refuse_network'])\n"
        "socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        answer = subprocess.run([sys.executable, str(script), port], capture_output=True, text=True)
    assert answer.returncode == 1
    assert "runs without a network" in answer.stderr


@pytest.mark.usefixtures("finn_plus")
def test_the_real_compiler_is_ended_at_its_limit(folder, tmp_path):
    result = estimate_build(folder, board="ZCU104", target_fps=1, out=tmp_path / "out", timeout_s=0.5)
    assert not result.accepted
    assert "ended after 0.5 s while starting" in result.reason
    assert result.fps is None
    assert result.log.exists()
