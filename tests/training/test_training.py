"""The training loop on real digits: what it learns, records, keeps, and how it ends on bad numbers."""

import gc
import itertools
import json
import math
import pickle
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from qtrain.data import DataSet, load_data
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.experiments.run import load_run, resume_run, train_recipe
from qtrain.recipe import Recipe, load_recipe
from qtrain.records.runs import read_records
from qtrain.schedulers.aslr import Search, exact_lr, step_size
from qtrain.training import Interrupted, Result, Silent, checkpoint, evaluate, train
from qtrain.training.context import RunContext
from qtrain.training.losses import LOSSES
from qtrain.training.splits import load_splits

LAYERS = {f"conv{i}" for i in range(1, 7)} | {f"fc{i}" for i in range(1, 4)}


def epochs_of(folder: Path) -> list[dict]:
    return [r for r in read_records(folder) if r["type"] == "epoch"]


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]) -> tuple[Path, Result]:
    """A run of 8 epochs with ASLR."""
    out = tmp_path_factory.mktemp("long") / "run"
    return out, train_recipe(tiny(epochs=8, train_size=100, lr=0.05, scheduler="aslr"), out)


@pytest.mark.parametrize(("optimizer", "loss"), [("sgd", "squared_hinge"), ("adam", "cross_entropy")])
def test_the_loss_falls(tmp_path: Path, tiny: Callable[..., Recipe], optimizer: str, loss: str) -> None:
    recipe = tiny(epochs=4, train_size=100, optimizer=optimizer, loss=loss, scheduler="constant", augment=False)
    train_recipe(recipe, tmp_path / "run")
    losses = [r["loss"] for r in epochs_of(tmp_path / "run")]
    assert losses[-1] < losses[0]


def test_the_folder_holds_what_a_run_is_and_nothing_else(long_run: tuple[Path, Result]) -> None:
    out, _ = long_run
    names = sorted(p.name for p in out.iterdir())
    assert [n for n in names if not n.startswith("events.")] == [
        "best.pt",
        "checkpoint.pt",
        "recipe.yaml",
        "records.jsonl",
    ]
    assert len(names) == 5


def test_records_are_a_line_for_the_run_one_an_epoch_and_one_for_the_result(long_run: tuple[Path, Result]) -> None:
    out, result = long_run
    records = read_records(out)
    assert [r["type"] for r in records] == ["run", *["epoch"] * 8, "result"]
    assert [r["epoch"] for r in records[1:-1]] == list(range(1, 9))
    run, last = records[0], records[-1]
    assert run["recipe"] == load_recipe(out / "recipe.yaml").to_dict()
    assert datetime.fromisoformat(run["date"]).tzinfo is not None
    for record in (run, last):
        assert record["device"].startswith("cpu: ")
        assert record["versions"].keys() == {"qtrain", "torch", "brevitas", "numpy"}
        assert re.fullmatch(r"\d+\.\d+\.\d+.*", record["python"])
        assert record["threads"] == torch.get_num_threads()
        assert record["commit"] is None or re.fullmatch(r"[\w.-]*[0-9a-f]{7,40}(-dirty)?", record["commit"])
    assert {name: last[name] for name in Result.__dataclass_fields__} == vars(result)


def test_an_epochs_record_has_losses_rates_draws_and_times(long_run: tuple[Path, Result]) -> None:
    seconds = 0.0
    for record in epochs_of(long_run[0]):
        assert record["draws"].keys() == LAYERS
        centre, step = record["lr"], float(step_size(exact_lr(record["lr"])))
        assert all(centre - step / 2 <= draw <= centre + step / 2 for draw in record["draws"].values())
        assert len(set(record["draws"].values())) == len(LAYERS)
        assert record["loss"] > 0
        assert record["validation_loss"] > 0
        assert record["images_per_second"] > 0
        assert record["seconds"] > seconds
        seconds = record["seconds"]


@pytest.mark.parametrize(("protocol", "size"), [("holdout", 40), ("paper", None)])
def test_every_record_says_seed_and_protocol(
    tmp_path: Path, tiny: Callable[..., Recipe], protocol: str, size: int | None
) -> None:
    recipe = tiny(epochs=1, seed=5, protocol=protocol, validation_size=size)
    result = train_recipe(recipe, tmp_path / "run")
    run, *others = read_records(tmp_path / "run")
    assert (run["recipe"]["seed"], run["recipe"]["protocol"]) == (5, protocol)
    assert [(r["seed"], r["protocol"]) for r in others] == [(5, protocol)] * 2
    # Under the paper's protocol validation reads the test set.
    if protocol == "paper":
        assert result.test_accuracy == result.validation_accuracy


def test_validation_drives_the_search(long_run: tuple[Path, Result]) -> None:
    epochs = epochs_of(long_run[0])
    search = Search(exact_lr(0.05))
    for record in epochs:
        assert record["lr"] == float(search.lr)
        search.update(1 - record["validation_accuracy"] / 100)
    assert len({record["lr"] for record in epochs}) > 1


def test_tensorboard_reads_what_the_records_say(long_run: tuple[Path, Result]) -> None:
    events = EventAccumulator(str(long_run[0])).Reload()
    epochs = epochs_of(long_run[0])
    for name in ("lr", "loss", "validation_loss", "validation_accuracy", "images_per_second"):
        assert [e.step for e in events.Scalars(name)] == [r["epoch"] for r in epochs]
        assert [e.value for e in events.Scalars(name)] == pytest.approx([r[name] for r in epochs])
    for layer in LAYERS:
        assert [e.value for e in events.Scalars(f"draws/{layer}")] == pytest.approx([r["draws"][layer] for r in epochs])


@pytest.mark.parametrize("protocol", ["holdout", "paper"])
def test_the_test_set_is_read_once_at_the_end(tmp_path: Path, tiny: Callable[..., Recipe], protocol: str) -> None:
    recipe = tiny(epochs=3, protocol=protocol, validation_size=40 if protocol == "holdout" else None)
    seen: list[tuple[bool, Tensor]] = []

    def see(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((module.training, (inputs[0] * 255).round().to(torch.uint8)))

    model = model_of(recipe)
    model.register_forward_hook(see)
    train(model, recipe, tmp_path / "run")
    test = load_data("digits").test.images
    validation = load_splits(recipe).validation.images
    judged = [images for training, images in seen if not training]
    # First two training images, twice: whether it has logits, and the same ones again.
    assert [len(images) for images in judged[:2]] == [2, 2]
    assert torch.equal(torch.cat(judged[2:]), torch.cat([*[validation] * 3, test]))
    assert torch.equal(validation, test) == (protocol == "paper")
    known = {image.numpy().tobytes() for image in test}
    trained = [image for training, images in seen if training for image in images]
    assert len(trained) == 180
    augmented = {image.numpy().tobytes() for image in trained}
    assert not augmented & known


@pytest.mark.parametrize(
    ("scheduler", "optimizer", "rates"),
    [
        ("multistep", "sgd", [0.5, 0.5, 0.05, 0.005]),
        ("multistep", "adam", [0.5, 0.5, 0.05, 0.005]),
        ("cosine", "sgd", [0.25 * (1 + math.cos(math.pi * e / 4)) for e in range(4)]),
        ("constant", "adam", [0.5] * 4),
    ],
)
def test_recorded_rates_are_the_schedules(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, scheduler: str, optimizer: str, rates: list[float]
) -> None:
    recipe = tiny(epochs=4, scheduler=scheduler, optimizer=optimizer, milestones=[0.5, 0.75], lr=0.5, train_size=40)
    train(model_of(recipe), recipe, tmp_path / "run", data=few_digits)
    records = epochs_of(tmp_path / "run")
    assert [r["lr"] for r in records] == pytest.approx(rates)
    assert all(set(r["draws"].values()) == {r["lr"]} for r in records)
    saved = checkpoint.load(tmp_path / "run" / checkpoint.LAST)
    assert {group["lr"] for group in saved["method"]["optimizer"]["param_groups"]} == {records[-1]["lr"]}


def test_best_and_last_weights_are_kept_and_the_model_ends_with_the_best(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(epochs=8, train_size=100, lr=0.05)
    model = model_of(recipe)
    result = train(model, recipe, tmp_path / "run")
    accuracies = [r["validation_accuracy"] for r in epochs_of(tmp_path / "run")]
    assert result.validation_accuracy == max(accuracies)
    assert result.best_epoch == 1 + accuracies.index(max(accuracies)) < 8
    best = checkpoint.load(tmp_path / "run" / checkpoint.BEST)
    last = checkpoint.load(tmp_path / "run" / checkpoint.LAST)
    assert best["epoch"] == result.best_epoch
    assert last["position"]["epoch"] == 8
    assert not torch.equal(best["model"]["conv1.weight"], last["model"]["conv1.weight"])
    data = load_data("digits", validation_size=40)
    _, loaded = load_run(tmp_path / "run")
    for network in (model, loaded):
        assert all(torch.equal(value, best["model"][name]) for name, value in network.state_dict().items())
        assert evaluate(network, data.validation, LOSSES["squared_hinge"]).accuracy == result.validation_accuracy
        assert evaluate(network, data.test, LOSSES["squared_hinge"]).accuracy == result.test_accuracy


def test_weights_are_clipped_after_every_step(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(lr=5.0, optimizer="sgd")
    model = model_of(recipe)
    train(model, recipe, tmp_path / "run")
    assert {name: model.get_submodule(name).weight.abs().max().item() for name in LAYERS} == dict.fromkeys(LAYERS, 1.0)


def test_equal_seeds_train_equal_weights_and_others_do_not(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    weights = []
    for i, seed in enumerate([3, 3, 4]):
        recipe = tiny(epochs=1, train_size=40, seed=seed)
        model = model_of(recipe)
        train(model, recipe, tmp_path / str(i), data=few_digits)
        weights.append(model.fc1.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_evaluation_does_not_depend_on_the_batch_and_restores_the_mode(few_digits: DataSet) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.BatchNorm1d(10), nn.Dropout(0.5))
    results = [evaluate(model.train(), few_digits.test, LOSSES["cross_entropy"], size) for size in (1, 7, 50, 500)]
    assert model.training
    assert {r.accuracy for r in results} == {results[0].accuracy}
    assert [r.loss for r in results] == pytest.approx([results[0].loss] * 4)
    with torch.no_grad():
        logits = model.eval()(few_digits.test.images.float() / 255)
    assert results[0].accuracy == 100 * int((logits.argmax(1) == few_digits.test.labels).sum()) / 50


def test_squared_hinge_is_its_formula() -> None:
    logits, labels = torch.tensor([[2.0, -0.5, 0.0]]), torch.tensor([1])
    assert LOSSES["squared_hinge"](logits, labels).item() == pytest.approx((3.0**2 + 1.5**2 + 1.0**2) / 3)


@pytest.mark.parametrize("when", ["at step 1", "at step 2", "in epoch 1", "on the validation images after epoch 1"])
def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_nothing(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, when: str
) -> None:
    recipe = tiny(epochs=2, train_size=40)
    model = model_of(recipe)
    calls = itertools.count()  # the first two are the looks at the model before training
    broken = {"at step 1": 2, "in epoch 1": 5, "on the validation images after epoch 1": 4}
    if when == "at step 2":
        recipe = recipe.replace(lr=1e30, scheduler="constant")
    else:
        recipe = recipe.replace(train_size=80) if when == "in epoch 1" else recipe
        model.norm9.register_forward_hook(lambda _m, _i, out: out * torch.nan if next(calls) == broken[when] else out)
    with pytest.raises(UserError) as error:
        train(model, recipe, tmp_path / "deep" / "run", data=few_digits)
    lr = f"{recipe.lr:g}"
    assert re.fullmatch(rf"the loss is (nan|inf) {when}; lower --lr \(it is {re.escape(lr)}\) or .*", str(error.value))
    assert not any(tmp_path.iterdir())


def test_a_folder_that_was_there_empty_is_there_empty_after_a_failure(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    model = model_of(tiny())
    model.norm9.weight.data.fill_(torch.nan)
    with pytest.raises(UserError):
        train(model, tiny(), tmp_path, data=few_digits)
    assert tmp_path.is_dir()
    assert not any(tmp_path.iterdir())


def test_a_checkpoint_holds_tensors_and_plain_values_alone(long_run: tuple[Path, Result]) -> None:
    for name in (checkpoint.LAST, checkpoint.BEST):
        with torch.serialization.safe_globals([]):
            assert torch.load(long_run[0] / name, weights_only=True)["format"] == checkpoint.FORMAT


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("way", ["torch", "legacy", "pickle"])
def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path: Path, way: str) -> None:
    path, sprung = tmp_path / "checkpoint.pt", tmp_path / "sprung"
    state = {"format": checkpoint.FORMAT, "recipe": {}, "model": {"w": Trap(sprung)}}
    if way == "pickle":
        path.write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=way == "torch")
    with pytest.raises(UserError, match="damaged or no checkpoint of qtrain"):
        checkpoint.load(path)
    assert not sprung.exists()
    torch.load(path, weights_only=False) if way != "pickle" else pickle.loads(path.read_bytes())
    assert sprung.is_dir()  # the trap works where code is trusted


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"format": 99}, "has format 99, this qtrain reads 1; train again"),
        ([1, 2], "has format None"),
        ({"format": 1}, "is damaged or no checkpoint"),
        ({"format": 1, "recipe": {}, "model": 3}, "is damaged or no checkpoint"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, state: object, says: str) -> None:
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=re.escape(says)):
        checkpoint.load(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(long_run: tuple[Path, Result], tmp_path: Path, share: float) -> None:
    whole = (long_run[0] / checkpoint.LAST).read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match="damaged or no checkpoint of qtrain"):
        checkpoint.load(tmp_path / "checkpoint.pt")


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"recipe": {}, "model": {"w": torch.ones(3)}})
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(path, {"model": lambda: None})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_training_in_a_thread_works_where_no_signal_can_be_handled(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    recipe = tiny(epochs=1, train_size=40)
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(train, model_of(recipe), recipe, tmp_path / "run", data=few_digits).result()
    assert result.epochs == 1


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "", "cpu:x"])
def test_a_device_that_is_not_here_is_refused(tmp_path: Path, tiny: Callable[..., Recipe], name: str) -> None:
    with pytest.raises(UserError, match=f"^device '{name}' is not available here; use auto, cpu or cuda:N$"):
        train_recipe(tiny(), tmp_path / "run", context=RunContext(device=name))
    assert not any(tmp_path.iterdir())


def test_resuming_with_another_recipe_is_refused(long_run: tuple[Path, Result], tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(epochs=9)
    with pytest.raises(
        UserError,
        match=r"is a run of another recipe \(epochs 8 instead of 9, .*\); resume it with its own recipe.yaml$",
    ):
        train(model_of(recipe), recipe, long_run[0], resume=True)


def test_a_finished_run_is_not_trained_again(long_run: tuple[Path, Result]) -> None:
    out, result = long_run
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.iterdir()}
    assert resume_run(out) == result
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.iterdir()} == before


def test_a_stop_says_where_and_saves(tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet) -> None:
    recipe = tiny(train_size=40)
    with pytest.raises(Interrupted, match=r"^stopped in epoch 1 after step 1; saved in .*run$"):
        train(model_of(recipe), recipe, tmp_path / "run", data=few_digits, context=RunContext(stop=lambda: True))
    assert checkpoint.load(tmp_path / "run" / checkpoint.LAST)["position"]["step"] == 1


def test_records_are_json_that_any_reader_takes(long_run: tuple[Path, Result]) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    for line in (long_run[0] / "records.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


class Held(Silent):
    """Notes, at the first step, the bytes of all training images that the process holds; each storage counts once."""

    def __init__(self, count: int):
        self.count = count
        self.bytes = 0

    def step(self, images: int) -> None:
        if self.bytes:
            return
        gc.collect()
        found = [o for o in gc.get_objects() if type(o) is torch.Tensor and o.dtype is torch.uint8 and o.ndim == 4]
        storages = [image.untyped_storage() for image in found if len(image) == self.count]
        self.bytes = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@pytest.mark.parametrize(("augment", "side"), [(True, 40), (False, 32)])
def test_a_run_holds_one_copy_of_its_training_images(
    tmp_path: Path, tiny: Callable[..., Recipe], augment: bool, side: int
) -> None:
    count = 137  # which no other images here are
    held = Held(count)
    train_recipe(tiny(train_size=count, augment=augment), tmp_path / "run", RunContext(watch=held))
    assert held.bytes == count * 3 * side * side
