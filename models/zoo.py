"""The networks there are: each family's structure, usual image, way to start its weights, and published accuracies.

Nothing here needs torch: a row names what builds its network, and that is imported when it is built. Installed packages
add families by entry points of the group ``qtrain.networks`` (``qtrain.plugins``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtrain.models import structures
from qtrain.models.initial_weights import Kaiming, Uniform
from qtrain.models.late import Late, network
from qtrain.models.scalings import Scaling
from qtrain.models.shapes import Size, height_and_width
from qtrain.plugins import Registry

if TYPE_CHECKING:
    from torch import nn

    from qtrain.models.network import Network

KAIMING = Kaiming()
RELU = Late("torch.nn:ReLU")
HARDTANH = Late("torch.nn:Hardtanh")
SMALL_IMAGE = 64  # pixels
CIFAR_CLASSES = 10
IMAGENET_CLASSES = 1000
BNN_PYNQ = "brevitas_examples.bnn_pynq"
MCDONNELL = "arXiv 1802.08530"
IMGCLSMOB = "osmr/imgclsmob"
HUANG = "arXiv 1608.06993"
BREVITAS_IMAGENET = "brevitas_examples.imagenet_classification"
RADIOML = "Xilinx/brevitas-radioml-challenge-21"
CYBERSECURITY = "Xilinx/finn, notebooks/end2end_example/cybersecurity"
KWS = "Xilinx/finn-examples, build/kws"


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
        image_size: height and width of its usual images; one number where they are equal.
        smallest_image: height and width that its pools leave one pixel of; one number where they are equal.
        float_activation: hidden activations of the float twin.
        float_only: whether it exists in float only.
        quantized_only: whether it has no float twin.
        published: accuracies to compare with.
        in_channels: of its usual images.
        rectangular: whether height and width may differ; ``build`` then gets ``image_size`` as (height, width), and
            as one number otherwise.
        num_classes: of its usual data; None stands for ImageNet's 1000 above 64 pixels, for 10 below.
    """

    build: "Callable[..., Network]"
    about: str
    weights: Uniform | Kaiming = KAIMING
    scaling: Scaling = "statistics"
    image_size: Size = 32
    smallest_image: Size = 1
    float_activation: "Callable[[], nn.Module]" = RELU
    float_only: bool = False
    quantized_only: bool = False
    published: tuple[Published, ...] = ()
    in_channels: int = 3
    rectangular: bool = False
    num_classes: int | None = None

    @property
    def classes(self) -> int:
        """Return the number of classes of its usual data."""
        if self.num_classes is not None:
            return self.num_classes
        return IMAGENET_CLASSES if max(height_and_width(self.image_size)) > SMALL_IMAGE else CIFAR_CLASSES

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of one usual image, (channels, height, width)."""
        return (self.in_channels, *height_and_width(self.image_size))


def _bnn_pynq(
    build: "Callable[..., Network]", about: str, *published: Published, image_size: int = 32, smallest: int = 1
) -> Family:
    return Family(build, about, Uniform(), "constant", image_size, smallest, HARDTANH, published=published)


def _fully_connected(name: str, *published: Published) -> Family:
    hidden = structures.FULLY_CONNECTED[name]
    about = f"fully connected, 3 x {hidden} hidden, of the FINN paper"
    return _bnn_pynq(network("fully_connected:FullyConnected", hidden=hidden), about, *published, image_size=28)


def _resnet(blocks: tuple[int, ...], about: str, *published: Published, small: bool = False) -> Family:
    channels = (16, 32, 64) if small else (64, 128, 256, 512)
    return Family(network("resnet:ResNet", blocks=blocks, channels=channels), about, published=published)


def _imagenet(blocks: tuple[int, ...], about: str, *published: Published, bottleneck: bool = False) -> Family:
    build = network(
        "resnet:ResNet", blocks=blocks, channels=(64, 128, 256, 512), stem="imagenet", bottleneck=bottleneck
    )
    return Family(build, about, image_size=224, published=published)


def _mlp(
    hidden: tuple[int, ...], dropout: float, about: str, published: Published, *, features: int, classes: int
) -> Family:
    return Family(
        network("mlp:MLP", hidden=hidden, dropout=dropout),
        about,
        image_size=1,
        published=(published,),
        in_channels=features,
        rectangular=True,
        num_classes=classes,
    )


_ROWS = {
    "TFC": _fully_connected("TFC"),
    "SFC": _fully_connected("SFC"),
    "LFC": _fully_connected("LFC"),
    "CNV": _bnn_pynq(
        network("cnv:CNV"),
        "VGG-like, of the FINN paper",
        Published("1W1A", "CIFAR-10", 84.22, BNN_PYNQ),
        Published("1W2A", "CIFAR-10", 87.80, BNN_PYNQ),
        Published("2W2A", "CIFAR-10", 89.03, BNN_PYNQ),
        smallest=32,
    ),
    "VGG11": Family(
        network("vgg:VGG", stages=structures.VGG11_STAGES),
        "VGG11 without hidden fully connected layers",
        smallest_image=32,
    ),
    "VGG_SMALL": Family(
        network("vgg:VGG", stages=structures.VGG_SMALL_STAGES),
        "six convolutions, one fully connected layer",
        smallest_image=8,
    ),
    "WRN20": Family(network("wide_resnet:WideResNet"), "wide residual, FINN-safe shortcuts"),
    "WRN20_PAPER": Family(
        network("wide_resnet:PaperWideResNet"),
        "wide residual, as published",
        published=(
            Published("1W32A", "CIFAR-10, width 10", 96.74, IMGCLSMOB),
            Published("1W32A", "CIFAR-100, width 10", 80.96, IMGCLSMOB),
            Published("1W32A", "CIFAR-10, width 4", 93.87, MCDONNELL),
            Published("FLOAT", "CIFAR-10, width 10", 96.86, IMGCLSMOB),
        ),
    ),
    "RESNET18": _resnet((2, 2, 2, 2), "residual"),
    "RESNET18_PYNQ": Family(
        network("resnet_pynq:PynqResNet"), "residual, bnn_pynq's, for its checkpoint", quantized_only=True
    ),
    "RESNET34": _resnet((3, 4, 6, 3), "residual, of the paper's Tables I and II"),
    "RESNET20": _resnet((3, 3, 3), "residual, thin", Published("FLOAT", "CIFAR-10", 94.03, IMGCLSMOB), small=True),
    "RESNET56": _resnet((9, 9, 9), "residual, thin", Published("FLOAT", "CIFAR-10", 95.48, IMGCLSMOB), small=True),
    "DENSENET40": Family(
        network("densenet:DenseNet"),
        "dense, growth 12",
        float_only=True,
        published=(Published("FLOAT", "CIFAR-10", 94.76, HUANG),),
    ),
    "RESNET10": _imagenet((1, 1, 1, 1), "residual", Published("FLOAT", "ImageNet", 65.31, IMGCLSMOB)),
    "RESNET50": _imagenet(
        (3, 4, 6, 3), "residual, bottlenecks", Published("FLOAT", "ImageNet", 77.72, IMGCLSMOB), bottleneck=True
    ),
    "VGG11_IMAGENET": Family(
        network("vgg:VGG", stages=structures.VGG11_STAGES, hidden=structures.IMAGENET_HIDDEN),
        "VGG11 with two hidden fully connected layers",
        image_size=224,
        smallest_image=32,
        published=(Published("FLOAT", "ImageNet", 70.10, IMGCLSMOB),),
    ),
    "MOBILENETV1": Family(
        network("mobilenet_v1:MobileNetV1"),
        "depthwise separable convolutions",
        image_size=224,
        published=(
            Published("4W4A", "ImageNet, first layer 8 bits", 71.14, BREVITAS_IMAGENET),
            Published("FLOAT", "ImageNet", 73.39, IMGCLSMOB),
        ),
    ),
    "VGG10_RADIOML": Family(
        network("vgg10_radioml:VGG10RadioML"),
        "seven convolutions over time, for modulated signals",
        image_size=(1024, 1),
        smallest_image=(128, 1),
        published=(Published("8W8A", "RadioML 2018.01A, all noise levels", 59.47, RADIOML),),
        in_channels=2,
        rectangular=True,
        num_classes=24,
    ),
    "MLP": _mlp(
        structures.UNSW_HIDDEN,
        structures.UNSW_DROPOUT,
        "fully connected, 3 x 64 hidden, for rows; FINN's network for UNSW-NB15",
        Published("2W2A", "UNSW-NB15", 80.88, CYBERSECURITY),
        features=structures.UNSW_FEATURES,
        classes=2,
    ),
    "MLP_KWS": _mlp(
        structures.KWS_HIDDEN,
        structures.KWS_DROPOUT,
        "fully connected, 3 x 256 hidden, for rows; FINN's network for spoken words",
        Published("3W3A", "Speech Commands v2", 89.78, KWS),
        features=structures.KWS_FEATURES,
        classes=12,
    ),
}

_NAMING = ("[A-Z][A-Z0-9_]*", "capitals, digits and _, as in MY_NET")
FAMILIES = Registry("network", "qtrain.networks", Family, _ROWS, naming=_NAMING)
