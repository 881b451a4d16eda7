"""The networks there are: each family's structure, usual image, way to start its weights, and published accuracies.

Installed packages add families by entry points of the group ``qtrain.networks`` (``qtrain.plugins``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from qtrain.models.cnv import CNV
from qtrain.models.densenet import DenseNet
from qtrain.models.factory import Kaiming, Uniform
from qtrain.models.fully_connected import HIDDEN, FullyConnected
from qtrain.models.network import Network
from qtrain.models.quantizers import Scaling
from qtrain.models.resnet import ResNet
from qtrain.models.resnet_pynq import PynqResNet
from qtrain.models.vgg import IMAGENET_HIDDEN, VGG, VGG11_STAGES, VGG_SMALL_STAGES
from qtrain.models.wide_resnet import PaperWideResNet, WideResNet
from qtrain.plugins import Registry

KAIMING = Kaiming()
BNN_PYNQ = "brevitas_examples.bnn_pynq"
MCDONNELL = "arXiv 1802.08530"
IMGCLSMOB = "osmr/imgclsmob"
HUANG = "arXiv 1608.06993"


@dataclass(frozen=True)
class Published:
    """An accuracy somebody published; most picked their best epoch on the test set.

    Attributes:
        bits: as in a network's name, "1W1A" or "FLOAT".
        data: what it was measured on.
        accuracy: top-1 in percent.
        source: where it stands.
    """

    bits: str
    data: str
    accuracy: float
    source: str


@dataclass(frozen=True)
class Family:
    """A network at any bit width.

    Attributes:
        build: makes it of a `Layers`, ``num_classes``, ``in_channels``, ``image_size`` and ``width``.
        about: one line: what it is.
        weights: how its weights start.
        scaling: where its quantizers' ranges come from, unless told otherwise.
        image_size: height and width of its usual images.
        smallest_image: height and width that its pools leave one pixel of.
        float_activation: hidden activations of the float twin.
        float_only: whether it exists in float only.
        quantized_only: whether it has no float twin.
        published: accuracies to compare with.
    """

    build: Callable[..., Network]
    about: str
    weights: Uniform | Kaiming = KAIMING
    scaling: Scaling = "statistics"
    image_size: int = 32
    smallest_image: int = 1
    float_activation: Callable[[], nn.Module] = nn.ReLU
    float_only: bool = False
    quantized_only: bool = False
    published: tuple[Published, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of one usual image, (channels, height, width)."""
        return 3, self.image_size, self.image_size


def _bnn_pynq(
    build: Callable[..., Network], about: str, *published: Published, image_size: int = 32, smallest: int = 1
) -> Family:
    return Family(build, about, Uniform(), "constant", image_size, smallest, nn.Hardtanh, published=published)


def _fully_connected(name: str, *published: Published) -> Family:
    about = f"fully connected, 3 x {HIDDEN[name]} hidden, of the FINN paper"
    return _bnn_pynq(partial(FullyConnected, hidden=HIDDEN[name]), about, *published, image_size=28)


def _resnet(blocks: tuple[int, ...], about: str, *published: Published, small: bool = False) -> Family:
    channels = (16, 32, 64) if small else (64, 128, 256, 512)
    return Family(partial(ResNet, blocks=blocks, channels=channels), about, published=published)


def _imagenet(blocks: tuple[int, ...], about: str, *published: Published, bottleneck: bool = False) -> Family:
    build = partial(ResNet, blocks=blocks, channels=(64, 128, 256, 512), stem="imagenet", bottleneck=bottleneck)
    return Family(build, about, image_size=224, published=published)


_ROWS = {
    "TFC": _fully_connected("TFC"),
    "SFC": _fully_connected("SFC"),
    "LFC": _fully_connected("LFC"),
    "CNV": _bnn_pynq(
        CNV,
        "VGG-like, of the FINN paper",
        Published("1W1A", "CIFAR-10", 84.22, BNN_PYNQ),
        Published("1W2A", "CIFAR-10", 87.80, BNN_PYNQ),
        Published("2W2A", "CIFAR-10", 89.03, BNN_PYNQ),
        smallest=32,
    ),
    "VGG11": Family(
        partial(VGG, stages=VGG11_STAGES), "VGG11 without hidden fully connected layers", smallest_image=32
    ),
    "VGG_SMALL": Family(
        partial(VGG, stages=VGG_SMALL_STAGES),
        "six convolutions, one fully connected layer",
        smallest_image=8,
    ),
    "WRN20": Family(WideResNet, "wide residual, FINN-safe shortcuts"),
    "WRN20_PAPER": Family(
        PaperWideResNet,
        "wide residual, as published",
        published=(
            Published("1W32A", "CIFAR-10, width 10", 96.74, IMGCLSMOB),
            Published("1W32A", "CIFAR-100, width 10", 80.96, IMGCLSMOB),
            Published("1W32A", "CIFAR-10, width 4", 93.87, MCDONNELL),
            Published("FLOAT", "CIFAR-10, width 10", 96.86, IMGCLSMOB),
        ),
    ),
    "RESNET18": _resnet((2, 2, 2, 2), "residual"),
    "RESNET18_PYNQ": Family(PynqResNet, "residual, bnn_pynq's, for its checkpoint", quantized_only=True),
    "RESNET34": _resnet((3, 4, 6, 3), "residual, of the paper's Tables I and II"),
    "RESNET20": _resnet((3, 3, 3), "residual, thin", Published("FLOAT", "CIFAR-10", 94.03, IMGCLSMOB), small=True),
    "RESNET56": _resnet((9, 9, 9), "residual, thin", Published("FLOAT", "CIFAR-10", 95.48, IMGCLSMOB), small=True),
    "DENSENET40": Family(
        DenseNet, "dense, growth 12", float_only=True, published=(Published("FLOAT", "CIFAR-10", 94.76, HUANG),)
    ),
    "RESNET10": _imagenet((1, 1, 1, 1), "residual", Published("FLOAT", "ImageNet", 65.31, IMGCLSMOB)),
    "RESNET50": _imagenet(
        (3, 4, 6, 3), "residual, bottlenecks", Published("FLOAT", "ImageNet", 77.72, IMGCLSMOB), bottleneck=True
    ),
    "VGG11_IMAGENET": Family(
        partial(VGG, stages=VGG11_STAGES, hidden=IMAGENET_HIDDEN),
        "VGG11 with two hidden fully connected layers",
        image_size=224,
        smallest_image=32,
        published=(Published("FLOAT", "ImageNet", 70.10, IMGCLSMOB),),
    ),
}

_NAMING = ("[A-Z][A-Z0-9_]*", "capitals, digits and _, as in MY_NET")
FAMILIES = Registry("network", "qtrain.networks", Family, _ROWS, naming=_NAMING)
