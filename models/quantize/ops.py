"""What a network is made of between the trace and the source: operations that name what they read."""

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from qtrain.errors import UserError

Kind = Literal[
    "image",
    "affine",
    "conv",
    "linear",
    "head",
    "head_conv",
    "norm",
    "row_norm",
    "relu",
    "signed",
    "quantizer",
    "sum",
    "add",
    "max_pool",
    "average",
    "flatten",
    "softmax",
    "unknown",
    "output",
]


@dataclass(eq=False)
class Op:
    """One operation; what it gives is known by the operation itself.

    Attributes:
        kind: what it does.
        inputs: the operations whose outputs it reads, in order.
        path: of its layer in the new network; empty where it has none.
        shape: of its output for one image.
        layer: of the float network, whose weights or options it takes.
        options: what else the new layer is made with.
    """

    kind: Kind
    inputs: list["Op"]
    path: str
    shape: tuple[int, ...]
    layer: nn.Module | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> "Op":
        """The operation that it reads, where it is one."""
        return self.inputs[0]


@dataclass(frozen=True)
class Refusal:
    """Something that FINN does not take and that has no twin that it takes.

    Attributes:
        path: where it stands in the float network.
        what: it is.
        mend: what to put in its place.
    """

    path: str
    what: str
    mend: str

    def __str__(self) -> str:
        """Say all three in one line."""
        return f"{self.path}: {self.what}; {self.mend}"


class Refused(UserError):
    """A float network holds what cannot be made FINN-safe.

    Attributes:
        refusals: all of them; the message tells the first and names where the others are.
    """

    def __init__(self, network: str, refusals: list[Refusal]):
        first, *others = refusals
        more = f" ({len(others)} more: {', '.join(other.path for other in others[:5])})" if others else ""
        super().__init__(f"{network} cannot be made FINN-safe at {first}{more}")
        self.refusals = tuple(refusals)


@dataclass
class Plan:
    """The operations of the new network.

    Attributes:
        name: of its class.
        shape: of one image, (C, H, W).
        ops: in the order they are called in.
        notes: what is otherwise than in the float network, a line each.
        refusals: what has no FINN-safe form.
        taken: paths that layers have.
        ending: the function behind the logits that was left out; empty where there was none.
    """

    name: str
    shape: tuple[int, ...]
    ops: list[Op] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    ending: str = ""

    @property
    def output(self) -> Op:
        """The operation that gives the logits, which the last one of all returns."""
        return self.ops[-1].source

    def add(self, op: Op) -> Op:
        """Append an operation."""
        self.ops.append(op)
        return op

    def readers(self, op: Op) -> list[Op]:
        """Return the operations that read what ``op`` gives."""
        return [other for other in self.ops if op in other.inputs]

    def replace(self, old: Op, new: Op, readers: list[Op]) -> None:
        """Let ``readers`` read ``new`` where they read ``old``."""
        for reader in readers:
            reader.inputs = [new if source is old else source for source in reader.inputs]

    def insert_after(self, op: Op, new: Op) -> Op:
        """Put a new operation right behind another one."""
        self.ops.insert(self.ops.index(op) + 1, new)
        return new

    def remove(self, op: Op) -> None:
        """Take an operation of one input out; its readers read what it read."""
        self.replace(op, op.source, self.readers(op))
        self.ops.remove(op)

    def new_path(self, group: str, name: str) -> str:
        """Return a path in a group that no layer has yet."""
        wanted = f"{group}.{name}" if group else name
        path = wanted
        count = 1
        while path in self.taken:
            count += 1
            path = f"{wanted}_{count}"
        self.taken.add(path)
        return path
