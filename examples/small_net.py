"""A small Brevitas network of one's own, which FINN takes at any bits from 2 to 8; the other examples train it."""

import brevitas.nn as qnn
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from torch import Tensor, nn


class SmallNet(nn.Module):
    """Three convolutions and a linear layer, for images of 32x32 pixels in [0, 1]."""

    def __init__(self, bits: int = 4, classes: int = 10, channels: int = 3):
        super().__init__()
        weights = {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": bits, "bias": False}
        layers: list[nn.Module] = [qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=8)]
        for outputs in (16, 32, 32):
            layers += [qnn.QuantConv2d(channels, outputs, 3, padding=1, **weights), nn.BatchNorm2d(outputs)]
            layers += [qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=bits), nn.MaxPool2d(2)]
            channels = outputs
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.fc = qnn.QuantLinear(channels * 4 * 4, classes, **weights)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, classes] of images [N, C, 32, 32]."""
        return self.fc(self.features(2 * x - 1))
