"""What docs/security.md says of a training and an export: no port, no connection, no program but git, no pickle."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qtrain.experiments.export import export_run
from qtrain.experiments.run import resume_run, train_recipe
from qtrain.recipe import Recipe
from qtrain.training import RunContext

_NETWORK = ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.")
_WATCHED = (*_NETWORK, "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class")
_heard: list[tuple[str, Any]] = []
_listening = False


def _listen(event: str, arguments: tuple) -> None:
    if _listening and event.startswith(_WATCHED):
        _heard.append((event, arguments))


@contextmanager
def heard() -> Iterator[list[tuple[str, Any]]]:
    """Yield a list of what Python's audit hooks are told inside; a hook stays for good, and is deaf afterwards."""
    global _listening
    if not _heard and not _listening:
        sys.addaudithook(_listen)
    _heard.clear()
    _listening = True
    try:
        yield _heard
    finally:
        _listening = False


def test_a_run_from_training_to_its_proof_reaches_nobody(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    with heard() as events:
        train_recipe(tiny(epochs=1), tmp_path / "run", RunContext(log=("tensorboard", "csv")))
        resume_run(tmp_path / "run")
        export_run(tmp_path / "run", tmp_path / "finn", board="ZCU104", target_fps=1000, clock_ns=10.0)
    programs = {arguments[0] for event, arguments in events if event == "subprocess.Popen"}
    assert programs <= {"git"}
    assert [event for event, _ in events if event != "subprocess.Popen"] == []


def test_the_ear_hears(tmp_path: Path) -> None:
    import pickle
    import socket

    with heard() as events, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        pickle.loads(pickle.dumps(Path))
    assert {event for event, _ in events} == {"socket.bind", "pickle.find_class"}
