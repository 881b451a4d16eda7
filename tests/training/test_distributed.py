"""One run on several ranks: one process's steps, draws and validation costs, in one folder, resumable on any number.

One spawn of two gloo processes makes all runs but those of the command line, since a process takes seconds to start.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from PIL import Image
from torch import Tensor, nn

from qtrain.cli import main
from qtrain.data import DataSet, FolderSplit, Split, make_batches, ordered_batches
from qtrain.data.augment import share
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.recipe import Recipe
from qtrain.records.runs import RECORDS, read_records
from qtrain.schedulers import ASLR
from qtrain.training import Callback, Interrupted, TrainingRun, checkpoint, evaluate, train
from qtrain.training.context import RunContext
from qtrain.training.distributed import ALONE, Ranks, join, own_gpu
from qtrain.training.losses import LOSSES
from qtrain.training.teacher import Teacher
from tests.checks import check_refusal, same

pytestmark = pytest.mark.slow  # processes that import torch

ROOT = Path(__file__).parents[2]
# 44 images in batches of 21: shares of 10 and 11, and 2 left that both ranks compute whole.
PLAIN: dict[str, dict[str, Any]] = {
    "aslr": {"optimizer": "sgd"},
    "aslr_average": {"optimizer": "adam", "lr": 0.002},
    "multistep": {"optimizer": "nag", "loss": "cross_entropy"},
    "armijo": {},
    "l4mom": {},
    "schedulefree": {"optimizer": "sgd"},
    "average": {"scheduler": "constant", "optimizer": "adamw", "weight_decay": 0.1, "ema": 0.8},
    "mixed": {"scheduler": "constant", "optimizer": "sgd", "mixup": 0.4, "label_smoothing": 0.1},
    "taught": {"scheduler": "aslr", "optimizer": "sgd", "teacher": "there", "mixup": 0.4, "loss": "cross_entropy"},
}
STOP = 4  # steps, of 6


class EndsOnOneRank(Callback):
    """Ends the run after its first epoch, on rank 1 alone."""

    def on_epoch_end(self, run: TrainingRun, record: Mapping[str, Any]) -> str | None:
        return None if run.is_first else "rank 1 has seen enough"


class Plain(nn.Module):
    """A network without BatchNorm, whose batch is no more than the sum of its images."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.conv, self.linear = nn.Conv2d(3, 4, 8, stride=8), nn.Linear(64, 10)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.conv(images).relu().flatten(1))


class Dropping(Plain):
    """With something random in it."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(images, training=self.training))


def bits_of(model: nn.Module) -> list[Tensor]:
    return [t.detach().clone() for t in (*model.parameters(), *model.buffers())]


def trained(recipe: Recipe, out: Path, data: DataSet, model: nn.Module | None = None, **options: Any) -> dict[str, Any]:
    """Train, and return what this process has seen of it; ``stop`` is the context's, other options are ``train``'s."""
    context = RunContext(device="cpu", stop=options.pop("stop", lambda: False))
    model, draws, costs = model or Plain(), [], []
    draw, step = ASLR.draw, ASLR.step
    if recipe.teacher is not None:
        options["teacher"] = Teacher(Plain(seed=2), {"path": "there", "sha256": "0"})

    def seen_draw(self: ASLR) -> list[float]:
        draws.append(draw(self))
        return draws[-1]

    def seen_step(self: ASLR, cost: Any = None) -> None:
        costs.append(cost)
        step(self, cost)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ASLR, "draw", seen_draw)
        patch.setattr(ASLR, "step", seen_step)
        accuracy = None
        stopped = False
        try:
            accuracy = train(model, recipe, out, data=data, context=context, **options).test_accuracy
        except Interrupted:
            stopped = True
    return {"draws": draws, "costs": costs, "model": bits_of(model), "accuracy": accuracy, "stopped": stopped}


def after(steps: int, rank: int) -> Callable[[], bool]:
    """A ``stop`` that is true on one rank alone."""
    count = iter(range(1, 1000))
    return lambda: next(count) == steps and int(os.environ.get("RANK", "0")) == rank


def on_two_ranks(place: Path, recipes: dict[str, Recipe], data: DataSet) -> dict[str, Any]:
    """What each rank does; the folder "one" of a stopped run is there already."""
    command = refused("train", "CNV_1W1A", "--data=digits", "--batch-size=3", f"--out={place / 'bad'}")
    found: dict[str, Any] = {n: trained(recipes[n], place / n, data) for n in PLAIN} | {"command": command}
    ranks = join()
    found["stopped"] = trained(recipes["aslr"], place / "two", data, stop=after(STOP, rank=1))
    found["resumed"] = trained(recipes["aslr"], place / "one", data, resume=True)
    found["ended"] = trained(recipes["aslr"], place / "ended", data, callbacks=[EndsOnOneRank()])
    found["early"] = trained(recipes["aslr"].replace(epochs=9, early_stop=1), place / "early", data)
    found["again"] = trained(recipes["aslr"], place / "aslr", data, resume=True)
    found["dropping"] = trained(recipes["aslr"], place / "dropping", data, Dropping())
    trained(recipes["aslr"], place / "pieces", data, Dropping(), stop=after(STOP, rank=0))
    found["pieces"] = trained(recipes["aslr"], place / "pieces", data, Dropping(), resume=True)
    for name in ("CNV_2W2A", "RESNET18_PYNQ_4W4A"):
        model = model_of(recipes[name])
        for module in model.modules():
            if hasattr(module, "collect_stats_steps"):
                module.collect_stats_steps = 3
        found[name] = trained(recipes[name].replace(network="collects_for_three"), place / name, data, model)
    scaled = recipes["VGG11_2W2A"]
    found["scales"] = trained(scaled, place / "scales", data, model_of(scaled))
    trained(scaled, place / "scales-stopped", data, model_of(scaled), stop=after(STOP, rank=0))
    found["scales resumed"] = trained(scaled, place / "scales-stopped", data, model_of(scaled), resume=True)
    found["evaluations"] = evaluations(data, ranks)
    found["errors"] = errors = []
    for bad in ({"batch_size": 3}, {"out": place / "aslr"}):
        with pytest.raises(UserError) as error:
            trained(
                recipes["aslr"].replace(**{k: v for k, v in bad.items() if k != "out"}),
                bad.get("out", place / "bad"),
                data,
            )
        errors.append(str(error.value))
    torch.save(found, place / f"{ranks.rank}.pt")

    def leave() -> bool:
        if ranks.rank == 1:
            os._exit(0)
        return False

    with pytest.raises(UserError) as error:
        trained(recipes["aslr"], place / "left", data, stop=leave)
    errors.append(str(error.value))
    torch.save(found, place / f"{ranks.rank}.pt")


def refused(*words: str) -> tuple[object, str]:
    """Exit status and standard error of a command in this process."""
    with redirect_stderr(StringIO()) as error, pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code, error.getvalue()


def evaluations(data: DataSet, ranks: Ranks) -> list[tuple[float, float]]:
    splits = [data.validation.take(count) for count in (1, 2, 7, 40)]
    found = [evaluate(Plain(), split, LOSSES["squared_hinge"], 5, ranks=ranks) for split in splits]
    return [(evaluation.loss, evaluation.accuracy) for evaluation in found]


def _rank(rank: int, port: int, *arguments: Any) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    on_two_ranks(*arguments)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def recipes(tiny: Callable[..., Recipe]) -> dict[str, Recipe]:
    common: dict[str, Any] = {"train_size": 44, "batch_size": 21, "epochs": 2, "lr": 0.02}
    plain = {name: tiny(network="plain", **common | {"scheduler": name} | changes) for name, changes in PLAIN.items()}
    return plain | {n: tiny(network=n, **common) for n in ("CNV_2W2A", "RESNET18_PYNQ_4W4A", "VGG11_2W2A")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def two(place: Path, recipes: dict[str, Recipe], few_digits: DataSet) -> list[dict[str, Any]]:
    """Return what each of two ranks has seen."""
    trained(recipes["aslr"], place / "one", few_digits, stop=after(STOP, rank=0))
    mp.spawn(_rank, (free_port(), place, recipes, few_digits), nprocs=2)
    return [torch.load(place / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, recipes: dict[str, Recipe], few_digits: DataSet) -> dict[str, Any]:
    """Return what one process sees."""
    place = tmp_path_factory.mktemp("alone")
    found = {name: trained(recipes[name], place / name, few_digits) for name in PLAIN}
    return found | {"records": {name: read_records(place / name) for name in PLAIN}}


def close(a: list[Tensor], b: list[Tensor]) -> None:
    for ours, theirs in zip(a, b, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PLAIN)
def test_two_ranks_take_the_steps_of_one_process(name: str, two: list, one: dict, place: Path) -> None:
    close(two[0][name]["model"], one[name]["model"])
    assert [r[name]["accuracy"] for r in two] == [one[name]["accuracy"]] * 2
    for ours, theirs in zip(read_records(place / name), one["records"][name], strict=True):
        assert ours.get("counts") == theirs.get("counts")
        assert ours.get("validation_accuracy") == theirs.get("validation_accuracy")
        for value in {"loss", "validation_loss", "test_loss", "lr"} & set(theirs):
            assert ours[value] == pytest.approx(theirs[value], rel=1e-5)


@pytest.mark.parametrize("name", ["aslr", "aslr_average"])
def test_draws_and_validation_costs_are_those_of_one_process_on_every_rank(name: str, two: list, one: dict) -> None:
    assert len(one[name]["draws"]) == 6
    for seen in two:
        assert seen[name]["draws"] == one[name]["draws"]
        assert seen[name]["costs"] == one[name]["costs"]


@pytest.mark.parametrize("name", [*PLAIN, "resumed", "dropping", "CNV_2W2A", "RESNET18_PYNQ_4W4A"])
def test_all_ranks_have_the_same_bits(name: str, two: list) -> None:
    assert same(two[0][name]["model"], two[1][name]["model"])


def test_an_evaluation_is_that_of_one_process_on_every_rank(two: list, few_digits: DataSet) -> None:
    assert two[0]["evaluations"] == two[1]["evaluations"]
    for ours, theirs in zip(two[0]["evaluations"], evaluations(few_digits, ALONE), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)


def test_one_rank_that_is_told_to_stop_stops_all(two: list, place: Path) -> None:
    assert [seen["stopped"]["stopped"] for seen in two] == [True, True]
    assert [len(seen["stopped"]["draws"]) for seen in two] == [STOP, STOP]
    assert checkpoint.load(place / "two" / checkpoint.LAST)["position"]["step"] == STOP - 3


@pytest.mark.parametrize(("folder", "ranks"), [("one", [1, 2]), ("two", [2, 1])])
def test_a_run_goes_on_with_another_number_of_ranks(
    folder: str, ranks: list[int], two: list, one: dict, place: Path, recipes: dict[str, Recipe], few_digits: DataSet
) -> None:
    found = two[0]["resumed"]
    if folder == "two":
        found = trained(recipes["aslr"], place / "two", few_digits, resume=True)
    assert found["draws"] == one["aslr"]["draws"][STOP:]
    assert found["costs"] == one["aslr"]["costs"][1:]
    close(found["model"], one["aslr"]["model"])
    records = read_records(place / folder)
    assert [r["ranks"] for r in records if r["type"] != "epoch"] == ranks
    assert [r["type"] for r in records] == ["run", "epoch", "epoch", "result"]


def test_a_callback_of_one_rank_ends_the_run_of_all(two: list, place: Path) -> None:
    assert same(two[0]["ended"]["model"], two[1]["ended"]["model"])
    assert [len(seen["ended"]["draws"]) for seen in two] == [3, 3]  # the steps of an epoch
    result = read_records(place / "ended")[-1]
    assert (result["epochs"], result["stopped_by"]) == (1, "a callback of another rank")


def test_all_ranks_stop_early_together(two: list, place: Path) -> None:
    assert same(two[0]["early"]["model"], two[1]["early"]["model"])
    result = read_records(place / "early")[-1]
    assert (result["stopped_by"], result["epochs"]) == ("EarlyStop", result["best_epoch"] + 1)


def test_trained_scales_go_on_training_on_all_ranks(two: list) -> None:
    for seen in two:
        assert same(seen["scales resumed"]["model"], seen["scales"]["model"])


def test_a_finished_run_is_only_read_again(two: list) -> None:
    for seen in two:
        assert seen["again"]["accuracy"] == seen["aslr"]["accuracy"]
        assert same(seen["again"]["model"], seen["aslr"]["model"])
        assert not seen["again"]["draws"]


def test_what_a_network_draws_itself_does_not_depend_on_a_stop(two: list) -> None:
    assert same(two[0]["pieces"]["model"], two[0]["dropping"]["model"])


@pytest.mark.usefixtures("two")
def test_one_folder_with_each_record_once(place: Path) -> None:
    names = {path.name for path in (place / "aslr").iterdir() if not path.name.startswith("events")}
    assert names == {"recipe.yaml", RECORDS, checkpoint.LAST, checkpoint.BEST}
    assert len(list((place / "aslr").glob("events*"))) == 1
    assert [r["type"] for r in read_records(place / "aslr")] == ["run", "epoch", "epoch", "result"]


def test_wrong_input_is_refused_by_all_ranks_alike_before_anything_is_written(two: list, place: Path) -> None:
    for seen in two:
        assert "batch_size 3 is too small for 2 ranks" in seen["errors"][0]
        assert "choose 4 or more" in seen["errors"][0]
        assert "holds a run already" in seen["errors"][1]
    assert not (place / "bad").exists()


def test_a_rank_that_has_gone_is_an_error_of_the_others(two: list, place: Path) -> None:
    assert "another rank has ended" in two[0]["errors"][2]
    assert not (place / "left").exists()


@pytest.mark.parametrize(
    ("size", "in_files"), [*((size, False) for size in (2, 3, 16, 44, 45, 49)), (3, True), (20, True)]
)
def test_the_shares_of_all_ranks_are_the_batch(size: int, in_files: bool, tmp_path: Path, few_digits: DataSet) -> None:
    split: Split = few_digits.train.take(size)
    if in_files:
        for i, image in enumerate(split.images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
        paths = np.array([os.fsencode(tmp_path / f"{i}.png") for i in range(size)])
        split = FolderSplit(paths, split.labels)

    def batches(rank: int, ranks: int) -> Any:
        options: dict[str, Any] = {"seed": 3, "augment": True, "flip": True, "jitter": 0.1}
        return make_batches(split, 16, rank=rank, ranks=ranks, **options)

    whole, parts = list(batches(0, 1).epoch(1)), [list(batches(rank, 3).epoch(1)) for rank in range(3)]
    for step, (images, labels) in enumerate(whole):
        assert batches(2, 3).images_in(step) == len(labels)
        shares = [part[step] for part in parts]
        if len(labels) < 6:
            assert all(torch.equal(i, images) and torch.equal(k, labels) for i, k in shares)
            continue
        assert torch.equal(torch.cat([i for i, _ in shares]), images)
        assert torch.equal(torch.cat([k for _, k in shares]), labels)
        assert max(len(k) for _, k in shares) - min(len(k) for _, k in shares) <= 1
    parts_in_order = [list(ordered_batches(split, 7, rank=rank, ranks=3)) for rank in range(3)]
    assert torch.equal(torch.cat([k for part in parts_in_order for _, k in part]), split.labels)


def test_shares_cover_everything_once() -> None:
    for count in range(20):
        for ranks in range(1, 6):
            shares = [share(count, rank, ranks) for rank in range(ranks)]
            assert [i for part in shares for i in part] == list(range(count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_an_environment_that_is_not_torchruns_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join() is ALONE
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"RANK, .*are not set; start with torchrun"):
        join()
    assert not torch.distributed.is_initialized()


def test_every_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert own_gpu("cuda:1") == "cuda:1"
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [own_gpu(name) for name in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    assert current == [1, 1]
    with pytest.raises(UserError, match="one for all ranks"):
        own_gpu("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="--nproc-per-node 2"):
        own_gpu("auto")


def start(cwd: Path, *words: str) -> subprocess.Popen[str]:
    """``torchrun --nproc-per-node 2 qtrain train ...`` on digits."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    command += [sys.executable, "-c", "from qtrain.cli import main; main()", "train", "CNV_1W1A", "--data=digits"]
    small = ["--width=0.125", "--train-size=60", "--validation-size=40", "--epochs=12"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *small, *words], cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)


def own_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("qtrain: ")]


def test_a_mistake_of_all_ranks_is_one_line(two: list) -> None:
    assert [seen["command"][0] for seen in two] == [2, 2]
    line = "".join(seen["command"][1] for seen in two)
    assert line.startswith("qtrain: batch_size 3 is too small for 2 ranks")
    assert line.count("\n") == 1


def test_a_run_under_torchrun_ends_with_ctrl_c_and_goes_on_in_one_process(tmp_path: Path, cli: Callable) -> None:
    process, records = start(tmp_path, "--batch-size=20", "--out=run"), tmp_path / "run" / RECORDS
    while not (records.exists() and records.read_text().count("\n") >= 3):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    check_refusal(cli("train", "--resume", tmp_path / "run"), 2, "another process is at work in")  # the first rank is
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert len(own_lines(err)) == 1
    assert own_lines(err)[0].startswith("qtrain: stopped in epoch ")
    assert "test accuracy" not in out
    outcome = cli("train", "--resume", tmp_path / "run")
    assert (outcome.status, outcome.err) == (0, "")
    lines = read_records(tmp_path / "run")
    assert [r["epoch"] for r in lines if r["type"] == "epoch"] == list(range(1, 13))
    assert [(r["type"], r["ranks"]) for r in lines if r["type"] != "epoch"] == [("run", 2), ("result", 1)]
