"""The lines of the new network's ``logits``: which layer reads what, in as few variables as are needed."""

import re

from qtrain.models.quantize.ops import Op, Plan

WIDTH = 112
_LONGEST_INLINED = WIDTH - 40  # leaves room for the call around it
_VARIABLES = ("x", "y", "z", "u", "v", "w")


def called(plan: Plan) -> list[str]:
    """Return the lines, the last of which returns the logits."""
    writer = _Writer(plan)
    for op in plan.ops:
        writer.write(op)
    return writer.lines


class _Writer:
    """Writes the calls: a chain of layers in one line, what is read twice or added in a variable.

    Attributes:
        lines: that are written.
        expressions: what gives an operation's output: a variable, or calls that no line holds yet.
        unread: how many of an operation's readers are still to come.
        block: path of the group that the variable ``block`` holds; empty before the first.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.lines: list[str] = []
        self.expressions: dict[Op, str] = {}
        self.unread = {op: sum(reader.inputs.count(op) for reader in plan.ops) for op in plan.ops}
        self.block = ""

    def write(self, op: Op) -> None:
        """Write one operation, or keep its call for the line of its reader."""
        if op.kind == "output":
            self.lines.append(f"return {self.expressions[op.source]}")
        elif op.kind == "image" and not op.path:
            self.expressions[op] = "x"
        else:
            self._enter(_group(op))
            expression = self._call(op)
            if not self._is_inlined(op, expression):
                variable = self._free_variable()
                self.lines.append(f"{variable} = {expression}")
                expression = variable
            self.expressions[op] = expression

    def _enter(self, group: str) -> None:
        """Let ``block`` hold a group's layers."""
        if group and group != self.block:
            self.block = group
            self.lines.append(f"block = self{_steps(group)}")

    def _call(self, op: Op) -> str:
        """Return the call of an operation's layer, and read what it reads."""
        given = [self.expressions[source] for source in op.inputs] or ["x"]
        for source in op.inputs:
            self.unread[source] -= 1
        if op.kind == "add":
            return " + ".join(given)
        call = f"{_layer(op.path, _group(op))}({given[0]})"
        if op.kind in ("head", "head_conv"):
            norm = op.options["norm"]
            return f"{_layer(norm, _group_of_path(norm))}({call})"
        return call

    def _is_inlined(self, op: Op, call: str) -> bool:
        """Tell whether an operation's call goes into the line of its reader: the next operation, of the same group."""
        if self.unread[op] != 1 or len(call) > _LONGEST_INLINED or op.kind in ("add", "relu", "signed"):
            return False
        following = self.plan.ops[self.plan.ops.index(op) + 1]
        # The quantizer of a sum's first term, which waits for the other term.
        waits = op.kind == "sum" and self.expressions.get(op.source) in _VARIABLES
        return (op in following.inputs or waits) and _group(following) in ("", self.block)

    def _free_variable(self) -> str:
        """Return a variable that no operation to come reads."""
        pending = [expression for op, expression in self.expressions.items() if self.unread[op] > 0]
        names = (*_VARIABLES, *(f"v{i}" for i in range(len(self.plan.ops))))
        return next(name for name in names if not any(_reads(expression, name) for expression in pending))


def _reads(expression: str, variable: str) -> bool:
    return re.search(rf"(?<![\w.]){variable}(?!\w)", expression) is not None


def _group(op: Op) -> str:
    """Return the group that an operation's layer is reached from; an addition has no layer."""
    return "" if op.kind == "add" else _group_of_path(op.path)


def _group_of_path(path: str) -> str:
    """Return a path up to its first number, or up to the module above its last part."""
    *above, _ = path.split(".")
    end = next((i + 1 for i, part in enumerate(above) if part.isdigit()), len(above))
    return ".".join(above[:end])


def _layer(path: str, group: str) -> str:
    """Return how a line reaches a layer: through ``block`` where it lies in a group."""
    return f"block{_steps(path.removeprefix(f'{group}.'))}" if group else f"self{_steps(path)}"


def _steps(path: str) -> str:
    """Return a path as attributes and, for numbers, items."""
    return "".join(_step(part) for part in path.split("."))


def _step(part: str) -> str:
    if part.isidentifier():
        return f".{part}"
    return f"[{part}]" if part.isdigit() else f'["{part}"]'
