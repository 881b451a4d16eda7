"""A network of one's own, ``my_module:Net``: built with the bits, classes and sizes that its signature has names for.

A class, a function or a finished module. Of what a run decides, it gets what it has arguments of these names for:

- bits: ``weight_bits`` or ``weight_bit_width``, ``act_bits`` or ``act_bit_width``; ``bits`` or ``bit_width`` for both.
  Beside the first two, ``bits`` is the text of ``--bits`` for single layers, ``first=8,layer1.*=2``, which
  ``own_layers.OwnLayers`` reads; without that argument ``own_bits`` gives the layers their bits;
- classes: ``num_classes`` or ``classes``;
- inputs: ``in_channels`` or ``channels``; ``image_size`` or ``size``, one number where height and width are equal,
  else the pair; ``shape`` for all three;
- the recipe's ``width``, ``input_bits``, ``scaling``, ``power_of_two``, ``per_channel``, and what ``net_args`` gives.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from qtrain.errors import UserError, did_you_mean
from qtrain.models.names import OWN_BITS, NetworkName
from qtrain.models.own_bits import with_bits
from qtrain.own_code import Reference, argument_names, call_with, load_reference, parse_reference

_WEIGHTS = ("weight_bits", "weight_bit_width")
_ACTS = ("act_bits", "act_bit_width")
_BOTH = ("bits", "bit_width")
_DEFAULTS: dict[str, Any] = {"width": 1.0, "input_bits": 8, "scaling": "auto", "power_of_two": False}
_DEFAULTS |= {"per_channel": False, "bits": ""}
OPTIONS = tuple(_DEFAULTS)

_untrained: dict[int, nn.Module] = {}  # finished modules as they were imported


@dataclass(frozen=True)
class OwnNetwork:
    """Code of one's own that makes a network.

    Attributes:
        reference: that names it.
        found: a class, a function, or a finished module.
    """

    reference: Reference
    found: Any

    @property
    def arguments(self) -> frozenset[str] | None:
        """Return the names of its arguments; None where it takes any, none of a finished module."""
        return frozenset() if isinstance(self.found, nn.Module) else argument_names(self.found)

    def takes(self, *names: str) -> bool:
        """Whether it has an argument of one of these names."""
        known = self.arguments
        return known is None or any(name in known for name in names)

    @property
    def takes_expression(self) -> bool:
        """Whether its ``bits`` are those of single layers, as text: it has others for all weights and activations."""
        return self.takes("bits") and self.takes_pair

    @property
    def takes_pair(self) -> bool:
        """Whether weights and activations may have bits of their own, so that single layers may, too."""
        return self.takes(*_WEIGHTS) and self.takes(*_ACTS)


def find_own(name: NetworkName) -> OwnNetwork:
    """Import what a name of one's own stands for, and see that it can be asked for the name's bits.

    Raises:
        UserError: it cannot be imported, is no network or makes none, or has no argument for bits.
    """
    reference = parse_reference(name.family, "MyNet")
    found = load_reference(reference, lambda module: f"; networks in it: {_networks(module)}")
    if not isinstance(found, nn.Module) and not callable(found):
        kind = type(found).__name__
        raise UserError(f"{reference} is a {kind}; name an nn.Module, its class or a function making one")
    if isinstance(found, nn.Module):  # the second run of a process must not go on where the first has ended
        found = _untrained.setdefault(id(found), copy.deepcopy(found))
    own = OwnNetwork(reference, found)
    _check_bits(own, name)
    return own


def build_own(
    own: OwnNetwork,
    name: NetworkName,
    *,
    classes: int,
    shape: tuple[int, int, int],
    options: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> nn.Module:
    """Build a network of one's own; of a finished module a copy is returned, as it was when it was imported.

    Args:
        own: what ``find_own`` found; importing may draw random numbers, so whoever seeds them does so after it.
        name: of the code, with the bits that are asked for.
        classes: of the data.
        shape: of an input: channels, height, width.
        options: the recipe's, of ``OPTIONS``.
        arguments: more, by name.

    Raises:
        UserError: the code needs other arguments or has none for what is asked, fails, or makes no module.
    """
    _check_options(own, options)
    for argument in arguments:
        if not own.takes(argument):
            names = sorted(own.arguments or ())
            raise UserError(
                f"{own.reference} has no argument {argument!r} of --net-args; its arguments are "
                f"{', '.join(names) or 'none'}{did_you_mean(argument, names)}"
            )
    if isinstance(own.found, nn.Module):
        return copy.deepcopy(own.found)
    offered = {**_sizes(classes, shape), **_changed(options), **arguments}
    expression = "" if own.takes_expression else str(offered.pop("bits", ""))

    def made(weight_bits: int, act_bits: int) -> nn.Module:
        return _made(own, _bits(replace(name, weight_bits=weight_bits, act_bits=act_bits), own) | offered, arguments)

    if not expression:
        return made(name.weight_bits, name.act_bits)
    if name.weight_bits == OWN_BITS:
        raise UserError(f"bits {expression} are for single layers of {name}; name those of all, as in {name}_4W4A")
    return with_bits(made, name, expression, shape)


def _made(own: OwnNetwork, offered: Mapping[str, Any], arguments: Mapping[str, Any]) -> nn.Module:
    if own.arguments is None:  # it takes any name: what nobody asked for would reach it under many
        offered = arguments
    made = call_with(own.reference, own.found, offered, "give them with --net-args, or defaults in the code")
    if not isinstance(made, nn.Module):
        raise UserError(f"{own.reference} makes a {type(made).__name__}, not an nn.Module; name a network's class")
    return made


def _check_options(own: OwnNetwork, options: Mapping[str, Any]) -> None:
    """See that no option is changed that the code has no argument for."""
    for option, value in options.items():
        taken = own.takes_pair if option == "bits" else own.takes(option)
        if value != _DEFAULTS[option] and not taken:
            if option == "bits":
                raise UserError(
                    f"{own.reference} has no arguments weight_bits and act_bits, so that its layers cannot be asked "
                    f"for bits {value}; give it both"
                )
            raise UserError(f"{own.reference} has no argument {option}, so that {option} {value} means nothing to it")


def _check_bits(own: OwnNetwork, name: NetworkName) -> None:
    """See that the code can be asked for the bits of its name."""
    if name.weight_bits == OWN_BITS:
        return
    if own.takes(*_BOTH) and name.weight_bits == name.act_bits:
        return
    if own.takes_pair:
        return
    if own.takes(*_BOTH):
        raise UserError(
            f"{own.reference} has one argument for all bits, so that weights and activations have the same, but got "
            f"{name.weight_bits} and {name.act_bits}; give it weight_bits and act_bits"
        )
    raise UserError(
        f"{own.reference} cannot be asked for {name.weight_bits} and {name.act_bits} bits: give it arguments "
        "weight_bits and act_bits (or bits for both), or leave the bits out"
    )


def _bits(name: NetworkName, own: OwnNetwork) -> dict[str, int]:
    if name.weight_bits == OWN_BITS:
        return {}
    given = dict.fromkeys(_WEIGHTS, name.weight_bits) | dict.fromkeys(_ACTS, name.act_bits)
    if name.weight_bits == name.act_bits and not own.takes(*_WEIGHTS):
        given |= dict.fromkeys(_BOTH, name.weight_bits)
    return given


def _sizes(classes: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    channels, height, width = shape
    size = height if height == width else (height, width)
    return {
        **dict.fromkeys(("num_classes", "classes"), classes),
        **dict.fromkeys(("in_channels", "channels"), channels),
        **dict.fromkeys(("image_size", "size"), size),
        "shape": shape,
    }


def _changed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not their defaults: what nobody asked for stays the code's own."""
    return {option: value for option, value in options.items() if value != _DEFAULTS[option]}


def _networks(module: Any) -> str:
    """Return the names of a module's networks and of the classes that it defines."""
    names = []
    for name, value in vars(module).items():
        is_class = isinstance(value, type) and issubclass(value, nn.Module)
        if isinstance(value, nn.Module) or (is_class and value.__module__ == module.__name__):
            names.append(name)
    return ", ".join(names) or "none"
