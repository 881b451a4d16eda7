"""The evidence campaign: trains what ``campaign_plan`` lists, side by side at the lowest priority; resumable.

    make campaign                      # go on: two runs at a time, until all is done
    make campaign ARGS="--max-hours 2"
    make campaign ARGS=--status        # what is done, what is missing

Every run trains with the code of one commit, in a clone of its own (``runs/campaign/code``), whatever happens to the
checkout meanwhile. A run that is cut goes on from its checkpoint; a finished one is copied, records alone, to
``results/campaign``, where another machine finds it and goes on with the rest. ``results/campaign/commits.json`` lists
the commits; ``--move-to`` adds one, for a scheduler that is new.
"""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.campaign_plan import Run, plan
from benchmarks.common import cpu_name
from benchmarks.records import RESULTS

ROOT = Path(__file__).parents[1]
RECORDS = RESULTS / "campaign"
COMMITS = RECORDS / "commits.json"
WORK = ROOT / "runs" / "campaign"
FAILED = "failed"


class Stop(Exception):
    """What a person has to mend; one line."""


def finished(folder: Path = RECORDS) -> dict[str, list[dict[str, Any]]]:
    """The records of every finished run, by its name.

    Raises:
        Stop: a file is not whole.
    """
    found = {}
    for path in sorted(folder.glob("*.jsonl")):
        try:
            records = [json.loads(line) for line in path.read_text().splitlines()]
            whole = records[-1]["type"] in ("result", FAILED) and bool(records[0]["type"])
        except (ValueError, KeyError, IndexError, TypeError):
            whole = False
        if not whole:
            raise Stop(f"{path} is cut or damaged; take it from git again, or delete it to have the run repeated")
        found[path.stem] = records
    return found


def missing(found: dict[str, list[dict[str, Any]]]) -> list[Run]:
    """What is still to run, as far as it can be named, in the order of running."""
    return [run for run in dict.fromkeys(plan(found)) if run.name not in found]


def code_at(commits: list[str], place: Path) -> Path:
    """A clone at the campaign's last commit.

    Raises:
        Stop: git has no such commit, or the clone was changed.
    """
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        _git("clone", "--quiet", "--no-checkout", str(ROOT), str(place))
    else:
        _git("-C", str(place), "fetch", "--quiet", "origin")
        if _git("-C", str(place), "status", "--porcelain"):
            raise Stop(f"{place} was changed; delete it, and the campaign makes it anew")
    _git("-C", str(place), "checkout", "--quiet", commits[-1])
    return place


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Stop(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def move_to(commit: str) -> None:
    """Let the campaign go on with another commit."""
    known = json.loads(COMMITS.read_text()) if COMMITS.exists() else []
    full = _git("-C", str(ROOT), "rev-parse", "--verify", f"{commit}^{{commit}}")
    RECORDS.mkdir(parents=True, exist_ok=True)
    COMMITS.write_text(json.dumps([*known, full], indent=2) + "\n")


class Campaign:
    """The runs at work, and what is known of those that ended."""

    def __init__(self, code: Path, data_root: Path):
        self._code, self._data_root = code, data_root
        self._lock, self._taken = threading.Lock(), set[str]()
        self._children: set[subprocess.Popen[str]] = set()
        self.stopping = threading.Event()

    def stop(self, *_: Any) -> None:
        """Have every run save itself; none begins any more."""
        self.stopping.set()
        for child in list(self._children):
            child.send_signal(signal.SIGINT)

    def work(self) -> None:
        """Train one run after the other until nothing is left that can be named."""
        while not self.stopping.is_set():
            with self._lock:
                runs = [run for run in missing(finished()) if run.name not in self._taken]
                if not runs:
                    return
                self._taken.add(runs[0].name)
            self._train(runs[0])

    def _train(self, run: Run) -> None:
        """Train a run, or continue it; copy its records where it ended."""
        folder, again = WORK / run.name, WORK / f"{run.name}.resumed"
        resumed = (folder / "checkpoint.pt").exists()
        if resumed:
            again.write_text((again.read_text() if again.exists() else "") + f"{_now()}\n")
        arguments = [f"--resume={folder}"] if resumed else [*run.arguments, f"--out={folder}"]
        command = [sys.executable, "-W", "ignore", "-m", "qtrain.cli", "train", *arguments]
        environment = os.environ | {"PYTHONPATH": str(self._code), "OMP_NUM_THREADS": "1"}
        print(f"{_now()} {run.name}{' goes on' if resumed else ''}", flush=True)
        with subprocess.Popen(
            [*command, f"--data-root={self._data_root}", "--device=cpu"],
            cwd=WORK,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C comes to this process alone, which passes it on
        ) as child:
            self._children.add(child)
            _yield_to_all(child.pid)
            said, _ = child.communicate()
            self._children.discard(child)
        last = (said.strip().splitlines() or [""])[-1]
        if self.stopping.is_set() and child.returncode:
            return
        print(f"{_now()} {run.name}: {last}", flush=True)
        if child.returncode and "the loss is" not in said:
            self.stop()
            raise Stop(f"{run.name} ended with status {child.returncode}: {last}")
        self._keep(run, folder, again, last if child.returncode else None)

    def _keep(self, run: Run, folder: Path, again: Path, failed: str | None) -> None:
        """Copy the records, with what they don't know: where the run was trained, and how often it was cut."""
        path = folder / "records.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        resumed = len(again.read_text().splitlines()) if again.exists() else 0
        facts = {"type": "campaign", "name": run.name, "cpu": cpu_name(), "resumed": resumed}
        ending = [json.dumps({"type": FAILED, "reason": failed})] if failed else []
        whole = "\n".join([*lines[:-1], json.dumps(facts), *lines[-1:], *ending]) + "\n"
        partial = RECORDS / f".{run.name}.partial"
        partial.write_text(whole)
        partial.replace(RECORDS / f"{run.name}.jsonl")


def _yield_to_all(process: int) -> None:
    """Lower the priority of a process' session: where Linux groups processes by session, nice counts only inside."""
    group = Path(f"/proc/{process}/autogroup")
    if group.exists():
        group.write_text("19")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def show_status() -> None:
    """Say what is done and what is missing, by part."""
    found = finished()
    done, left = Counter(name.split("-")[0] for name in found), Counter(run.part for run in missing(found))
    for part in sorted({*done, *left}):
        print(f"{part}: {done[part]} runs done, {left[part]} to come that can be named")
    seconds = sum(records[-1].get("seconds", 0.0) for records in found.values())
    print(f"{seconds / 3600:.1f} hours of training so far")


def run_all(jobs: int, data_root: Path, max_hours: float | None) -> None:
    """Go on with the campaign.

    Raises:
        Stop: no data, no commit, another campaign at work, or a run that failed for a reason of its own.
    """
    if not data_root.is_dir():
        raise Stop(f"{data_root} does not exist; name CIFAR-10's folder with --data-root or QTRAIN_DATA")
    if not COMMITS.exists():
        raise Stop(f"{COMMITS} is missing; --move-to HEAD begins a campaign with the checkout's commit")
    finished()  # a damaged record is said before hours are spent
    WORK.mkdir(parents=True, exist_ok=True)
    with _alone(), ThreadPoolExecutor(jobs) as workers:
        campaign = Campaign(code_at(json.loads(COMMITS.read_text()), WORK / "code"), data_root.resolve())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, campaign.stop)
        os.nice(19)
        ends = time.monotonic() + 3600 * max_hours if max_hours else None
        at_work = [workers.submit(campaign.work) for _ in range(jobs)]
        while not all(worker.done() for worker in at_work):
            if ends is not None and time.monotonic() > ends and not campaign.stopping.is_set():
                campaign.stop()
            time.sleep(0.5)
        for worker in at_work:
            worker.result()


def _alone() -> Any:
    """Hold the campaign's folder.

    Raises:
        Stop: another process does.
    """
    file = (WORK / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Stop(f"another campaign is at work in {WORK}; wait for it, or end it first") from None
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    default = Path(os.environ.get("QTRAIN_DATA", ROOT / ".data"))
    parser.add_argument("--data-root", type=Path, default=default, help="folder of CIFAR-10; else QTRAIN_DATA")
    parser.add_argument("--max-hours", type=float, help="stop then; what runs is saved")
    parser.add_argument("--move-to", metavar="COMMIT", help="let the code be this commit's from now on")
    parser.add_argument("--status", action="store_true", help="say what is done and what is missing, and run nothing")
    options = parser.parse_args()
    if options.move_to:
        move_to(options.move_to)
    elif options.status:
        show_status()
    else:
        run_all(options.jobs, options.data_root, options.max_hours)


if __name__ == "__main__":
    try:
        main()
    except Stop as error:
        sys.exit(str(error))
