"""Network names in the two styles users have: Brevitas' ``CNV_1W2A`` and FINN's ``cnv-w1a2``; ``VGG11_FLOAT``."""

import re
from dataclasses import dataclass

from qtrain.errors import UserError
from qtrain.models.bits import FLOAT, check_bits

_FAMILY = r"(?P<family>[A-Z][A-Z0-9_-]*?)"
_STYLES = (
    re.compile(rf"{_FAMILY}_(?P<w>\d+)W(?P<a>\d+)A", re.IGNORECASE),
    re.compile(rf"{_FAMILY}-W(?P<w>\d+)A(?P<a>\d+)", re.IGNORECASE),
    re.compile(rf"{_FAMILY}[_-]FLOAT", re.IGNORECASE),
)


@dataclass(frozen=True)
class NetworkName:
    """A network family with its weight and activation bit widths; prints as ``CNV_1W2A``, not quantized ``CNV_FLOAT``.

    32 bits stand for float: ``WRN20_PAPER_1W32A`` has 1-bit weights and float activations.
    """

    family: str
    weight_bits: int
    act_bits: int

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.weight_bits == self.act_bits == FLOAT

    def __str__(self) -> str:
        return f"{self.family}_FLOAT" if self.is_float else f"{self.family}_{self.weight_bits}W{self.act_bits}A"


def parse_name(text: str) -> NetworkName:
    """Read ``CNV_1W2A``, ``cnv-w1a2`` or ``CNV_FLOAT``.

    Raises:
        UserError: the text has none of these forms, or a bit width is outside 1 to 8 (or 32).
    """
    for style in _STYLES:
        if match := style.fullmatch(str(text)):
            groups = match.groupdict()
            widths = {"weights": int(groups.get("w") or FLOAT), "activations": int(groups.get("a") or FLOAT)}
            for what, bits in widths.items():
                if bits != FLOAT:
                    check_bits(f"the {what} of {text}", bits)
            return NetworkName(match["family"].upper().replace("-", "_"), *widths.values())
    raise UserError(
        f"{text!r} is not a network name; write FAMILY_<bits>W<bits>A, for instance CNV_1W2A (or cnv-w1a2), or "
        "FAMILY_FLOAT for the network without quantizers"
    )
