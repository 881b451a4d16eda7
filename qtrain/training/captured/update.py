"""The update of all parameters and their range in one launch, where a GPU is trusted with it.

The plain form is torch's own optimizer and ``clip_weights``: a fused kernel a parameter group, one group a layer, and
two launches for the range.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from qtrain.triton_kernels import Checks, trusted

ROOM = "that update weights"
_ADAM = ("betas", "eps", "weight_decay", "decoupled_weight_decay")
_SAME = {SGD: ("momentum", "nesterov", "weight_decay"), Adam: _ADAM, AdamW: _ADAM}
_OFF = {SGD: ("dampening", "maximize"), Adam: ("amsgrad", "maximize"), AdamW: ("amsgrad", "maximize")}
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_KEPT = {SGD: ("momentum_buffer",), Adam: _MOMENTS, AdamW: _MOMENTS}


def updated(optimizer: Optimizer, rates: Tensor, limits: Mapping[Tensor, float]) -> bool:
    """Take the optimizer's step with the kernels, and bring parameters back into their range.

    Args:
        optimizer: torch's SGD, Adam or AdamW; its hooks and its groups' rates are not asked.
        rates: float32 [groups], on the device.
        limits: of parameters that stay in [-limit, limit].

    Returns:
        Whether it was taken; False, where nothing has happened, at a first step, which makes the optimizer's state, for
        options that the kernels do not know, and for tensors that do not lie in memory alike.
    """
    if not trusted(ROOM, rates.device):
        return False
    found = _parts(optimizer)
    if found is None:
        return False
    parameters, groups = found
    gradients: Any = [parameter.grad for parameter in parameters]
    kept: list[Any] = [[optimizer.state[p][name] for p in parameters] for name in _kept(optimizer)]
    bounds = [limits.get(parameter, float("inf")) for parameter in parameters]
    from qtrain.training.captured import update_kernels

    options = optimizer.param_groups[0]
    with torch.no_grad():
        if type(optimizer) is SGD:
            buffers = kept[0] if kept else []
            settings = options["momentum"], options["weight_decay"], options["nesterov"]
            update_kernels.sgd(parameters, gradients, buffers, rates, groups, bounds, *settings)
        else:
            means, squares, counts = kept
            torch._foreach_add_(counts, 1)
            beta_1, beta_2 = options["betas"]
            update_kernels.adam(
                parameters,
                gradients,
                means,
                squares,
                counts,
                rates,
                groups,
                bounds,
                beta_1,
                beta_2,
                options["eps"],
                options["weight_decay"],
                _decouples(optimizer),
            )
    return True


def _decouples(optimizer: Optimizer) -> bool:
    """Whether Adam's weight decay is a share of the parameters, and no part of the gradient."""
    by_option = optimizer.param_groups[0].get("decoupled_weight_decay", False)  # of Adam in torch 2.7 and later
    return type(optimizer) is AdamW or bool(by_option)


def _kept(optimizer: Any) -> tuple[str, ...]:
    """Return the tensors that the optimizer keeps of each parameter."""
    if type(optimizer) is SGD and optimizer.param_groups[0]["momentum"] == 0:
        return ()
    return _KEPT[type(optimizer)]


def _parts(optimizer: Any) -> tuple[list[Tensor], list[int]] | None:
    """Return the parameters that have gradients, and their groups; None where the kernels cannot step so."""
    kind = type(optimizer)
    first = optimizer.param_groups[0]
    parameters: list[Tensor] = []
    groups: list[int] = []
    for number, group in enumerate(optimizer.param_groups):
        differs = any(group.get(name) != first.get(name) for name in _SAME[kind])
        if differs or any(group.get(name) for name in _OFF[kind]):
            return None
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = optimizer.state[parameter]
            beside = [parameter.grad, *(state.get(name) for name in _kept(optimizer) if name != "step")]
            if not all(_lies_like(tensor, parameter) for tensor in beside):
                return None
            parameters.append(parameter)
            groups.append(number)
    return (parameters, groups) if parameters else None


def _lies_like(tensor: Tensor | None, parameter: Tensor) -> bool:
    """Whether the numbers of both lie in memory in the same order, without gaps."""
    if tensor is None or tensor.dtype != torch.float32 or parameter.dtype != torch.float32:
        return False
    last = parameter.dim() == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    return parameter.is_contiguous(memory_format=order) and tensor.is_contiguous(memory_format=order)


def comparisons(device: torch.device) -> Checks:
    """Take steps with the kernels and with torch's optimizers; yield what was compared, and whether they agree."""
    from qtrain.training.captured import update_kernels

    for name, make, step in (
        ("SGD", lambda p: SGD(p, 0.1, momentum=0.9, weight_decay=1e-3, nesterov=True), _step_sgd),
        ("Adam", lambda p: Adam(p, 0.1, weight_decay=1e-3), _step_adam),
        ("AdamW", lambda p: AdamW(p, 0.1, weight_decay=0.1), _step_adamw),
    ):
        start = [torch.randn(8, 3, 3, 3), torch.randn(5), torch.randn(1500)]
        theirs = [torch.nn.Parameter(tensor.to(device)) for tensor in start]
        ours = [tensor.to(device) for tensor in start]
        optimizer: Any = make([{"params": [p], "lr": 0.1 * (i + 1)} for i, p in enumerate(theirs)])
        state: dict[str, list[Tensor]] = {}
        for _ in range(3):
            gradients = [torch.randn(tensor.shape).to(device) for tensor in start]
            for parameter, gradient in zip(theirs, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
            with torch.no_grad():
                theirs[2].clamp_(-1, 1)
            step(update_kernels, ours, gradients, state)
        agree = [torch.allclose(own, p, rtol=1e-4, atol=1e-5) for own, p in zip(ours, theirs, strict=True)]
        yield f"the update of {name}", all(agree)


def _step_sgd(kernels: Any, parameters: list[Tensor], gradients: list[Tensor], state: dict[str, list[Tensor]]) -> None:
    buffers = state.setdefault("buffers", [torch.zeros_like(p) for p in parameters])
    kernels.sgd(parameters, gradients, buffers, *_groups(parameters), 0.9, 1e-3, True)


def _step_adam(kernels: Any, parameters: list[Tensor], gradients: list[Tensor], state: dict[str, list[Tensor]]) -> None:
    _step_any_adam(kernels, parameters, gradients, state, 1e-3, decouples=False)


def _step_adamw(
    kernels: Any, parameters: list[Tensor], gradients: list[Tensor], state: dict[str, list[Tensor]]
) -> None:
    _step_any_adam(kernels, parameters, gradients, state, 0.1, decouples=True)


def _step_any_adam(
    kernels: Any,
    parameters: list[Tensor],
    gradients: list[Tensor],
    state: dict[str, list[Tensor]],
    decay: float,
    *,
    decouples: bool,
) -> None:
    means = state.setdefault("means", [torch.zeros_like(p) for p in parameters])
    squares = state.setdefault("squares", [torch.zeros_like(p) for p in parameters])
    counts = state.setdefault("counts", [torch.zeros((), device=p.device) for p in parameters])
    torch._foreach_add_(counts, 1)
    settings = 0.9, 0.999, 1e-8, decay, decouples
    kernels.adam(parameters, gradients, means, squares, counts, *_groups(parameters), *settings)


def _groups(parameters: list[Tensor]) -> tuple[Tensor, list[int], list[float]]:
    """Return rates, groups and limits: every tensor has its own rate, the last one a limit."""
    count = len(parameters)
    rates = torch.tensor([0.1 * (i + 1) for i in range(count)], device=parameters[0].device)
    return rates, list(range(count)), [*[float("inf")] * (count - 1), 1.0]
