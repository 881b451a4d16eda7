"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): found on disk in either published layout, or downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from qtrain.data.archive import Archive, fetch
from qtrain.data.cifar_files import Arrays, read_binary, read_pickled
from qtrain.data.dataset import Split
from qtrain.data.published import data_folder
from qtrain.errors import UserError


@dataclass(frozen=True)
class CifarFormat:
    """The files of one CIFAR data set.

    Attributes:
        name: of the data set.
        class_names: in the order of the labels.
        archive: the published binary files.
        train_files: names in the binary folder.
        test_files: likewise.
        train_size: training images, equally many a class and a file.
        test_size: test images, likewise.
        label_bytes: at the start of a binary record; the last is the label.
        pickle_folder: the folder of the published Python layout.
        train_pickles: its files with their published MD5 digests.
        test_pickles: likewise.
        pickle_label_key: of the labels in such a file.
    """

    name: str
    class_names: tuple[str, ...]
    archive: Archive
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    train_size: int
    test_size: int
    label_bytes: int
    pickle_folder: str
    train_pickles: tuple[tuple[str, str], ...]
    test_pickles: tuple[tuple[str, str], ...]
    pickle_label_key: bytes

    @property
    def help_text(self) -> str:
        """What to do where the files are wrong."""
        return f"put the files of {self.archive.url} there, or remove the folder to have them downloaded"

    def read(self, root: str | Path | None, download: bool) -> tuple[Split, Split]:
        """Return what ``load_cifar`` does of this layout."""
        return load_cifar(self, root, download=download)


_CIFAR10_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR10 = CifarFormat(
    name="cifar10",
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    archive=Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        "cifar-10-batches-bin",
        (*_CIFAR10_TRAIN, "test_batch.bin"),
    ),
    train_files=_CIFAR10_TRAIN,
    test_files=("test_batch.bin",),
    train_size=50_000,
    test_size=10_000,
    label_bytes=1,
    pickle_folder="cifar-10-batches-py",
    train_pickles=(
        ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        ("data_batch_4", "634d18415352ddfa80567beed471001a"),
        ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    test_pickles=(("test_batch", "40351d587109b95175f43aff81a1287e"),),
    pickle_label_key=b"labels",
)
CIFAR100 = CifarFormat(
    name="cifar100",
    class_names=tuple(
        """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()  # noqa: SIM905 (a list literal fills 100 lines)
    ),
    archive=Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        "cifar-100-binary",
        ("train.bin", "test.bin"),
    ),
    train_files=("train.bin",),
    test_files=("test.bin",),
    train_size=50_000,
    test_size=10_000,
    label_bytes=2,
    pickle_folder="cifar-100-python",
    train_pickles=(("train", "16019d7e3df5f24257cddd939b257f8d"),),
    test_pickles=(("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
    pickle_label_key=b"fine_labels",
)


def load_cifar(layout: CifarFormat, root: str | Path | None = None, *, download: bool = True) -> tuple[Split, Split]:
    """Return the training and the test images of a CIFAR data set.

    Args:
        layout: `CIFAR10` or `CIFAR100`.
        root: the folder that holds the data set's folder, or is it; default what QTRAIN_DATA names, else the
            user's cache. A download goes there too.
        download: whether to download what is not there.

    Raises:
        UserError: the data are not there and cannot be downloaded, or they are damaged.
    """
    place = data_folder(root)
    folder = _find(place, layout.archive.folder, layout.archive.members)
    if folder is None:
        names = tuple(name for name, _ in (*layout.train_pickles, *layout.test_pickles))
        pickles = _find(place, layout.pickle_folder, names)
        if pickles is not None:
            return _read_pickles(layout, pickles)
        if not download:
            raise UserError(
                f"no {layout.name} in {place}: it has neither {layout.archive.folder} nor {layout.pickle_folder}, "
                f"and downloading is off; allow it, or unpack {layout.archive.url} there, or name another folder "
                "with --data-root or QTRAIN_DATA"
            )
        folder = fetch(layout.archive, place)
    return _read_binaries(layout, folder)


def _find(place: Path, folder: str, names: tuple[str, ...]) -> Path | None:
    if (place / folder).is_dir():
        return place / folder
    is_it = place.name == folder and place.is_dir()
    return place if is_it or any((place / name).is_file() for name in names) else None


def _read_binaries(layout: CifarFormat, folder: Path) -> tuple[Split, Split]:
    def read(files: tuple[str, ...], size: int) -> Split:
        parts = [
            read_binary(
                folder / name,
                records=size // len(files),
                label_bytes=layout.label_bytes,
                classes=len(layout.class_names),
                help_text=layout.help_text,
            )
            for name in files
        ]
        return _join(layout, folder, parts, size)

    return read(layout.train_files, layout.train_size), read(layout.test_files, layout.test_size)


def _read_pickles(layout: CifarFormat, folder: Path) -> tuple[Split, Split]:
    def read(files: tuple[tuple[str, str], ...], size: int) -> Split:
        parts = [
            read_pickled(
                folder / name,
                md5=md5,
                label_key=layout.pickle_label_key,
                classes=len(layout.class_names),
                help_text=layout.help_text,
            )
            for name, md5 in files
        ]
        return _join(layout, folder, parts, size)

    return read(layout.train_pickles, layout.train_size), read(layout.test_pickles, layout.test_size)


def _join(layout: CifarFormat, folder: Path, parts: list[Arrays], size: int) -> Split:
    labels = np.concatenate([labels for _, labels in parts])
    counts = np.bincount(labels, minlength=len(layout.class_names))
    each = size // len(layout.class_names)
    if (counts != each).any():  # a file of zeros has the right size and lawful labels
        odd = int(np.abs(counts - each).argmax())
        raise UserError(
            f"{folder} is not {layout.name}: {counts[odd]} of its {size} images are labelled "
            f"{layout.class_names[odd]!r}, but {each} should be; {layout.help_text}"
        )
    return Split(torch.from_numpy(np.concatenate([images for images, _ in parts])), torch.from_numpy(labels))
