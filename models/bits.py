"""Bit widths: which ones exist, and expressions that give single layers another one (``first=8,last=8,stage2.*=4``)."""

import difflib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qtrain.errors import UserError

MIN_BITS = 1
MAX_BITS = 8  # FINN keeps wider activations in software (thresholds grow as 2**bits)
FLOAT = 32  # not quantized
ROLES = ("input", "first", "inner", "last", "add")
_VALUE = re.compile(r"(?P<both>\d+)|(?:(?P<w>\d+)w)?(?:(?P<a>\d+)a)?", re.IGNORECASE)


def check_bits(what: str, bits: int) -> int:
    """Return ``bits`` where it is a whole number from 1 to 8.

    Raises:
        UserError: names ``what`` has the wrong width, the value and the allowed range.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not MIN_BITS <= bits <= MAX_BITS:
        raise UserError(f"{what} must have {MIN_BITS} to {MAX_BITS} bits, but got {bits!r}")
    return bits


@dataclass(frozen=True)
class Override:
    """One entry of an expression.

    Attributes:
        pattern: a role of ``ROLES``, or a layer's path in which ``*`` stands for anything.
        weight_bits: for the weights that match, None leaves them.
        act_bits: for the activations that match, None leaves them.
    """

    pattern: str
    weight_bits: int | None
    act_bits: int | None

    def matches(self, path: str, role: str) -> bool:
        """Whether the quantizer of layer ``path`` with this role is meant."""
        return self.pattern == role or fnmatchcase(path, self.pattern)


def parse_bits(text: str) -> tuple[Override, ...]:
    """Read an expression: ``LAYERS=BITS``, comma-separated; of two entries for a layer the later one holds.

    LAYERS is a role (``input``, ``first``, ``inner``, ``last``: weights, with ``inner`` the hidden activations too;
    ``add``: the quantizers at residual additions), in capitals or not, or a path such as ``stage2.*``. BITS is ``4``
    (weights and activations), ``4w``, ``4a`` or ``1w4a``.

    Raises:
        UserError: an entry of another form, or bits outside 1 to 8.
    """
    entries = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        pattern, equals, value = (part.strip() for part in entry.partition("="))
        match = _VALUE.fullmatch(value)
        if not equals or not pattern or not value or match is None:
            raise UserError(
                f"bits: {entry!r} is not LAYERS=BITS; write for instance first=8,last=8w,stage2.*=1w4a (LAYERS: "
                f"{', '.join(ROLES)} or a layer's path, BITS: 4, 4w, 4a or 1w4a)"
            )
        widths = [int(w) if w else None for w in (match["both"] or match["w"], match["both"] or match["a"])]
        for bits in widths:
            if bits is not None:
                check_bits(f"bits: {entry!r}", bits)
        entries.append(Override(pattern.lower() if pattern.lower() in ROLES else pattern, *widths))
    return tuple(entries)


class BitWidths:
    """Resolves every quantizer's bit width of one network, and notices entries that meant nothing.

    Args:
        weight_bits: of all weights that no entry names; 32 leaves the network in float.
        act_bits: of all hidden activations that no entry names.
        expression: see `parse_bits`.
        input_bits: of the first quantizer.

    Raises:
        UserError: a malformed expression, or one for a network that is not quantized.
    """

    def __init__(self, weight_bits: int, act_bits: int, expression: str = "", input_bits: int = 8):
        self._weights = weight_bits
        self._acts = act_bits
        self._input = check_bits("the input", input_bits) if act_bits != FLOAT else FLOAT
        self._entries = parse_bits(expression)
        if self._entries and weight_bits == act_bits == FLOAT:
            raise UserError(f"bits {expression!r} mean nothing to a network that is not quantized; leave them out")
        self._idle = list(self._entries)
        self._asked: list[tuple[str, str, str]] = []  # path, role, kind of each quantizer

    def weights(self, path: str, role: str, usual: int | None = None) -> int:
        """Bits of the weights of layer ``path``, its role first, inner or last; ``usual``: instead of the network's."""
        return self._resolve(path, role, self._weights if usual is None else usual, "weight_bits")

    def activations(self, path: str, role: str = "inner", usual: int | None = None) -> int:
        """Bits of the activation quantizer ``path``; its role is input, inner or add, ``usual``: instead of that's.

        Sums keep 4 bits or more unless an entry says otherwise: they are compared with thresholds, never multiplied,
        and a residual path of 1 bit forgets what it should carry.
        """
        if usual is None:
            usual = {"input": self._input, "add": max(4, self._acts)}.get(role, self._acts)
        return self._resolve(path, role, usual, "act_bits")

    def _resolve(self, path: str, role: str, usual: int, kind: str) -> int:
        self._asked.append((path, role, kind))
        for entry in self._entries:
            if getattr(entry, kind) is not None and entry.matches(path, role):
                usual = getattr(entry, kind)
                self._idle = [e for e in self._idle if e is not entry]
        return usual

    def check_all_used(self, network: str) -> None:
        """See that every entry changed something, once the network is built.

        Raises:
            UserError: an entry that matches no layer, or none that has what it gives bits to; says what to write.
        """
        if not self._idle:
            return
        entry = self._idle[0]
        paths = [path for path, _, _ in self._asked]
        pattern = entry.pattern
        if kinds := {kind for path, role, kind in self._asked if entry.matches(path, role)}:
            kind = kinds.pop()  # one: an entry that matches both kinds changes something
            only, other = ("weights", "activations") if kind == "weight_bits" else ("activations", "weights")
            bits = entry.act_bits if kind == "weight_bits" else entry.weight_bits
            raise UserError(
                f"bits: {pattern!r} has {only} only in {network}, but got bits for {other}; write {pattern}={bits}"
                f"{only[0]}"
            )
        if any(path.startswith(f"{pattern}.") for path in paths):
            raise UserError(
                f"bits: {pattern!r} is no quantizer of {network} but holds some; write {pattern}.* for all of them"
            )
        near = difflib.get_close_matches(pattern, paths, 3, 0.4) or paths[:3]
        raise UserError(
            f"bits: {pattern!r} names no such quantizer of {network}; roles are {', '.join(ROLES)}, layers for "
            f"instance {', '.join(dict.fromkeys(near))} (`qtrain models {network}` lists all)"
        )
