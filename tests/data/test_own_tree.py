"""A folder of images of one's own: what is found and skipped, how sizes and depths are read, and wrong folders."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qtrain.data import DataOptions, FolderSplit, class_names, image_shape, load_data, make_batches, own_tree
from qtrain.data.own_images import OwnImages
from qtrain.errors import UserError
from tests.own_networks import SHAPES, write_shapes


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return write_shapes(tmp_path / "shapes", count=10)


def save(path: Path, value: int = 0, size: tuple[int, int] = (8, 8), **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path, **how)


def test_a_tree_without_a_test_set_holds_the_same_fifth_out_whatever_the_seed(shapes: Path) -> None:
    first = load_data(str(shapes), seed=0)
    second = load_data(str(shapes), seed=1)
    assert (first.class_names, first.shape) == (SHAPES, (3, 40, 40))
    assert [len(split) for split in (first.train, first.validation, first.test)] == [32, 8, 10]
    assert torch.equal(first.test.images, second.test.images)
    assert not torch.equal(first.validation.images, second.validation.images)
    assert first.notes == (f"{shapes} has no test set: 10 of its 50 training inputs are held out as one",)
    assert (class_names(str(shapes)), image_shape(str(shapes))) == (SHAPES, (3, 40, 40))


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        (("train", "test"), (40, 10, 50)),
        (("train", "val"), (40, 10, 50)),
        (("train", "val", "test"), (50, 50, 50)),
    ],
)
def test_val_is_the_test_set_unless_there_is_one(
    tmp_path: Path, parts: tuple[str, ...], sizes: tuple[int, ...]
) -> None:
    root = write_shapes(tmp_path / "tree", count=10, parts=parts)
    data = load_data(str(root))
    assert (len(data.train), len(data.validation), len(data.test)) == sizes
    assert data.notes == ()


def test_class_folders_may_be_at_the_top(shapes: Path) -> None:
    whole = load_data(str(shapes))
    for folder in (shapes / "train").iterdir():
        shutil.move(folder, shapes / folder.name)
    (shapes / "train").rmdir()
    data = load_data(str(shapes))
    assert data.class_names == whole.class_names
    assert torch.equal(data.train.images, whole.train.images)


def test_every_suffix_in_any_case_and_nested_folders_are_read_and_the_rest_is_counted_and_named(tmp_path: Path) -> None:
    for name in ("Ägypten katze", "dog's"):
        place = tmp_path / "tree" / "train" / name
        for i, suffix in enumerate(("PNG", "jpg", "JPEG", "webp", "bmp", "TIF", "tiff")):
            save(place / "deep" / "er" / f"{i}.{suffix}", 10 * i)
        for other in (".DS_Store", "Thumbs.db", "._0.png", "notes.txt"):
            (place / other).write_bytes(b"x")
    data = load_data(str(tmp_path / "tree"), protocol="paper")
    assert len(data.train) + len(data.test) == 14
    assert data.notes[0] == (
        f"{tmp_path / 'tree'}: skipped 8 files that are no images "
        "(.DS_Store x 2, ._0.png x 2, Thumbs.db x 2, notes.txt x 2)"
    )


def test_sizes_that_differ_need_a_size_and_get_it_without_distortion(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / "tree" / "train" / name / "wide.png", 200, (60, 20))
        save(tmp_path / "tree" / "train" / name / "tall.png", 200, (20, 60))
        save(tmp_path / "tree" / "train" / name / "other.png", 200, (20, 60))
    name = str(tmp_path / "tree")
    with pytest.raises(UserError, match=r"holds images of 2 sizes \(4 of 60x20, others of 20x60.*--image-size 20$"):
        load_data(name)
    options = DataOptions(image_size=(16, 24))
    assert image_shape(name, options=options) == (3, 16, 24)
    train = load_data(name, options=options, protocol="paper").train
    assert train.images.shape[1:] == (3, 16, 24)
    assert train.images.eq(200).all()


def test_grey_trees_have_one_channel_and_what_is_asked_for_wins(tmp_path: Path) -> None:
    for name in "ab":
        for i in range(3):
            (tmp_path / "tree" / "train" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 40 * i).save(tmp_path / "tree" / "train" / name / f"{i}.png")
    name = str(tmp_path / "tree")
    assert load_data(name, protocol="paper").shape == (1, 8, 8)
    assert load_data(name, protocol="paper", options=DataOptions(channels=3)).shape == (3, 8, 8)
    with pytest.raises(
        UserError, match=r"channels of a folder of images must be 1 \(grey\) or 3 \(colour\), but got 4"
    ):
        load_data(name, options=DataOptions(channels=4))


def read(image: Image.Image, path: Path, **options: Any) -> np.ndarray:
    image.save(path)
    return OwnImages(*image.size[::-1], **{"channels": 3, **options}).centre(str(path)).numpy()


def test_sixteen_bits_keep_their_order_and_range(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 2000], [20000, 40000, 65535]], np.uint16)
    found = read(Image.fromarray(deep), tmp_path / "deep.png", channels=1)
    assert found.tolist() == [[[0, 1, 8], [78, 156, 255]]]
    within = read(Image.fromarray(deep[:1]), tmp_path / "within.png", channels=1, value_range=(0.0, 4000.0))
    assert within.tolist() == [[[0, 16, 128]]]
    with pytest.raises(UserError, match=r"deep.png holds values from 0 to 65535, outside the range 0 to 4095"):
        OwnImages(2, 3, 1, (0.0, 4095.0)).centre(str(tmp_path / "deep.png"))


def test_floating_point_needs_a_range(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[-1.0, 0.0, 1.0]], np.float32))
    with pytest.raises(UserError, match=r"holds floating-point values; say what range they have, with --value-range="):
        read(image, tmp_path / "float.tif", channels=1)
    assert read(image, tmp_path / "f.tif", channels=1, value_range=(-1.0, 1.0)).tolist() == [[[0, 128, 255]]]


def test_palettes_transparency_bits_and_inks_become_their_colours(tmp_path: Path) -> None:
    colours = Image.new("RGB", (2, 1), (250, 10, 30))
    palette = read(colours.convert("P", palette=Image.Palette.ADAPTIVE), tmp_path / "p.png")
    assert palette[:, 0, 0].tolist() == [250, 10, 30]
    half = Image.new("RGBA", (2, 1), (200, 100, 50, 0))
    assert read(half, tmp_path / "rgba.png").max() == 0  # a transparent image is laid on black
    assert read(Image.new("LA", (1, 1), (80, 255)), tmp_path / "la.png").tolist() == [[[80]]] * 3
    assert read(Image.new("1", (1, 1), 1), tmp_path / "one.png", channels=1).tolist() == [[[255]]]
    assert abs(int(read(colours.convert("CMYK"), tmp_path / "c.tif")[0, 0, 0]) - 250) < 3
    see_through = colours.convert("P", palette=Image.Palette.ADAPTIVE)
    see_through.info["transparency"] = 0
    assert read(see_through, tmp_path / "t.png").max() == 0


def test_a_photo_is_turned_as_its_tag_says(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[255] * 3, [0] * 3]], np.uint8))  # 1 high, 2 wide: white, black
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    for name in "ab":
        (tmp_path / "tree" / "train" / name).mkdir(parents=True)
        for i in range(3):
            image.save(tmp_path / "tree" / "train" / name / f"{i}.png", exif=exif)
    data = load_data(str(tmp_path / "tree"), protocol="paper")
    assert data.shape == (3, 2, 1)
    assert data.train.images[0, 0].tolist() == [[255], [0]]


def test_large_trees_stay_in_their_files_and_show_random_parts(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_data(str(shapes))
    monkeypatch.setattr(own_tree, "MOST_IN_MEMORY", 1000)
    data = load_data(str(shapes), seed=0)
    assert isinstance(data.train, FolderSplit)
    assert data.shape == whole.shape
    assert torch.equal(data.test.images, whole.test.images)
    batches = make_batches(data.train, 8, seed=0, augment=True, flip=False)
    images, _ = next(batches.epoch(0))
    assert images.shape == (8, 3, 40, 40)
    assert not torch.equal(images, next(batches.epoch(1))[0])


def test_facts_name_classes_and_moments_and_a_digest_that_follows_the_files(shapes: Path) -> None:
    facts = load_data(str(shapes)).facts()
    train = load_data(str(shapes)).train.images.float() / 255
    assert facts.class_names == SHAPES
    assert facts.shape == (3, 40, 40)
    assert facts.mean == pytest.approx(train.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert facts.deviation == pytest.approx(train.transpose(0, 1).flatten(1).std(1).tolist(), abs=1e-3)
    assert len(facts.digest) == len(hashlib.sha256().hexdigest())
    save(shapes / "train" / "disc" / "another.png", size=(40, 40))
    assert load_data(str(shapes)).facts().digest != facts.digest


def damage(shapes: Path) -> None:
    (shapes / "train" / "disc" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")


def animate(shapes: Path) -> None:
    frames = [Image.new("RGB", (40, 40), (i, i, i)) for i in range(2)]
    frames[0].save(shapes / "train" / "disc" / "a.tif", save_all=True, append_images=frames[1:])


def empty(shapes: Path) -> None:
    (shapes / "train" / "void").mkdir()


def one_class(shapes: Path) -> None:
    for name in SHAPES[1:]:
        shutil.rmtree(shapes / "train" / name)


def lacking(shapes: Path) -> None:
    shutil.copytree(shapes / "train", shapes / "test")
    shutil.rmtree(shapes / "test" / "disc")


def one_image(shapes: Path) -> None:
    for name in ("cross", "disc"):
        for i in range(1, 10):
            (shapes / "train" / name / f"{i}.png").unlink()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (damage, r"disc/3.png cannot be read as an image \(.*\); replace it or take it out$"),
        (animate, r"a.tif holds 2 images in one file; save each as a file of its own$"),
        (empty, r"void holds no images \(bmp, jpeg, .*\); fill it, or take the class out$"),
        (one_class, r"train holds 1 class folders \(circle\) where two or more are needed; a folder of images is "),
        (lacking, r"test has no class disc, but .*train has; give both the same$"),
        (
            one_image,
            r"class 1 \(cross\) has one training image, and a test split needs two or more of each; add images",
        ),
    ],
)
def test_a_wrong_tree_is_one_line(shapes: Path, wrong: Callable[[Path], None], says: str) -> None:
    wrong(shapes)
    with pytest.raises(UserError, match=says) as error:
        load_data(str(shapes))
    assert "\n" not in str(error.value)


def test_what_is_said_of_arrays_is_refused(shapes: Path) -> None:
    with pytest.raises(UserError, match="--layout is of arrays"):
        load_data(str(shapes), options=DataOptions(layout="NCHW"))
    with pytest.raises(UserError, match="--image-size is for data of your own, and digits is as it was published"):
        load_data("digits", options=DataOptions(image_size=(8, 8)))
    with pytest.raises(UserError, match=r"unknown data set 'nothing_here'; choose one of digits, .* or name a folder"):
        load_data("nothing_here")
    with pytest.raises(UserError, match=r"unknown data set ''; choose one of digits"):
        load_data("")
    with pytest.raises(UserError, match=r"no/such does not exist; name a folder of images"):
        load_data("no/such")
