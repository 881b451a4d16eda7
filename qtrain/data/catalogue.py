"""Every data set with what is known of it before it is read; installed packages add theirs (``qtrain.plugins``).

Nothing here needs torch: a row names what reads the data, and that is imported when they are needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qtrain.errors import UserError
from qtrain.plugins import Registry


@dataclass(frozen=True)
class Source:
    """What there is to know of a data set before it is read.

    Attributes:
        read: what reads it, as ``module:name``: called with the folder of the data (or None) and whether to download,
            it returns two ``qtrain.data.Split``: the images to train and validate with, always in the same order, and
            the test images. Images are uint8 [N, C, H, W] of one size, labels int64 [N].
        class_names: in the order of the labels; or ``module:name`` of these, or of what returns them for the folder.
        image_size: height and width of the images, in pixels: one number, or a pair where they differ.
        channels: of the images.
        flip: whether a horizontal flip keeps the label.
        validation_size: images held out for validation unless told otherwise; by default a fifth, 10,000 at most.
        in_files: whether the splits are ``qtrain.data.FolderSplit``, whose images stay in files until they are needed.
        recipe: fields of the recipe for any network, as in ``{"epochs": 20, "lr": 0.01}``, where qtrain ships none.

    Raises:
        UserError: a value of the wrong type or out of range.
    """

    read: str
    class_names: tuple[str, ...] | str
    image_size: int | tuple[int, int] = 32
    channels: int = 3
    flip: bool = False
    validation_size: int | None = None
    in_files: bool = False
    recipe: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        names = self.class_names
        _check("read", self.read, isinstance(self.read, str) and ":" in self.read, "module:name")
        if isinstance(names, str):
            _check("class_names", names, ":" in names, "a tuple of names, or module:name")
        else:
            check_class_names(names)
        sides = self.image_size if isinstance(self.image_size, tuple) else (self.image_size, self.image_size)
        good = len(sides) == 2 and all(_is_whole(side, 1) for side in sides)
        _check("image_size", self.image_size, good, "pixels, 1 or more, or a pair of height and width")
        _check("channels", self.channels, _is_whole(self.channels, 1), "a whole number, 1 or more")
        for name in ("flip", "in_files"):
            _check(name, getattr(self, name), isinstance(getattr(self, name), bool), "True or False")
        size = self.validation_size
        _check("validation_size", size, size is None or _is_whole(size, 1), "a whole number, 1 or more")
        _check("recipe", self.recipe, isinstance(self.recipe, Mapping), "a mapping of a recipe's fields")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image."""
        height, width = self.image_size if isinstance(self.image_size, tuple) else (self.image_size, self.image_size)
        return self.channels, height, width


def check_class_names(names: object) -> None:
    """See that these are the names of two or more classes.

    Raises:
        UserError: they are not.
    """
    texts = isinstance(names, tuple) and all(isinstance(name, str) for name in names)
    good = texts and len(set(names)) == len(names) > 1  # type: ignore[call-overload,arg-type]
    _check("class_names", names, good, "a tuple of two or more names, each once")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise UserError(f"{name} must be {allowed}, but got {str(value)[:80]!r}")


_CIFAR = "qtrain.data.cifar"
_MNIST = "qtrain.data.mnist"
_TREE = "qtrain.data.folder_tree"
_ROWS = {
    "digits": Source("qtrain.data.digits:load_digits", tuple("0123456789"), validation_size=300),
    "cifar10": Source(f"{_CIFAR}:CIFAR10.read", f"{_CIFAR}:CIFAR10.class_names", flip=True, validation_size=5000),
    "cifar100": Source(f"{_CIFAR}:CIFAR100.read", f"{_CIFAR}:CIFAR100.class_names", flip=True, validation_size=5000),
    "mnist": Source(f"{_MNIST}:MNIST.read", tuple("0123456789"), image_size=28, channels=1, validation_size=6000),
    "fashion_mnist": Source(
        f"{_MNIST}:FASHION_MNIST.read",
        f"{_MNIST}:FASHION_MNIST.class_names",
        image_size=28,
        channels=1,
        validation_size=6000,
    ),
    "svhn": Source("qtrain.data.svhn:SVHN.read", tuple("0123456789"), validation_size=7000),
    "gtsrb": Source("qtrain.data.gtsrb:GTSRB.read", "qtrain.data.gtsrb:GTSRB.class_names", validation_size=3900),
    "imagenet": Source(f"{_TREE}:read_imagenet", f"{_TREE}:imagenet_classes", image_size=224, flip=True, in_files=True),
}

DATASETS = Registry("data set", "qtrain.data", Source, _ROWS)
