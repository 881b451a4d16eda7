"""Network names in the two styles users have: Brevitas' ``CNV_1W2A`` and FINN's ``cnv-w1a2``."""

import re
from dataclasses import dataclass

from qtrain.errors import UserError
from qtrain.models.bits import check_bits

_STYLES = (
    re.compile(r"(?P<family>[A-Z][A-Z0-9_]*?)_(?P<w>\d+)W(?P<a>\d+)A", re.IGNORECASE),
    re.compile(r"(?P<family>[A-Z][A-Z0-9_]*?)-W(?P<w>\d+)A(?P<a>\d+)", re.IGNORECASE),
)


@dataclass(frozen=True)
class NetworkName:
    """A network family with its weight and activation bit widths; prints as ``CNV_1W2A``."""

    family: str
    weight_bits: int
    act_bits: int

    def __str__(self) -> str:
        return f"{self.family}_{self.weight_bits}W{self.act_bits}A"


def parse_name(text: str) -> NetworkName:
    """Read ``CNV_1W2A`` or ``cnv-w1a2``.

    Raises:
        UserError: the text has neither form, or a bit width is outside 1 to 8.
    """
    for style in _STYLES:
        if match := style.fullmatch(str(text)):
            name = NetworkName(match["family"].upper(), int(match["w"]), int(match["a"]))
            check_bits(f"the weights of {text}", name.weight_bits)
            check_bits(f"the activations of {text}", name.act_bits)
            return name
    raise UserError(f"{text!r} is not a network name; write FAMILY_<bits>W<bits>A, for instance CNV_1W2A (or cnv-w1a2)")
