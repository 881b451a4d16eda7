"""The networks that a search's sensitivities propose: ``proposals.json`` in the folder of a sweep."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from qtrain.records.format import JsonFile


@dataclass(frozen=True)
class Proposal:
    """One network.

    Attributes:
        bits: of every quantizer that has a choice, by its path.
        bops: bit operations an image.
        growth: of the validation loss, the sum over its quantizers.
        bound: the most bit operations that it was allowed.
        proven: whether the solver has shown that no other within the bound grows less.
        beyond: whether every trained cell and earlier proposal costs more, or is predicted to be less good; it is a
            trial only then.
    """

    bits: Mapping[str, int]
    bops: float
    growth: float
    bound: float
    proven: bool
    beyond: bool


@dataclass(frozen=True, kw_only=True)
class ProposalsFile(JsonFile):
    """``proposals.json``: chosen once, before the first trial.

    Attributes:
        cell: the widest, that the sensitivities are of.
        proposals: at falling bounds.
    """

    FILE: ClassVar[str] = "proposals.json"
    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "qtrain sweep --search-from sensitivity"
    MEND: ClassVar[str] = "put a whole copy there, or sweep into a new folder"

    cell: str
    proposals: tuple[Proposal, ...]
