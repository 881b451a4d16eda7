"""What `qtrain models` shows: the zoo with its sizes, FINN's recorded verdicts and published accuracies."""

import json
from importlib import resources
from typing import Any

import torch
from torch import nn

from qtrain.errors import UserError
from qtrain.models import FAMILIES, build_model, check_network
from qtrain.models.count import NetworkCount, count
from qtrain.models.shapes import height_and_width

CHANNELS = 3


def recorded_verdicts() -> dict[str, dict[str, Any]]:
    """Return what the real FINN said of each family, by bits, as shipped: rendered from results/finn_matrix.jsonl."""
    text = (resources.files("qtrain.models") / "finn_verdicts.json").read_text()
    found: dict[str, dict[str, Any]] = json.loads(text)["families"]
    return found


def verdict_of(family: str) -> str:
    """Return FINN's verdict of a family in a phrase: the bits at which it took the network whole."""
    if FAMILIES.get(family).float_only:
        return "float only"
    record = recorded_verdicts().get(family)
    if record is None:
        return "not recorded"
    verdicts = {"accepted": record["accepted"], "refused": sorted(map(int, record["refused"]))}
    parts = []
    for word, bits in verdicts.items():
        if bits:
            noun = "bit" if bits == [1] else "bits"
            parts.append(f"{word} at {', '.join(map(str, bits))} {noun}")
    return "; ".join(parts)


def zoo() -> list[dict[str, Any]]:
    """Return one row a family: sizes at width 1 for its usual images and number of classes.

    A package's family that cannot be built is left out and warned of.
    """
    rows = []
    for name, family in FAMILIES.rows().items():
        try:
            sizes = _sizes(name, family.classes)
        except UserError as error:
            FAMILIES.warn(str(error))
            continue
        rows.append(
            {
                "network": name,
                "about": family.about,
                "images": _images(family.shape),
                "parameters": sizes.parameters,
                "macs": sizes.macs,
                "weights": sum(layer.weights for layer in sizes.layers),
                "float_only": family.float_only,
                "finn": verdict_of(name),
                "published": [f"{p.accuracy:.2f} % {p.bits}, {p.data} ({p.source})" for p in family.published],
            }
        )
    return rows


def _sizes(name: str, classes: int) -> NetworkCount:
    """Count a family at width 1; its float twin without drawing or keeping a weight, where it has one."""
    family = FAMILIES.get(name)
    bits = "FLOAT"
    device = "meta"
    if family.quantized_only:
        bits = "8W8A"
        device = "cpu"  # Brevitas reads values of scales
    with torch.device(device):
        model = build_model(f"{name}_{bits}", num_classes=classes)
    with FAMILIES.blaming(name):
        return count(model, family.shape)


def _images(shape: tuple[int, int, int]) -> str:
    """Return a shape as ``32x32``, with the channels in front where they are not those of a colour image."""
    shown = shape[1:] if shape[0] == CHANNELS else shape
    return "x".join(map(str, shown))


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
            found[path] = int(quantizer.bit_width())
    return found
