"""Rules about networks for signals and rows that do not take them as they come, [N, C, L, 1] and [N, F, 1, 1].

They are asked before all others: what a network does with images it cannot take, nobody can look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from qtrain.export.lint.finding import WHOLE, Spot
from qtrain.export.lint.running import Trial
from qtrain.export.proof.reference import layers

Seen = tuple[nn.Module, str, tuple[int, ...]]
_WINDOWS = (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)  # norms and dropout are for rows too
ONE_AXIS = "IndexError: list index out of range; {} works along one axis, FINN's images have two"
ROWS = "nothing: rows come as [N, {0}, 1, 1], as all data do, and it takes [N, {0}]"
INSIDE = "nothing: torch stops, because [N, {}] is no row of its {} features"


def signals(trial: Trial) -> Iterator[Spot]:
    """Find the layers along one axis of a network that takes signals [N, C, L]."""
    shape = trial.shape
    if len(shape) != 2 and (shape[-1] != 1 or not trial.fails):
        return
    seen = _watched(trial.network, torch.zeros(1, *shape[:2])).values()
    along = [(layer, path) for layer, path, given in seen if len(given) == 3]
    if not any(isinstance(layer, _WINDOWS) for layer, _ in along):
        return
    for layer, path in along:
        write = next((write for kind, write in _TWO_AXES if isinstance(layer, kind)), None)
        if write is not None:
            mend = f"write {write(layer)} in its place, for signals as images [N, C, L, 1]"
            yield Spot(path, ONE_AXIS.format(type(layer).__name__), mend)


def flat_inputs(trial: Trial) -> Iterator[Spot]:
    """Find networks that take rows [N, F], and linear layers that get an image nobody has flattened."""
    shape = trial.shape
    if len(shape) == 1:
        yield Spot(WHOLE, ROWS.format(shape[0]))
    elif len(shape) == 3 and trial.fails:
        seen = list(_watched(trial.network, torch.zeros(1, *shape)).values())
        for layer, path, given in seen[-1:]:  # the one that failed
            features = _features(layer)
            if len(given) > 2 and math.prod(given[1:]) == features:
                says = INSIDE.format(", ".join(map(str, given[1:])), features)
                yield Spot(path, says, f"put nn.Flatten() in front of {path}, or at the start of the network")


def _features(layer: nn.Module) -> int | None:
    """Return how many features of a row a layer reads, None of a layer that reads no rows."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.num_features if isinstance(layer, nn.BatchNorm1d) else None


@torch.no_grad()
def _watched(network: nn.Module, image: Tensor) -> dict[str, Seen]:
    """Return the layers that an image reaches, by path, with the shape that each got; the last one may have failed."""
    seen: dict[str, Seen] = {}

    def note(path: str) -> Callable[..., None]:
        def look(layer: nn.Module, given: tuple[Any, ...]) -> None:
            value = getattr(given[0], "value", given[0]) if given else None
            seen[path] = (layer, path, tuple(getattr(value, "shape", ())))

        return look

    hooks = [layer.register_forward_pre_hook(note(path)) for path, layer in layers(network)]
    try:
        network(image)
    except Exception:
        return seen
    finally:
        for hook in hooks:
            hook.remove()
    return seen


# --- Layers along one axis, written along two ------------------------------------------------------------------------


def _convolution(layer: Any) -> str:
    options = [_pair("padding", layer.padding, 0)]
    for name in ("stride", "dilation"):
        if _number(getattr(layer, name)) != 1:
            options.append(_pair(name, getattr(layer, name), 1))
    if layer.groups != 1:
        options.append(f"groups={layer.groups}")
    kernel = _number(layer.kernel_size)
    return f"QuantConv2d({layer.in_channels}, {layer.out_channels}, ({kernel}, 1), {', '.join(options)}, ...)"


def _max_pool(layer: Any) -> str:
    options = [f"({_number(layer.kernel_size)}, 1)"]
    if _number(layer.stride) != _number(layer.kernel_size):
        options.append(_pair("stride", layer.stride, 1))
    if _number(layer.padding):
        options.append(_pair("padding", layer.padding, 0))
    return f"nn.MaxPool2d({', '.join(options)})"


def _average(layer: Any) -> str:
    return "nn.AdaptiveAvgPool2d(1), the average of the whole signal,"


def _norm(layer: Any) -> str:
    return f"nn.BatchNorm2d({layer.num_features})"


def _dropout(layer: Any) -> str:
    return f"nn.Dropout({layer.p:g})"


def _pair(name: str, value: Any, other: int) -> str:
    """Return an argument along two axes: a word such as "same" stays as it is."""
    if isinstance(value, str):
        return f"{name}={value!r}"
    return f"{name}=({_number(value)}, {other})"


def _number(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


_TWO_AXES: tuple[tuple[type[nn.Module], Callable[[Any], str]], ...] = (
    (nn.Conv1d, _convolution),
    (nn.MaxPool1d, _max_pool),
    (nn.AvgPool1d, _average),
    (nn.AdaptiveAvgPool1d, _average),
    (nn.BatchNorm1d, _norm),
    (nn.Dropout1d, _dropout),
)
