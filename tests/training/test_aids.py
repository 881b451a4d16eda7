"""Label smoothing, mixup, averaged weights, a teacher and AdamW: what each computes, and what is refused."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qtrain.data import DataSet, make_batches
from qtrain.data.mixup import label_shares
from qtrain.errors import UserError
from qtrain.experiments.lr_range import find_lr
from qtrain.experiments.model import model_of
from qtrain.experiments.run import load_run, resume_run, train_recipe
from qtrain.experiments.teacher import read_teacher
from qtrain.interrupt import Interrupted
from qtrain.recipe import Recipe, recipe_from_dict
from qtrain.records.runs import read_records
from qtrain.schedulers.catalogue import SCHEDULERS
from qtrain.training import checkpoint, evaluate, train
from qtrain.training.average import Average
from qtrain.training.context import RunContext
from qtrain.training.losses import LOSSES, soft_squared_hinge, squared_hinge, training_loss
from qtrain.training.methods.make import make_method
from qtrain.training.session import Session
from qtrain.training.setup import make_session
from qtrain.training.teacher import Teacher, distilled, teaching
from tests.checks import check_refusal

SMALL = ("--data=digits", "--width=0.125", "--train-size=60", "--validation-size=40", "--batch-size=20", "--epochs=1")


@pytest.fixture
def logits() -> Tensor:
    return 2 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 3, 1, 1, 2, 0])


# Losses


@pytest.mark.parametrize("loss", LOSSES)
def test_without_aids_a_step_has_the_recipes_loss(loss: str, tiny: Callable[..., Recipe]) -> None:
    assert training_loss(tiny(loss=loss, ema=0.9, optimizer="adamw")) is LOSSES[loss]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_smoothed_loss_is_the_mean_over_labels_that_are_another_class_now_and_then(
    loss: str, logits: Tensor, labels: Tensor, tiny: Callable[..., Recipe]
) -> None:
    share = 0.3
    found = training_loss(tiny(loss=loss, label_smoothing=share))(logits, labels)
    drawn = [LOSSES[loss](logits, torch.full_like(labels, label)) for label in range(4)]
    wanted = (1 - share) * LOSSES[loss](logits, labels) + share * torch.stack(drawn).mean()
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_of_mixed_labels_is_the_mixture_of_the_losses(
    loss: str, smoothing: float, logits: Tensor, labels: Tensor, tiny: Callable[..., Recipe]
) -> None:
    soft = training_loss(tiny(loss=loss, mixup=0.2, label_smoothing=smoothing))
    mixture = 0.7 * label_shares(labels, 4) + 0.3 * label_shares(labels.flip(0), 4)
    of_labels = training_loss(tiny(loss=loss, label_smoothing=smoothing))
    wanted = 0.7 * of_labels(logits, labels) + 0.3 * of_labels(logits, labels.flip(0))
    torch.testing.assert_close(soft(logits, mixture), wanted)


def test_the_squared_hinge_of_whole_labels_is_itself(logits: Tensor, labels: Tensor) -> None:
    torch.testing.assert_close(soft_squared_hinge(logits, labels, 0.0), squared_hinge(logits, labels))


@pytest.mark.parametrize("changes", [{"label_smoothing": 0.3}, {"mixup": 0.4}])
def test_a_run_is_validated_and_tested_by_the_plain_loss(
    changes: dict[str, Any], tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = tiny(loss="cross_entropy", epochs=1, **changes)
    model = model_of(recipe)
    train(model, recipe, tmp_path / "run", data=few_digits, built=True)
    _, epoch, result = read_records(tmp_path / "run")
    assert epoch["validation_loss"] == evaluate(model, few_digits.validation, F.cross_entropy).loss
    assert result["test_loss"] == evaluate(model, few_digits.test, F.cross_entropy).loss


# The average of the weights


def steps_of(session: Session, epochs: int) -> list[list[Tensor]]:
    """Train; the parameters behind each step."""
    seen = []
    for epoch in range(epochs):
        session.model.train()
        for _ in session.steps(F.cross_entropy):
            session.after_step()
            seen.append([parameter.detach().clone() for parameter in session.method.parameters()])
        session.next_epoch()
        assert session.at.epoch == epoch + 1
    return seen


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


def test_the_averaged_weights_are_judged_with_batchnorm_of_their_own_and_others_are_trained(
    tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = tiny(ema=0.8, optimizer="sgd", scheduler="constant")
    net = small()
    batches = make_batches(few_digits.train, 20, seed=0, augment=False, flip=False)
    session = make_session(net, recipe, batches)
    seen = steps_of(session, 2)
    assert len(seen) == 8
    wanted = seen[0]
    for number, weights in enumerate(seen[1:], 1):
        decay = min(0.8, (1 + number) / (10 + number))  # TensorFlow's num_updates
        wanted = [decay * mean + (1 - decay) * weight for mean, weight in zip(wanted, weights, strict=True)]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    with session.judged():
        for parameter, mean in zip(session.method.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.detach(), mean)
        features = torch.cat([net[1](net[0](images)) for images, _ in batches.epoch(2)])
        torch.testing.assert_close(net[2].running_mean, features.mean(0), rtol=1e-3, atol=1e-5)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_an_average_remembers_as_much_as_its_decay_says_in_the_end() -> None:
    average, weight = Average(0.9), torch.zeros(1)
    for _ in range(1000):
        average.add(nn.Identity(), [weight])
    weight.fill_(1)
    average.add(nn.Identity(), [weight])
    assert average.means[0].item() == pytest.approx(0.1)


class Collecting(nn.Module):
    """Brevitas' own activations, which collect statistics for some steps; one never sees an image."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.act = qnn.QuantReLU(bit_width=4, collect_stats_steps=steps)
        self.never = qnn.QuantReLU(bit_width=4)
        self.fc = nn.Linear(3 * 32 * 32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(x).flatten(1))


def test_the_average_begins_once_quantizers_have_their_ranges(tiny: Callable[..., Recipe], few_digits: DataSet) -> None:
    batches = make_batches(few_digits.train, 20, seed=0, augment=False, flip=False)
    session = make_session(Collecting(steps=5), tiny(ema=0.9, scheduler="constant"), batches)
    steps_of(session, 1)
    assert session.average is not None
    assert session.average.seen == 0
    before = [parameter.detach().clone() for parameter in session.method.parameters()]
    with session.judged():  # nothing is averaged yet
        assert all(torch.equal(a, b) for a, b in zip(before, session.method.parameters(), strict=True))
    steps_of_second = 0
    session.model.train()
    for _ in session.steps(F.cross_entropy):
        session.after_step()
        steps_of_second += 1
    assert session.average.seen == steps_of_second - 1  # the sixth step of all is the first with the learned range
    assert all(torch.isfinite(mean).all() for mean in session.average.means)


def test_what_is_validated_tested_and_exported_is_the_average(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = tiny(ema=0.9, epochs=1)
    model = model_of(recipe)
    result = train(model, recipe, tmp_path / "run", data=few_digits, built=True)
    best = checkpoint.load(tmp_path / "run" / checkpoint.BEST)["model"]
    last = checkpoint.load(tmp_path / "run" / checkpoint.LAST)
    moved = {name for name in best if not torch.equal(best[name], last["model"][name])}
    assert any(name.endswith("weight") for name in moved)
    assert any(name.endswith("running_mean") for name in moved)
    means = {tuple(mean.shape): mean for mean in last["average"]["means"]}
    assert torch.equal(best["conv1.weight"], means[tuple(best["conv1.weight"].shape)])
    _, exported = load_run(tmp_path / "run")  # as the export reads it
    assert evaluate(exported, few_digits.validation, LOSSES[recipe.loss]).accuracy == result.validation_accuracy
    assert evaluate(exported, few_digits.test, LOSSES[recipe.loss]).accuracy == result.test_accuracy


@pytest.mark.parametrize("scheduler", SCHEDULERS.built_in)
def test_a_scheduler_with_an_average_of_its_own_is_refused_and_all_others_are_not(
    scheduler: str, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(scheduler=scheduler)
    own = type(make_method(model_of(recipe), recipe, 3)).judges_others is not False
    assert SCHEDULERS.get(scheduler).averages == own
    if own:
        with pytest.raises(UserError, match=f"ema is 0.9, but scheduler {scheduler} judges an average of its own"):
            recipe.replace(ema=0.9)
    else:
        assert recipe.replace(ema=0.9).ema == 0.9


def test_a_packages_method_that_judges_other_weights_is_refused_too(
    tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, few_digits: DataSet
) -> None:
    monkeypatch.setattr("qtrain.training.methods.scheduled.Scheduled.judges_others", True)
    batches = make_batches(few_digits.train, 20, seed=0, augment=False, flip=False)
    with pytest.raises(UserError, match=r"ema is 0.9, but scheduler constant judges weights of its own"):
        make_session(small(), tiny(ema=0.9, scheduler="constant"), batches)


# A teacher


def test_the_distilled_loss_is_the_papers(logits: Tensor, labels: Tensor) -> None:
    said = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    ours, theirs = (logits / 3).softmax(1), (said / 3).softmax(1)
    divergence = (theirs * (theirs / ours).log()).sum(1).mean()
    wanted = 0.2 * F.cross_entropy(logits, labels) + 0.8 * 9 * divergence
    torch.testing.assert_close(distilled(F.cross_entropy, said, 3.0, 0.8, logits, labels), wanted)
    assert distilled(F.cross_entropy, logits, 3.0, 1.0, logits, labels).item() == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]) -> Path:
    """Return a finished run at more width, whose quantizers are trained scales."""
    folder = tmp_path_factory.mktemp("teacher") / "wide"
    train_recipe(tiny(network="CNV_4W4A", width=0.25, scaling="learned", epochs=1), folder)
    return folder


def learning(tiny: Callable[..., Recipe], teacher: Path, **changes: Any) -> Recipe:
    return tiny(teacher=str(teacher), **{"epochs": 1} | changes)


def test_a_teacher_is_asked_once_a_step_about_the_steps_images_and_stays_as_it_is(
    taught: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = learning(tiny, taught, scheduler="armijo", mixup=0.3, augment=True)  # the search asks for many losses
    teacher = read_teacher(recipe)
    assert teacher is not None
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    classes = [type(module) for module in teacher.model.modules()]
    asked: list[Tensor] = []
    modes: list[tuple[bool, bool]] = []
    model = model_of(recipe)
    seen: list[Tensor] = []
    batches = make_batches(
        few_digits.train, 20, seed=0, augment=True, flip=False, mixup=0.3, classes=few_digits.classes
    )
    session = make_session(model, recipe, batches)
    with teaching(teacher, recipe, few_digits) as session.distillation:
        teacher.model.register_forward_hook(lambda module, inputs, _: asked.append(inputs[0].clone()))
        teacher.model.register_forward_hook(lambda module, *_: modes.append((module.training, torch.is_grad_enabled())))
        model.register_forward_hook(lambda module, inputs, _: seen.append(inputs[0].clone()))
        model.train()
        for _ in session.steps(training_loss(recipe)):
            session.after_step()
    assert len(asked) == len(batches)
    assert len(seen) > len(asked)
    assert all(any(torch.equal(images, other) for other in seen) for images in asked)
    assert set(modes) == {(False, False)}
    assert [type(module) for module in teacher.model.modules()] == classes
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())


def test_a_teacher_says_what_its_run_says(taught: Path, tiny: Callable[..., Recipe], few_digits: DataSet) -> None:
    """Its weights are quantized once, and its layers are the fast ones: the logits are Brevitas'."""
    recipe = learning(tiny, taught)
    _, own = load_run(taught)
    images = few_digits.test.take(20).images.float() / 255
    wanted = own(images).detach()
    with teaching(read_teacher(recipe), recipe, few_digits) as distillation:
        assert distillation is not None
        for _ in range(2):
            loss = distillation.loss(lambda logits, labels: logits.sum() * 0, images)
            labels = torch.zeros(20, dtype=torch.int64)
            assert loss(wanted, labels).item() == pytest.approx(0, abs=1e-5)
            assert loss(wanted.flip(0), labels).item() > 1e-4


def test_a_run_records_its_teacher_and_learns_otherwise_than_without(
    taught: Path, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = learning(tiny, taught)
    train_recipe(recipe, tmp_path / "taught")
    train_recipe(recipe.replace(teacher=None), tmp_path / "alone")
    run, epoch, _ = read_records(tmp_path / "taught")
    assert run["teacher"]["path"] == str(taught)
    assert len(run["teacher"]["sha256"]) == 64
    assert run["teacher"]["network"] == "CNV_4W4A"
    alone = read_records(tmp_path / "alone")
    assert "teacher" not in alone[0]
    assert epoch["loss"] != alone[1]["loss"]


def stopped(recipe: Recipe, out: Path, steps: int = 2) -> None:
    left = iter([False] * (steps - 1) + [True])
    with pytest.raises(Interrupted):
        train_recipe(recipe, out, RunContext(stop=lambda: next(left)))


def test_a_run_that_goes_on_refuses_a_teacher_that_has_changed_or_gone(
    taught: Path, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "run"
    shutil.copytree(taught, teacher)
    stopped(learning(tiny, teacher), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    kept = (teacher / checkpoint.BEST).read_bytes()
    state = torch.load(teacher / checkpoint.BEST, weights_only=True)
    checkpoint.save(teacher / checkpoint.BEST, {**state, "epoch": 99})
    with pytest.raises(UserError, match=r"the teacher .* has changed since .* began; put its old weights there"):
        resume_run(out)
    (teacher / checkpoint.BEST).unlink()
    with pytest.raises(UserError, match=r"cannot learn from .*: .* holds no best.pt yet"):
        resume_run(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (teacher / checkpoint.BEST).write_bytes(kept)
    ended = resume_run(out)
    shutil.rmtree(teacher)
    assert resume_run(out) == ended  # which needs it no more


def test_a_run_that_never_began_asks_for_its_teacher_again(
    taught: Path, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "run"
    shutil.copytree(taught, teacher)
    whole = train_recipe(learning(tiny, teacher), out)
    for name in (checkpoint.LAST, checkpoint.BEST):  # as a kill in the first epoch leaves it
        (out / name).unlink()
    (out / "records.jsonl").write_text(json.dumps(read_records(out)[0]) + "\n")
    state = torch.load(teacher / checkpoint.BEST, weights_only=True)
    kept = (teacher / checkpoint.BEST).read_bytes()
    checkpoint.save(teacher / checkpoint.BEST, {**state, "epoch": 99})
    with pytest.raises(UserError, match="has changed since"):
        resume_run(out)
    (teacher / checkpoint.BEST).write_bytes(kept)
    assert vars(resume_run(out)) | {"seconds": 0} == vars(whole) | {"seconds": 0}


def test_train_is_given_a_teacher_where_the_recipe_names_one_and_only_there(
    tiny: Callable[..., Recipe], few_digits: DataSet, tmp_path: Path
) -> None:
    recipe = tiny(teacher="runs/wide")
    with pytest.raises(UserError, match="the recipe learns from runs/wide, but train was given no teacher"):
        train(model_of(recipe), recipe, tmp_path / "run", data=few_digits)
    teacher = Teacher(small(), {"path": "mine", "sha256": "0"})
    with pytest.raises(UserError, match="given a teacher, but the recipe names none"):
        train(model_of(tiny()), tiny(), tmp_path / "run", data=few_digits, teacher=teacher)
    other = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7)), teacher.facts)
    with pytest.raises(UserError, match=r"the teacher mine cannot teach here: .* \[2, 7\] for 2 images"):
        train(model_of(recipe), recipe, tmp_path / "run", data=few_digits, teacher=other)
    assert not any(tmp_path.iterdir())


def test_a_network_whose_parameters_are_frozen_may_teach(
    tiny: Callable[..., Recipe], few_digits: DataSet, tmp_path: Path
) -> None:
    teacher = Teacher(small().requires_grad_(False), {"path": "mine", "sha256": "0"})
    recipe = tiny(teacher="mine", epochs=1)
    train(model_of(recipe), recipe, tmp_path / "run", data=few_digits, teacher=teacher)
    assert read_records(tmp_path / "run")[0]["teacher"] == teacher.facts
    assert teacher.model.training


@pytest.fixture
def places(taught: Path, tmp_path: Path) -> Path:
    """Return a folder of runs that cannot teach digits, and of one that can."""
    (tmp_path / "wide").symlink_to(taught)
    (tmp_path / "folder").mkdir()
    for name, field in (("unfinished", None), ("fashion", "fashion_mnist"), ("cifar", "cifar10"), ("mnist", "mnist")):
        (tmp_path / name).mkdir()
        text = (taught / "recipe.yaml").read_text()
        text = text if field is None else text.replace("data: digits", f"data: {field}")
        (tmp_path / name / "recipe.yaml").write_text(text)
    shutil.copytree(taught, tmp_path / "damaged")
    (tmp_path / "damaged" / checkpoint.BEST).write_bytes((taught / checkpoint.BEST).read_bytes()[:1000])
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--teacher=nowhere"], "CNV_1W1A cannot learn from nowhere: nowhere is not a run folder"),
        (["--teacher=folder"], "folder is not a run folder"),
        (["--teacher=unfinished"], "holds no best.pt yet; train it first, or name a run folder with --teacher"),
        (["--teacher=damaged"], "damaged/best.pt is damaged"),
        (["--teacher=cifar"], "the 10 classes of cifar10 are not the 10 of digits; take a teacher"),
        (["--teacher=fashion"], "the 10 classes of fashion_mnist are not the 10 of digits"),
        (["--teacher=mnist"], "its inputs are 1 x 28 x 28 of mnist, here they are 3 x 32 x 32 of digits"),
        (["--teacher="], "teacher must be a run folder, but got ''"),
        (["--teacher=wide", "--teacher-temperature=0"], "teacher_temperature must be from 0.01 to 1000, but got 0"),
        (["--teacher=wide", "--resume=wide"], "leave out --teacher"),
        (["--ema=0.9", "--scheduler=aslr_average"], "ema is 0.9, but scheduler aslr_average judges an average"),
        (["--ema=1"], "ema must be from 0 to below 1, but got 1"),
    ],
)
def test_each_mistake_is_one_line_and_leaves_nothing(
    words: list[str], says: str, cli: Callable, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places)
    more = [] if any(word.startswith("--resume") for word in words) else [*SMALL, "--out=run"]
    check_refusal(cli("train", *([] if not more else ["CNV_1W1A"]), *more, *words), 2, says)
    assert not (places / "run").exists()


# AdamW


def test_adamw_takes_a_share_of_the_weights_away_and_is_adam_without(tiny: Callable[..., Recipe]) -> None:
    gradients = [torch.randn(1, generator=torch.Generator().manual_seed(step)) for step in range(3)]

    def behind(optimizer: str, decay: float) -> float:
        net = nn.Linear(1, 1, bias=False)
        net.weight.data.fill_(2.0)
        recipe = tiny(optimizer=optimizer, weight_decay=decay, lr=0.1, scheduler="constant")
        found = make_method(net, recipe, 3).optimizer
        for gradient in gradients[:1]:
            net.weight.grad = gradient[None].clone()
            found.step()
        return net.weight.item()

    assert behind("adamw", 0.0) == behind("adam", 0.0)
    step = behind("adamw", 0.0) - 2.0
    assert behind("adamw", 0.5) == pytest.approx(2.0 - 0.1 * 0.5 * 2.0 + step)
    assert behind("adam", 0.5) == pytest.approx(1.9, abs=1e-3)  # the gradient's sign alone counts


@pytest.mark.parametrize(
    ("scheduler", "decoupled"), [("dadaptation", {"adam": False, "adamw": True}), ("schedulefree", {})]
)
def test_rivals_know_adamw(scheduler: str, decoupled: dict[str, bool], tiny: Callable[..., Recipe]) -> None:
    kinds = {
        name: make_method(small(), tiny(scheduler=scheduler, optimizer=name), 3).optimizer
        for name in ("sgd", "adam", "adamw")
    }
    assert type(kinds["adam"]) is type(kinds["adamw"]) is not type(kinds["sgd"])
    for name, value in decoupled.items():
        assert all(group["decouple"] == value for group in kinds[name].param_groups)


# All of them


def losses_of_the_range_test(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Losses of its steps, whether or not so few of them find a usable rate."""
    losses: list[float] = []
    step = Session.step

    def seen(self: Session, *arguments: Any) -> Tensor:
        loss = step(self, *arguments)
        losses.append(float(loss))
        return loss

    with monkeypatch.context() as patch, suppress(UserError):
        patch.setattr(Session, "step", seen)
        find_lr(recipe, steps=8, every=1)
    assert len(losses) == 8
    return losses


def test_the_range_test_trains_by_the_loss_of_the_run(
    taught: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(loss="cross_entropy")
    plain = losses_of_the_range_test(recipe, monkeypatch)
    assert losses_of_the_range_test(recipe.replace(ema=0.9), monkeypatch) == plain  # nothing is averaged there
    aids: tuple[dict[str, Any], ...] = ({"label_smoothing": 0.1}, {"mixup": 0.3}, {"teacher": str(taught)})
    for changes in aids:
        assert losses_of_the_range_test(recipe.replace(**changes), monkeypatch)[0] != plain[0]


def test_a_recipe_of_an_earlier_version_has_no_aids(tiny: Callable[..., Recipe]) -> None:
    old = tiny().to_dict()
    for name in ("label_smoothing", "mixup", "ema", "teacher", "teacher_temperature", "teacher_weight"):
        del old[name]
    assert recipe_from_dict(old, "here") == tiny()


def test_without_an_average_a_checkpoint_holds_what_it_held_before_there_was_one(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = tiny()
    left = iter([False, True])
    context = RunContext(stop=lambda: next(left))
    with pytest.raises(Interrupted):
        train(model_of(recipe), recipe, tmp_path / "run", context, data=few_digits)
    state = checkpoint.load(tmp_path / "run" / checkpoint.LAST)
    assert set(state) == {"format", "recipe", "model", "hidden", "method", "position", "rng", "cuda_rng"}
