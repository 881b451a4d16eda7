"""The scripts in examples/ do what they say; the build by FINN+ is in test_finn_cli.py."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qtrain.export.folder.contents import read_manifest

EXAMPLES = Path(__file__).parents[2] / "examples"


def build(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(EXAMPLES / "finn_build.sh"), *map(str, words)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.slow
def test_train_then_export_ends_in_a_folder_that_proves_itself(tmp_path: Path) -> None:
    words = ["CNV_1W1A", "--epochs", "1", "--width", "0.125", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / "train_then_export.py"), *words]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    assert "397 of 397 test images equal" in run.stdout
    assert read_manifest(tmp_path / "run" / "finn")["proof"]["equal"] == 397


def test_the_printed_commands_are_the_tools_own(finn: Path) -> None:
    plus = build("--print", "--plus", finn)
    assert plus.stdout.split() == ["finn", "build", "build_config.yaml", "model.onnx"]
    docker = build("--print", "--docker", finn, FINN_ROOT="/opt/finn", FINN_DOCKER_EXTRA="")
    program, setting, *command = shlex.split(docker.stdout)
    assert (program, command) == ("env", ["/opt/finn/run-docker.sh", "python", "build.py"])
    estimates = shlex.split(build("--print", "--docker", "--estimate", finn, FINN_ROOT="/opt/finn").stdout)
    assert estimates[-3:] == ["python", "build.py", "--estimates"]
    assert setting.split() == ["FINN_DOCKER_EXTRA=", "-v", f"{finn}:{finn}", "-w", str(finn)]


@pytest.mark.skipif(shutil.which("docker") is None, reason="asks the real docker client")
def test_a_docker_without_its_daemon_is_one_line(finn: Path) -> None:
    run = build("--docker", finn, DOCKER_HOST=f"unix://{finn}/nobody")
    assert run.returncode == 2
    assert "its daemon does not answer" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_finn_plus_without_vivado_names_what_does_without(finn: Path, tmp_path: Path) -> None:
    (tmp_path / "finn-command").mkdir()
    (tmp_path / "finn-command" / "finn").symlink_to("/bin/false")  # must not be reached
    run = build("--plus", finn, PATH=f"{tmp_path / 'finn-command'}:{os.environ['PATH']}", XILINX_VIVADO="")
    assert run.returncode == 2
    assert run.stderr.endswith(f"source Vivado's settings64.sh; without Vivado: qtrain estimate {finn}\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a FINN folder"),
        (["."], "has no model.onnx"),
        (["--what"], "there is no option --what"),
        (["finn", "finn"], "one folder"),
        (["--docker", "finn"], "docker"),
        (["--plus", "finn"], "make finn"),
    ],
)
def test_what_is_missing_is_one_line_and_status_2(finn: Path, tmp_path: Path, words: list[str], says: str) -> None:
    tools = tmp_path / "tools"  # neither finn nor docker is among them
    tools.mkdir()
    for name in ("bash", "env", "sed"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    run = build(*words, PATH=str(tools))
    assert run.returncode == 2
    assert says in run.stderr
    assert len(run.stderr.splitlines()) == 1
