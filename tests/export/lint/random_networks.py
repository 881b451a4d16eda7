"""Random small networks out of the zoo's building blocks, about half of them with something that FINN may refuse.

`random_network(seed)` draws one; the same seed draws the same. Seeds from ``REPORTS`` on draw from the blocks of public
reports as well (``random_blocks.py``), and other heads; those below are the recorded ones from before. What lint says
of a network and what the real compiler says must be the same: `test_lint_random.py` tries a few,
`benchmarks/lint_oracle.py` many.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import brevitas.nn as qnn
import torch
from brevitas.quant import Int8BiasPerTensorFloatInternalScaling, Int8WeightPerChannelFloat, Uint8ActPerTensorFloat
from torch import Tensor, nn

from qtrain.models.bits import BitWidths
from qtrain.models.factory import Kaiming, Layers
from qtrain.models.layers import ScalarNorm
from qtrain.models.names import NetworkName
from qtrain.models.quantizers import Scales
from qtrain.models.resnet import Block
from qtrain.models.wide_resnet import PaperUnit, Unit
from tests.export.lint.random_blocks import BLOCKS, Function

CLASSES, CHANNELS, SIZE = 10, 8, 8
REPORTS = 1000
SHAPE = (3, SIZE, SIZE)
Part = tuple[str, nn.Module]


@dataclass(frozen=True)
class RandomNetwork:
    """A drawn network.

    Attributes:
        recipe: what was drawn, in words.
        model: untrained, for images of ``SHAPE`` in [0, 1].
    """

    recipe: str
    model: nn.Module


class Chain(nn.Sequential):
    """Children one after the other, on images in [-1, 1] or, for raw pixels, in [0, 1]."""

    raw = False

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, 10]."""
        return super().forward(x if self.raw else 2.0 * x - 1.0)


class TwoSums(Block):
    """A residual block whose branches have quantizers of their own."""

    def __init__(self, layers: Layers, path: str):
        super().__init__(layers, path, CHANNELS, CHANNELS, 1)
        self.other = layers.sum(f"{path}.other", 2.0)

    def forward(self, x: Tensor) -> Tensor:
        """As the block's, with two scales."""
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        return self.act2(self.sum(y) + self.other(self.shortcut(x)))


def _conv(layers: Layers, path: str, kernel: int = 3, stride: int = 1, padding: int | None = None) -> nn.Module:
    padding = kernel // 2 if padding is None else padding
    conv = layers.conv(f"{path}.conv", CHANNELS, CHANNELS, kernel, stride=stride, padding=padding)
    return nn.Sequential(conv, nn.BatchNorm2d(CHANNELS), layers.relu(f"{path}.act"))


def _with(path: str, layers: Layers, layer: nn.Module, *before: nn.Module) -> nn.Module:
    """A convolution whose activation, or what stands before it, is another one."""
    conv = layers.conv(f"{path}.conv", CHANNELS, CHANNELS, 3, padding=1)
    return nn.Sequential(*before, conv, nn.BatchNorm2d(CHANNELS), layer)


def _quant_conv(layers: Layers, path: str, **options: object) -> nn.Module:
    conv = qnn.QuantConv2d(CHANNELS, CHANNELS, 3, padding=1, weight_bit_width=4, **{"bias": False, **options})
    return nn.Sequential(conv, nn.BatchNorm2d(CHANNELS), layers.relu(f"{path}.act"))


GOOD: dict[str, Callable[[Layers, str], nn.Module]] = {
    "convolution": _conv,
    "1x1": lambda n, p: _conv(n, p, 1),
    "stride": lambda n, p: _conv(n, p, stride=2),
    "unpadded": lambda n, p: _conv(n, p, padding=0),
    "signed": lambda n, p: _with(p, n, n.signed(f"{p}.act")),
    "block": lambda n, p: Block(n, p, CHANNELS, CHANNELS, 1),
    "strided block": lambda n, p: Block(n, p, CHANNELS, CHANNELS, 2),
    "bottleneck": lambda n, p: Block(n, p, CHANNELS, CHANNELS // 4, 1, bottleneck=True),
    "unit": lambda n, p: nn.Sequential(
        Unit(n, p, CHANNELS, CHANNELS, 1, 1.0), nn.BatchNorm2d(CHANNELS), n.relu(f"{p}.a")
    ),
    "max-pool": lambda n, p: nn.MaxPool2d(2),
    "padded max-pool": lambda n, p: nn.MaxPool2d(3, 2, 1),
    "dropout": lambda n, p: nn.Dropout(0.2),
    "float bias": lambda n, p: _quant_conv(n, p, bias=True),
    "per channel": lambda n, p: _quant_conv(n, p, weight_quant=Int8WeightPerChannelFloat),
    "depthwise": lambda n, p: _quant_conv(n, p, groups=CHANNELS),
    "two sums": lambda n, p: TwoSums(n, p),
}
BAD: dict[str, Callable[[Layers, str], nn.Module]] = {
    "average pool": lambda n, p: nn.AvgPool2d(2),
    "groups": lambda n, p: _quant_conv(n, p, groups=2),
    "int8 bias": lambda n, p: _quant_conv(n, p, bias=True, bias_quant=Int8BiasPerTensorFloatInternalScaling),
    "float ReLU": lambda n, p: _with(p, n, nn.ReLU()),
    "ReLU6 before": lambda n, p: _with(p, n, n.relu(f"{p}.act"), nn.ReLU6()),
    "9 bits": lambda n, p: _with(p, n, qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=9)),
    "no activation": lambda n, p: _with(p, n, nn.Identity()),
    "float weights": lambda n, p: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), n.relu(f"{p}.act")),
    "paper's unit": lambda n, p: nn.Sequential(PaperUnit(n, p, CHANNELS, CHANNELS, 2), n.relu(f"{p}.a")),
}


def _head(draw: random.Random, layers: Layers, pixels: int) -> tuple[str, list[Part]]:
    pooled = draw.random() < 0.6
    features = CHANNELS if pooled else CHANNELS * pixels
    parts: list[Part] = [("pool", nn.AdaptiveAvgPool2d(1))] if pooled else []
    parts.append(("flatten", nn.Flatten()))
    words = ["average" if pooled else "flatten"]
    if not pooled and draw.random() < 0.5:
        words.append("hidden layer")
        hidden = nn.Sequential(layers.linear("fc1", features, 16), nn.BatchNorm1d(16), layers.relu("act_fc1"))
        parts.append(("hidden", hidden))
        features = 16
    kind = draw.choice(["scalar norm"] * 6 + ["plain", "plain", "bias", "BatchNorm1d", "per channel", "softmax"])
    last = layers.linear("fc", features, CLASSES, role="last")
    if kind == "bias":
        last = qnn.QuantLinear(features, CLASSES, bias=True, weight_bit_width=4)
    if kind == "per channel":
        last = qnn.QuantLinear(
            features, CLASSES, bias=False, weight_bit_width=4, weight_quant=Int8WeightPerChannelFloat
        )
    after = {"scalar norm": ScalarNorm(), "BatchNorm1d": nn.BatchNorm1d(CLASSES), "softmax": nn.Softmax(1)}
    parts.append(("fc", last))
    if kind in after:
        parts.append(("norm_out", after[kind]))
    return ", ".join([*words, kind]), parts


def _add_blocks(draw: random.Random, layers: Layers, parts: list[Part]) -> list[str]:
    """One to three blocks that FINN takes, now and then one more that it does not take."""
    names = draw.choices(list(GOOD), k=draw.randint(1, 3))
    if draw.random() < 0.4:
        names.insert(draw.randint(0, len(names)), draw.choice(list(BAD)))
    for i, name in enumerate(names, 1):
        parts.append((f"part{i}", (GOOD | BAD)[name](layers, f"part{i}")))
    return names


def _add_reported(draw: random.Random, layers: Layers, parts: list[Part]) -> list[str]:
    """One to three blocks of all kinds that fit the image; one that does not fit is drawn anew."""
    names: list[str] = []
    wanted = draw.randint(1, 3)
    while len(names) < wanted:
        path = f"part{len(names) + 1}"
        if draw.random() < 0.35:
            words = draw.choice(list(GOOD))
            block = GOOD[words](layers, path)
        else:
            words, block = draw.choice(BLOCKS)(layers, path, draw)
        try:
            _run(nn.Sequential(*(module for _, module in parts), block))
        except RuntimeError:  # its windows are larger than what is left of the image
            continue
        parts.append((path, block))
        names.append(words)
    return names


@torch.no_grad()
def _run(body: nn.Module) -> Tensor:
    return body.eval()(torch.zeros(2, *SHAPE))


class Heads(nn.Module):
    """Two last layers, added, side by side, or each an output of its own."""

    def __init__(self, first: nn.Module, second: nn.Module, how: str):
        super().__init__()
        self.first, self.second, self.how = first, second, how

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [N, 10], [N, 20], or twice [N, 10]."""
        first, second = self.first(x), self.second(x)
        if self.how == "two outputs":
            return first, second
        return torch.cat([first, second], 1) if self.how == "side by side" else first + second


def _reported_head(draw: random.Random, layers: Layers, size: tuple[int, ...]) -> tuple[str, list[Part]]:
    """A head as others write it; half of them as the zoo does."""
    pixels = size[0] * size[1]
    if draw.random() < 0.5:
        return _head(draw, layers, pixels)
    flat = nn.Flatten()
    pools: dict[str, tuple[nn.Module, int]] = {
        "average": (nn.AdaptiveAvgPool2d(1), CHANNELS),
        "average by its size": (nn.AvgPool2d(tuple(size)), CHANNELS),
        "mean": (Function(lambda x: x.mean((2, 3), keepdim=True)), CHANNELS),
        "largest": (nn.AdaptiveMaxPool2d(1), CHANNELS),
        "all pixels": (nn.Identity(), CHANNELS * pixels),
        "channels last": (Function(lambda x: x.permute(0, 2, 3, 1)), CHANNELS * pixels),
        "columns first": (Function(lambda x: x.transpose(2, 3)), CHANNELS * pixels),
    }
    pool = draw.choice([*pools, "average", "average", "all pixels"])
    module, features = pools[pool]
    how = draw.choice(["one"] * 5 + ["added", "side by side", "two outputs"])
    last: nn.Module = layers.linear("fc", features, CLASSES, role="last")
    if how != "one":
        last = Heads(last, layers.linear("fc2", features, CLASSES, role="last"), how)
    parts: list[Part] = [("pool", module), ("flatten", flat)]
    if draw.random() < 0.3:
        parts.append(("dropout", nn.Dropout(0.2)))
    return f"{pool}, {how}", [*parts, ("fc", last)]


def random_network(seed: int) -> RandomNetwork:
    """Draw a network of one to three blocks with its input and its head."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    weights, acts = draw.choice([(w, a) for w in (1, 2, 3, 4, 8) for a in (1, 2, 4, 8)])
    scales = Scales(draw.choice(["constant", "learned", "statistics"]), draw.random() < 0.25, draw.random() < 0.25)
    layers = Layers(NetworkName("RANDOM", weights, acts), BitWidths(weights, acts), scales, Kaiming())
    source = draw.choice(["fixed point"] * 8 + ["raw pixels", "float"])
    parts: list[Part] = [("input", layers.input())] if source == "fixed point" else []
    stem = layers.conv("stem.conv", 3, CHANNELS, 3, padding=1, role="first")
    parts.append(("stem", nn.Sequential(stem, nn.BatchNorm2d(CHANNELS), layers.relu("stem.act"))))
    names = _add_reported(draw, layers, parts) if seed >= REPORTS else _add_blocks(draw, layers, parts)
    size = _run(nn.Sequential(*(module for _, module in parts))).shape[2:]
    head, ending = _reported_head(draw, layers, size) if seed >= REPORTS else _head(draw, layers, size[0] * size[1])
    model = Chain()
    model.raw = source == "raw pixels"
    for name, module in [*parts, *ending]:
        model.add_module(name, module)
    words = f"{weights}W{acts}A, {scales}, {source}; {', '.join(names)}; {head}"
    return RandomNetwork(words, model.train())
