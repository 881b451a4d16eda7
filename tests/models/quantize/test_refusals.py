"""What has no FINN-safe form is named: the layer, what it is, the mend."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.quantize import Refused, quantize

SHAPE = (3, 16, 16)


def net(*layers: nn.Module) -> nn.Module:
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), *layers, *end).eval()


class Written(nn.Module):
    """A function of one's own between the first and the last layer."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.other = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 10)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.function(self, F.relu(self.conv(x))).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.att = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        return self.fc(self.att(x, x, x)[0].mean(1))


def gate(self: nn.Module, x: Tensor) -> Tensor:
    return x * F.hardtanh(x.mean((2, 3), keepdim=True), 0, 1)


LAYERS: list[tuple[nn.Module, str, str]] = [
    (nn.SiLU(), "at 2: SiLU, which", "use nn.ReLU"),
    (nn.LeakyReLU(), "at 2: LeakyReLU, which", "use nn.ReLU"),
    (nn.Hardswish(), "at 2: Hardswish, which", "use nn.ReLU"),
    (nn.Hardtanh(-2, 1), r"at 2: a clamp to \[-2, 1\]", "clamp from 0 up"),
    (nn.Softmax(1), "at 2: a softmax inside the network", "no attention and no softmax"),
    (nn.GroupNorm(2, 8), "at 2: GroupNorm, which", "nn.BatchNorm2d"),
    (nn.AvgPool2d(2), r"at 2: AvgPool2d averages over windows \(16x16 to 8x8\)", "use nn.MaxPool2d, or a stride"),
    (nn.AdaptiveAvgPool2d(4), "at 2: AdaptiveAvgPool2d averages over windows", "use nn.MaxPool2d, or a stride"),
    (nn.Conv2d(8, 8, 3, groups=2), "at 2: a convolution of 8 to 8 channels in 2 groups", "groups=1, or one filter"),
    (nn.Conv2d(8, 8, 3, padding_mode="reflect", padding=1), "at 2: a convolution that pads with reflect", "zeros"),
    (nn.Conv2d(8, 8, 2, padding="same"), "at 2: padding='same' of an even kernel", "odd kernel"),
    (nn.ConvTranspose2d(8, 8, 2, 2), "at 2: ConvTranspose2d, which", "makes the image larger"),
    (nn.ZeroPad2d(1), "at 2: ZeroPad2d, which", "the convolution's own padding"),
]
FUNCTIONS: list[tuple[Callable[[nn.Module, Tensor], Tensor], str, str]] = [
    (lambda self, x: F.silu(x), r"at forward \(silu\): silu, which", "use nn.ReLU"),
    (lambda self, x: torch.cat([x, self.other(x)], 1)[:, :8], r"at forward \(cat\): cat, which", "add the branches"),
    (lambda self, x: torch.cat(x.chunk(2, 1), 1), r"at forward \(chunk\): chunk, which", "add the branches"),
    (gate, r"at forward \(mul\): two streams are multiplied", "leave gates"),
    (lambda self, x: x * 0.5, r"at forward \(mul\): mul with a constant, behind the first layer", "fold the factor"),
    (lambda self, x: x - self.other(x), r"at forward \(sub\): sub of two streams", "add the branches"),
    (lambda self, x: torch.add(x, x, alpha=2), r"at forward \(add\): add with a number", "two plain operands"),
    (lambda self, x: x + x.mean((2, 3), keepdim=True), r"an addition of different shapes \[8, 16, 16\]", "one shape"),
    (lambda self, x: self.other(F.relu(self.other(x))), "at other: is called twice", "make two layers"),
    (lambda self, x: F.interpolate(x, scale_factor=2), r"at forward \(interpolate\)", "makes the image larger"),
    (lambda self, x: x[:, :, ::2], r"at forward \(getitem\)", "leave it out"),
    (lambda self, x: x.amax((2, 3), keepdim=True), r"at forward \(amax\)", "adaptive_max_pool2d"),
    (lambda self, x: F.conv2d(x, self.other.weight), r"at forward \(conv2d\)", "write it as a layer"),
]


@pytest.mark.parametrize(("layer", "says", "mend"), LAYERS)
def test_a_layer_is_named_with_its_mend(layer: nn.Module, says: str, mend: str) -> None:
    with pytest.raises(Refused, match=says) as raised:
        quantize(net(layer, nn.ReLU()), SHAPE)
    assert mend in raised.value.refusals[0].mend
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("function", "says", "mend"), FUNCTIONS)
def test_a_function_is_named_with_its_mend(function: Callable, says: str, mend: str) -> None:
    with pytest.raises(Refused, match=says) as raised:
        quantize(Written(function).eval(), SHAPE)
    assert mend in raised.value.refusals[0].mend


def test_attention_is_named() -> None:
    with pytest.raises(Refused) as raised:
        quantize(Attention().eval(), SHAPE)
    assert "att" in {refusal.path for refusal in raised.value.refusals}


def test_the_first_is_told_and_the_others_are_counted() -> None:
    with pytest.raises(Refused, match=r"cannot be made FINN-safe at 2: SiLU.*\(2 more: 3, 4\)$") as raised:
        quantize(net(nn.SiLU(), nn.AvgPool2d(2), nn.GroupNorm(2, 8)), SHAPE)
    assert len(raised.value.refusals) == 3


class Depends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 10)

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 0.5:
            x = 1 - x
        return self.fc(x.mean((2, 3)))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = net(nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.body(x), x


class Straight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Depends(), r"Depends cannot be traced at test_refusals.py:\d+: .*control flow; take what depends"),
        (Pair(), "Pair returns a tuple, not one tensor of logits"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), "does not take images of 3x16x16"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), r"returns \['N', 4, 14, 14\], not one row of logits"),
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "has no convolution and no linear layer"),
        (
            Straight(),
            "at pool: it reads the images themselves; let a convolution or linear layer read the images first",
        ),
    ],
)
def test_a_module_that_is_no_network_is_told_so(model: nn.Module, says: str) -> None:
    with pytest.raises(UserError, match=says):
        quantize(model.eval(), SHAPE)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mean": (0.1, 0.2)}, "mean must be one number or one for each of 3 channels"),
        ({"std": 0.0}, "std must not be 0"),
        ({"name": "my net"}, "name must be a name for a class"),
    ],
)
def test_wrong_options_are_told(options: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        quantize(net(nn.ReLU()), SHAPE, **options)
