"""What `qtrain models` lists: the zoo with its sizes, FINN's recorded verdicts and published accuracies.

The sizes of qtrain's own families are shipped as they were counted, so that a list needs no torch; a package's are
counted.
"""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from qtrain.errors import UserError
from qtrain.models.zoo import FAMILIES

SIZES = "zoo_sizes.json"  # `make results` counts them
CHANNELS = 3


@dataclass(frozen=True)
class Sizes:
    """Of a family at width 1, for its usual images and classes.

    Attributes:
        parameters: trained numbers.
        macs: multiply-accumulates for one image.
        weights: of convolutions and fully connected layers, which have bits.
    """

    parameters: int
    macs: int
    weights: int


def count_sizes(name: str) -> Sizes:
    """Count a family, built for it.

    Raises:
        UserError: a package's family that cannot be built.
    """
    from qtrain.experiments.networks import family_count  # and with it torch

    counted = family_count(name)
    return Sizes(counted.parameters, counted.macs, sum(layer.weights for layer in counted.layers))


def shipped_sizes() -> dict[str, Sizes]:
    """Return the sizes of qtrain's own families."""
    text = (resources.files("qtrain.models") / SIZES).read_text()
    return {name: Sizes(**sizes) for name, sizes in json.loads(text).items()}


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
    known = shipped_sizes()
    for name, family in FAMILIES.rows().items():
        try:
            sizes = known[name] if name in known else count_sizes(name)
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
                "weights": sizes.weights,
                "float_only": family.float_only,
                "finn": verdict_of(name),
                "published": [f"{p.accuracy:.2f} % {p.bits}, {p.data} ({p.source})" for p in family.published],
            }
        )
    return rows


def _images(shape: tuple[int, int, int]) -> str:
    """Return a shape as ``32x32``, with the channels in front where they are not those of a colour image."""
    shown = shape[1:] if shape[0] == CHANNELS else shape
    return "x".join(map(str, shown))
