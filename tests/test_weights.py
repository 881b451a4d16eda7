"""Weights from elsewhere: bnn_pynq's checkpoints give its logits; a start from other weights beats a fresh one."""

import copy
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from brevitas.nn import QuantConv2d, QuantLinear
from torch import nn
from torch.nn import functional as F

from qtrain.data import DataSet, load_data
from qtrain.errors import UserError
from qtrain.experiments.run import initial_model, model_of, resume_run, train_recipe
from qtrain.export.pipeline import run_passes
from qtrain.export.reference import float64_reference
from qtrain.models import Network, build_model
from qtrain.models.quantizers import gaussian_range
from qtrain.models.ranges import best_range
from qtrain.models.resnet_pynq import PynqResNet, RuntimeReLU
from qtrain.models.warm_start import initialise_from
from qtrain.models.weights import load_pynq, plain_state
from qtrain.recipe import Recipe
from qtrain.training import Interrupted, checkpoint, train
from qtrain.training.records import read_records

MNIST = {"in_channels": 1, "image_size": 28}


def pynq_module(name: str) -> Any:
    return pytest.importorskip(f"brevitas_examples.bnn_pynq.models.{name}", reason="brevitas ships no examples")


def pynq_resnet(bits: int = 4, classes: int = 10) -> nn.Module:
    module = pynq_module("resnet")
    return module.QuantResNet(
        module.QuantBasicBlock, [2, 2, 2, 2], num_classes=classes, act_bit_width=bits, weight_bit_width=bits
    )


def steps(model: nn.Module, shape: tuple[int, ...], count: int = 2, lr: float = 0.01) -> nn.Module:
    """Train on noise, then let no norm have the statistics or the scale of a fresh one."""
    optimizer = torch.optim.SGD(model.parameters(), lr)
    for _ in range(count):
        loss = F.cross_entropy(model(torch.rand(shape)), torch.arange(shape[0]) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "running_var", None) is not None:
                for name, low, high in (("running_mean", 0.8, 1.2), ("running_var", 0.5, 1.5), ("weight", 0.5, 1.5)):
                    tensor = getattr(module, name)
                    tensor.mul_(torch.empty_like(tensor).uniform_(low, high))
                module.bias.add_(0.2 * torch.randn_like(module.bias))
    return model


def logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(images)


@pytest.mark.parametrize(("weight_bits", "act_bits"), [(1, 1), (1, 2), (2, 2), (4, 4)])
def test_cnv_checkpoint_gives_brevitas_logits(weight_bits: int, act_bits: int) -> None:
    torch.manual_seed(0)
    theirs = steps(pynq_module("CNV").CNV(10, weight_bits, act_bits, 8, 3), (8, 3, 32, 32))
    ours = build_model(f"CNV_{weight_bits}W{act_bits}A")
    load_pynq(ours, theirs.state_dict())
    images = torch.rand(8, 3, 32, 32)
    expected = logits(theirs, images)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits(ours, images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "hidden", "bits", "input_bits"),
    [("TFC", 64, 1, 1), ("TFC", 64, 2, 2), ("SFC", 256, 2, 2), ("LFC", 1024, 1, 1)],
)
def test_fully_connected_checkpoint_gives_brevitas_logits(family: str, hidden: int, bits: int, input_bits: int) -> None:
    torch.manual_seed(0)
    theirs = steps(pynq_module("FC").FC(10, bits, bits, input_bits, 1, [hidden] * 3), (16, 1, 28, 28))
    ours = build_model(f"{family}_{bits}W{bits}A", input_bits=input_bits, **MNIST)
    load_pynq(ours, theirs.state_dict())
    images = torch.rand(16, 1, 28, 28)
    torch.testing.assert_close(logits(ours, images), logits(theirs, images), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def trained_resnet() -> nn.Module:
    torch.manual_seed(0)
    return steps(pynq_resnet(), (2, 3, 32, 32))


def test_resnet18_checkpoint_gives_brevitas_logits(trained_resnet: nn.Module) -> None:
    ours = build_model("RESNET18_PYNQ_4W4A")
    load_pynq(ours, trained_resnet.state_dict())
    ranges = {m.range.value.item() for m in ours.modules() if isinstance(m, RuntimeReLU)}
    assert len(ranges) > 10  # each quantizer has its own
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(logits(ours, images), logits(trained_resnet, images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrap", ["trainer", "data_parallel", "both"])
def test_trainers_dict_and_data_parallels_prefix_are_taken_off(wrap: str) -> None:
    torch.manual_seed(0)
    theirs = steps(pynq_module("FC").FC(10, 1, 1, 1, 1, [64] * 3), (16, 1, 28, 28))
    state: dict[str, Any] = dict((theirs if wrap == "trainer" else nn.DataParallel(theirs)).state_dict())
    if wrap != "data_parallel":
        state = {"state_dict": state, "optim_dict": {}, "epoch": 3, "best_val_acc": 12.5}
    ours = build_model("TFC_1W1A", input_bits=1, **MNIST)
    load_pynq(ours, state)
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(logits(ours, images), logits(theirs, images), rtol=1e-5, atol=1e-5)


def test_a_resnet_checkpoint_is_refused_for_resnet18_which_is_another_function(trained_resnet: nn.Module) -> None:
    with pytest.raises(
        UserError, match=r"for instance RESNET18_PYNQ_4W4A, not for RESNET18_4W4A; its additions.* differ"
    ):
        load_pynq(build_model("RESNET18_4W4A", width=0.125), trained_resnet.state_dict())


def test_a_checkpoint_for_another_structure_names_what_to_build() -> None:
    state = pynq_module("FC").FC(10, 1, 1, 1, 1, [64] * 3).state_dict()
    with pytest.raises(UserError, match=r"bnn_pynq for TFC, SFC or LFC.* not for CNV_1W1A"):
        load_pynq(build_model("CNV_1W1A", width=0.125), state)


def _without(key: str) -> Callable[[dict], None]:
    return lambda state: state.pop(key)


def _with(key: str, value: torch.Tensor) -> Callable[[dict], None]:
    return lambda state: state.update({key: value})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without("features.6.weight"), r"lack fc2.weight \(and 0 more\) of TFC_1W1A"),
        (_with("features.99.weight", torch.zeros(1)), "hold features.99.weight"),
        (_with("extra", torch.zeros(1)), "hold extra"),
        (_with("features.14.weight", torch.zeros(100, 64)), "number of classes"),
        (_with("features.2.weight", torch.zeros(64, 3072)), "image size and channels"),
        (_with("features.2.weight", torch.zeros(128, 784)), r"is \[128, 784\] in the weights, \[64, 784\] in TFC_1W1A"),
    ],
)
def test_every_entry_is_accounted_for_and_a_refused_load_changes_nothing(spoil: Callable, message: str) -> None:
    state = dict(pynq_module("FC").FC(10, 1, 1, 1, 1, [64] * 3).state_dict())
    spoil(state)
    ours = build_model("TFC_1W1A", input_bits=1, **MNIST)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    for load in (load_pynq, initialise_from):
        with pytest.raises(UserError, match=message):
            load(ours, state)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


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


def test_the_command_line_names_the_width_of_a_checkpoint_of_bnn_pynq(cli: Callable, tmp_path: Path) -> None:
    torch.save({"state_dict": pynq_module("CNV").CNV(10, 1, 1, 8, 3).state_dict()}, tmp_path / "cnv.pth")
    out = cli("train", "CNV_1W1A", "--data=digits", "--init-from", tmp_path / "cnv.pth", "--out", tmp_path / "run")
    assert (out.status, out.err.count("\n")) == (2, 1)
    assert "CNV_1W1A cannot start from" in out.err
    assert "give --width 1\n" in out.err


def test_a_shared_quantizer_with_two_values_is_refused(trained_resnet: nn.Module) -> None:
    state = dict(trained_resnet.state_dict())
    key = next(name for name in state if "relu2" in name and name.endswith("value"))
    state[key] = state[key] + 1
    with pytest.raises(UserError, match="must be equal in the places that share it"):
        load_pynq(build_model("RESNET18_PYNQ_4W4A"), state)


def test_a_checkpoint_whose_quantizers_saw_no_image_is_refused() -> None:
    with pytest.raises(UserError, match=r"lack act1.*scaling_impl.value"):
        load_pynq(build_model("RESNET18_PYNQ_4W4A"), pynq_resnet().state_dict())


@pytest.mark.parametrize("content", [None, [], {}, {"a": 1}, {"state_dict": {}}, {1: torch.zeros(1)}, torch.zeros(2)])
def test_what_is_no_state_dict_is_refused(content: object) -> None:
    with pytest.raises(UserError, match="this file holds no weights; name a run folder"):
        plain_state(content, "this file")


def test_resnet18_pynq_trains_and_exports(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("RESNET18_PYNQ_2W4A", width=0.125)
    images, labels = torch.rand(10, 3, 32, 32), torch.arange(10)
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    pixels = (images[:4] * 255).round().to(torch.uint8)
    graph, checks = run_passes(model, float64_reference(model, pixels[:1] / 255), pixels, tmp_path / "stages")
    assert all(check.tensors > 40 for check in checks)  # convolutions, norms, additions, pool and logits
    assert {"stage1_block1_conv1", "stage2_block1_sum", "fc"} <= {node.name for node in graph.graph.node}
    assert {"Trunc", "Quant"} <= {node.op_type for node in graph.graph.node}


def test_resnet18_pynq_keeps_its_outer_layers_at_8_bits_unless_told_otherwise() -> None:
    def bits(model: Network) -> dict[str, int]:
        layers = dict(model.named_modules())
        return {path: int(layers[path].weight_quant.bit_width()) for path in ("conv1", "stage3.block2.conv1", "fc")}  # type: ignore[operator,union-attr]

    small = {"width": 0.125}
    assert bits(build_model("RESNET18_PYNQ_4W4A", **small)) == {"conv1": 8, "stage3.block2.conv1": 4, "fc": 8}
    changed = build_model("RESNET18_PYNQ_4W4A", bits="last=4w,stage3.*=2w", **small)
    assert bits(changed) == {"conv1": 8, "stage3.block2.conv1": 2, "fc": 4}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("RESNET18_PYNQ_FLOAT", {}, "quantized only"),
        ("RESNET18_PYNQ_4W4A", {"scaling": "learned"}, "leave out scaling"),
        ("RESNET18_PYNQ_4W4A", {"power_of_two": True}, "leave out scaling"),
        ("RESNET18_PYNQ_4W4A", {"per_channel": True}, "leave out scaling"),
        ("RESNET18_PYNQ_4W4A", {"input_bits": 4}, "leave out input_bits"),
    ],
)
def test_resnet18_pynq_refuses_what_it_has_not(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(name, width=0.125, **options)


def test_a_range_that_is_still_collected_goes_on_after_a_reload_as_if_nothing_was() -> None:
    torch.manual_seed(0)
    one = RuntimeReLU(4)
    batches = [torch.randn(64) * (i + 1) for i in range(6)]
    for batch in batches[:3]:
        one(batch)
    two = RuntimeReLU(4)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for batch in batches[3:]:
        assert torch.equal(one(batch).value, two(batch).value)
    assert torch.equal(one.eval()(batches[0]).value, two.eval()(batches[0]).value)
    fresh = RuntimeReLU(4)
    fresh.load_state_dict(RuntimeReLU(4).state_dict())  # Brevitas' own cannot load the state of a fresh one
    assert fresh.range.counter == 0


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
        train(model, recipe, tmp_path / "parts", stop=lambda: next(left), start=start)
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


def test_the_pynq_network_is_no_relative_of_resnet18() -> None:
    assert isinstance(build_model("RESNET18_PYNQ_4W4A", width=0.125), PynqResNet)
    with pytest.raises(UserError, match="which RESNET18_4W4A has not"):
        initialise_from(
            build_model("RESNET18_4W4A", width=0.125), build_model("RESNET18_PYNQ_4W4A", width=0.125).state_dict()
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


def test_what_is_not_bnn_pynqs_is_said_to_be_none() -> None:
    model = build_model("CNV_1W1A", width=0.125)
    with pytest.raises(UserError, match="no checkpoint of bnn_pynq"):
        load_pynq(model, model.state_dict())
