"""A recipe: everything that decides a run's weights, checked when it is made, written as YAML."""

import dataclasses
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from qtrain.errors import UserError

Optimizer = Literal["sgd", "adam"]
Scheduler = Literal["aslr", "multistep", "cosine", "constant"]
Loss = Literal["squared_hinge", "cross_entropy"]
Protocol = Literal["holdout", "paper"]
Scaling = Literal["constant", "learned"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run's weights.

    Attributes:
        network: name with its bit widths, e.g. CNV_1W1A or cnv-w1a1.
        data: data set: digits (embedded), cifar10 or cifar100.
        epochs: passes over the training split.
        batch_size: images a step.
        optimizer: sgd (with momentum) or adam.
        lr: learning rate at the start; for ASLR the only number there is to choose.
        momentum: of sgd.
        weight_decay: L2 penalty on all parameters.
        scheduler: aslr, multistep, cosine or constant.
        milestones: multistep lowers the rate at these fractions of the epochs.
        gamma: multistep's factor at each milestone.
        loss: squared_hinge (bnn_pynq's, targets -1 and 1) or cross_entropy.
        seed: of initial weights, splits, batches and draws.
        protocol: holdout validates on a part of the training set; paper on the test set, as the ASLR paper did.
        validation_size: images held out; None for the data set's usual number.
        train_size: use only so many training images; None for all.
        augment: random crops (padding 4) and, where labels allow it, flips.
        width: multiplies the network's channel counts.
        input_bits: of the network's first quantizer.
        scaling: constant or learned quantizer ranges.
    """

    network: str
    data: str = "cifar10"
    epochs: int = 100
    batch_size: int = 100
    optimizer: Optimizer = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    scheduler: Scheduler = "aslr"
    milestones: tuple[float, ...] = (0.5, 0.75, 0.9)
    gamma: float = 0.1
    loss: Loss = "squared_hinge"
    seed: int = 0
    protocol: Protocol = "holdout"
    validation_size: int | None = None
    train_size: int | None = None
    augment: bool = True
    width: float = 1.0
    input_bits: int = 8
    scaling: Scaling = "constant"

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        _check("epochs", self.epochs, self.epochs >= 1, "1 or more")
        _check("batch_size", self.batch_size, self.batch_size >= 2, "2 or more")
        _check("lr", self.lr, 0 < self.lr < math.inf, "a number above 0")
        _check("momentum", self.momentum, 0 <= self.momentum < 1, "from 0 to below 1")
        _check("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "0 or more")
        _check("milestones", self.milestones, all(0 < m < 1 for m in self.milestones), "fractions between 0 and 1")
        _check("gamma", self.gamma, 0 < self.gamma <= 1, "above 0, at most 1")
        _check("seed", self.seed, 0 <= self.seed < 2**32, "from 0 to 2**32 - 1")
        _check("width", self.width, 0 < self.width < math.inf, "a number above 0")
        for name, kind in (
            ("optimizer", Optimizer),
            ("scheduler", Scheduler),
            ("loss", Loss),
            ("protocol", Protocol),
            ("scaling", Scaling),
        ):
            value, allowed = getattr(self, name), kind.__args__  # type: ignore[attr-defined]
            _check(name, value, value in allowed, f"one of {', '.join(allowed)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, as written to YAML, records and checkpoints."""
        return {**dataclasses.asdict(self), "milestones": list(self.milestones)}

    def replace(self, **changes: Any) -> "Recipe":
        """Return a copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise UserError(f"{name} must be {allowed}, but got {value!r}")


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
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        raise UserError(f"{origin} has no field {', '.join(unknown)}; fields are {', '.join(known)}")
    try:
        return Recipe(**values)
    except TypeError as error:
        raise UserError(f"{origin} is not a recipe: {error}") from None


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from a YAML file.

    Raises:
        UserError: no such file, not YAML, or not a recipe.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    return recipe_from_dict(values, str(path))


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML; ``load_recipe`` reads it back equal."""
    return yaml.safe_dump(recipe.to_dict(), sort_keys=False)


def shipped_recipes() -> dict[tuple[str, str], Path]:
    """Map (network family in lower case, data set) to the YAML file that ships with qtrain."""
    folder = Path(str(resources.files("qtrain.recipes")))
    return {tuple(path.stem.rsplit("-", 1)): path for path in sorted(folder.glob("*.yaml"))}  # type: ignore[misc]


def default_recipe(network: str, data: str) -> Recipe:
    """The shipped recipe of the network's family on the data set, at any bit width; else the plain defaults."""
    family = network.replace("-", "_").rsplit("_", 1)[0].lower()
    path = shipped_recipes().get((family, data))
    return load_recipe(path).replace(network=network) if path else Recipe(network, data)
