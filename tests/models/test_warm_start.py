"""A start from other weights: the float twin's, those at other bits, a run's; it beats a fresh network."""

import copy
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from brevitas.nn import QuantConv2d, QuantLinear
from torch import nn
from torch.nn import functional as F

from qtrain.data import DataSet, load_data
from qtrain.errors import UserError
from qtrain.experiments.model import initial_model, model_of
from qtrain.experiments.run import resume_run, train_recipe
from qtrain.models import Network, build_model
from qtrain.models.quantizers import gaussian_range
from qtrain.models.ranges import best_range
from qtrain.models.warm_start import initialise_from
from qtrain.recipe import Recipe
from qtrain.records.runs import read_records
from qtrain.training import Interrupted, checkpoint, train
from qtrain.training.context import RunContext
from tests.trained_networks import logits, pynq_module, steps


@pytest.mark.parametrize("bits", range(2, 9))
def test_best_range_of_normal_weights_is_the_known_optimum(bits: int) -> None:
    torch.manual_seed(0)
    found = best_range(3 * torch.randn(100, 500), bits)
    assert float(found) == pytest.approx(3 * gaussian_range(bits), rel=0.1)
    rows = torch.cat([torch.randn(1, 5000), 10 * torch.randn(1, 5000)])
    small, large = best_range(rows, bits, per_channel=True).flatten().tolist()
    assert 8 < large / small < 12


@pytest.mark.parametrize(
    ("name", "scaling"),
    [("CNV_4W4A", "constant"), ("CNV_2W2A", "learned"), ("RESNET20_2W2A", "statistics"), ("WRN20_1W1A", "learned")],
)
def test_a_state_dict_of_the_same_network_is_taken_as_it_is(name: str, scaling: str) -> None:
    torch.manual_seed(0)
    source = steps(build_model(name, width=0.125, scaling=scaling), (4, 3, 32, 32))
    model = build_model(name, width=0.125, scaling=scaling)
    initialise_from(model, source.state_dict())
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(logits(model, images), logits(source, images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [("CNV_1W1A", 1, 0.25), ("CNV_4W4A", 0.125, 1), ("RESNET20_2W2A", 1, 0.3), ("TFC_1W1A", 2, 1)],
)
def test_weights_of_another_width_say_which_to_give(name: str, theirs: float, ours: float) -> None:
    state = build_model(name, width=theirs).state_dict()
    with pytest.raises(UserError, match=rf"in {name}; both need the same width: .* give --width {theirs:g}$"):
        initialise_from(build_model(name, width=ours), state)


def test_weights_of_other_channels_or_classes_blame_no_width() -> None:
    for options, what in (({"in_channels": 1}, "image size and channels$"), ({"num_classes": 7}, "number of classes$")):
        with pytest.raises(UserError, match=f"both need the same .*{what}"):
            initialise_from(
                build_model("CNV_4W4A", width=0.25), build_model("CNV_4W4A", width=0.25, **options).state_dict()
            )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(bad: float) -> None:
    model = build_model("TFC_4W4A", width=0.25)
    state = build_model("TFC_FLOAT", width=0.25).state_dict()
    state["fc2.weight"] = torch.full_like(state["fc2.weight"], bad)
    with pytest.raises(UserError, match=r"fc2\.weight is not finite floating point"):
        initialise_from(model, state)
    state["fc2.weight"] = torch.zeros_like(state["fc2.weight"], dtype=torch.int8)
    with pytest.raises(UserError, match=r"fc2\.weight is not finite floating point"):
        initialise_from(model, state)


@pytest.fixture(scope="module")
def digits() -> DataSet:
    data = load_data("digits")
    return DataSet(**{**vars(data), "test": data.test.take(200)})


def settled(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """Give the norms the statistics of these images, as long training does."""
    norms = [m for m in model.modules() if hasattr(m, "momentum")]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def alike(one: nn.Module, other: nn.Module, images: torch.Tensor) -> float:
    """Correlation of their logits."""
    return float(torch.corrcoef(torch.stack([logits(m, images).flatten() for m in (one, other)]))[0, 1])


@pytest.mark.parametrize(
    ("name", "scaling"),
    [
        ("CNV_8W8A", "constant"),
        ("CNV_8W8A", "learned"),
        ("RESNET20_8W8A", "statistics"),
        ("WRN20_8W8A", "constant"),
        ("VGG11_8W8A", "learned"),
    ],
)
def test_eight_bits_give_the_float_twins_logits_at_once(name: str, scaling: str, digits: DataSet) -> None:
    images, twin = digits.train.images[:64] / 255, f"{name.rpartition('_')[0]}_FLOAT"
    torch.manual_seed(0)
    source = build_model(twin, width=0.25)
    with torch.no_grad():
        for weight in source.weights():
            weight.mul_(0.3)  # the norms hide it in float; a range that is fixed would not
    settled(steps(source, (4, 3, 32, 32)), images)
    with torch.no_grad():
        list(source.parameters())[-1].zero_()  # the classes' biases, which one norm of all logits cannot hold
    started = build_model(name, width=0.25, scaling=scaling)
    initialise_from(started, source.state_dict(), build_model(twin, width=0.25))
    assert alike(started, source, images) > 0.97


@pytest.mark.parametrize("scaling", ["constant", "learned", "statistics"])
@pytest.mark.parametrize("name", ["CNV_2W2A", "WRN20_2W2A"])
def test_two_bits_use_all_levels_whatever_the_size_of_the_float_weights(name: str, scaling: str) -> None:
    source = build_model(f"{name.rpartition('_')[0]}_FLOAT", width=0.25)
    with torch.no_grad():
        for weight in source.weights():
            weight.mul_(0.05)
    model = build_model(name, width=0.25, scaling=scaling)
    initialise_from(model, source.state_dict())
    layers = [m for m in model.modules() if isinstance(m, QuantConv2d | QuantLinear)]
    shares = [float((m.quant_weight().value != 0).float().mean()) for m in layers]
    assert min(shares) > 0.3
    assert max(shares) < 0.9


def test_towards_float_the_norm_of_the_logits_is_folded(digits: DataSet) -> None:
    images = digits.train.images[:64] / 255
    torch.manual_seed(0)
    source = settled(steps(build_model("CNV_8W8A", width=0.25), (8, 3, 32, 32)), images)
    model = build_model("CNV_FLOAT", width=0.25)
    initialise_from(model, source.state_dict(), build_model("CNV_8W8A", width=0.25))
    assert alike(model, source, images) > 0.97
    expected, found = logits(source, images), logits(model, images)
    assert float(found.std()) == pytest.approx(float(expected.std()), rel=0.05)
    assert float(found.mean()) == pytest.approx(float(expected.mean()), abs=0.1 * float(expected.std()))


# -- digits: measurably better than a fresh start ------------------------------------------------------------------


def fit(model: Network, data: DataSet, epochs: int, count: int = 300) -> Network:
    images, targets = data.train.images[:count] / 255, 2 * F.one_hot(data.train.labels[:count], 10).float() - 1
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        model.train()
        for batch in torch.randperm(len(images), generator=order).split(50):
            loss = (1 - targets[batch] * model(images[batch])).clamp(min=0).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.clip_weights()
    return model


def accuracy(model: nn.Module, data: DataSet) -> float:
    return 100 * float((logits(model, data.test.images / 255).argmax(1) == data.test.labels).float().mean())


def seeded(name: str) -> Network:
    torch.manual_seed(1)
    return build_model(name, width=0.25)


@pytest.mark.slow
def test_each_step_down_in_bits_beats_a_fresh_network_after_one_epoch(digits: DataSet) -> None:
    source, name = fit(seeded("CNV_FLOAT"), digits, 4, count=800), "CNV_FLOAT"
    floats = copy.deepcopy(source)
    margins = {}
    for bits in (8, 4, 2, 1):
        lower = f"CNV_{bits}W{bits}A"
        model, before, fresh = seeded(lower), accuracy(source, digits), accuracy(fit(seeded(lower), digits, 1), digits)
        initialise_from(model, source.state_dict(), seeded(name))
        if bits >= 4:
            assert accuracy(model, digits) > before - 6  # nothing was trained since
        margins[lower] = accuracy(fit(model, digits, 1), digits) - fresh
        if bits == 4:
            straight = seeded(lower)
            initialise_from(straight, floats.state_dict())
            margins["float to 4"] = accuracy(fit(straight, digits, 1), digits) - fresh
        source, name = model, lower
    assert min(margins.values()) > 8, margins


# -- runs and the command line -------------------------------------------------------------------------------------

SMALL = ["--data=digits", "--width=0.125", "--train-size=60", "--validation-size=40", "--batch-size=20", "--epochs=1"]


@pytest.fixture(scope="module")
def float_run(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]) -> Path:
    out = tmp_path_factory.mktemp("source") / "float"
    train_recipe(tiny(network="CNV_FLOAT"), out)
    return out


def test_a_run_starts_from_another_and_records_it(cli: Callable, float_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = cli("train", "CNV_4W4A", *SMALL, "--init-from", float_run, "--out", out)
    assert done.status == 0, done.err
    assert f"init_from: {float_run}" in (out / "recipe.yaml").read_text()
    start = read_records(out)[0]["start"]
    best = float_run / checkpoint.BEST
    assert start["sha256"] == hashlib.sha256(best.read_bytes()).hexdigest()
    assert start["network"] == "CNV_FLOAT"
    assert start["result"]["test_accuracy"] == read_records(float_run)[-1]["test_accuracy"]


def test_a_run_that_goes_on_needs_the_source_no_more(
    float_run: Path, tiny: Callable[..., Recipe], few_digits: DataSet, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(float_run, source)
    recipe = tiny(network="CNV_4W4A", init_from=str(source))
    whole = train_recipe(recipe, tmp_path / "whole")
    left = iter([False] * 3 + [True])
    model, start = initial_model(recipe)
    with pytest.raises(Interrupted):
        train(model, recipe, tmp_path / "parts", start=start, context=RunContext(stop=lambda: next(left)))
    shutil.rmtree(source)
    assert vars(resume_run(tmp_path / "parts")) | {"seconds": 0} == vars(whole) | {"seconds": 0}
    assert read_records(tmp_path / "parts")[0]["start"] == start


def test_a_run_that_never_began_starts_from_the_same_weights_or_not_at_all(
    float_run: Path, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    source, out = tmp_path / "source", tmp_path / "run"
    shutil.copytree(float_run, source)
    recipe = tiny(network="CNV_4W4A", init_from=str(source))
    whole = train_recipe(recipe, out)
    (out / checkpoint.LAST).unlink()  # as a kill in the first epoch leaves it
    (out / checkpoint.BEST).unlink()
    run = json.dumps(read_records(out)[0]) + "\n"
    (out / "records.jsonl").write_text(run)
    torch.save(model_of(tiny(network="CNV_FLOAT")).state_dict(), tmp_path / "other.pt")
    kept = (source / checkpoint.BEST).read_bytes()
    state = torch.load(source / checkpoint.BEST, weights_only=True)
    checkpoint.save(source / checkpoint.BEST, {**state, "epoch": 99})
    with pytest.raises(UserError, match=r"has changed since .* began"):
        resume_run(out)
    (source / checkpoint.BEST).write_bytes(kept)
    assert vars(resume_run(out)) | {"seconds": 0} == vars(whole) | {"seconds": 0}


@pytest.mark.parametrize("kind", ["state dict", "checkpoint", "bnn_pynq"])
def test_files_of_weights_are_a_start_too(kind: str, cli: Callable, float_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    network, options = "CNV_8W8A", SMALL
    if kind == "state dict":
        torch.save(torch.load(float_run / checkpoint.BEST, weights_only=True)["model"], file)
    elif kind == "checkpoint":
        shutil.copy(float_run / checkpoint.LAST, file)
    else:
        torch.save({"state_dict": pynq_module("CNV").CNV(10, 1, 1, 8, 3).state_dict()}, file)
        network, options = (
            "CNV_1W1A",
            [
                "--data=digits",
                "--width=1.0",
                "--train-size=20",
                "--validation-size=20",
                "--batch-size=20",
                "--epochs=1",
            ],
        )
    done = cli("train", network, *options, "--init-from", file, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    assert len(read_records(tmp_path / "run")[0]["start"]["sha256"]) == 64


def test_the_command_line_names_the_width_of_a_checkpoint_of_bnn_pynq(cli: Callable, tmp_path: Path) -> None:
    torch.save({"state_dict": pynq_module("CNV").CNV(10, 1, 1, 8, 3).state_dict()}, tmp_path / "cnv.pth")
    out = cli("train", "CNV_1W1A", "--data=digits", "--init-from", tmp_path / "cnv.pth", "--out", tmp_path / "run")
    assert (out.status, out.err.count("\n")) == (2, 1)
    assert "CNV_1W1A cannot start from" in out.err
    assert "give --width 1\n" in out.err


class _Evil:
    def __reduce__(self) -> tuple:
        return (print, ("executed",))


@pytest.fixture
def places(float_run: Path, tmp_path: Path) -> Path:
    (tmp_path / "float").symlink_to(float_run)
    (tmp_path / "folder").mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "recipe.yaml").write_text((float_run / "recipe.yaml").read_text())
    (tmp_path / "damaged.pt").write_bytes((float_run / checkpoint.BEST).read_bytes()[:1000])
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(_Evil()))
    torch.save({"epoch": 1}, tmp_path / "empty.pt")
    torch.save({"recipe": {"network": "CNV_FLOAT", "width": -1}, "model": {}}, tmp_path / "recipe.pt")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["CNV_4W4A", "--init-from", "nowhere"], ["nowhere does not exist", "--init-from"]),
        (["CNV_4W4A", "--init-from", "folder"], ["folder is not a run folder"]),
        (["CNV_4W4A", "--init-from", "unfinished"], ["unfinished holds no best.pt yet; train it first"]),
        (["CNV_4W4A", "--init-from", "damaged.pt"], ["damaged.pt is damaged"]),
        (["CNV_4W4A", "--init-from", "text.pt"], ["text.pt is damaged, no file of torch.save"]),
        (["CNV_4W4A", "--init-from", "evil.pt"], ["holds more than tensors"]),
        (["CNV_4W4A", "--init-from", "empty.pt"], ["empty.pt holds no weights; name a run folder"]),
        (["CNV_4W4A", "--init-from", "recipe.pt"], ["recipe.pt: width must be above 0"]),
        (
            ["VGG11_4W4A", "--init-from", "float"],
            ["it is a run of CNV_FLOAT; take one of VGG11, at any bits or VGG11_FLOAT"],
        ),
        (
            ["CNV_4W4A", "--init-from", "float", "--width=0.25"],
            ["it has width 0.125, this run 0.25; give --width 0.125"],
        ),
        (["CNV_4W4A", "--init-from", "float", "--data=cifar100"], ["10 classes of digits, cifar100 has 100"]),
        (["CNV_4W4A", "--init-from", ""], ["init_from must be a run folder or a file of weights"]),
        (["CNV_4W4A", "--init-from", "float", "--resume", "float"], ["--resume", "leave out", "--init-from"]),
    ],
)
def test_each_mistake_is_one_line_and_leaves_nothing(
    words: list[str], fragments: list[str], cli: Callable, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places)
    extra = [] if "--resume" in words else [*SMALL, "--out", "run"]
    changed = {w.partition("=")[0] for w in words}
    outcome = cli("train", *(w for w in extra if w.partition("=")[0] not in changed), *words)
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("qtrain: ")
    assert outcome.err.count("\n") == 1
    assert "executed" not in outcome.out + outcome.err
    for fragment in fragments:
        assert fragment in outcome.err
    assert not (places / "run").exists()
