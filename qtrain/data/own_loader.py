"""Data that code of one's own returns: ``my_module:load``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from qtrain.data.dataset import DataSet, Split
from qtrain.data.loaded import Loaded
from qtrain.data.options import DataOptions
from qtrain.data.own_arrays import digest_of, from_arrays, of_splits, to_labels, to_pixels
from qtrain.errors import UserError
from qtrain.own_code import call_with, load_reference, parse_reference

_LAYOUT_OF_ITEM = {1: "NF", 2: "NCL", 3: "NCHW"}
_FORMS = (
    "a qtrain.data.DataSet, a dict of arrays (x_train, y_train, x_test, y_test), or two or three of qtrain.data.Split, "
    "pairs (x, y) or torch data sets: train, (validation,) test"
)


def read_own(name: str, root: object, options: DataOptions) -> Loaded:
    """Import and call what returns the data; a ``root`` argument gets the folder of the data.

    Args:
        name: ``my_module:load``.
        root: folder of the data, or None.
        options: layout, range and channels of what is returned, where that is needed.

    Raises:
        UserError: it cannot be imported or called, or returns something else.
    """
    if options.image_size is not None:
        raise UserError(f"--image-size is of folders of images; let {name} return images of that size")
    reference = parse_reference(name, "load")
    found: Any = load_reference(reference)
    if callable(found) and not _is_data(found):
        found = call_with(reference, found, {"root": root}, "give them defaults, or write a function without")
    return _loaded(found, options, name)


def _is_data(found: Any) -> bool:
    return isinstance(found, DataSet | Mapping | Sequence)


def _loaded(found: Any, options: DataOptions, name: str) -> Loaded:
    if isinstance(found, DataSet):
        return _of_dataset(found)
    if isinstance(found, Mapping):
        return from_arrays({key: np.asarray(value) for key, value in found.items()}, options, name)
    parts = list(found) if isinstance(found, tuple | list) else [found]
    if not 1 <= len(parts) <= 3 or not all(_is_part(part) for part in parts):
        raise UserError(f"{name} returned a {type(found).__name__}; it must return {_FORMS}")
    places = {1: ("train",), 2: ("train", "test"), 3: ("train", "val", "test")}[len(parts)]
    named = dict(zip(places, parts, strict=True))
    layout = "NCHW"
    splits = {}
    for place, part in named.items():
        splits[place], layout = _split(part, options, f"{name}: {place}")
    return of_splits(splits, _class_names(parts[0]), layout, options)


def _of_dataset(data: DataSet) -> Loaded:
    splits = {"train": data.train, "val": data.validation, "test": data.test}
    return Loaded(
        train=data.train,
        test=data.test,
        validation=None if data.validation is data.test else data.validation,
        class_names=tuple(map(str, data.class_names)),
        layout=data.layout,
        value_range=data.value_range,
        augmentation=data.kinds,
        digest=data.digest or digest_of(splits),
        notes=data.notes,
    )


def _is_part(part: Any) -> bool:
    pair = isinstance(part, tuple | list) and len(part) == 2
    return isinstance(part, Split) or pair or (hasattr(part, "__getitem__") and hasattr(part, "__len__"))


def _split(part: Any, options: DataOptions, name: str) -> tuple[Split, str]:
    """Make a split of one part; return it with its layout."""
    if isinstance(part, Split):
        return part, "NCHW"
    if isinstance(part, tuple | list):
        values, labels = (np.asarray(half) for half in part)
        layout = options.layout or _LAYOUT_OF_ITEM.get(values.ndim - 1, "")
        if len(layout) != values.ndim:
            raise UserError(f"{name} is {list(values.shape)}; say its layout with --layout, as in --layout NHWC")
    else:
        values, labels, layout = _items(part, options, name)
    pixels = to_pixels(values, layout, options, name)
    return Split(pixels, to_labels(labels, len(pixels), f"{name}'s labels")), layout


def _items(dataset: Any, options: DataOptions, name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Read every item of a torch data set: an input and its label.

    Raises:
        UserError: an item of another form, inputs of several shapes, or random ones.
    """
    if not len(dataset):
        raise UserError(f"{name} is empty; give it items")
    values = []
    labels = []
    for i in range(len(dataset)):
        item = dataset[i]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UserError(f"{name}: item {i} must be an input and its label, but is a {type(item).__name__}")
        values.append(_array(item[0], name))
        labels.append(int(item[1]))
        if values[i].shape != values[0].shape:
            shapes = f"{list(values[0].shape)} and {list(values[i].shape)}"
            raise UserError(f"{name} holds inputs of {shapes}; resize them to one size in the data set")
    if not np.array_equal(_array(dataset[0][0], name), values[0]):
        raise UserError(
            f"{name} gives another input each time that it is asked; take its random transforms out, qtrain augments "
            "with --augmentation"
        )
    from_pillow = isinstance(dataset[0][0], Image.Image)
    usual = {2: "NHW", 3: "NHWC"} if from_pillow else _LAYOUT_OF_ITEM
    layout = options.layout or usual.get(values[0].ndim, "")
    if len(layout) != values[0].ndim + 1:
        raise UserError(f"{name} holds inputs of {list(values[0].shape)}; say their layout with --layout")
    return np.stack(values), np.asarray(labels, np.int64), layout


def _array(value: Any, name: str) -> np.ndarray:
    if isinstance(value, Image.Image):
        return np.asarray(value.convert("L" if value.mode in ("1", "L") else "RGB"))
    if isinstance(value, Tensor):
        return torch.Tensor.numpy(value.detach().cpu())
    if isinstance(value, np.ndarray):
        return value
    raise UserError(f"{name} holds a {type(value).__name__} as input; give a tensor, an array or an image")


def _class_names(part: Any) -> tuple[str, ...]:
    """Return the class names that torchvision's data sets have."""
    names = getattr(part, "classes", None)
    texts = tuple(map(str, names)) if isinstance(names, tuple | list) else ()
    return texts if len(set(texts)) == len(texts) > 1 else ()
