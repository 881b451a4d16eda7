"""What all networks share: images come in [0, 1], float weights can be kept in their quantizers' range."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """Base of the zoo's networks.

    Input: float [N, channels, height, width] in [0, 1]. Output: float logits [N, classes].

    Attributes:
        name: as errors call it, ``CNV_1W1A``; the class where it was not built by name.
        width: that its channel counts were multiplied by.
        weight_limits: layers whose float weights ``clip_weights`` keeps in [-limit, limit], by path.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = type(self).__name__
        self.width = 1.0
        self.weight_limits: Mapping[str, float] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes] of images in [0, 1]; they are moved to [-1, 1] first."""
        return self.logits(2.0 * x - 1.0)

    def logits(self, x: Tensor) -> Tensor:
        """Logits of images in [-1, 1]: the children one after the other, unless a network says otherwise."""
        for child in self.children():
            x = child(x)
        return x

    def weights(self) -> list[Tensor]:
        """Of the convolutions and fully connected layers, in order."""
        return [m.weight for m in self.modules() if isinstance(m, nn.Conv2d | nn.Linear)]

    @torch.no_grad()
    def clip_weights(self) -> None:
        """Bring float weights back into the range of a constant scale; called after each optimizer step."""
        if self.weight_limits:
            weights = [cast(Tensor, self.get_submodule(path).weight) for path in self.weight_limits]
            limits = list(self.weight_limits.values())
            torch._foreach_clamp_max_(weights, limits)
            torch._foreach_clamp_min_(weights, [-limit for limit in limits])
