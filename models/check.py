"""Whether there is a network of a name; nothing here needs torch, but for a network of one's own."""

from qtrain.errors import UserError
from qtrain.models.bits import FLOAT
from qtrain.models.names import NetworkName, parse_name
from qtrain.models.zoo import FAMILIES


def check_network(name: str) -> NetworkName:
    """Read a network's name and see that there is such a network.

    Raises:
        UserError: not a name, an unknown family, bits outside 1 to 8, a family that has no such form, one whose
            package is broken, or code of one's own that cannot be imported or asked for these bits.
    """
    parsed = parse_name(name)
    if parsed.is_own:
        from qtrain.models.own import find_own  # which imports one's own code, and torch

        find_own(parsed)
        return parsed
    if parsed.family not in FAMILIES:
        known, hint = ", ".join(FAMILIES.names()), FAMILIES.hint(parsed.family)
        raise UserError(f"unknown network {name!r}; families are {known}, for instance CNV_1W1A{hint}")
    family = FAMILIES.get(parsed.family)
    if family.float_only and not parsed.is_float:
        raise UserError(f"{parsed} does not exist: {parsed.family} comes in float only, as {parsed.family}_FLOAT")
    if family.quantized_only and FLOAT in (parsed.weight_bits, parsed.act_bits):
        raise UserError(f"{parsed} does not exist: {parsed.family} comes quantized only, as {parsed.family}_4W4A")
    return parsed
