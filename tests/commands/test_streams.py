"""Standard streams that are closed or full, and a process that may open no more files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sampled import sampled

MAIN = "from qtrain.cli import main; main()"


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which $QTRAIN is the program."""
    command = f'QTRAIN() {{ "{sys.executable}" -W ignore -c "{MAIN}" "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", ["--help", "models", "models CNV", "train CNV_1W1A --data digits --print-config"])
def test_a_closed_stdout_is_as_good_as_dev_null(words: str, tmp_path: Path) -> None:
    run = shell(f"QTRAIN {words} >&-", tmp_path)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("words", ["--help", "models", "train CNV_1W1A --data digits --print-config"])
def test_a_full_stdout_is_said_in_one_line(words: str, tmp_path: Path) -> None:
    run = shell(f"QTRAIN {words} >/dev/full", tmp_path)
    assert run.returncode == 2
    assert re.fullmatch(r"qtrain: .*standard output.*: No space left on device\n", run.stderr)


def test_all_streams_closed_a_refusal_still_has_its_status(tmp_path: Path) -> None:
    assert shell("QTRAIN train CVN_1W1A <&- >&- 2>&-", tmp_path).returncode == 2


@pytest.mark.parametrize("streams", [">/dev/full 2>/dev/full", ">&- 2>/dev/full", "2>/dev/full", ">/dev/full 2>&-"])
@pytest.mark.parametrize("words", sampled(["train CVN_1W1A", "lint", "models CVN_1W1A"], ["lint"]))
def test_a_refusal_that_nobody_hears_still_has_its_status(words: str, streams: str, tmp_path: Path) -> None:
    assert shell(f"QTRAIN {words} {streams}", tmp_path).returncode == 2


@pytest.mark.parametrize("words", ["train CNV_1W1A --data digits", "runs", "watch ."])
def test_a_folder_that_is_gone_is_said(words: str, tmp_path: Path) -> None:
    """Without it torch's libraries end the process with a line of their own."""
    (tmp_path / "gone").mkdir()
    run = shell(f"cd gone; rmdir ../gone; PYTHONPATH={Path(__file__).parents[2]} QTRAIN {words}", tmp_path)
    said = "qtrain: the folder that this was started in is gone; change to one that is there\n"
    assert (run.returncode, run.stderr) == (2, said)


LIMITED = """
import resource, sys
from qtrain.cli import main
import qtrain.own_code
for word in sys.argv[2:-1]:
    __import__(word)
sys.argv[1:] = sys.argv[-1].split()
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # the standard streams
main()
"""


@pytest.mark.parametrize("words", ["models", "lint net.py:Net"])
def test_too_many_open_files_is_the_process_own_fault(words: str, tmp_path: Path) -> None:
    """Neither the list of networks nor the code of one's own is blamed."""
    (tmp_path / "net.py").write_text("import email.mime.audio\nfrom torch import nn\nclass Net(nn.Module): ...\n")
    ready = ["qtrain.experiments.targets", "qtrain.report.findings"] if "lint" in words else []
    command = [sys.executable, "-W", "ignore", "-c", LIMITED, "-", *ready, words]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, pass_fds=())
    assert run.returncode == 2
    said = run.stderr.splitlines()[-1]
    assert said == "qtrain: too many open files: this process may have 3; allow more, as in ulimit -n 1024"
