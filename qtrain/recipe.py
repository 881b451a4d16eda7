"""A recipe: everything that decides a run's weights, checked when it is made, written as YAML."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

from qtrain.data.catalogue import DATASETS
from qtrain.data.options import DataOptions, Layout, parse_kinds, parse_range, parse_size
from qtrain.errors import UserError, closest
from qtrain.recipe_checks import (
    LONGEST,
    are_named,
    check,
    check_choice,
    check_whole,
    cut,
    is_factor,
    is_number,
    is_plain,
    short,
)
from qtrain.records.plain_yaml import YamlError, dump_yaml, load_yaml
from qtrain.schedulers.catalogue import DEFAULT, SCHEDULERS

Optimizer = Literal["sgd", "nag", "adam", "adamw"]
Baseline = Literal["multistep", "cosine"]
Loss = Literal["squared_hinge", "cross_entropy"]
Protocol = Literal["holdout", "paper"]
Scaling = Literal["auto", "constant", "learned", "statistics"]
Precision = Literal["exact", "fast"]
AUTO = "auto"
OWN = "own"  # in place of a data set's name, in the shipped recipe for data of one's own

# Numbers of the training aids: what is good, and in words.
_AIDS: dict[str, tuple[Callable[[float], bool], str]] = {
    "label_smoothing": (lambda share: 0 <= share < 1, "from 0 to below 1"),
    "mixup": (lambda alpha: alpha == 0 or 0.001 <= alpha <= 100, "0, or from 0.001 to 100"),
    "ema": (lambda share: 0 <= share < 1, "from 0 to below 1"),
    "teacher_temperature": (lambda divisor: 0.01 <= divisor <= 1000, "from 0.01 to 1000"),
    "teacher_weight": (lambda share: 0 < share <= 1, "above 0, at most 1"),
}
MAX_WIDTH = 32  # CNV's widest layer then holds 2.4 GB of weights
_SHOWN = 20  # fields that an error lists
_LARGEST = sys.float_info.max
_CHOICES = {"optimizer": Optimizer, "baseline": Baseline, "loss": Loss, "protocol": Protocol, "scaling": Scaling}
_CHOICES |= {"precision": Precision}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run's weights.

    Attributes:
        network: name with its bit widths, e.g. CNV_1W1A or cnv-w1a1; or a module of your own, my_module:Net_4W4A.
        data: data set such as digits or cifar10, a folder of images, an .npz file, or my_module:load.
        epochs: passes over the training split.
        batch_size: images a step.
        optimizer: sgd (with momentum), nag (with Nesterov's), adam, or adamw (adam with decoupled weight decay).
        lr: learning rate at the start; for ASLR the only number there is to choose. auto asks the range test.
        momentum: of sgd and nag.
        weight_decay: L2 penalty on all parameters; of adamw the share of them, times the rate, that a step takes away.
        scheduler: what moves the learning rate; docs/schedulers.md says what each name does.
        scheduler_options: the scheduler's own numbers where they are not to be its defaults, as in {patience: 5}.
        baseline: the hand-tuned schedule that this recipe is for, which ASLR is compared with.
        milestones: multistep lowers the rate at these fractions of the epochs.
        gamma: multistep's factor at each milestone, or a list with one factor for each.
        loss: squared_hinge (bnn_pynq's, targets -1 and 1) or cross_entropy.
        label_smoothing: share of every label that is spread evenly over all classes while training; 0 for none.
        mixup: mixes pairs of training images and their labels by shares from Beta(mixup, mixup), as in 0.2; 0 for none.
        ema: share that a step keeps of the weights' average, as in 0.999, which is judged and exported; 0 for none.
        teacher: run folder of a trained network of the same classes and inputs whose logits are learned too.
        teacher_temperature: divides the teacher's and the own logits before they are compared.
        teacher_weight: the teacher's share of the loss; the rest is the labels'.
        seed: of initial weights, splits, batches and draws.
        split_seed: draws the validation split and the subset of train_size in place of seed: the same for all seeds.
        protocol: holdout validates on a part of the training set; paper on the test set, as the ASLR paper did.
        validation_size: images held out; by default the data set's usual number.
        train_size: use only so many training images; by default all.
        augment: change the training inputs at random; how, augmentation says.
        augmentation: none, or some of crop (by up to 4 pixels), flip, noise; by default what is usual for the data.
        jitter: with augment, brightness, contrast and saturation change by up to this share.
        noise: with augmentation noise, its standard deviation as a share of the range.
        width: multiplies the network's channel counts.
        bits: other bits for single layers, as in first=8,last=8,stage2.*=4.
        input_bits: of the network's first quantizer.
        scaling: where quantizers' ranges come from: constant, learned, statistics, or auto (the network's own choice).
        power_of_two: round the scales of 2 bits and more to powers of two.
        per_channel: weights with one scale for each output channel.
        precision: of training's products: exact is Brevitas' float32; fast multiplies integers in few bits.
        compile: train through torch.compile, where that works.
        early_stop: end the run after so many epochs in a row without a better validation accuracy; by default never.
        init_from: run folder or file of weights to start from, read once; by default weights are drawn.
        net_args: arguments of a network of your own, as in {depth: 3}.
        image_size: of a folder of images: pixels such as 48, or 32x64 (height x width), that all are brought to.
        channels: of data of your own: 1 or 3 for a folder of images, what arrays must have.
        layout: of arrays: NCHW or NHWC (images), NHW (one channel), NCL (signals), NF (rows).
        value_range: of values that are no bytes, the lowest and highest there may be, as in -1,1.
    """

    network: str
    data: str = "cifar10"
    epochs: int = 100
    batch_size: int = 100
    optimizer: Optimizer = "sgd"
    lr: float | Literal["auto"] = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    scheduler: str = DEFAULT
    scheduler_options: dict[str, Any] = field(default_factory=dict, hash=False)
    baseline: Baseline = "multistep"
    milestones: tuple[float, ...] = (0.5, 0.75, 0.9)
    gamma: float | tuple[float, ...] = 0.1
    loss: Loss = "squared_hinge"
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema: float = 0.0
    teacher: str | None = None
    teacher_temperature: float = 4.0
    teacher_weight: float = 0.9
    seed: int = 0
    split_seed: int | None = None
    protocol: Protocol = "holdout"
    validation_size: int | None = None
    train_size: int | None = None
    augment: bool = True
    augmentation: str | None = None
    jitter: float = 0.0
    noise: float = 0.02
    width: float = 1.0
    bits: str = ""
    input_bits: int = 8
    scaling: Scaling = "auto"
    power_of_two: bool = False
    per_channel: bool = False
    precision: Precision = "exact"
    compile: bool = False
    early_stop: int | None = None
    init_from: str | None = None
    net_args: dict[str, Any] = field(default_factory=dict, hash=False)
    image_size: int | str | None = None
    channels: int | None = None
    layout: Layout | None = None
    value_range: tuple[float, float] | str | None = None

    def __post_init__(self) -> None:
        for name in ("network", "data"):
            check(name, getattr(self, name), isinstance(getattr(self, name), str), "a name")
        check_whole("epochs", self.epochs, 1)
        check_whole("batch_size", self.batch_size, 2)
        check_whole("seed", self.seed, 0, 2**32 - 1)
        if self.split_seed is not None:
            check_whole("split_seed", self.split_seed, 0, 2**32 - 1)
        check_whole("input_bits", self.input_bits, 1, 8)
        for name in ("validation_size", "train_size", "early_stop"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        for name in ("lr", "momentum", "weight_decay", "jitter", "noise", "width", *_AIDS):
            value = getattr(self, name)
            if isinstance(value, Real) and not isinstance(value, int | float):  # a scalar of NumPy's
                object.__setattr__(self, name, float(value))
        if self.lr != AUTO:
            good = is_number(self.lr) and 0 < self.lr <= _LARGEST  # type: ignore[operator]  # no text is a number
            self._set("lr", good, "a number above 0, or auto")
        self._set("momentum", is_number(self.momentum) and 0 <= self.momentum < 1, "from 0 to below 1")
        self._set("weight_decay", is_number(self.weight_decay) and 0 <= self.weight_decay <= _LARGEST, "0 or more")
        self._set("jitter", is_number(self.jitter) and 0 <= self.jitter <= 1, "from 0 to 1")
        self._set("noise", is_number(self.noise) and 0 <= self.noise <= 1, "from 0 to 1")
        self._set("width", is_number(self.width) and 0 < self.width <= MAX_WIDTH, f"above 0, at most {MAX_WIDTH}")
        steps = self.milestones
        good = isinstance(steps, list | tuple) and all(is_number(m) and 0 < m < 1 for m in steps)
        check(
            "milestones",
            list(steps) if isinstance(steps, tuple) else steps,
            good,
            "a list of fractions between 0 and 1",
        )
        object.__setattr__(self, "milestones", tuple(float(m) for m in steps))
        self._set_gamma()
        options = self.scheduler_options
        check("scheduler_options", options, are_named(options), "names with values such as {patience: 5}")
        for name in ("augment", "power_of_two", "per_channel", "compile"):
            check(name, getattr(self, name), isinstance(getattr(self, name), bool), "true or false")
        check("bits", self.bits, isinstance(self.bits, str), "text such as first=8,last=8")
        named = self.init_from is None or (isinstance(self.init_from, str) and bool(self.init_from.strip()))
        check("init_from", self.init_from, named, "a run folder or a file of weights")
        SCHEDULERS.check(self.scheduler)
        for name, kind in _CHOICES.items():
            value = getattr(self, name)
            allowed = get_args(kind)
            check_choice(name, value, allowed)
        self._check_aids()
        self._check_own()

    def _check_aids(self) -> None:
        """Check what helps training beside optimizer, schedule and augmentation."""
        for name, (good, allowed) in _AIDS.items():
            value = getattr(self, name)
            self._set(name, is_number(value) and good(value), allowed)
        named = self.teacher is None or (isinstance(self.teacher, str) and bool(self.teacher.strip()))
        check("teacher", self.teacher, named, "a run folder")
        if self.ema and SCHEDULERS.get(self.scheduler).averages:
            raise UserError(
                f"ema is {self.ema:g}, but scheduler {self.scheduler} judges an average of its own; leave ema out, or "
                f"choose another scheduler, such as {DEFAULT}"
            )

    def _check_own(self) -> None:
        """Check what is said of data and networks of one's own."""
        arguments = self.net_args
        check("net_args", arguments, are_named(arguments), "names with values such as {depth: 3}")
        check("augmentation", self.augmentation, isinstance(self.augmentation, str | None), "text such as crop,flip")
        if self.augmentation is not None:
            parse_kinds(self.augmentation)
        parse_size(self.image_size)
        if self.channels is not None:
            check_whole("channels", self.channels, 1)
        if self.layout is not None:
            check_choice("layout", self.layout, get_args(Layout))
        object.__setattr__(self, "value_range", parse_range(self.value_range))

    def _set_gamma(self) -> None:
        if not isinstance(self.gamma, list | tuple):
            self._set("gamma", is_factor(self.gamma), "above 0, at most 1")
            return
        good = all(map(is_factor, self.gamma)) and len(self.gamma) == len(self.milestones)
        allowed = f"one factor above 0, at most 1, for each of the {len(self.milestones)} milestones"
        check("gamma", list(self.gamma), good, allowed)
        object.__setattr__(self, "gamma", tuple(float(factor) for factor in self.gamma))

    def _set(self, name: str, good: bool, allowed: str) -> None:
        """Check a number and keep it as a float, so that 1 and 1.0 make the same run."""
        check(name, getattr(self, name), good, allowed)
        object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def rate(self) -> float:
        """The learning rate as a number.

        Raises:
            UserError: it is auto, which ``qtrain.experiments`` replaces before it trains.
        """
        if isinstance(self.lr, str):
            raise UserError("lr is auto, and training needs a number; take qtrain.experiments.lr_range.resolve_lr's")
        return self.lr

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """The kinds of augmentation that are asked for; None for what is usual for the data."""
        return None if self.augmentation is None else parse_kinds(self.augmentation)

    @property
    def data_options(self) -> DataOptions:
        """How data of one's own are read."""
        size = parse_size(self.image_size)
        return DataOptions(size, self.channels, self.layout, parse_range(self.value_range))

    @property
    def splits(self) -> int:
        """The seed of the validation split and of the subset."""
        return self.seed if self.split_seed is None else self.split_seed

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, as written to YAML, records and checkpoints."""
        values = dataclasses.asdict(self)
        for name in ("milestones", "gamma", "value_range"):
            if isinstance(values[name], tuple):
                values[name] = list(values[name])
        return values

    @staticmethod
    def defaults() -> dict[str, Any]:
        """Return the value of every field that has a default, as plain values."""
        return dict(_DEFAULTS)

    def replace(self, **changes: Any) -> "Recipe":
        """Return a copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)


_DEFAULTS = Recipe("").to_dict()


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What ``found`` has otherwise than ``wanted``, recipes as plain values: ``lr 0.1 instead of 0.02``.

    A field that ``found`` lacks is newer than its run and has its default.
    """
    found = {**_DEFAULTS, **found}
    differ = [name for name in wanted if not is_plain(found.get(name)) or found.get(name) != wanted[name]]
    return ", ".join(f"{name} {cut(found.get(name))} instead of {cut(wanted[name])}" for name in differ)


def recipe_from_dict(values: Any, origin: str) -> Recipe:
    """Make a recipe of plain values.

    Args:
        values: field names with their values.
        origin: where they come from, for the error.

    Raises:
        UserError: not a mapping, unknown or missing fields, values of the wrong type or out of range.
    """
    if not isinstance(values, dict):
        raise UserError(f"{origin} holds no recipe; it must map field names to values")
    known = [f.name for f in dataclasses.fields(Recipe)]
    unknown = [short(name) if not isinstance(name, str) else name[:LONGEST] for name in values if name not in known]
    if unknown:
        close = closest(unknown[0], known)
        hint = f"did you mean {close}? " if close else ""
        shown = f"{', '.join(known[:_SHOWN])} and {len(known) - _SHOWN} more, which qtrain train --help lists"
        raise UserError(f"{origin} has no field {', '.join(unknown)}; {hint}fields are {shown}")
    if "network" not in values:
        raise UserError(f"{origin} names no network; add one, for instance network: CNV_1W1A")
    try:
        return Recipe(**values)
    except UserError as error:
        raise UserError(f"{origin}: {error}") from None


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from a YAML file.

    Raises:
        UserError: no such file, not YAML, or not a recipe.
    """
    try:
        values = load_yaml(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist") from None
    except YamlError as error:
        raise UserError(f"{path}, {error}" if error.line else f"{path} is not YAML: {error}") from None
    return recipe_from_dict(values, str(path))


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML; ``load_recipe`` reads it back equal."""
    return dump_yaml(recipe.to_dict())


def shipped_recipes() -> dict[tuple[str, str], Path]:
    """Map (network family in lower case or "any", data set) to the YAML file that ships with qtrain."""
    folder = Path(str(resources.files("qtrain.recipes")))
    return {tuple(path.stem.rsplit("-", 1)): path for path in sorted(folder.glob("*.yaml"))}  # type: ignore[misc]


def shipped_recipe(network: str, data: str) -> Path | None:
    """Return the YAML file that a network's defaults on a data set come from; None where a package's data have none.

    Data of one's own have one for all families, unless they are named as a data set that the family has one for:
    ``unsw_nb15.npz`` is for the recipe of that name.
    """
    family = network.replace("-", "_").rsplit("_", 1)[0].lower()
    shipped = shipped_recipes()
    path = shipped.get((family, data)) or shipped.get(("any", data))
    if path is not None or data in DATASETS:
        return path
    return shipped.get((family, Path(data).stem.lower())) or shipped["any", OWN]


def default_recipe(network: str, data: str) -> Recipe:
    """The shipped recipe of the network's family on the data set, at any bit width; else the data set's own.

    A package's data set brings a recipe in its row; the plain defaults where it brings none, which is warned of once.
    Data of one's own have one recipe for all, unless they are named as a data set that the family has one for.

    Raises:
        UserError: the package's recipe is none, or the package is broken.
    """
    path = shipped_recipe(network, data)
    if path is not None:
        return load_recipe(path).replace(network=network, data=data)
    plain = Recipe(network, data)
    fields = DATASETS.get(data).recipe
    if not fields:
        DATASETS.warn(
            f"{DATASETS.origin(data)} brings no recipe, so what is not given is qtrain's plain default, as in "
            f"{plain.epochs} epochs, {plain.optimizer} and lr {plain.rate:g}; --print-config shows all"
        )
    return recipe_from_dict({**fields, "network": network, "data": data}, f"recipe of the {DATASETS.origin(data)}")
