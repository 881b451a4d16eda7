"""Layers that Brevitas and torch lack."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ScalarNorm(nn.Module):
    """Batch normalisation of a whole tensor with one mean, one variance, one scale and one offset.

    FINN absorbs its scalar multiply and add into TopK, where a BatchNorm1d behind the last layer would keep TopK in
    software. Parameter and buffer names are those of bnn_pynq's TensorNorm.

    Args:
        eps: added to the variance.
        momentum: share of the current batch in the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, eps: float = 1e-4, momentum: float = 0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))
        self.register_buffer("running_mean", torch.zeros(1))
        self.register_buffer("running_var", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` of any shape."""
        if self.training:
            flat = x.reshape(-1, 1)
            y = F.batch_norm(
                flat, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps
            )
            return y.reshape(x.shape)
        # Written out, so that the exported graph holds scalar Sub, Div, Mul and Add.
        return (x - self.running_mean) / (self.running_var + self.eps).sqrt() * self.weight + self.bias
