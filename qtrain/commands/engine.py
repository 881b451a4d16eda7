"""Where the runs of a command happen: options and engines that ``compare``, ``reproduce`` and ``sweep`` share."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import Namespace

from qtrain.commands.parser import Parser
from qtrain.errors import UserError

if TYPE_CHECKING:
    from qtrain.engines.task import Engine

Kind = Literal["processes", "ray"]
ENGINE = ("jobs", "engine", "address", "cpus", "gpus", "retries")  # names of the options


def add_engine(parser: Parser, what: str) -> None:
    """Add the options that say where runs happen.

    Args:
        parser: of the command.
        what: a run is called there.
    """
    parser.add("--jobs", type=int, default=1, help=f"{what}s at a time, each in a process of its own")
    parser.add("--engine", type=Kind, default="processes", help=f"ray does the {what}s on a Ray cluster", rare=True)
    ray: list[tuple[str, Any, Any, str]] = [
        ("address", str | None, None, "ip:port or auto; default a local Ray"),
        ("cpus", float, 1.0, f"cores of a {what}"),
        ("gpus", float, 0.0, f"GPUs of a {what}, as in 0.25"),
        ("retries", int, 3, f"new tries of a {what} whose node died"),
    ]
    for name, kind, default, about in ray:
        parser.add(f"--{name}", type=kind, default=default, help=f"with --engine ray: {about}", rare=True)


def check_engine(options: Namespace) -> None:
    """See that a command may do many runs here; of torchrun's processes one says that it may not.

    Raises:
        UserError: under torchrun, or options that do not go together.
    """
    if "RANK" in os.environ:
        from qtrain.experiments.run_cells import check_alone
        from qtrain.training.distributed import one_voice

        with one_voice():
            check_alone()
    if options.engine == "ray" and options.jobs != 1:
        raise UserError("with --engine ray --cpus and --gpus decide how many run at a time; leave out --jobs")
    if options.engine != "ray" and options.address is not None:
        raise UserError(f"--address {options.address} goes with --engine ray")
    if options.jobs < 1:
        raise UserError(f"jobs must be 1 or more, but got {options.jobs}")


def engine_of(options: Namespace) -> "tuple[Engine, AbstractContextManager[None]]":
    """Return where runs happen, and what holds the connection to it; the options are checked already."""
    if options.engine == "ray":
        from qtrain.engines.ray import OnRay

        ray = OnRay(options.address, cpus=options.cpus, gpus=options.gpus, retries=options.retries)
        return ray, ray.connected()
    if options.jobs > 1:
        from qtrain.engines.processes import SideBySide

        return SideBySide(options.jobs), nullcontext()
    from qtrain.engines.task import in_turn

    return in_turn, nullcontext()


def at_a_time(options: Namespace) -> int:
    """How many runs the engine, which is connected, does at a time."""
    if options.engine != "ray":
        return int(options.jobs)
    import ray

    found = ray.cluster_resources()
    kinds = [("CPU", options.cpus), ("GPU", options.gpus)]
    return max(1, int(min(found.get(kind, 0.0) / share for kind, share in kinds if share)))
