"""A folder of images of one's own: its classes, its files, what is skipped, and its splits."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from qtrain.data.dataset import Split
from qtrain.data.image_folder import FolderSplit, ImageReader, decoded, default_workers
from qtrain.data.loaded import Loaded
from qtrain.data.options import DataOptions
from qtrain.data.own_images import OwnImages, read_header
from qtrain.errors import UserError
from qtrain.records.data import BYTES

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TRAIN = "train"
VALIDATION = "val"
TEST = "test"
MOST_IN_MEMORY = 2 * 1024**3  # bytes of pixels; what is more stays in its files, decoded batch by batch
_BATCH = 256


@dataclass
class _Scan:
    """What the folders hold.

    Attributes:
        classes: names of the class folders, sorted.
        files: of each part (train, val, test): the images of each class, in sorted order.
        skipped: names of what is no image, hidden files included.
    """

    classes: tuple[str, ...]
    files: dict[str, list[list[Path]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def all_files(self) -> Iterator[Path]:
        """Yield every image, part by part and class by class."""
        for classes in self.files.values():
            for files in classes:
                yield from files


def tree_classes(root: Path) -> tuple[str, ...]:
    """Return the classes of a folder: the folders under ``train``, or without one those in it, sorted.

    Raises:
        UserError: less than two of them.
    """
    place = root / TRAIN if (root / TRAIN).is_dir() else root
    names = _folders(place)
    if len(names) < 2:
        found = f"({', '.join(names)}) " if names else ""
        raise UserError(
            f"{place} holds {len(names)} class folders {found}where two or more are needed; a folder of images is "
            f"{root}/{TRAIN}/CLASS/*.png, with {root}/{VALIDATION} and {root}/{TEST} beside it if they exist"
        )
    return names


def tree_shape(root: Path, options: DataOptions) -> tuple[int, int, int]:
    """Return channels, height and width that the images of a folder get; their headers are read where not all is said.

    Raises:
        UserError: as ``read_tree`` does.
    """
    return _shape(root, _scan(root), options)


def read_tree(root: Path, options: DataOptions) -> Loaded:
    """Read a folder of images.

    The images of ``test`` are the test set; without it those of ``val`` are, as in ImageNet; without both a fifth of
    the training images, always the same. With both, ``val`` validates.

    Args:
        root: with ``train/CLASS/*`` in it, or the class folders themselves.
        options: size and channels to bring the images to; by default those that they have, which must be one size.

    Raises:
        UserError: less than two classes, a class without images in a part, no image to read, a damaged one, sizes
            that differ and none that is wanted.
    """
    if options.layout is not None:
        raise UserError(f"--layout is of arrays, and {root} is a folder of images; leave it out")
    scan = _scan(root)
    channels, height, width = _shape(root, scan, options)
    reader = OwnImages(height, width, channels, options.value_range)
    in_memory = sum(1 for _ in scan.all_files()) * channels * height * width <= MOST_IN_MEMORY
    splits = {part: _split(files, reader, in_memory) for part, files in scan.files.items()}
    notes = [_skipped_note(root, scan.skipped)] if scan.skipped else []
    validation = splits.pop(VALIDATION, None)
    test = splits.pop(TEST, None)
    if test is None:
        test = validation
        validation = None
    return Loaded(
        train=splits[TRAIN],
        test=test,
        validation=validation,
        class_names=scan.classes,
        value_range=options.value_range or BYTES,
        augmentation=("crop",),
        digest=_digest(root, scan),
        notes=tuple(notes),
    )


def _folders(place: Path) -> tuple[str, ...]:
    try:
        entries = list(os.scandir(place))
    except OSError as error:
        raise UserError(f"{place} cannot be read ({error.strerror}); name a folder of images") from None
    return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")))


def _scan(root: Path) -> _Scan:
    """List the images of every part; nothing is opened.

    Raises:
        UserError: parts with other classes, or a class without images.
    """
    classes = tree_classes(root)
    scan = _Scan(classes)
    if not (root / TRAIN).is_dir():
        scan.files[TRAIN] = _class_files(root, classes, scan.skipped)
        return scan
    for part in (TRAIN, VALIDATION, TEST):
        if not (root / part).is_dir():
            continue
        _check_classes(root, part, classes)
        scan.files[part] = _class_files(root / part, classes, scan.skipped)
    return scan


def _check_classes(root: Path, part: str, classes: Sequence[str]) -> None:
    there = set(_folders(root / part))
    if odd := sorted(there ^ set(classes)):
        has, lacks = (TRAIN, part) if odd[0] in classes else (part, TRAIN)
        more = f" ({len(odd)} classes differ)" if len(odd) > 1 else ""
        raise UserError(f"{root / lacks} has no class {odd[0]}, but {root / has} has{more}; give both the same")


def _class_files(place: Path, classes: Sequence[str], skipped: list[str]) -> list[list[Path]]:
    """List the images of each class, in all folders below its own; note what is none."""
    found = []
    for name in classes:
        files = []
        seen: set[tuple[int, int]] = set()
        for folder, folders, names in os.walk(place / name, followlinks=True):
            _see(Path(folder), seen)
            folders.sort()
            for file in sorted(names):
                if file.startswith(".") or not file.lower().endswith(SUFFIXES):
                    skipped.append(file)
                else:
                    files.append(Path(folder) / file)
        if not files:
            kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
            raise UserError(f"{place / name} holds no images ({kinds}); fill it, or take the class out")
        found.append(files)
    return found


def _see(folder: Path, seen: set[tuple[int, int]]) -> None:
    """Note a folder, and see that no link leads to it a second time: from link to link the ways may never end."""
    found = folder.stat()
    if (found.st_dev, found.st_ino) in seen:
        raise UserError(f"{folder} leads to a folder that is in its class already; take the link out")
    seen.add((found.st_dev, found.st_ino))


def _skipped_note(root: Path, skipped: Sequence[str]) -> str:
    """Say what is skipped: how many, and the names that are most."""
    names = Counter(skipped)
    shown = [f"{name} x {count}" if count > 1 else name for name, count in names.most_common(4)]
    more = f" and {len(names) - 4} other names" if len(names) > 4 else ""
    noun = "file" if len(skipped) == 1 else "files"
    return f"{root}: skipped {len(skipped)} {noun} that are no images ({', '.join(shown)}{more})"


def _shape(root: Path, scan: _Scan, options: DataOptions) -> tuple[int, int, int]:
    if options.channels not in (None, 1, 3):
        raise UserError(f"channels of a folder of images must be 1 (grey) or 3 (colour), but got {options.channels}")
    if options.image_size is not None and options.channels is not None:
        return (options.channels, *options.image_size)
    sizes: Counter[tuple[int, int]] = Counter()
    all_grey = True
    for path in scan.all_files():
        header = read_header(str(path))
        sizes[header.height, header.width] += 1
        all_grey = all_grey and header.is_grey
    if options.image_size is None and len(sizes) > 1:
        (most, count), (other, _) = sizes.most_common(2)
        raise UserError(
            f"{root} holds images of {len(sizes)} sizes ({count} of {most[0]}x{most[1]}, others of {other[0]}x"
            f"{other[1]}, height x width); say which all are to have, as in --image-size {min(most)}"
        )
    size = options.image_size or next(iter(sizes))
    return (options.channels or (1 if all_grey else 3), *size)


def _split(classes: Sequence[Sequence[Path]], reader: ImageReader, in_memory: bool) -> Split:
    """Make a split of the files, class by class; decoded where they fit the memory."""
    paths = [os.fsencode(path) for files in classes for path in files]
    counts = torch.tensor([len(files) for files in classes])
    labels = torch.arange(len(classes)).repeat_interleave(counts)
    in_files = FolderSplit(np.array(paths), labels, default_workers(len(paths)), reader)
    if not in_memory:
        return in_files
    pixels = torch.empty((len(paths), *in_files.shape), dtype=torch.uint8)
    ranges = [range(low, min(low + _BATCH, len(paths))) for low in range(0, len(paths), _BATCH)]
    for numbers, images in zip(ranges, decoded(in_files, [list(part) for part in ranges]), strict=True):
        pixels[numbers.start : numbers.stop] = images
    return Split(pixels, labels)


def _digest(root: Path, scan: _Scan) -> str:
    """Return a digest of the files' names and sizes, which tells a changed folder without reading it all."""
    known = hashlib.sha256()
    for path in scan.all_files():
        known.update(os.fsencode(path.relative_to(root)) + f"\0{path.stat().st_size}\n".encode())
    return known.hexdigest()
