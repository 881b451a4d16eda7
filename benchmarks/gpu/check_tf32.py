"""Whether TF32 is used where training is to be exact: in steps and evaluation, the range test, the benchmarks' arms."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks.arms import ARMS, Setting
from benchmarks.gpu.check_resume import Sessions
from benchmarks.gpu.check_training import train_once
from benchmarks.gpu.place import Place
from benchmarks.gpu.report import Say
from benchmarks.gpu.trial import short_recipe
from qtrain.errors import UserError
from qtrain.experiments.lr_range import find_lr
from qtrain.recipe import default_recipe
from qtrain.training.context import RunContext

Call = tuple[bool, bool]  # of a layer: in training mode, with TF32 allowed


def check_tf32(network: str, place: Place, say: Say) -> None:
    """What torch lets convolutions and matrix products do, as seen by the modules while they run."""
    for check in (check_exact_training, check_range_test, check_arms, check_fast_training):
        check(network, place.fresh(), say)


def check_exact_training(network: str, place: Place, say: Say) -> None:
    """Steps and evaluation."""
    recipe = short_recipe(network, place)
    seen = _allowed(lambda begun: train_once(recipe, place, Sessions(begun=begun)))
    _say_none("exact training", seen, say)


def check_range_test(network: str, place: Place, say: Say) -> None:
    """The range test, whatever it finds in so few steps."""
    recipe = default_recipe(network, "digits").replace(width=place.width, batch_size=place.batch, lr=0.01)

    def work(begun: Callable[[], None]) -> None:
        with place.standing_in(), suppress(UserError):
            find_lr(recipe, steps=48, every=6, high=0.02, context=RunContext(device=str(place.device)))

    _say_none("the range test", _allowed(work), say)


def check_arms(network: str, place: Place, say: Say) -> None:
    """The benchmark's arms that others are held against."""
    setting = Setting(network, place.batch, place.device.type, images=2 * place.batch, width=place.width)
    for name, arm in (("the benchmark's exact arm", "qtrain"), ("the products alone", "products alone")):
        with place.standing_in():
            step = ARMS[arm](setting)  # which looks at its layers first
            _say_none(name, _allowed(lambda begun, step=step: _steps(step)), say)  # type: ignore[misc]


def check_fast_training(network: str, place: Place, say: Say) -> None:
    """Fast steps may use it, evaluation may not."""
    recipe = short_recipe(network, place, precision="fast")
    seen = _allowed(lambda begun: train_once(recipe, place, Sessions(begun=begun)))
    steps = [allowed for training, allowed in seen if training]
    say("fast training may use TF32", bool(steps) and all(steps), f"allowed in {sum(steps)} of {len(steps)} calls")
    _say_none("evaluation of fast training", [call for call in seen if not call[0]], say)


def _say_none(name: str, seen: list[Call], say: Say) -> None:
    allowed = sum(allowed for _, allowed in seen)
    say(f"{name} uses no TF32", bool(seen) and not allowed, f"allowed in {allowed} of {len(seen)} calls")


def _steps(step: Callable[[], None]) -> None:
    for _ in range(2):
        step()


def _allowed(work: Callable[[Callable[[], None]], object]) -> list[Call]:
    """Note whether TF32 is allowed whenever a convolution or a linear layer runs.

    Args:
        work: what to look at; it is given what to call when all before shall not count.
    """
    seen: list[Call] = []

    def note(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            seen.append((module.training, tf32_is_allowed()))

    handle = register_module_forward_pre_hook(note)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work(seen.clear)
    finally:
        handle.remove()
    return seen


def tf32_is_allowed() -> bool:
    """Whether torch lets convolutions or matrix products round to TF32 now, by either of its interfaces."""
    backends: Any = torch.backends
    if hasattr(backends, "fp32_precision"):
        return "tf32" in (backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision)
    return bool(backends.cudnn.allow_tf32 or backends.cuda.matmul.allow_tf32)
