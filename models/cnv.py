"""CNV, the VGG-like network of the FINN paper (arXiv 1612.07119), in the structure of Brevitas' bnn_pynq."""

import torch
from brevitas.nn import QuantConv2d, QuantLinear
from torch import Tensor, nn

from qtrain.models.layers import ScalarNorm
from qtrain.models.quantizers import Scaling, activation, input_quantizer, weight_quantizer

CONVOLUTIONS = ((64, False), (64, True), (128, False), (128, True), (256, False), (256, False))  # channels, max-pool
HIDDEN = (512, 512)
BATCH_NORM_EPS = 1e-4
IMAGE_SIZE = 32


def scaled(channels: int, width: float) -> int:
    """``channels * width`` rounded to a multiple of 8 (at least 8), so that FINN can fold the layer."""
    return max(8, 8 * round(channels * width / 8))


class CNV(nn.Sequential):
    """Six 3x3 convolutions without padding and three fully connected layers, all quantized, for 32x32 images.

    Input: float [N, in_channels, 32, 32] in [0, 1]. Output: float logits [N, num_classes].
    Children are named ``input, conv1, norm1, act1, ..., fc3, norm9``; the exported graph carries the names.

    Args:
        weight_bits: of every layer's weights, 1 to 8.
        act_bits: of every hidden activation, 1 to 8.
        num_classes: logits an image.
        in_channels: image channels.
        input_bits: of the input quantizer, 1 to 8.
        width: multiplies all channel and feature counts.
        scaling: "constant" or "learned" quantizer ranges (above 1 bit).
    """

    def __init__(
        self,
        weight_bits: int,
        act_bits: int,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        input_bits: int = 8,
        width: float = 1.0,
        scaling: Scaling = "constant",
    ):
        super().__init__()
        self.clips_weights = scaling == "constant" or weight_bits == 1
        weights = weight_quantizer(weight_bits, scaling)
        self.add_module("input", input_quantizer(input_bits))
        size, features = IMAGE_SIZE, in_channels
        for i, (channels, pool) in enumerate(CONVOLUTIONS, 1):
            out = scaled(channels, width)
            self.add_module(f"conv{i}", QuantConv2d(features, out, kernel_size=3, bias=False, **weights))
            self.add_module(f"norm{i}", nn.BatchNorm2d(out, eps=BATCH_NORM_EPS))
            self.add_module(f"act{i}", activation(act_bits, scaling))
            size, features = size - 2, out
            if pool:
                self.add_module(f"pool{i}", nn.MaxPool2d(2))
                size //= 2
        self.add_module("flatten", nn.Flatten())
        features *= size * size
        for i, hidden in enumerate(HIDDEN, 1):
            out = scaled(hidden, width)
            self.add_module(f"fc{i}", QuantLinear(features, out, bias=False, **weights))
            self.add_module(f"norm{len(CONVOLUTIONS) + i}", nn.BatchNorm1d(out, eps=BATCH_NORM_EPS))
            self.add_module(f"act{len(CONVOLUTIONS) + i}", activation(act_bits, scaling))
            features = out
        last = len(HIDDEN) + 1
        self.add_module(f"fc{last}", QuantLinear(features, num_classes, bias=False, **weights))
        self.add_module(f"norm{len(CONVOLUTIONS) + last}", ScalarNorm())
        for weight in self.weights():
            nn.init.uniform_(weight, -1, 1)

    def weights(self) -> list[Tensor]:
        """Of the convolutions and linear layers, in order."""
        return [m.weight for m in self if isinstance(m, nn.Conv2d | nn.Linear)]

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, num_classes] of images [N, in_channels, 32, 32] in [0, 1]."""
        return super().forward(2.0 * x - 1.0)

    @torch.no_grad()
    def clip_weights(self) -> None:
        """Bring the float weights back into [-1, 1], the range of a constant scale; called after each step."""
        if self.clips_weights:
            for weight in self.weights():
                weight.clamp_(-1.0, 1.0)
