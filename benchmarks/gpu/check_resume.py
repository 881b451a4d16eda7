"""A run that was stopped and goes on is the run that nobody stopped, through `train` and its folder."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from weakref import ref

import torch
from torch import Tensor

import qtrain.training.beginning as beginning
from benchmarks.gpu.data import data_set
from benchmarks.gpu.place import Place, deterministic
from benchmarks.gpu.report import Say
from benchmarks.gpu.trial import same_bits, short_recipe
from qtrain.interrupt import Interrupted
from qtrain.models import build_model
from qtrain.recipe import Recipe
from qtrain.training import Silent, train
from qtrain.training.context import RunContext
from qtrain.training.session import Session


@dataclass
class Sessions(Silent):
    """Sees the sessions of `train` without keeping them.

    Attributes:
        seen: of each run, in order.
        steps: taken, over all runs.
        replays: steps after which there was a graph, in the last run.
        begun: called before the first step: what comes earlier only looks at model and data.
        each: called after every step.
    """

    seen: list[Callable[[], Session | None]] = field(default_factory=list)
    steps: int = 0
    replays: int = 0
    begun: Callable[[], None] = lambda: None
    each: Callable[[int], None] = lambda steps: None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Inside, sessions that `train` makes are seen."""
        make = beginning.make_session

        def noting(*args: Any, **options: Any) -> Session:
            session = make(*args, **options)
            self.seen.append(ref(session))
            self.replays = 0
            return session

        with patch.object(beginning, "make_session", noting):
            yield

    def start(self, title: str, steps: int, done: int) -> None:
        """Say so."""
        self.begun()

    def step(self, images: int) -> None:
        """Count."""
        session = self.seen[-1]()
        assert session is not None
        self.steps += 1
        self.replays += session.captured
        self.each(self.steps)


def check_resume(network: str, place: Place, say: Say, **changes: Any) -> None:
    """Stopped in the middle of an epoch, and before the small last batch, which must not decide what is captured."""
    recipe = short_recipe(network, place, **changes)
    with tempfile.TemporaryDirectory() as scratch, deterministic(place), place.standing_in():
        whole = _trained(recipe, place, Path(scratch) / "whole", stops=())
        for where, stop in (("mid-epoch", place.full + 3), ("at the small last batch", place.full)):
            found = _trained(recipe, place, Path(scratch) / where.replace(" ", "-"), stops=(stop,))
            different = [name for name, tensor in whole.tensors.items() if not same_bits(tensor, found.tensors[name])]
            detail = f"{len(different)} of {len(whole.tensors)} tensors differ"
            if different:
                again = _trained(recipe, place, Path(scratch) / f"again-{stop}", stops=())
                noisy = not all(same_bits(tensor, again.tensors[name]) for name, tensor in whole.tensors.items())
                detail += f", {different[0]} for one; so do two uninterrupted runs: {'yes' if noisy else 'no'}"
            say(f"resumed {where} = uninterrupted", not different, detail)
            say(f"resumed {where}: captured again", found.replays > 0, f"{found.replays} steps with a graph")


@dataclass
class _Run:
    tensors: dict[str, Tensor]
    replays: int


def _trained(recipe: Recipe, place: Place, out: Path, stops: tuple[int, ...]) -> _Run:
    """Train, stopped after so many steps and resumed; return what the last checkpoint holds."""
    sessions = Sessions()
    data = data_set(place.images, place.size)
    device = str(place.device)
    with warnings.catch_warnings(), sessions.noted():
        warnings.simplefilter("ignore")
        for part in range(len(stops) + 1):
            torch.manual_seed(part)  # a resumed run's own first weights are others, and must not matter
            model = build_model(recipe)

            def stop(part: int = part) -> bool:
                return part < len(stops) and sessions.steps >= stops[part]

            try:
                train(
                    model,
                    recipe,
                    out,
                    data=data,
                    resume=part > 0,
                    context=RunContext(device=device, stop=stop, watch=sessions),
                )
            except Interrupted:
                continue
    state = torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True)
    return _Run({name: tensor for name, tensor in _tensors("", state) if "rng" not in name}, sessions.replays)


def _tensors(path: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _tensors(f"{path}.{name}" if path else str(name), item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _tensors(f"{path}.{number}", item)
