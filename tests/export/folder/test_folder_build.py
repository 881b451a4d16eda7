"""The folder's build.py, unattended: one flag, one line where something is missing, a status that can be trusted.

Most tests run it against a stand-in for official FINN's builder, which leaves what a build leaves; the last one in the
real finn-plus. benchmarks/official_finn.py runs it in official FINN.
"""

import enum
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import helper

from qtrain.export import get_board
from qtrain.export.compiler.start import compiler_environment
from qtrain.export.folder.build_files import write_build_files
from tests.checks import tree
from tests.exported_folders import export_tfc


class Output(enum.Enum):
    ESTIMATE_REPORTS = "estimate_reports"


@dataclass
class Builder:
    """Official FINN's builder, as far as build.py meets it."""

    fault: str = ""
    configs: list[Any] = field(default_factory=list)

    def build(self, model: str, config: Any) -> int:
        assert Path(model).is_file()
        self.configs.append(config)
        if self.fault == "step":
            return -1
        kinds = ["Transpose", "StreamingDataflowPartition"] + ["TopK"] * (self.fault == "software")
        nodes = [helper.make_node(kind, ["a"], ["b"], name=f"{kind}_0") for kind in kinds]
        models, verified = (Path(config.output_dir, name) for name in ("intermediate_models", "verification_output"))
        for place in (models, verified):
            place.mkdir(parents=True, exist_ok=True)
        graph = helper.make_graph(nodes, "parent", [], [])
        onnx.save(helper.make_model(graph), str(models / "dataflow_parent.onnx"))
        (verified / "verify_initial_python_0_SUCCESS.npy").touch()
        if self.fault in ("classes", "rounding"):
            verdict = "SUCCESS" if self.fault == "rounding" else "FAIL"
            (verified / "verify_initial_python_1_FAIL.npy").touch()
            (verified / f"verify_streamlined_python_1_{verdict}.npy").touch()
        return 0

    def modules(self) -> dict[str, ModuleType]:
        found = {name: ModuleType(name) for name in ("finn", "finn.builder", "finn.builder.build_dataflow")}
        found["finn.builder.build_dataflow_config"] = ModuleType("finn.builder.build_dataflow_config")
        config = SimpleNamespace(from_json=lambda text: SimpleNamespace(**json.loads(text)))
        vars(found["finn.builder.build_dataflow"])["build_dataflow_cfg"] = self.build
        vars(found["finn.builder.build_dataflow_config"]).update(DataflowBuildConfig=config, DataflowOutputType=Output)
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the build files."""
    folder = tmp_path / "finn-folder"
    folder.mkdir()
    write_build_files(folder, get_board("ZCU104"), 100, 10.0)
    (folder / "model.onnx").touch()
    steps = "ESTIMATE_STEPS, BUILD_STEPS = ('estimates',), ('estimates', 'hardware')\n"
    (folder / "custom_steps.py").write_text(steps)  # the real ones import the real FINN
    return folder


Run = Callable[..., tuple[Any, Builder]]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Return a function that runs build.py and returns what it ends with, and the builder."""
    tools = folder.parent / "tools"
    tools.mkdir()

    def not_finn_plus(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    def start(*words: str, has: tuple[str, ...] = (), fault: str = "", finn: bool = True) -> tuple[Any, Builder]:
        builder = Builder(fault)
        for name in [name for name in sys.modules if name.split(".")[0] in ("finn", "custom_steps")]:
            monkeypatch.delitem(sys.modules, name)
        for name, module in builder.modules().items():
            monkeypatch.setitem(sys.modules, name, module if finn else None)
        for tool in has:
            (tools / tool).symlink_to("/bin/true")
        monkeypatch.setenv("PATH", str(tools))
        monkeypatch.setattr(metadata, "version", not_finn_plus)
        monkeypatch.chdir(folder.parent)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setattr(sys, "argv", ["build.py", *words])
        for stream in ("stdout", "stderr"):  # which it sets back
            monkeypatch.setattr(sys, stream, getattr(sys, stream))
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(folder / "build.py"), run_name="__main__")
        return end.value.code, builder

    yield start
    sys.modules.pop("custom_steps", None)


def test_one_flag_stops_at_the_estimates(run: Run, folder: Path) -> None:
    code, builder = run("--estimates")
    assert code == 0
    assert builder.configs[0].steps == ["estimates"]
    assert builder.configs[0].generate_outputs == [Output.ESTIMATE_REPORTS]
    assert builder.configs[0].board == "ZCU104"
    assert (folder / "output").is_dir()


def test_without_vivado_the_estimates_are_made_and_one_line_says_what_the_rest_needs(run: Run) -> None:
    line, builder = run()
    assert builder.configs[0].steps == ["estimates"]
    assert line.startswith("build.py: the estimates are in output/report, but the rest of the build needs vivado and ")
    assert "settings64.sh" in line
    assert "\n" not in line


@pytest.mark.parametrize("hls", ["vitis_hls", "vitis-run"])
def test_with_vivado_the_whole_build_runs(run: Run, hls: str) -> None:
    code, builder = run(has=("vivado", hls))
    assert code == 0
    assert builder.configs[0].steps == ["estimates", "hardware"]
    assert "bitfile" in builder.configs[0].generate_outputs


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("step", "FINN failed; the reason is above and in output/build_dataflow.log"),
        ("software", "FINN leaves 1 layer(s) in software: TopK_0"),
        (
            "classes",
            "FINN's execution of the graph gives other classes: verify_initial_python_1, verify_streamlined_python_1",
        ),
    ],
)
def test_what_finn_goes_on_after_is_status_1_and_one_line(run: Run, fault: str, says: str) -> None:
    assert run("--estimates", fault=fault)[0] == f"build.py: {says}"


def test_a_class_that_only_float32_changed_is_said_and_passes(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--estimates", fault="rounding")[0] == 0
    assert "build.py: verify_initial_python_1 FAIL by rounding" in capsys.readouterr().out


def test_a_verification_of_an_earlier_build_does_not_count(run: Run) -> None:
    assert run("--estimates", fault="classes")[0]
    assert run("--estimates")[0] == 0


def test_without_any_finn_it_is_one_line(run: Run) -> None:
    line, _ = run("--estimates", finn=False)
    assert line.startswith("build.py: there is no FINN to be started here (ModuleNotFoundError: ")
    assert "\n" not in line


def test_finn_plus_runs_it_without_vivado_and_leaves_the_folder_alone(finn_plus: str, tmp_path: Path) -> None:
    folder = export_tfc(tmp_path / "finn", images=4)
    before = tree(folder)
    environment = compiler_environment(tmp_path / "home")
    (tmp_path / "home").mkdir()
    del environment["XILINX_VIVADO"]
    environment["PATH"] = "/usr/bin:/bin"
    command = [finn_plus, "-W", "ignore", str(folder / "build.py")]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("build.py: the estimates are in output/report, but the rest of the build needs vivado")
    assert "Traceback" not in run.stdout + run.stderr
    after = {name: digest for name, digest in tree(folder).items() if not name.startswith("output")}
    assert after == before
    verified = sorted(os.listdir(folder / "output" / "verification_output"))
    assert len(verified) == 4 * 3
    assert all(name.endswith("_SUCCESS.npy") for name in verified)
