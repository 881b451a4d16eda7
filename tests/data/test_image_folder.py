"""Image-folder trees: what is found, what is shown, that an epoch continues at any step, and wrong trees."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qtrain.data import FolderSplit, class_names, image_shape, load_data, make_batches, ordered_batches
from qtrain.data.crop import centre_pixels, random_box, training_pixels
from qtrain.data.image_folder import default_workers
from qtrain.errors import UserError
from qtrain.models import build_model
from qtrain.recipe import Recipe
from qtrain.training import Interrupted, train
from qtrain.training.context import RunContext

CLASSES = ("n01", "n02", "n03")
SIZES = ((300, 260), (240, 320), (64, 48), (500, 40))


def write(path: Path, seed: int, mode: str = "RGB") -> None:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))  # smooth, so that JPEG keeps it
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize(SIZES[seed % len(SIZES)], Image.Resampling.BICUBIC).convert(mode).save(path)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a tree of three classes with 7 images to train and 3 to test with each."""
    monkeypatch.delenv("QTRAIN_DATA", raising=False)
    root = tmp_path / "tree"
    for c, name in enumerate(CLASSES):
        for i in range(7):
            write(root / "train" / name / f"{i}.JPEG", 100 * c + i)
        for i in range(3):
            write(root / "val" / name / f"{i}.jpg", 100 * c + 50 + i)
    return root


def names(split: object) -> list[str]:
    assert isinstance(split, FolderSplit)
    return [bytes(path).decode().split("tree/")[1] for path in split.paths]


def test_a_tree_has_its_folders_as_classes_its_val_as_test_set_and_a_stratified_validation_split(tree: Path) -> None:
    data = load_data("imagenet", root=tree, validation_size=6)
    assert data.class_names == class_names("imagenet", tree) == CLASSES
    assert (data.classes, data.flip, image_shape("imagenet")) == (3, True, (3, 224, 224))
    assert names(data.test) == [f"val/{name}/{i}.jpg" for name in CLASSES for i in range(3)]
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert data.validation.labels.bincount().tolist() == [2, 2, 2]
    held, left = names(data.validation), names(data.train)
    assert sorted(held + left) == [f"train/{name}/{i}.JPEG" for name in CLASSES for i in range(7)]
    for split in (data.train, data.validation):
        assert [CLASSES.index(name.split("/")[1]) for name in names(split)] == split.labels.tolist()


def test_a_small_trees_validation_split_is_a_fifth_of_it_and_none_under_the_papers_protocol(tree: Path) -> None:
    data = load_data("imagenet", root=tree)
    assert (len(data.train), len(data.validation)) == (17, 4)
    assert names(load_data("imagenet", root=tree, seed=1).validation) != names(data.validation)
    paper = load_data("imagenet", root=tree, protocol="paper")
    assert len(paper.train) == 21
    assert paper.validation is paper.test


def test_subsets_are_nested_and_take_takes_the_first(tree: Path) -> None:
    data = load_data("imagenet", root=tree)
    assert names(data.subset(9).train)[:4] == names(data.subset(4).train)
    assert names(data.test.take(2)) == names(data.test)[:2]
    with pytest.raises(UserError, match="cannot take 10 of 9"):
        data.test.take(10)


def test_the_tree_is_found_in_QTRAIN_DATA_too(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.rename(tree.with_name("imagenet"))
    monkeypatch.setenv("QTRAIN_DATA", str(tree.parent))
    assert class_names("imagenet") == CLASSES


@pytest.mark.parametrize("workers", [0, 2])
def test_an_evaluation_sees_each_images_centre_in_order(tree: Path, workers: int) -> None:
    test = load_data("imagenet", root=tree).test
    assert isinstance(test, FolderSplit)
    shown = list(ordered_batches(FolderSplit(test.paths, test.labels, workers), 4))
    assert [len(labels) for _, labels in shown] == [4, 4, 1]
    assert torch.equal(torch.cat([labels for _, labels in shown]), test.labels)
    images = torch.cat([images for images, _ in shown])
    assert images.dtype == torch.float32
    for image, name in zip(images, names(test), strict=True):
        assert torch.equal(image, centre_pixels(str(tree / name)).float() / 255)
    assert torch.equal(test.images.float() / 255, images)


def test_the_centre_is_that_of_the_shorter_side_at_256_pixels(tmp_path: Path) -> None:
    image = np.zeros((256, 512, 3), np.uint8)
    image[16:240, 144:368] = 255  # the 224 pixels in the middle
    Image.fromarray(image).save(tmp_path / "wide.png")
    assert centre_pixels(str(tmp_path / "wide.png")).min() == 255
    Image.fromarray(image).resize((1024, 512), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    assert centre_pixels(str(tmp_path / "large.png"))[:, 1:-1, 1:-1].min() == 255


def test_random_parts_lie_within_the_image_with_the_area_and_the_ratio_asked_for() -> None:
    rng = np.random.default_rng(0)
    areas = []
    for width, height in ((500, 375), (224, 224), (80, 300)):
        for _ in range(500):
            left, top, right, bottom = random_box(rng, width, height)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            w, h = right - left, bottom - top
            assert 0.7 < w / h < 1.4
            areas.append(w * h / (width * height))
    assert 0.07 < min(areas) < 0.1
    assert 0.95 < max(areas) <= 1
    for width, height in ((1000, 2), (1, 1), (3, 4000)):  # no draw fits: around the centre
        left, top, right, bottom = random_box(rng, width, height)
        assert (left, top) == ((width - (right - left)) // 2, (height - (bottom - top)) // 2)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_continues_at_any_step_with_the_same_bits_whatever_decodes_it(tree: Path, workers: int) -> None:
    train_split = load_data("imagenet", root=tree).train
    options = {"seed": 3, "augment": True, "flip": True, "jitter": 0.4}
    assert isinstance(train_split, FolderSplit)
    whole = list(make_batches(train_split, 4, **options).epoch(2))  # type: ignore[arg-type]
    assert [len(labels) for _, labels in whole] == [4, 4, 4, 5]
    batches = make_batches(FolderSplit(train_split.paths, train_split.labels, workers), 4, **options)  # type: ignore[arg-type]
    assert len(batches) == 4
    before = torch.get_rng_state()
    for start in (0, 2, 4):
        resumed = list(batches.epoch(2, start))
        assert len(resumed) == 4 - start
        for (images, labels), (expected, expected_labels) in zip(resumed, whole[start:], strict=True):
            assert torch.equal(images, expected)
            assert torch.equal(labels, expected_labels)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(next(batches.epoch(3))[0], whole[0][0])
    with pytest.raises(ValueError, match="4 steps"):
        batches.epoch(0, 5)


def test_a_training_image_is_a_random_part_mirrored_where_the_plan_says(tree: Path) -> None:
    split = load_data("imagenet", root=tree).train.take(8)
    batches = make_batches(split, 8, seed=0, augment=True, flip=True)
    straight = make_batches(split, 8, seed=0, augment=True, flip=False)
    (images, labels), (unflipped, _) = next(batches.epoch(1)), next(straight.epoch(1))
    plan = batches.plan(1)
    assert 0 < int(plan.flips.sum()) < 8
    assert torch.equal(labels, split.labels[plan.order])
    for image, plain, mirrored in zip(images, unflipped, plan.flips.tolist(), strict=True):
        assert torch.equal(image, plain.flip(2) if mirrored else plain)
    assert images.shape == (8, 3, 224, 224)


def test_without_augmentation_training_shows_the_centres_shuffled(tree: Path) -> None:
    split = load_data("imagenet", root=tree).train.take(6)
    batches = make_batches(split, 6, seed=0, augment=False, flip=True, jitter=0.4)
    images, _ = next(batches.epoch(0))
    assert torch.equal(images, split.images[batches.plan(0).order].float() / 255)


def test_grey_cmyk_and_png_images_are_read_as_rgb(tmp_path: Path) -> None:
    for i, (mode, suffix) in enumerate([("L", "jpg"), ("CMYK", "jpg"), ("P", "png")]):
        write(tmp_path / f"{i}.{suffix}", i, mode)
        assert training_pixels(str(tmp_path / f"{i}.{suffix}"), np.random.default_rng(0)).shape == (3, 224, 224)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named_in_one_line(tree: Path, workers: int) -> None:
    whole = (tree / "val/n02/1.jpg").read_bytes()
    for damaged in (b"no image", whole[: len(whole) // 2], b""):
        (tree / "val/n02/1.jpg").write_bytes(damaged)
        test = load_data("imagenet", root=tree).test
        assert isinstance(test, FolderSplit)
        with pytest.raises(UserError) as error:
            list(ordered_batches(FolderSplit(test.paths, test.labels, workers), 4))
        assert str(error.value).startswith(f"{tree}/val/n02/1.jpg cannot be read as an image (")
        assert "\n" not in str(error.value)


def _remove(path: Path) -> None:
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()


def _empty(path: Path) -> None:
    _remove(path)
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda tree: _remove(tree / "val"), "no imagenet in .*tree: it must be a folder with train/CLASS"),
        (lambda tree: _empty(tree / "train"), "tree/train holds 0 class folders"),
        (lambda tree: _empty(tree / "train/n02"), "tree/train/n02 holds no images .*fill it"),
        (lambda tree: _empty(tree / "val/n03"), "tree/val/n03 holds no images"),
        (lambda tree: _remove(tree / "val/n02"), "tree/val has no class n02, but .*tree/train has"),
        (lambda tree: write(tree / "val/n09/0.jpg", 1), "tree/train has no class n09, but .*tree/val has"),
        (
            lambda tree: [(tree / f"train/n01/{i}.JPEG").unlink() for i in range(6)],
            r"class 0 \(n01\) has one training image",
        ),
    ],
)
def test_a_wrong_tree_is_answered_with_the_path(tree: Path, spoil: Callable[[Path], object], says: str) -> None:
    spoil(tree)
    with pytest.raises(UserError, match=says) as error:
        load_data("imagenet", root=tree)
    assert "\n" not in str(error.value)


def test_without_a_folder_the_answer_says_what_tree_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QTRAIN_DATA", raising=False)
    for ask in (load_data, class_names):
        with pytest.raises(UserError, match=r"imagenet is never downloaded; name a folder with train/CLASS/\*\.jpg"):
            ask("imagenet")


def test_small_trees_are_decoded_here_and_QTRAIN_WORKERS_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QTRAIN_WORKERS", raising=False)
    assert default_workers(999) == 0
    assert 1 <= default_workers(10**6) <= 8
    monkeypatch.setenv("QTRAIN_WORKERS", "3")
    assert default_workers(10) == default_workers(10**6) == 3
    monkeypatch.setenv("QTRAIN_WORKERS", "-1")
    with pytest.raises(UserError, match=r"QTRAIN_WORKERS must be a whole number.*'-1'"):
        default_workers(10)


def test_a_tree_trains_and_a_stopped_run_ends_with_the_same_weights(tree: Path, tmp_path: Path) -> None:
    recipe = Recipe("RESNET10_FLOAT", "imagenet", epochs=2, batch_size=6, optimizer="nag", lr=0.01, jitter=0.4)
    recipe = recipe.replace(
        loss="cross_entropy", validation_size=3, train_size=12, width=0.25
    )  # torch crashes at 0.125

    def run(out: Path, stop: Callable[[], bool] = lambda: False, resume: bool = False) -> dict[str, torch.Tensor]:
        model = build_model(recipe, num_classes=3)
        train(model, recipe, out, resume=resume, context=RunContext(data_root=tree, device="cpu", stop=stop))
        return model.state_dict()

    straight = run(tmp_path / "straight")
    steps = iter([False, False, True])
    with pytest.raises(Interrupted):
        run(tmp_path / "stopped", lambda: next(steps))
    again = run(tmp_path / "stopped", resume=True)
    assert all(torch.equal(value, again[name]) for name, value in straight.items())
