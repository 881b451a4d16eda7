"""How large networks are: a family at its usual size, or one network layer by layer."""

from typing import Any

import torch
from torch import nn

from qtrain.models import FAMILIES, build_model, check_network
from qtrain.models.count import NetworkCount, count
from qtrain.models.shapes import height_and_width


def family_count(name: str) -> NetworkCount:
    """Count a family at width 1; its float twin without drawing or keeping a weight, where it has one."""
    family = FAMILIES.get(name)
    bits = "FLOAT"
    device = "meta"
    if family.quantized_only:
        bits = "8W8A"
        device = "cpu"  # Brevitas reads values of scales
    with torch.device(device):
        model = build_model(f"{name}_{bits}", num_classes=family.classes)
    with FAMILIES.blaming(name):
        return count(model, family.shape)


def describe(name: str, **options: Any) -> tuple[str, NetworkCount, dict[str, int]]:
    """Return a network's full name, its layers, and the bits of its activation quantizers by path.

    Args:
        name: with bit widths.
        options: of `build_model`.

    Raises:
        UserError: no such network, or options outside their range.
    """
    parsed = check_network(name)
    model = build_model(name, **options)
    family = FAMILIES.get(parsed.family)
    channels = options.get("in_channels") or family.in_channels
    size = options.get("image_size") or family.image_size
    with FAMILIES.blaming(parsed.family):
        sizes = count(model, (channels, *height_and_width(size)))
    return str(parsed), sizes, activation_bits(model)


def activation_bits(model: nn.Module) -> dict[str, int]:
    """Return bits of each activation quantizer, in order of registration."""
    found = {}
    for path, module in model.named_modules():
        quantizer = getattr(module, "act_quant", None)
        if quantizer is not None and quantizer.is_quant_enabled and not hasattr(module, "weight"):
            found[path] = int(quantizer.bit_width().detach())
    return found
