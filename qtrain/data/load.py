"""`load_data`: from a data set's name, or data of one's own, to its three splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from qtrain.data.catalogue import DATASETS, Source, check_class_names
from qtrain.data.dataset import DataSet, Split
from qtrain.data.image_folder import FolderSplit
from qtrain.data.loaded import Loaded
from qtrain.data.names import Root, check_name, is_own
from qtrain.data.options import PLAIN, DataOptions
from qtrain.data.own import load_own, own_facts
from qtrain.errors import UserError, did_you_mean

PROTOCOLS = ("holdout", "paper")
MOST_HELD_OUT = 10_000  # where neither the data set nor the user says how many

_TEST_SEED = 0  # of a test set that is held out: the same whatever a run's seed


def class_names(name: str, root: Root = None, options: DataOptions = PLAIN) -> tuple[str, ...]:
    """Return a data set's class names, in the order of its labels; no image of a named set or of a folder is read.

    Args:
        name: one of `DATASETS`, or data of one's own, as for `load_data`.
        root: of "imagenet", whose classes are the folders of its tree; as for `load_data`.
        options: of data of one's own.

    Raises:
        UserError: no such data set, no tree there, or a package that is broken.
    """
    if is_own(name, root):
        return own_facts(name, root, options)[0]
    reference = _source(name, root, options).class_names
    if not isinstance(reference, str):
        return reference
    with DATASETS.blaming(name):
        found: Any = DATASETS.load(name, reference)
        names: tuple[str, ...] = found(root) if callable(found) else found
    try:
        check_class_names(names)
    except UserError as error:
        raise UserError(f"{DATASETS.origin(name)}, {reference}: {error}") from None
    return names


def image_shape(name: str, root: Root = None, options: DataOptions = PLAIN) -> tuple[int, int, int]:
    """Return channels, height and width of a data set's inputs, as networks get them; arguments as of `class_names`.

    Raises:
        UserError: no such data set, or its package is broken.
    """
    if is_own(name, root):
        return own_facts(name, root, options)[1]
    return _source(name, root, options).shape


def _source(name: str, root: Root, options: DataOptions) -> Source:
    """Return the row of a set that has one; nothing can be said of how it is read."""
    check_name(name, root)
    if given := options.given():
        raise UserError(f"{', '.join(given)} is for data of your own, and {name} is as it was published; leave it out")
    return DATASETS.get(name)


def load_data(
    name: str,
    *,
    root: Root = None,
    seed: int = 0,
    validation_size: int | None = None,
    protocol: str = "holdout",
    download: bool = True,
    options: DataOptions = PLAIN,
) -> DataSet:
    """Load a data set: whole into memory as uint8, or, of "imagenet" and large folders, the names of its files.

    Args:
        name: one of `DATASETS`; or data of one's own: a folder of images, an ``.npz`` file or a folder of ``.npy``
            files, or ``my_module:load``.
        root: folder that holds the data or is to hold them; default the folder that QTRAIN_DATA names, else the
            user's cache. "digits" needs none; "imagenet" has train/CLASS/*.jpg and val/CLASS/*.jpg there and no cache.
        seed: draws the validation split, 0 to 2**32 - 1; the test set never depends on it.
        validation_size: images in the validation split; default 300 of digits' 1,400, 5,000 of CIFAR's 50,000,
            10,000 of ImageNet's 1,281,167 (a fifth of a tree with less than 50,000); a package's own number, or as
            ImageNet's.
        protocol: "holdout" splits the validation images off the training set, with the same share of each class;
            "paper" trains on the whole training set and validates on the test set.
        download: whether missing data may be downloaded.
        options: how data of one's own are read.

    Raises:
        UserError: an unknown name or protocol, a size or seed out of range, data that are missing or damaged, or a
            package that is broken.
    """
    if protocol not in PROTOCOLS:
        hint = did_you_mean(protocol, PROTOCOLS)
        raise UserError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}{hint}")
    if not isinstance(options, DataOptions):
        raise UserError(f"options must be DataOptions, such as DataOptions(image_size=(48, 48)), but got {options!r}")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed {seed} is out of range; choose from 0 to {2**32 - 1}")
    if protocol == "paper" and validation_size is not None:
        raise UserError(
            f"validation_size {validation_size} has no meaning under the protocol 'paper', which validates on the "
            "test set; leave it out or choose 'holdout'"
        )
    if is_own(name, root):
        usual_size, flip = None, False
        found = load_own(name, root, options)
    else:
        source = _source(name, root, options)
        usual_size, flip = source.validation_size, source.flip
        found = _read(name, source, class_names(name, root), root, download)
    classes = len(found.class_names)
    train, test, notes = _with_test(found, name)
    validation = test if protocol == "paper" else found.validation
    if validation is None:
        usual = usual_size or max(classes, min(MOST_HELD_OUT, len(train) // 5))
        size = usual if validation_size is None else validation_size
        train, validation = hold_out(train, size, seed=seed, names=found.class_names)
    elif protocol == "holdout" and validation_size is not None:
        raise UserError(f"{name} has a validation split of {len(validation)}; leave --validation-size out")
    return DataSet(
        name=name,
        classes=classes,
        class_names=found.class_names,
        protocol=protocol,
        flip=flip,
        train=train,
        validation=validation,
        test=test,
        layout=found.layout,
        value_range=found.value_range,
        augmentation=found.augmentation,
        digest=found.digest,
        notes=notes,
    )


def _with_test(found: Loaded, name: str) -> tuple[Split, Split, tuple[str, ...]]:
    """Return training inputs, test inputs, and what the user is told; a test set that there is not is held out."""
    if found.test is not None:
        return found.train, found.test, found.notes
    classes = len(found.class_names)
    size = max(classes, min(MOST_HELD_OUT, len(found.train) // 5))
    train, test = hold_out(found.train, size, seed=_TEST_SEED, names=found.class_names, what="test")
    note = f"{name} has no test set: {len(test)} of its {len(found.train)} training inputs are held out as one"
    return train, test, (*found.notes, note)


def _read(name: str, source: Source, names: tuple[str, ...], root: Root, download: bool) -> Loaded:
    """Return what a row reads, as it promises it."""
    with DATASETS.blaming(name):
        found: Any = DATASETS.load(name, source.read)(root, download)
    origin = DATASETS.origin(name)
    if not (isinstance(found, tuple) and len(found) == 2 and all(isinstance(split, Split) for split in found)):
        kind = type(found).__name__
        raise UserError(f"{origin}: {source.read} must return two qtrain.data.Split, but returned a {kind}")
    wanted = list(source.shape)
    for split in found:
        if isinstance(split, FolderSplit) != source.in_files:
            kind = type(split).__name__
            raise UserError(f"{origin}: in_files is {source.in_files}, but {source.read} returned a {kind}")
        if not source.in_files and list(split.images.shape[1:]) != wanted:
            shape = list(split.images.shape[1:])
            raise UserError(f"{origin}: images must be {wanted}, as its row says, but {source.read} returned {shape}")
        if not len(split):
            raise UserError(f"{origin}: {source.read} returned a split without images")
        low = int(split.labels.min())
        high = int(split.labels.max())
        if low < 0 or high >= len(names):
            raise UserError(
                f"{origin}: labels must be from 0 to {len(names) - 1}, but {source.read} has {low} to {high}"
            )
    train, test = found
    return Loaded(train, test, None, names)


def hold_out(
    split: Split, size: int, *, seed: int, names: Sequence[str], what: str = "validation"
) -> tuple[Split, Split]:
    """Split `size` images off, each class in its proportion; both parts come in random order.

    Args:
        split: to take them from.
        size: how many.
        seed: draws them.
        names: of the classes.
        what: they are to be, for errors: validation or test.

    Returns:
        What remains to train with, and what was split off.

    Raises:
        UserError: `size` leaves less than one image a class on either side, or a class has one image only.
    """
    from sklearn.model_selection import train_test_split  # takes a second to import

    classes = len(names)
    if not classes <= size <= len(split) - classes:
        raise UserError(
            f"{what}_size {size} is out of range for {len(split)} training images of {classes} classes; "
            f"choose from {classes} to {len(split) - classes}"
        )
    labels = split.labels.numpy()
    if (counts := split.labels.bincount(minlength=classes)).min() < 2:
        label = int(counts.argmin())
        mend = "add images, or choose the protocol 'paper'" if what == "validation" else "add images, or a test set"
        shown = f"{label}" if names[label] == str(label) else f"{label} ({names[label]})"
        count = "one training image" if int(counts[label]) else "no training image"
        raise UserError(f"class {shown} has {count}, and a {what} split needs two or more of each; {mend}")
    rest, held = train_test_split(torch.arange(len(split)).numpy(), test_size=size, stratify=labels, random_state=seed)
    return split.select(torch.from_numpy(rest)), split.select(torch.from_numpy(held))
