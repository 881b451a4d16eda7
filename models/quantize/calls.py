"""The lines of the new network's ``logits``: which layer reads what, in as few variables as are needed."""

import re

from qtrain.models.quantize.ops import Op, Plan

WIDTH = 112
_NAMES = ("x", "y", "z", "u", "v", "w")


class _Writer:
    """Writes the calls; a chain of layers in one line, what is read twice or added in a variable."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.left = {op: sum(other.inputs.count(op) for other in plan.ops) for op in plan.ops}
        self.texts: dict[Op, str] = {}
        self.block = ""
        self.lines: list[str] = []

    def write(self, op: Op) -> None:
        """Write one operation."""
        if op.kind == "output":
            self.lines.append(f"return {self.texts[op.source]}")
            return
        if op.kind == "image" and not op.path:
            self.texts[op] = "x"
            return
        self._enter(op)
        given = [self.texts[source] for source in op.inputs]
        for source in op.inputs:
            self.left[source] -= 1
        text = " + ".join(given) if op.kind == "add" else f"{self._access(op)}({given[0] if given else 'x'})"
        if op.kind in ("head", "head_conv"):
            norm = Op("norm", [], op.options["norm"], op.shape)
            text = f"{self._access(norm)}({text})"
        self.texts[op] = text
        if not self._inlined(op, text):
            self.texts[op] = self._free()
            self.lines.append(f"{self.texts[op]} = {text}")

    def _inlined(self, op: Op, text: str) -> bool:
        """Tell whether an operation's text goes into its only reader's."""
        if self.left[op] != 1 or len(text) > WIDTH - 40 or op.kind in ("add", "relu", "signed"):
            return False
        after = self.plan.ops[self.plan.ops.index(op) + 1]
        summed = op.kind == "sum" and op.source in self.texts and self.texts[op.source] in _NAMES
        return (op in after.inputs or summed) and self._block_of(after) in ("", self.block)

    def _free(self) -> str:
        """Return a variable that nothing to come reads."""
        pending = [text for op, text in self.texts.items() if self.left[op] > 0 and op is not list(self.texts)[-1]]
        for name in (*_NAMES, *(f"v{i}" for i in range(len(self.plan.ops)))):
            if not any(re.search(rf"(?<![\w.]){name}(?!\w)", text) for text in pending):
                return name
        raise AssertionError("there is a name for every operation")

    def _block_of(self, op: Op) -> str:
        """Return the group that an operation's layer is reached from: up to the first number, or the one above it."""
        parts = op.path.split(".")
        numbers = [i for i, part in enumerate(parts[:-1]) if part.isdigit()]
        return "" if op.kind == "add" else ".".join(parts[: numbers[0] + 1] if numbers else parts[:-1])

    def _enter(self, op: Op) -> None:
        block = self._block_of(op)
        if block and block != self.block:
            self.block = block
            self.lines.append(f"block = self{_steps(block)}")

    def _access(self, op: Op) -> str:
        block = self._block_of(op)
        inside = op.path[len(block) + 1 :] if block else op.path
        return f"{'block' if block else 'self'}{_steps(inside)}"


def _steps(path: str) -> str:
    """Return a path as attributes and, for numbers, items."""
    found = []
    for part in path.split("."):
        found.append(f".{part}" if part.isidentifier() else f"[{part}]" if part.isdigit() else f'["{part}"]')
    return "".join(found)


def called(plan: Plan) -> list[str]:
    """Return the lines, the last of which returns the logits."""
    writer = _Writer(plan)
    for op in plan.ops:
        writer.write(op)
    return writer.lines
