"""Rules about what a network does with an image: its answer, and answers that are not the image's alone.

The latter are looked at before the graph, whose rules would blame what follows from them.
"""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from qtrain.errors import UserError, is_of_machine
from qtrain.export.bare import called
from qtrain.export.lint.ends import one_logit
from qtrain.export.lint.errors import error_line
from qtrain.export.lint.finding import WHOLE, Spot
from qtrain.export.module_copy import copy_module
from qtrain.export.proof.reference import float64_reference

RUNS = 4  # of the same images; a module that acts on every second or third call shows itself


class Trial:
    """A network that is run on images, once for all rules that look at what it does.

    Args:
        network: in evaluation mode, on the CPU; takes float images [N, C, H, W].
        shape: of one image, (C, H, W).
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...]):
        self.network = network
        self.shape = shape

    @cached_property
    def answer(self) -> object:
        """What the network makes of one black image; of a ``QuantTensor`` its value.

        Raises:
            UserError: the network cannot run on such an image.
        """
        try:
            with torch.no_grad():
                output = self.network(torch.zeros(1, *self.shape))
        except Exception as error:
            if is_of_machine(error):
                raise
            size = "x".join(map(str, self.shape))
            raise UserError(
                f"{called(self.network)} cannot take images of {size} ({error_line(error)}); mend it, or give the size "
                "it takes, e.g. --input-shape 1,28,28"
            ) from None
        return _value(output)

    @cached_property
    def fails(self) -> bool:
        """Whether the network cannot run on such images."""
        try:
            return self.answer is None
        except UserError:
            return True

    @cached_property
    def _twin(self) -> nn.Module:
        """A copy, so that states that move do so in it."""
        return copy_module(self.network)

    @cached_property
    def _images(self) -> Tensor:
        return torch.rand(2, *self.shape, generator=torch.Generator().manual_seed(0))

    @cached_property
    @torch.no_grad()
    def looks(self) -> _Looks:
        """What was noted while the network computed."""
        images = self._images  # drawn before anybody looks for what draws
        looks = _Looks({id(module): path for path, module in self._twin.named_modules() if path})
        before = _generators()
        try:
            with looks:
                self._twin(images)
        except Exception as error:
            if is_of_machine(error):
                raise
            looks.failure = error_line(error)
        for name, state in _generators().items():
            if state != before[name]:
                looks.random.setdefault(WHOLE, name)
        return looks

    @cached_property
    @torch.no_grad()
    def answers_differ(self) -> bool:
        """Whether the same images get other answers at another call."""
        if self.looks.failure:
            return False
        first, *others = [_value(self._twin(self._images)) for _ in range(RUNS)]
        return not all(torch.allclose(other, first, rtol=0, atol=0, equal_nan=True) for other in others)

    @cached_property
    @torch.no_grad()
    def depends_on_others(self) -> bool:
        """Whether an image gets another answer beside another image than alone.

        In float32 sums in another order may do that. In float64 too, but there they are next to nothing.
        """
        if not _differs_alone(self._twin, self._images, 1e-5):
            return False
        try:
            double = float64_reference(self.network, self._images)
            return _differs_alone(double, self._images.double(), 1e-9)
        except Exception as error:  # a network that has constants in float32 may not run in float64
            if is_of_machine(error):
                raise
            return False


def _differs_alone(network: nn.Module, images: Tensor, tolerance: float) -> bool:
    """Tell whether images get other answers alone than together, by more than this share of the largest."""
    together = _value(network(images))
    alone = torch.cat([_value(network(image)) for image in images.split(1)])
    largest = float(together.abs().max())
    return bool((alone - together).abs().max() > tolerance * largest)  # of what is not finite nothing is told


def _generators() -> dict[str, bytes]:
    """Return the states of the generators that torch knows nothing of, by the name of their modules."""
    return {"random": pickle.dumps(random.getstate()), "numpy.random": pickle.dumps(np.random.get_state())}


def _value(output: Any) -> Any:
    """Return the plain tensor inside a ``QuantTensor``, and anything else as it is."""
    return output.value if hasattr(output, "value") else output


class _Looks(TorchDispatchMode):
    """A mode of torch that notes layers that draw random numbers, and those that act as in training.

    Args:
        paths: of the network's modules, by their ``id``.

    Attributes:
        random: name of the operator that draws, by path of the layer.
        training: paths of the layers whose normalisation takes the batch's statistics.
        failure: why the network does not take two images, in one line; empty where it does.
    """

    def __init__(self, paths: Mapping[int, str]):
        super().__init__()
        self.random: dict[str, str] = {}
        self.training: dict[str, None] = {}
        self.failure = ""
        self._paths = paths

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as always; look at what is computed."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random.setdefault(self._layer(), str(func.overloadpacket.__name__))
        elif "batch_norm" in str(func) and _trains(func, args, kwargs or {}) and not _called_from("instance_norm"):
            self.training[self._layer()] = None
        return func(*args, **(kwargs or {}))

    def _layer(self) -> str:
        """Return the path of the innermost module of the network that is at work."""
        frame = sys._getframe(2)
        while frame is not None:
            if path := self._paths.get(id(frame.f_locals.get("self")), ""):
                return path
            frame = frame.f_back  # type: ignore[assignment]
        return WHOLE


def _trains(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operator is called with ``training=True``; those without this argument tell by their name."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.name == "training":
            if position < len(args):
                return bool(args[position])
            return bool(kwargs.get("training", False))
    return "no_stats" in str(func) or "with_update" in str(func)


def _called_from(function: str) -> bool:
    """Whether a function of this name is at work: a norm of each image is a batch norm to torch."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == function:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def no_logits(trial: Trial) -> Iterator[Spot]:
    """Find networks that do not return one row of logits, or only one logit."""
    logits = trial.answer
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 1:
        got = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        yield Spot(WHOLE, f"TopK and the labels need one row of logits for an image, but the network returns {got}")
    elif logits.shape[1] < 2:
        yield one_logit()


def random_numbers(trial: Trial) -> Iterator[Spot]:
    """Find layers that draw random numbers."""
    for layer, operator in trial.looks.random.items():
        says = f"nothing, and no proof can hold: random numbers are drawn in evaluation mode ({operator})"
        yield Spot(layer, says)


def batch_statistics(trial: Trial) -> Iterator[Spot]:
    """Find norms that take the statistics of the batch."""
    for layer in trial.looks.training:
        says = "nothing, and no proof can hold: it normalises with the statistics of the batch, so that an image's "
        says += "answer depends on the images beside it"
        yield Spot(layer, says)


def moving_states(trial: Trial) -> Iterator[Spot]:
    """Find networks that answer otherwise at another call, where neither of the rules above tells why."""
    if not trial.looks.random and not trial.looks.training and trial.answers_differ:
        says = "nothing, and no proof can hold: the same images get other answers at each call, in evaluation mode"
        yield Spot(WHOLE, says)


def one_image(trial: Trial) -> Iterator[Spot]:
    """Find networks that take one image and not two: they are trained, and compared with their graph, in batches."""
    if trial.looks.failure:
        yield Spot(WHOLE, f"nothing, and no proof can run: it takes one image, but not two ({trial.looks.failure})")


def across_images(trial: Trial) -> Iterator[Spot]:
    """Find networks whose answer to an image depends on others, where none of the rules above tells why."""
    looks = trial.looks
    told = looks.failure or looks.random or looks.training or trial.answers_differ
    if not told and trial.depends_on_others:
        says = "nothing, and no proof can hold: an image's answer depends on the images beside it, or on how many "
        says += "there are"
        yield Spot(WHOLE, says)
