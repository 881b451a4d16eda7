"""bnn_pynq's ResNet18, for its published checkpoint; RESNET18 is the network to train from scratch.

What differs from RESNET18, the paper's structure and FINN-safe:

- Both branches of an addition end in a ReLU, so that they are unsigned; what quantizes the skip quantizes the branch.
- Activation ranges are percentiles of the activations of the first 300 steps, trained from then on.
- Weights range to their largest magnitude, for each output channel; the last layer has one range.
- Weights of the first and the last layer have 8 bits.
- The average pool is a sum that is cut to 8 bits, without rounding.
- The last layer has an integer bias of 32 bits, and no norm of the logits follows it.
- Images stay in [0, 1] and have no quantizer: pixels have 8 bits anyway.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from brevitas.nn import QuantConv2d, QuantLinear, QuantReLU, TruncAvgPool2d
from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat, Int32Bias, TruncTo8bit
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.factory import Layers, Role, scaled
from qtrain.models.network import Network

OUTER_BITS = 8  # of the first and the last layer's weights
RANGE = "act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl"


class RuntimeReLU(QuantReLU):
    """ReLU with a range of the first steps' activations; its state says how far it is with collecting them.

    Brevitas' state keeps no count: a run that is resumed in its first 300 steps would go on otherwise than it began.
    """

    value_name = f"{RANGE}.value"
    collected: Tensor

    def __init__(self, bits: int):
        super().__init__(bit_width=bits, return_quant_tensor=True)
        self.register_buffer("collected", torch.zeros(2))  # steps, mean range
        self.register_state_dict_post_hook(_write_collected)
        self.register_load_state_dict_post_hook(_read_collected)

    @property
    def range(self) -> Any:
        """Brevitas' module that collects, then learns."""
        return self.get_submodule(RANGE)

    def finished(self, value: Tensor) -> Tensor:
        """What ``collected`` is once ``value`` is trained."""
        return torch.tensor([self.range.collect_stats_steps + 1, float(value.detach())])


def _write_collected(module: nn.Module, state: dict[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    assert isinstance(module, RuntimeReLU)
    counted = torch.tensor([float(module.range.counter), float(module.range.buffer)])
    state[f"{prefix}collected"] = counted.to(module.collected)
    state[prefix + module.value_name] = module.range.value.detach()  # Brevitas puts the mean there, or nothing


def _read_collected(module: nn.Module, _: object) -> None:
    assert isinstance(module, RuntimeReLU)
    module.range.counter = int(module.collected[0])
    module.range.buffer.fill_(module.collected[1])


def _conv(
    layers: Layers, path: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1, role: Role = "inner"
) -> nn.Module:
    bits = layers.bits.weights(path, role, OUTER_BITS if role == "first" else None)
    options = _weights(layers, bits, inputs * kernel**2, Int8WeightPerChannelFloat)
    conv = QuantConv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False, **options)
    layers.weights.initialise(conv.weight)
    return conv


def _weights(layers: Layers, bits: int, fan_in: int, quantizer: type) -> dict[str, object]:
    """Brevitas' own; those of 1 bit, which bnn_pynq's network never had, as everywhere here."""
    if bits == 1:
        return layers.scales.weights(1, 1.0, binary_scale=layers.weights.binary_scale(fan_in))
    return {"weight_quant": quantizer, "weight_bit_width": bits}


class SharedSum(nn.Module):
    """Addition of a branch, quantized here, and a skip that the same quantizer made."""

    def forward(self, branch: Tensor, skip: Tensor, quantizer: nn.Module) -> Tensor:
        """Of equal shapes, [N, channels, H, W]."""
        return quantizer(branch) + skip


class PynqBlock(nn.Module):
    """Two 3x3 convolutions, the skip or a 1x1 convolution in its place, and the addition of unsigned integers.

    Args:
        layers: makes bits and initial weights.
        path: of the block in the network.
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution, and of the shortcut.
    """

    def __init__(self, layers: Layers, path: str, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = _conv(layers, f"{path}.conv1", inputs, outputs, 3, stride=stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.act1 = RuntimeReLU(layers.bits.activations(f"{path}.act1"))
        self.conv2 = _conv(layers, f"{path}.conv2", outputs, outputs, 3)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.add_module("conv", _conv(layers, f"{path}.shortcut.conv", inputs, outputs, 1, stride=stride))
            self.shortcut.add_module("norm", nn.BatchNorm2d(outputs))
            self.shortcut.add_module("act", RuntimeReLU(layers.bits.activations(f"{path}.shortcut.act")))
        self.sum = SharedSum()
        self.act2 = RuntimeReLU(layers.bits.activations(f"{path}.act2"))

    def forward(self, x: Tensor, quantizer: nn.Module) -> Tensor:
        """[N, inputs, H, W], quantized by ``quantizer``, to [N, outputs, H / stride, W / stride]."""
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        if len(self.shortcut):
            x = self.shortcut(x)
            quantizer = self.shortcut.act  # type: ignore[assignment]
        return self.act2(self.sum(y, x, quantizer))


class Stage(nn.Sequential):
    """Blocks one after the other; the quantizer of one's sum is the next one's for its branch."""

    def forward(self, x: Tensor, quantizer: nn.Module) -> Tensor:  # type: ignore[override]
        """[N, inputs, H, W], quantized by ``quantizer``, to [N, outputs, H / stride, W / stride]."""
        for block in self:
            x = block(x, quantizer)
            quantizer = block.get_submodule("act2")
        return x


class PynqResNet(Network):
    """Stem, stages of blocks, average pool, one fully connected layer.

    Children are named ``conv1, norm1, act1, stage1.block1.conv1, ..., pool, flatten, fc``.

    Args:
        layers: makes bits and initial weights.
        blocks: how many blocks each stage has.
        channels: of each stage.
        num_classes: logits an image.
        in_channels: image channels.
        image_size: height and width; the pool takes what three halvings leave of it.
        width: multiplies all channel counts.

    Raises:
        UserError: in float, or with scales or input bits other than the network's own.
    """

    def __init__(
        self,
        layers: Layers,
        *,
        blocks: Sequence[int] = (2, 2, 2, 2),
        channels: Sequence[int] = (64, 128, 256, 512),
        num_classes: int,
        in_channels: int,
        image_size: int,
        width: float,
    ):
        super().__init__()
        _check_own(layers)
        features = scaled(channels[0], width)
        self.conv1 = _conv(layers, "conv1", in_channels, features, 3, role="first")
        self.norm1 = nn.BatchNorm2d(features)
        self.act1 = RuntimeReLU(layers.bits.activations("act1"))
        for i, (count, planes) in enumerate(zip(blocks, channels, strict=True), 1):
            stage = Stage()
            for j in range(1, count + 1):
                out = scaled(planes, width)
                stride = 2 if i > 1 and j == 1 else 1
                stage.add_module(f"block{j}", PynqBlock(layers, f"stage{i}.block{j}", features, out, stride))
                features = out
            self.add_module(f"stage{i}", stage)
        self.pool = TruncAvgPool2d(
            -(-image_size // 2 ** (len(blocks) - 1)), trunc_quant=TruncTo8bit, float_to_int_impl_type="FLOOR"
        )
        self.flatten = nn.Flatten()
        options = _weights(layers, layers.bits.weights("fc", "last", OUTER_BITS), features, Int8WeightPerTensorFloat)
        self.fc = QuantLinear(features, num_classes, bias=True, bias_quant=Int32Bias, **options)
        layers.weights.initialise(self.fc.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes] of images in [0, 1], where they stay."""
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """Logits of images as they come."""
        quantizer: nn.Module = self.act1
        x = quantizer(self.norm1(self.conv1(x)))
        for stage in self.children():
            if isinstance(stage, Stage):
                x = stage(x, quantizer)
                quantizer = stage[-1].get_submodule("act2")
        return self.fc(self.flatten(self.pool(x)))


def _check_own(layers: Layers) -> None:
    family = layers.name.family
    if layers.scales.scaling != "statistics" or layers.scales.power_of_two or layers.scales.per_channel:
        raise UserError(
            f"{family} has the scales of bnn_pynq, one a channel of a convolution; leave out scaling, power_of_two and "
            "per_channel, or take RESNET18"
        )
    if layers.bits.activations("input", "input") != 8:
        raise UserError(f"{family} has no input quantizer, its pixels have 8 bits; leave out input_bits")
