"""The axes of a sweep, as people write them: widths ``1,2,4,8``, expressions ``first=8,last=8;none``, a family."""

import re
from collections.abc import Sequence

from qtrain.errors import UserError
from qtrain.models import FAMILIES, check_network
from qtrain.models.bits import FLOAT, check_bits

NONE = "none"  # how the expression that changes nothing is written


def parse_widths(flag: str, text: str | None) -> tuple[int, ...]:
    """Read an axis of widths, ``1,2,4,8``; none where ``text`` is None.

    Raises:
        UserError: something else.
    """
    if text is None:
        return ()
    widths = []
    for part in text.split(","):
        if not part.strip().isdecimal():
            raise UserError(f"{flag} must be widths from 1 to 8 bits such as 1,2,4,8, but got {text!r}")
        widths.append(int(part))
    return tuple(check_bits(flag, bits) for bits in widths)


def parse_expressions(text: str) -> tuple[str, ...]:
    """Read an axis of expressions, ``first=8,last=8;stage2.*=4;none``; an empty text is one empty expression."""
    if not text.strip():
        return ("",)
    parts = [part.strip() for part in text.split(";")]
    given = [part for part in parts if part]
    return tuple("" if part.lower() == NONE else part for part in given)


def family_of(network: str) -> str:
    """Return the family of ``CNV``, ``cnv``, ``CNV_1W2A`` or ``my_module:Net``.

    Raises:
        UserError: there is none such.
    """
    if ":" in network:
        return check_network(network).family
    family = network.upper().replace("-", "_")
    if family in FAMILIES:
        return family
    if not re.search(r"\d", network):
        known = ", ".join(FAMILIES.names())
        hint = FAMILIES.hint(family)
        raise UserError(f"unknown family {network!r}; families are {known}{hint}")
    return check_network(network).family


def axes_of(
    network: str, weights: tuple[int, ...], acts: tuple[int, ...]
) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Return the family and both axes; of a network that has its bits already these."""
    family = family_of(network)
    if family in (network, network.upper().replace("-", "_")):
        if not weights:
            example = f"qtrain sweep {family} --weight-bits 1,2,4,8 --act-bits 1,2,4,8"
            raise UserError(f"give the widths of the weights, for instance: {example}")
        return family, weights, acts or weights
    name = check_network(network)
    if weights or acts:
        raise UserError(f"{network} carries its bits already; name the family alone, {name.family}, or give no widths")
    if FLOAT in (name.weight_bits, name.act_bits):
        raise UserError(f"a sweep's widths are 1 to 8 bits, but {name} has float; train it with qtrain train")
    return name.family, (name.weight_bits,), (name.act_bits,)


def check_axis(name: str, axis: Sequence[object], example: str) -> None:
    """See that an axis has a value, and each once.

    Raises:
        UserError: it has not.
    """
    if not axis or len(set(axis)) < len(axis):
        shown = ",".join(map(str, axis)) or "none"
        raise UserError(f"{name} of a sweep must be one or more, each once, such as {example}, but got {shown}")
