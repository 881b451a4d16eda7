"""The networks that a command is asked for: names, and widths for all of a network or for single layers."""

import re
from collections.abc import Sequence

from qtrain.errors import UserError
from qtrain.models.check import check_network
from qtrain.models.names import OWN_BITS, parse_name

_WIDTH = re.compile(r"(?P<both>\d+)|(?P<w>\d+)W(?P<a>\d+)A|FLOAT", re.IGNORECASE)


def split_bits(text: str) -> tuple[list[str], str]:
    """Split ``1,2,1W4A,first=8,last=8`` into the widths to compare and the expression for single layers.

    Args:
        text: comma-separated; entries with ``=`` are the expression's.

    Returns:
        The widths as names have them (``1W1A``, ``FLOAT``), and the expression ``first=8,last=8``.

    Raises:
        UserError: an entry that is neither, or a width given twice.
    """
    widths = []
    expressions = []
    for entry in _entries(text):
        if "=" in entry:
            expressions.append(entry)
            continue
        match = _WIDTH.fullmatch(entry)
        if match is None:
            raise UserError(
                f"bits: {entry!r} is neither a width to compare (1, 4, 1W4A or FLOAT) nor LAYERS=BITS (first=8)"
            )
        both = match["both"]
        widths.append(f"{both}W{both}A" if both else entry.upper())
    if len(set(widths)) < len(widths):
        raise UserError(f"bits: each width once, but got {', '.join(widths)}")
    return widths, ",".join(expressions)


def _entries(text: str) -> list[str]:
    """Return the comma-separated entries that are not blank."""
    stripped = [part.strip() for part in text.split(",")]
    return [entry for entry in stripped if entry]


def grid_networks(networks: str, widths: Sequence[str]) -> list[str]:
    """Return the full names of all networks: ``CNV_1W1A,VGG11_2W2A``, or families with each of the widths.

    Args:
        networks: comma-separated.
        widths: as of ``split_bits``; empty where the names carry their own.

    Raises:
        UserError: an unknown network, one given twice, or one that carries bits beside ``widths``.
    """
    names = _entries(networks)
    if not names:
        raise UserError("name a network, for instance: qtrain compare CNV --bits 1,2,4,8 --data digits")
    full = []
    for name in names:
        if not widths:
            full.append(str(check_network(name)))
            continue
        if _carries_bits(name):
            raise UserError(
                f"{name} carries its bits already; leave out --bits {','.join(widths)}, or name the family alone"
            )
        family = name if ":" in name else name.replace("-", "_")
        full += [str(check_network(f"{family}_{width}")) for width in widths]
    if len(set(full)) < len(full):
        raise UserError(f"each network once, but got {', '.join(full)}")
    return full


def one_network(network: str, bits: str) -> tuple[str, str]:
    """Return the full name of the network to train, and the expression for single layers.

    A network of one's own takes its bits from ``--bits``, as in ``4`` or ``1W4A``; one of the zoo from its name.

    Raises:
        UserError: an unknown network, or bits that it cannot have.
    """
    if ":" not in network or not bits:
        return str(check_network(network)), bits
    widths, expression = split_bits(bits)
    if len(widths) > 1:
        raise UserError(
            f"bits of one network are one width, such as 4 or 1W4A, but got {bits!r}; compare takes several"
        )
    names = grid_networks(network, widths)
    return names[0], expression


def _carries_bits(name: str) -> bool:
    try:
        return parse_name(name).weight_bits != OWN_BITS
    except UserError:
        return False
