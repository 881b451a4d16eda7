"""Weights and optimizer as they were at a moment, put back in place while training goes on."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qtrain.training.hidden_state import named_tensors, numbers_by_name, set_numbers


class Kept:
    """What training has changed up to now.

    It is put back in place: captured steps and optimizers hold the tensors themselves, and Brevitas makes new ones of
    its trained scales when it loads a state.

    Args:
        model: its parameters, buffers and plain numbers are kept.
        optimizer: the tensors of its state are kept, its groups' options are not.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer):
        self._model, self._optimizer = model, optimizer
        self._tensors = {name: tensor.detach().clone() for name, tensor in named_tensors(model)}
        self._numbers = numbers_by_name(model)
        self._state: dict[int, dict[str, Any]] = copy.deepcopy(optimizer.state_dict()["state"])

    @torch.no_grad()
    def put_back(self) -> None:
        """Have model and optimizer as they were."""
        for name, tensor in named_tensors(self._model):
            tensor.copy_(self._tensors[name])
        set_numbers(self._model, self._numbers)
        parameters = (p for group in self._optimizer.param_groups for p in group["params"])
        for index, parameter in enumerate(parameters):
            before = self._state.get(index, {})
            for name, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):  # all zeros is what Adam and momentum begin with
                    value.copy_(before[name]) if name in before else value.zero_()

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs."""
        return {"tensors": self._tensors, "numbers": self._numbers, "optimizer": self._state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Keep what another of the same network and optimizer kept."""
        self._tensors, self._numbers = dict(state["tensors"]), dict(state["numbers"])
        self._state = dict(state["optimizer"])
