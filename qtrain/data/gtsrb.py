"""GTSRB, the German traffic signs (Stallkamp et al. 2012): found on disk, packed or unpacked, or downloaded."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from qtrain.data.dataset import Split
from qtrain.data.gtsrb_files import Tree, read_list, read_signs
from qtrain.data.published import Publication, check_counts, data_folder
from qtrain.errors import UserError

_TRAIN = "GTSRB/Final_Training/Images"
_TEST = "GTSRB/Final_Test/Images"
_TEST_LIST = "GT-final_test.csv"
_TRAIN_ZIP = "GTSRB_Final_Training_Images.zip"
_TEST_ZIP = "GTSRB_Final_Test_Images.zip"
_LIST_ZIP = "GTSRB_Final_Test_GT.zip"
_SMALLER = "GTSRB/Training"  # torchvision's training images: 26,640 of the first round


@dataclass(frozen=True)
class GtsrbFormat:
    """The files of GTSRB.

    Attributes:
        class_names: in the order of the labels.
        publication: the three published archives.
        train_counts: training images of each class.
        test_counts: test images likewise.
    """

    class_names: tuple[str, ...]
    publication: Publication
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]

    def read(self, root: str | Path | None, download: bool) -> tuple[Split, Split]:
        """Return the training and the test images, uint8 [N, 3, 32, 32].

        The whole image is resized, as torchvision's users do: the annotated box of the sign (``Roi``) is not cut out,
        so the margin of about a tenth around each sign stays. The archives are read as they are, never unpacked.

        Args:
            root: the folder of the data, or the one that holds the three archives, or the folder ``GTSRB`` that they
                unpack to; default what QTRAIN_DATA names, else the user's cache. A download goes there too.
            download: whether to download what is not there.

        Raises:
            UserError: the data are not there and cannot be downloaded, or they are damaged.
        """
        place = data_folder(root)
        for base in (place, place / "gtsrb", place / "GTSRB", place.parent):
            if (base / _TRAIN).is_dir() and (base != place.parent or place.name == "GTSRB"):
                return self._unpacked(base)
        folder = self._packed(place, root, download)
        with (
            zipfile.ZipFile(self.publication.verified(folder / _TRAIN_ZIP)) as train,
            zipfile.ZipFile(self.publication.verified(folder / _TEST_ZIP)) as test,
            zipfile.ZipFile(self.publication.verified(folder / _LIST_ZIP)) as labels,
        ):
            return self._read(zipfile.Path(train, f"{_TRAIN}/"), zipfile.Path(test, f"{_TEST}/"), zipfile.Path(labels))

    def _packed(self, place: Path, root: str | Path | None, download: bool) -> Path:
        try:
            return self.publication.folder(root, download)
        except UserError as error:
            for base in (place, place / "gtsrb"):
                if (base / _SMALLER).is_dir():
                    raise UserError(
                        f"{base / _SMALLER} holds torchvision's 26,640 training images, not the 39,209 of "
                        f"{_TRAIN_ZIP}; {self.publication.help_text}"
                    ) from error
            raise

    def _unpacked(self, base: Path) -> tuple[Split, Split]:
        for place in (base, base / "GTSRB", base / _TEST):
            if (place / _TEST_LIST).is_file():
                return self._read(base / _TRAIN, base / _TEST, place)
        raise UserError(f"{base / _TEST_LIST} is missing: unpack {_LIST_ZIP} there; {self.publication.help_text}")

    def _read(self, train: Tree, test: Tree, test_list: Tree) -> tuple[Split, Split]:
        """Read both sets; each class of the training set has a folder with a list of its own."""
        mend = self.publication.help_text
        parts = []
        for label in range(len(self.class_names)):
            folder = train / f"{label:05}"
            signs = read_list(folder / f"GT-{label:05}.csv", mend)
            parts.append((read_signs(folder, signs, mend), [sign.label for sign in signs]))
        pixels = np.concatenate([found for found, _ in parts])
        labels = np.concatenate([found for _, found in parts])
        signs = read_list(test_list / _TEST_LIST, mend)
        held = np.array([sign.label for sign in signs], np.int64)
        check_counts(train, labels, self.train_counts, self.class_names, self.publication)
        check_counts(test_list / _TEST_LIST, held, self.test_counts, self.class_names, self.publication)
        return (
            Split(torch.from_numpy(pixels), torch.from_numpy(labels)),
            Split(torch.from_numpy(read_signs(test, signs, mend)), torch.from_numpy(held)),
        )


_NAMES = """speed limit 20; speed limit 30; speed limit 50; speed limit 60; speed limit 70; speed limit 80;
    end of speed limit 80; speed limit 100; speed limit 120; no passing; no passing for heavy vehicles;
    right of way at the next crossing; priority road; yield; stop; no vehicles; no heavy vehicles; no entry;
    danger; curve to the left; curve to the right; double curve; uneven road; slippery road; road narrows on the right;
    road works; traffic signals; pedestrians; children; bicycles; ice or snow; wild animals; end of all limits;
    right only; left only; straight only; straight or right; straight or left; keep right; keep left; roundabout;
    end of no passing; end of no passing for heavy vehicles"""

# URL: pytorch/vision, torchvision/datasets/gtsrb.py; SHA-256 of the test archives: its prototype datasets. SHA-256 of
# the training archive, which torchvision does not use: two public lists of the three archives with their sizes (of
# 276,294,756 bytes here), which agree with torchvision on the other two; its MD5 in six public readers is
# f33fd80ac59bff73c82d25ab499e03a3.
GTSRB = GtsrbFormat(
    class_names=tuple(re.split(r";\s+", _NAMES)),
    publication=Publication(
        "gtsrb",
        "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/",
        (
            (_TRAIN_ZIP, "sha256:d32ac4b5fa9a1cbd1994768413902e8193599d9434cf0a8eb9cfd00a6d3a290c"),
            (_TEST_ZIP, "sha256:48ba6fab7e877eb64eaf8de99035b0aaecfbc279bee23e35deca4ac1d0a837fa"),
            (_LIST_ZIP, "sha256:f94e5a7614d75845c74c04ddb26b8796b9e483f43541dd95dd5b726504e16d6d"),
        ),
        folders=("GTSRB",),
    ),
    train_counts=(
        *(210, 2220, 2250, 1410, 1980, 1860, 420, 1440, 1410, 1470, 2010, 1320, 2100, 2160, 780, 630, 420, 1110),
        *(1200, 210, 360, 330, 390, 510, 270, 1500, 600, 240, 540, 270, 450, 780, 240, 689, 420, 1200, 390, 210),
        *(2070, 300, 360, 240, 240),
    ),
    test_counts=(
        *(60, 720, 750, 450, 660, 630, 150, 450, 450, 480, 660, 420, 690, 720, 270, 210, 150, 360, 390, 60, 90, 90),
        *(120, 150, 90, 480, 180, 60, 150, 90, 150, 270, 60, 210, 120, 390, 120, 60, 690, 90, 90, 60, 90),
    ),
)
