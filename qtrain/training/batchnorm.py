"""BatchNorm's running statistics for weights that were never trained with: averages of a run, schedule-free's x."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from qtrain.errors import UserError


def norms(model: nn.Module) -> list[nn.Module]:
    """The modules that keep a running mean and variance: torch's norms, and this project's ``ScalarNorm``."""
    return [m for m in model.modules() if _is_tensor(m, "running_mean") and _is_tensor(m, "running_var")]


@torch.no_grad()
def re_estimate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the norms' running statistics to the cumulative average over ``batches`` with the present weights.

    ``torch.optim.swa_utils.update_bn`` puts the whole model into training mode, which moves Brevitas' ranges, and does
    not know ``ScalarNorm``. Here the norms alone train: quantizers act as in evaluation, as the model will be judged.

    Args:
        model: its modes, momenta and everything but the norms' statistics stay as they are.
        batches: training images, each [n, channels, height, width] on the model's device, of two images or more.

    Raises:
        UserError: there is no batch.
        Exception: what the model raises; statistics are then those of the batches before.

    Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", Section 3.2.
    """
    found = norms(model)
    modes = [(module, module.training) for module in model.modules()]
    momenta = [(norm, norm.momentum) for norm in found]
    seen = 0
    try:
        model.eval()
        for norm in found:
            norm.train()
        for images in batches:
            seen += 1
            for norm in found:
                norm.momentum = 1 / seen  # type: ignore[assignment]
                if seen == 1:  # what was there, NaN as it may be, counts for nothing
                    norm.running_mean.zero_()  # type: ignore[operator]
                    norm.running_var.fill_(1)  # type: ignore[operator]
                    if _is_tensor(norm, "num_batches_tracked"):
                        norm.num_batches_tracked.zero_()  # type: ignore[operator]
            model(images)
    finally:
        for module, training in modes:
            module.training = training
        for norm, momentum in momenta:
            norm.momentum = momentum
    if not seen:
        raise UserError("estimating BatchNorm's statistics needs at least one batch of training images, but got none")


def _is_tensor(module: nn.Module, name: str) -> bool:
    return isinstance(getattr(module, name, None), Tensor)
