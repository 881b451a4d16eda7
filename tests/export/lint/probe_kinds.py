"""What a probe is: a network, FINN's verdict on it, and what lint must say."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Probe:
    """A network and FINN's verdict on it.

    Attributes:
        name: of the probe.
        make: builds the untrained module; takes images in [0, 1].
        accepted: whether finn-plus 1.6.1 with our step list takes the whole network and computes it right.
        rule: of the finding that lint must report; None where it must report no error and no warning.
        layer: module path that the finding must name; None for the whole network.
        also: rules of further findings that the same change brings.
        mended: the accepted probe that differs from this one by lint's mend.
        shape: of one image.
    """

    name: str
    make: Callable[[], nn.Module]
    accepted: bool = True
    rule: str | None = None
    layer: str | None = None
    also: tuple[str, ...] = ()
    mended: str | None = None
    shape: tuple[int, int, int] = (3, 8, 8)


ok = Probe


def refused(name: str, make: Callable[[], nn.Module], rule: str, layer: str | None, mended: str, **more) -> Probe:  # type: ignore[no-untyped-def]
    return Probe(name, make, accepted=False, rule=rule, layer=layer, mended=mended, **more)
