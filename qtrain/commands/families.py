"""Families of networks as people name them: in part, without bits, or misspelt."""

import re

from qtrain.errors import UserError, did_you_mean
from qtrain.models.zoo import FAMILIES

_HAS_BITS = re.compile(r"\d+W\d+A|W\d+A\d+|FLOAT", re.IGNORECASE)


def families_like(text: str) -> list[str]:
    """Return the family of this name, else those whose names hold the text; all where it is empty."""
    part = text.upper().replace("-", "_")
    names = FAMILIES.names()
    return [part] if part in names else [name for name in names if part in name]


def check_has_bits(network: str) -> None:
    """See that a name is more than a family's.

    Raises:
        UserError: it has no bits, and the message says how that network is called with some.
    """
    if ":" in network or _HAS_BITS.search(network):
        return
    part = network.upper().replace("-", "_")
    if part in FAMILIES:
        family = FAMILIES.get(part)
        bits = "FLOAT" if family.float_only else "4W4A"
        raise UserError(
            f"{network} has no bit widths; write {part}_<bits>W<bits>A for weights and activations, for instance "
            f"{part}_{bits}"
        )
    raise UserError(
        f"{network!r} is not a network name: families are {', '.join(FAMILIES.names())}, and bit widths follow, for "
        f"instance CNV_1W2A; a network of your own is my_module:Net{did_you_mean(part, FAMILIES.names())}"
    )
