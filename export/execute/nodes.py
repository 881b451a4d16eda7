"""One node of a graph: what it says, what it is called in an error, and running it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from onnx import NodeProto, helper

from qtrain.export.errors import ProofError
from qtrain.export.execute.operators import READ, Attributes, Operator
from qtrain.export.execute.whole_steps import values_of

# Domains whose operators have the meanings that are executed here.
_DOMAINS = ("qonnx.custom_op.", "finn.custom_op.", "onnx.brevitas")


def called(node: NodeProto) -> str:
    """A node's name, or what it makes where it has none."""
    return f"node {node.name!r}" if node.name or not node.output else f"the node that makes {node.output[0]!r}"


@contextmanager
def refusing(node: NodeProto) -> Iterator[None]:
    """Turn whatever a node of foreign origin raises into a ``ProofError`` that names it, and the error's kind."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, ProofError)
        reason = " ".join(str(error).split())[:300]
        why = reason if known else f"{reason} ({type(error).__name__})"
        raise ProofError(f"{called(node)}: cannot execute this {node.op_type}: {why}") from error


def run_node(
    node: NodeProto,
    attributes: Attributes,
    operator: Callable[..., Any],
    values: Mapping[str, Any],
    takes_steps: bool = False,
) -> dict[str, Any]:
    """Run a node's operator on ``values``; return its outputs by name.

    Args:
        node: to run.
        attributes: of it.
        operator: takes the attributes, then the inputs.
        values: tensors by name, some in whole steps of their grid.
        takes_steps: whether the operator takes those, else values.

    Raises:
        ProofError: it cannot be run; names the node.
    """
    with refusing(node):
        given = [values[name] if name else None for name in node.input]
        out = operator(attributes, *(given if takes_steps else map(values_of, given)))
        results = out if isinstance(out, tuple) else (out,)
        missing = [name for name in node.output[len(results) :] if name]
        if missing:
            raise ProofError(f"its output {missing[0]!r} is not computed")
    return dict(zip(node.output, results, strict=False))


def attributes_of(node: NodeProto, operators: Mapping[str, Operator]) -> dict[str, Any]:
    """Return a node's attributes by name.

    Raises:
        ProofError: the operator is not one of ``operators``, or has an attribute that it does not read here.
    """
    if node.op_type not in operators or (node.domain not in ("", "ai.onnx") and not node.domain.startswith(_DOMAINS)):
        where = f" of {node.domain}" if node.op_type in operators else ""
        raise ProofError(f"{called(node)}: cannot execute operator {node.op_type!r}{where}")
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    unread = sorted(set(found) - READ.get(node.op_type, frozenset(found)))
    if unread:
        raise ProofError(f"{called(node)}: cannot execute this {node.op_type}: its {unread[0]} is not read")
    return found


def check_written(node: NodeProto, known: Collection[str]) -> None:
    """See that a node's inputs are there and its outputs new.

    Raises:
        ProofError: names the tensor.
    """
    for name in node.input:
        if name and name not in known:
            raise ProofError(f"{called(node)}: its input {name!r} is made by no node before it")
    for name in node.output:
        if name in known:
            raise ProofError(f"{called(node)}: its output {name!r} is there already")
