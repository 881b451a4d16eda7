"""Networks of the zoo, built untrained from a name or a recipe."""

from collections.abc import Mapping
from math import isfinite
from numbers import Integral, Real
from typing import Any, Literal

import torch

from qtrain.errors import UserError
from qtrain.models.bits import FLOAT, BitWidths
from qtrain.models.check import check_network
from qtrain.models.factory import Layers
from qtrain.models.names import NetworkName
from qtrain.models.network import Network
from qtrain.models.quantizers import Scales
from qtrain.models.scalings import Scaling, check_scaling
from qtrain.models.shapes import Size, check_size
from qtrain.models.zoo import FAMILIES
from qtrain.recipe import Recipe

ScalingOrAuto = Literal["auto", Scaling]


def build_model(
    network: str | Recipe,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: Size | None = None,
    width: float = 1.0,
    bits: str = "",
    input_bits: int = 8,
    scaling: ScalingOrAuto = "auto",
    power_of_two: bool = False,
    per_channel: bool = False,
) -> Network:
    """Build an untrained network: all that a recipe says of it, or ``build_model("CNV_1W2A")`` for a quick look.

    A recipe's initial weights come from its seed. Those of a name come from torch's global generator: call
    ``torch.manual_seed`` first for a repeatable start.

    Args:
        network: a ``Recipe``, or a name: ``CNV_1W2A`` (Brevitas' style), ``cnv-w1a2`` (FINN's), or ``CNV_FLOAT`` for
            the unquantized twin.
        num_classes: logits an image; by default 10, or the classes of the recipe's data set.
        in_channels: image channels; by default the family's usual ones, or those of the recipe's data set.
        image_size: height and width of the images, one number where they are equal; by default the family's usual
            ones, or those of the recipe's data set. Families that are not rectangular take square images only.
        width: multiplies all channel counts (0.25 for small machines, 10 for WRN-20-10). This and what follows is the
            recipe's to say, where there is one.
        bits: other bits for single layers, ``"first=8,last=8,stage2.*=4"``; see `qtrain.models.bits.parse_bits`.
        input_bits: of the first quantizer, 1 to 8.
        scaling: where quantizers' ranges come from: "constant", "learned" or "statistics"; "auto" is the family's own.
        power_of_two: round the scales of 2 bits and more to powers of two.
        per_channel: weights with one scale for each output channel ("learned" and "statistics", not the last layer).

    Raises:
        UserError: any argument outside its range, bits for a layer that does not exist, or an option changed for
            quantizers that the network has not; a recipe and options that it has too, or that names weights.
    """
    options: dict[str, Any] = {"width": width, "bits": bits, "input_bits": input_bits, "scaling": scaling}
    options |= {"power_of_two": power_of_two, "per_channel": per_channel}
    if isinstance(network, str):
        classes = 10 if num_classes is None else num_classes
        return _build(network, classes, in_channels, image_size, **options)
    _check_described(network, options)
    own = {name: getattr(network, name) for name in options}
    classes, channels, size = _shape(network, num_classes, in_channels, image_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(network.seed)
        return _build(network.network, classes, channels, size, **own)


def _check_described(recipe: Recipe, options: Mapping[str, object]) -> None:
    """See that nothing is said twice, and that the recipe asks for nothing but its network."""
    defaults = {"width": 1.0, "bits": "", "input_bits": 8, "scaling": "auto", "power_of_two": False}
    defaults |= {"per_channel": False}
    if twice := [name for name, value in options.items() if value != defaults[name]]:
        raise UserError(f"the recipe says the {twice[0]}; change it there, with recipe.replace({twice[0]}=...)")
    if recipe.init_from is not None:
        raise UserError(
            f"build_model reads no weights, and the recipe starts from {recipe.init_from}; take "
            "qtrain.experiments.model.initial_model(recipe), or train_recipe, which does all of it"
        )


def _shape(
    recipe: Recipe, num_classes: int | None, in_channels: int | None, image_size: Size | None
) -> tuple[int, int, Size]:
    """Classes, channels and size of the images: what is given, else those of the recipe's data set."""
    from qtrain import data  # its readers take time to import, and a name needs none of them

    options = recipe.data_options
    classes = len(data.class_names(recipe.data, options=options)) if num_classes is None else num_classes
    if in_channels is not None and image_size is not None:
        return classes, in_channels, image_size
    channels, *size = data.image_shape(recipe.data, options=options)
    return classes, in_channels or channels, image_size or (size[0], size[1])


def _build(
    name: str,
    num_classes: int,
    in_channels: int | None,
    image_size: Size | None,
    *,
    width: float,
    bits: str,
    input_bits: int,
    scaling: ScalingOrAuto,
    power_of_two: bool,
    per_channel: bool,
) -> Network:
    parsed = check_network(name)
    if parsed.is_own:
        raise UserError(
            f"build_model makes qtrain's networks, and {parsed} is your own; take model_of of qtrain.experiments.model"
        )
    family = FAMILIES.get(parsed.family)
    channels = family.in_channels if in_channels is None else in_channels
    _check_count(f"num_classes of {parsed}", num_classes)
    _check_count(f"in_channels of {parsed}", channels)
    given = family.image_size if image_size is None else image_size
    size = check_size(str(parsed), given, family.smallest_image, rectangular=family.rectangular)
    _check_number("width", width)
    if not isinstance(bits, str):
        raise UserError(f"bits must be text such as 'first=8,stage2.*=4', but got {bits!r}")
    for what, value in (("power_of_two", power_of_two), ("per_channel", per_channel)):
        if not isinstance(value, bool):
            raise UserError(f"{what} must be True or False, but got {value!r}")
    chosen = family.scaling if scaling == "auto" else scaling
    check_scaling(chosen)
    options = {"input_bits": input_bits, "scaling": scaling, "power_of_two": power_of_two, "per_channel": per_channel}
    _check_meaningful(parsed, options)
    layers = Layers(
        name=parsed,
        bits=BitWidths(parsed.weight_bits, parsed.act_bits, bits, input_bits),
        scales=Scales(chosen, power_of_two, per_channel),
        weights=family.weights,
        float_activation=family.float_activation,
    )
    shape = {"num_classes": num_classes, "in_channels": channels, "image_size": size, "width": float(width)}
    with FAMILIES.blaming(parsed.family):
        model = family.build(layers, **shape)
    if not isinstance(model, Network):
        made = type(model).__name__
        raise UserError(f"{FAMILIES.origin(parsed.family)} must build a qtrain.models.Network, but built a {made}")
    model.width = float(width)
    layers.finish(model)
    return model


def _check_count(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise UserError(f"{what} must be a whole number, 1 or more, but got {value!r}")


def _check_number(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not (isfinite(value) and value > 0):  # type: ignore[operator]
        raise UserError(f"{what} must be a number above 0, such as 0.25, but got {value!r}")


def _check_meaningful(name: NetworkName, options: Mapping[str, object]) -> None:
    """See that no option was changed that the network has no quantizer for; recipes carry the defaults along."""
    silent: dict[str, object] = {"input_bits": 8} if name.act_bits == FLOAT else {}
    if name.is_float:
        silent |= {"scaling": "auto", "power_of_two": False, "per_channel": False}
    what = "has no quantizers" if name.is_float else "has no activation quantizers"
    for option, default in silent.items():
        if options[option] != default:
            raise UserError(f"{option} {options[option]!r} means nothing to {name}, which {what}; leave it out")
