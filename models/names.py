"""Network names: ``CNV_1W2A`` (Brevitas), ``cnv-w1a2`` (FINN), ``CNV_FLOAT``, one's own ``my_module:Net_4W4A``."""

import re
from dataclasses import dataclass

from qtrain.errors import UserError
from qtrain.models.bits import FLOAT, check_bits

OWN_BITS = 0  # a network of one's own that is not asked for any bits
_FAMILY = r"(?P<family>[A-Z][A-Z0-9_-]*?)"
_OWN = re.compile(r"(?P<family>.+:[\w.]+?)(?:_(?P<w>\d+)W(?P<a>\d+)A|_(?P<float>FLOAT))?")
_STYLES = (
    re.compile(rf"{_FAMILY}_(?P<w>\d+)W(?P<a>\d+)A", re.IGNORECASE),
    re.compile(rf"{_FAMILY}-W(?P<w>\d+)A(?P<a>\d+)", re.IGNORECASE),
    re.compile(rf"{_FAMILY}[_-]FLOAT", re.IGNORECASE),
)


@dataclass(frozen=True)
class NetworkName:
    """A network family with its weight and activation bit widths; prints as ``CNV_1W2A``, not quantized ``CNV_FLOAT``.

    32 bits stand for float: ``WRN20_PAPER_1W32A`` has 1-bit weights and float activations. A network of one's own has
    ``my_module:Net`` as its family, and 0 bits where none are asked for.
    """

    family: str
    weight_bits: int
    act_bits: int

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.weight_bits == self.act_bits == FLOAT

    @property
    def is_own(self) -> bool:
        """Whether it is code of one's own, ``my_module:Net``, instead of a family that is known."""
        return ":" in self.family

    def __str__(self) -> str:
        if self.weight_bits == OWN_BITS:
            return self.family
        return f"{self.family}_FLOAT" if self.is_float else f"{self.family}_{self.weight_bits}W{self.act_bits}A"


def folder_name(text: str) -> str:
    """Return a network's name, or a data set's, as a part of a folder's name; those of the zoo stay as they are."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "own"


def parse_name(text: str) -> NetworkName:
    """Read ``CNV_1W2A``, ``cnv-w1a2``, ``CNV_FLOAT``, or ``my_module:Net`` and ``my_module:Net_1W2A``.

    Raises:
        UserError: the text has none of these forms, or a bit width is outside 1 to 8 (or 32).
    """
    if own := _OWN.fullmatch(str(text)):
        return _own_name(text, own)
    for style in _STYLES:
        if match := style.fullmatch(str(text)):
            groups = match.groupdict()
            widths = _widths(text, groups.get("w"), groups.get("a"))
            return NetworkName(match["family"].upper().replace("-", "_"), *widths)
    raise UserError(
        f"{text!r} is not a network name; write FAMILY_<bits>W<bits>A, for instance CNV_1W2A (or cnv-w1a2), or "
        "FAMILY_FLOAT for the network without quantizers; a network of your own is my_module:Net"
    )


def _own_name(text: str, match: re.Match[str]) -> NetworkName:
    if match["w"] is None and match["float"] is None:
        return NetworkName(match["family"], OWN_BITS, OWN_BITS)
    return NetworkName(match["family"], *_widths(text, match["w"], match["a"]))


def _widths(text: str, weights: str | None, activations: str | None) -> tuple[int, int]:
    """Return weight and activation bits; none are float."""
    widths = {"weights": int(weights or FLOAT), "activations": int(activations or FLOAT)}
    for what, bits in widths.items():
        if bits != FLOAT:
            check_bits(f"the {what} of {text}", bits)
    return widths["weights"], widths["activations"]
