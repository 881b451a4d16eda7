"""Arrays of one's own: ``x_train``, ``y_train`` and more in an ``.npz`` file, or as ``.npy`` files of a folder."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qtrain.data.dataset import Split
from qtrain.data.loaded import Loaded
from qtrain.data.options import LAYOUTS, DataOptions
from qtrain.errors import UserError, is_out_of_files
from qtrain.records.arrays import ObjectsError, read_array
from qtrain.records.data import BYTES
from qtrain.records.plain_files import open_plain

PARTS = ("train", "val", "test")
NAMES = tuple(f"{kind}_{part}" for part in PARTS for kind in ("x", "y"))
CLASS_NAMES = "class_names"
_AT_ONCE = 1 << 24  # values that are scaled at a time
_MOST_CLASSES = 1_000_000
_OBJECTS = "it holds Python objects, which are never unpickled; save arrays of numbers with numpy.savez"


def holds_arrays(path: Path) -> bool:
    """Whether this is an ``.npz`` file, or a folder with ``x_train.npy`` in it."""
    return path.suffix == ".npz" or (path / "x_train.npy").is_file()


def read_arrays(path: Path, options: DataOptions) -> Loaded:
    """Read ``x_train``, ``y_train``, ``x_test``, ``y_test``; if they are there ``x_val``, ``y_val``, ``class_names``.

    Without ``x_test`` a fifth of the training inputs is held out as the test set, always the same.

    Args:
        path: an ``.npz`` file, or a folder of ``.npy`` files of these names. Nothing in them is unpickled.
        options: layout and range of the inputs.

    Raises:
        UserError: an array is missing, damaged, of another kind, shape or range; says which and what to do.
    """
    if options.image_size is not None:
        raise UserError(f"--image-size is of folders of images, and {path} holds arrays; resize them before")
    arrays = _npz(path) if path.suffix == ".npz" else _npy_files(path)
    return from_arrays(arrays, options, str(path))


def from_arrays(arrays: Mapping[str, Any], options: DataOptions, origin: str) -> Loaded:
    """Make a source of arrays by their names; see ``read_arrays``.

    Args:
        arrays: by name.
        options: layout and range of the inputs.
        origin: where they come from, for errors.

    Raises:
        UserError: as ``read_arrays`` does.
    """
    for name in ("x_train", "y_train"):
        if name not in arrays:
            there = ", ".join(sorted(arrays)) or "nothing"
            raise UserError(f"{origin} has no {name}; it needs x_train, y_train, x_test and y_test, but has {there}")
    given = [part for part in PARTS if f"x_{part}" in arrays or f"y_{part}" in arrays]
    for part in given:
        for kind in ("x", "y"):
            if f"{kind}_{part}" not in arrays:
                raise UserError(f"{origin} has no {kind}_{part}, but its other half; give both or none")
    layout = layout_of(arrays["x_train"].shape, options, origin)
    names = _class_names(arrays, origin)
    splits = {part: _split(arrays, part, layout, options, origin) for part in given}
    shape = splits["train"].shape
    for part, split in splits.items():
        if split.shape != shape:
            raise UserError(f"{origin}: x_{part} holds inputs of {list(split.shape)}, x_train of {list(shape)}")
    ignored = sorted(set(arrays) - {*NAMES, CLASS_NAMES})
    notes = (f"{origin}: {', '.join(ignored)} not used; arrays are {', '.join(NAMES)}",) if ignored else ()
    return of_splits(splits, names, layout, options, notes)


def of_splits(
    splits: Mapping[str, Split], names: tuple[str, ...], layout: str, options: DataOptions, notes: tuple[str, ...] = ()
) -> Loaded:
    """Make a source of splits in memory.

    Args:
        splits: by their part: train, and where there are any val and test.
        names: of the classes; empty where they are their numbers.
        layout: of the inputs where they come from.
        options: that they were read with.
        notes: sentences for the user.
    """
    numbered = tuple(str(i) for i in range(int(splits["train"].labels.max()) + 1))
    return Loaded(
        train=splits["train"],
        test=splits.get("test"),
        validation=splits.get("val"),
        class_names=names or numbered,
        layout=layout,
        value_range=options.value_range or BYTES,
        augmentation=usual_kinds(layout),
        digest=digest_of(splits),
        notes=notes,
    )


def usual_kinds(layout: str) -> tuple[str, ...]:
    """Return the kinds of augmentation that are usual for a layout: crops for images, noise for signals."""
    return {"NCL": ("noise",), "NF": ()}.get(layout, ("crop",))


def digest_of(splits: Mapping[str, Split]) -> str:
    """Return a digest of all inputs and labels."""
    known = hashlib.sha256()
    for part, split in splits.items():
        known.update(f"{part} {list(split.images.shape)}\n".encode())
        known.update(split.images.numpy().tobytes())
        known.update(split.labels.numpy().tobytes())
    return known.hexdigest()


def layout_of(shape: tuple[int, ...], options: DataOptions, origin: str) -> str:
    """Return the layout of inputs: what is said, or what their dimensions leave no doubt of.

    Raises:
        UserError: their dimensions leave a doubt, or contradict what is said.
    """
    said = options.layout
    if said is not None:
        if len(said) != len(shape):
            raise UserError(
                f"--layout {said} has {len(said)} dimensions, but x_train of {origin} is {list(shape)}; layouts are "
                f"{', '.join(f'{name} ({what})' for name, what in LAYOUTS.items())}"
            )
        return said
    if len(shape) == 2:
        return "NF"
    if len(shape) == 3 and shape[1] != shape[2]:
        return "NCL"
    if len(shape) == 3:
        raise UserError(
            f"x_train of {origin} is {list(shape)}: say --layout NHW for images of one channel, or --layout NCL for "
            "signals"
        )
    if len(shape) == 4:
        raise UserError(
            f"x_train of {origin} is {list(shape)}: say --layout NCHW (channels first) or --layout NHWC (channels last)"
        )
    raise UserError(
        f"x_train of {origin} is {list(shape)}; inputs are {', '.join(f'{name} ({w})' for name, w in LAYOUTS.items())}"
    )


def to_pixels(values: Any, layout: str, options: DataOptions, name: str) -> Tensor:
    """Bring inputs to uint8 [N, C, H, W].

    Args:
        values: in the layout.
        layout: one of ``LAYOUTS``.
        options: the range of values that are no bytes, and the channels that are wanted.
        name: for errors.

    Raises:
        UserError: a kind that is no number, no range for values that are no bytes, values outside it or NaN, other
            channels.
    """
    if not len(values):
        raise UserError(f"{name} is empty; give it inputs")
    quantized = _bytes(values, options.value_range, name)
    pixels = torch.from_numpy(quantized)
    if layout == "NHWC":
        pixels = pixels.permute(0, 3, 1, 2).contiguous()
    elif layout == "NHW":
        pixels = pixels[:, None]
    elif layout == "NCL":
        pixels = pixels[..., None]
    elif layout == "NF":
        pixels = pixels[..., None, None]
    channels = pixels.shape[1]
    if options.channels is not None and options.channels != channels:
        hint = "; is --layout right?" if layout in ("NCHW", "NHWC") else ""
        raise UserError(f"{name} has {channels} channels in layout {layout}, but --channels {options.channels}{hint}")
    return pixels


def to_labels(values: Any, count: int, name: str) -> Tensor:
    """Bring labels to int64 [N].

    Raises:
        UserError: they are not whole class numbers from 0 on, one for each of ``count`` inputs.
    """
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != count:
        hint = "; of one-hot rows take argmax(1)" if labels.ndim == 2 and len(labels) == count else ""
        raise UserError(f"{name} must be [{count}], a class number for each input, but is {list(labels.shape)}{hint}")
    if labels.dtype.kind not in "iu":
        raise UserError(f"{name} must hold whole class numbers, but holds {labels.dtype}; make them int64")
    if labels.min() < 0:
        raise UserError(f"{name} has the label {labels.min()}; class numbers are 0 and more")
    if labels.max() >= _MOST_CLASSES:
        raise UserError(f"{name} has the label {labels.max()}; class numbers are below {_MOST_CLASSES:,}")
    return torch.from_numpy(labels.astype(np.int64))


def _split(arrays: Mapping[str, Any], part: str, layout: str, options: DataOptions, origin: str) -> Split:
    values = arrays[f"x_{part}"]
    if values.ndim != len(layout):
        raise UserError(f"{origin}: x_{part} is {list(values.shape)}, x_train has {len(layout)} dimensions")
    pixels = to_pixels(values, layout, options, f"{origin}: x_{part}")
    return Split(pixels, to_labels(arrays[f"y_{part}"], len(pixels), f"{origin}: y_{part}"))


def _bytes(values: Any, value_range: tuple[float, float] | None, name: str) -> np.ndarray:
    """Bring values to uint8 on the line of their range, a part at a time."""
    kind = np.dtype(values.dtype)
    if kind == np.uint8 and value_range is None:
        return np.array(values)
    if kind == np.uint8:  # bytes already: the range says what they stand for
        return np.array(values)
    if kind.kind not in "iuf":
        raise UserError(f"{name} holds {kind}; give uint8, or numbers with --value-range=LOW,HIGH")
    if value_range is None:
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        raise UserError(
            f"{name} holds {kind} from {low:g} to {high:g}: say what range it may have, as in --value-range={low:g},"
            f"{high:g}; the network gets 8 bits of it"
        )
    low, high = value_range
    quantized = np.empty(values.shape, np.uint8)
    rows = max(1, _AT_ONCE // max(1, int(np.prod(values.shape[1:]))))
    for start in range(0, len(values), rows):
        part = np.asarray(values[start : start + rows], np.float64)
        _check_range(part, low, high, name, start)
        quantized[start : start + rows] = np.rint((part - low) * (255 / (high - low)))
    return quantized


def _check_range(part: np.ndarray, low: float, high: float, name: str, start: int) -> None:
    finite = np.isfinite(part)
    if not finite.all():
        row = start + int(np.argwhere(~finite)[0][0])
        raise UserError(f"{name} holds NaN or infinite values, first in input {row}; replace them or take it out")
    outside = (part < low) | (part > high)
    if outside.any():
        row = int(np.argwhere(outside)[0][0])
        value = float(part[outside][0])
        raise UserError(
            f"{name} holds {value:g} in input {start + row}, outside the range {low:g} to {high:g}; give a wider one "
            "with --value-range=LOW,HIGH, or scale the data: nothing is clipped"
        )


def _class_names(arrays: Mapping[str, Any], origin: str) -> tuple[str, ...]:
    """Return the names of the classes where the file has them."""
    if CLASS_NAMES not in arrays:
        return ()
    names = np.asarray(arrays[CLASS_NAMES])
    texts = tuple(str(name) for name in names.flatten())
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(texts)) < len(texts) or len(texts) < 2:
        raise UserError(f"{origin}: class_names must be two or more different texts [classes]; leave it out otherwise")
    return texts


def _npz(path: Path) -> dict[str, Any]:
    try:
        with open_plain(path) as file, zipfile.ZipFile(file) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            if len(entries) < len(archive.infolist()):
                raise UserError(f"{path} holds two arrays of one name; write it anew with numpy.savez")
            used = {name: entry for name, entry in entries.items() if name in (*NAMES, CLASS_NAMES)}
            _check_fits(path, sum(entry.file_size for entry in used.values()))
            found: dict[str, Any] = dict.fromkeys(entries)
            for name, entry in used.items():
                with archive.open(entry) as array:
                    found[name] = _checked(read_array(array, entry.file_size, f"{path}: {name}"), f"{path}: {name}")
            return found
    except ObjectsError:
        raise UserError(f"{path} cannot be read ({_OBJECTS})") from None
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; name an .npz file with x_train, y_train, x_test and y_test") from None
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} cannot be read ({error}: {_why(error)})") from None
    except Exception as error:  # whatever zlib, zipfile and NumPy raise over damaged bytes
        if is_out_of_files(error):
            raise
        raise UserError(f"{path} cannot be read ({_why(error)})") from None


def _check_fits(path: Path, size: int) -> None:
    """See that what an archive unpacks to has room: zeros may be packed to a thousandth."""
    free = _free_memory()
    if free is not None and size > free:
        raise UserError(
            f"{path} unpacks to {size >> 20:,} MiB, and {free >> 20:,} MiB of memory are free; give fewer inputs, or "
            "keep them as .npy files in a folder, which are read in parts"
        )


def _free_memory() -> int | None:
    """Return the bytes that are free for another program's use; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    return sizes[0] if sizes else None


def _npy_files(folder: Path) -> dict[str, Any]:
    found = {}
    for file in sorted(folder.glob("*.npy")):
        try:
            open_plain(file).close()
            found[file.stem] = _checked(np.load(file, mmap_mode="r", allow_pickle=False), str(file))
        except UserError:
            raise
        except Exception as error:  # whatever NumPy raises over damaged bytes
            if is_out_of_files(error):
                raise
            raise UserError(f"{file} cannot be read ({_why(error)})") from None
    return found


def _checked(array: Any, name: str) -> Any:
    if not isinstance(array, np.ndarray):  # an archive that is called .npy
        raise UserError(f"{name} is no array; write it anew with numpy.save")
    if array.dtype.hasobject or array.dtype.names:
        raise UserError(f"{name} holds objects; save numbers alone")
    return array


def _why(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if "pickle" in text:
        return _OBJECTS
    return f"{text[:120] or type(error).__name__}; write it anew with numpy.savez"
