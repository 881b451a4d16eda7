"""Quantized networks, built by name at any bit width."""

from torch import nn

from qtrain.errors import UserError
from qtrain.models.cnv import CNV
from qtrain.models.names import NetworkName, parse_name
from qtrain.models.quantizers import Scaling, check_scaling

FAMILIES: dict[str, type[CNV]] = {"CNV": CNV}

__all__ = ["FAMILIES", "NetworkName", "Scaling", "build_model", "check_network", "parse_name"]


def check_network(name: str) -> NetworkName:
    """Read a network's name and see that the family exists.

    Raises:
        UserError: not a name, an unknown family, or bits outside 1 to 8.
    """
    parsed = parse_name(name)
    if parsed.family not in FAMILIES:
        raise UserError(f"unknown network {name!r}; families are {', '.join(FAMILIES)}, for instance CNV_1W1A")
    return parsed


def build_model(
    name: str,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    input_bits: int = 8,
    scaling: Scaling = "constant",
) -> nn.Module:
    """Build an untrained network, e.g. ``build_model("CNV_1W2A")``.

    Initial weights come from torch's global generator: call ``torch.manual_seed`` first for a repeatable start.

    Args:
        name: ``CNV_1W2A`` (Brevitas' style) or ``cnv-w1a2`` (FINN's), 1 to 8 bits each.
        num_classes: logits an image.
        in_channels: image channels.
        width: multiplies all channel counts (0.25 for small machines).
        input_bits: of the first quantizer, 1 to 8.
        scaling: "constant" quantizer ranges [-1, 1], or "learned" ones (above 1 bit).

    Raises:
        UserError: any argument outside its range.
    """
    parsed = check_network(name)
    if not width > 0:
        raise UserError(f"width must be above 0, but got {width!r}")
    check_scaling(scaling)
    return FAMILIES[parsed.family](
        parsed.weight_bits,
        parsed.act_bits,
        num_classes=num_classes,
        in_channels=in_channels,
        input_bits=input_bits,
        width=width,
        scaling=scaling,
    )
