"""Lint: what FINN would say of a network, before it is trained. ``lint_module`` for torch, ``lint_graph`` for QONNX."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.export.bare import bare_copy
from qtrain.export.lint.causes import changing_answers, not_finite
from qtrain.export.lint.ends import EXPORT, OLDER_NAMES, older_names, one_logit, open_sizes, outputs
from qtrain.export.lint.finding import PARTITION, SEVERITIES, WHOLE, Finding
from qtrain.export.lint.modules import (
    MODULE_RULES,
    average_pools,
    clamped_weights,
    fixed_scales,
    has_quantizers,
    module_paths,
    not_quantized,
)
from qtrain.export.lint.rules import RULES
from qtrain.export.lint.streams import QUANTIZERS, Network
from qtrain.export.lint.trace import frozen_branches
from qtrain.export.passes import annotate, clean, take_class, take_pixels
from qtrain.export.qonnx import to_qonnx

__all__ = ["Finding", "lint_file", "lint_graph", "lint_module"]

Findings = tuple[Finding, ...]


def lint_module(module: nn.Module, shape: tuple[int, ...] = (3, 32, 32)) -> Findings:
    """Check a torch network, trained or not, against what FINN takes; the module is left as it is.

    Args:
        module: takes float images [N, C, H, W] in [0, 1] and returns logits [N, classes].
        shape: of one image, (C, H, W).

    Raises:
        UserError: the network cannot run on such images, or BREVITAS_JIT is set.
    """
    with torch.random.fork_rng(devices=[]):  # a network may draw random numbers; the user's stay as they are
        return _lint_copy(bare_copy(module), shape)


def _lint_copy(network: nn.Module, shape: tuple[int, ...]) -> Findings:
    """Check a network that is lint's own, from what makes other findings symptoms to the graph's rules."""
    if broken := list(not_finite(network)):
        return _sorted(broken)
    logits = _answer(network, shape)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 1:
        return (_no_logits(logits),)
    if logits.shape[1] < 2:
        return (one_logit(),)
    if not has_quantizers(network):
        return (not_quantized(),)
    clamped = list(clamped_weights(network))  # they shrink with every call, which their own rule names
    if causes := [cause for cause in changing_answers(network, shape) if cause.rule != "moving-state" or not clamped]:
        return _sorted(causes)
    frozen = list(frozen_branches(network, shape))
    try:
        with _without_graph_dump():
            graph = to_qonnx(network, shape)
        for step in (clean, take_pixels, take_class, annotate):
            graph = step(graph)
    except UserError:
        raise
    except Exception as error:
        return _sorted([_not_exported(error), *average_pools(network), *frozen])
    found = [finding for rule in MODULE_RULES for finding in rule(network)]
    return _sorted([*found, *frozen, *_rules(Network(graph, module_paths(network), fixed_scales(network)))])


def lint_graph(model: ModelWrapper) -> Findings:
    """Check a QONNX graph of any origin: cleaned or not, with or without TopK and the UINT8 input.

    Args:
        model: left as it is.
    """
    model = copy.deepcopy(model)
    notes: list[Finding] = []
    if len(model.graph.input) == 0 or not model.graph.node:
        return (_unreadable("it has no input or no layers"),)
    if not any(node.op_type in (*QUANTIZERS, "Trunc", "FloatQuant", "QuantizeLinear") for node in model.graph.node):
        return (not_quantized(),)
    notes += [*open_sizes(model), *older_names(model)]
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"
        node.op_type = OLDER_NAMES.get(node.op_type, node.op_type)
    try:
        model = annotate(clean(_for_one_image(model)))
        notes += outputs(model)
        if not model.get_tensor_datatype(model.graph.input[0].name).is_integer():
            notes.append(_no_pixels(model.graph.input[0].name))
        if not any(node.op_type == "TopK" for node in model.graph.node):
            notes.append(_no_class())
            model = annotate(take_class(model))
    except Exception as error:
        return _sorted(notes) if any(note.severity == "error" for note in notes) else (_unreadable(_line(error)),)
    return _sorted([*notes, *_rules(Network(model))])


def lint_file(path: Path) -> Findings:
    """Check an ONNX file, as ``lint_graph`` does.

    Raises:
        UserError: no such file, not ONNX, cut short, or the file with its weights is missing.
    """
    try:
        proto = onnx.load(str(path))
    except FileNotFoundError as error:
        if path.is_file():
            raise _without_data(path) from error
        raise UserError(f"{path} does not exist; name an ONNX file") from None
    except onnx.checker.ValidationError as error:
        raise _without_data(path) from error
    except Exception:
        proto = onnx.ModelProto()
    if not proto.graph.node:
        raise UserError(f"{path} is not an ONNX file, or cut short; write it again with brevitas.export.export_qonnx")
    return lint_graph(ModelWrapper(proto))


def _rules(net: Network) -> list[Finding]:
    return [finding for rule in RULES for finding in rule(net)]


def _sorted(found: Iterable[Finding]) -> Findings:
    """Each finding once, errors first, else in the order of the rules; one a rule and layer."""
    unique = {(finding.rule, finding.layer): finding for finding in reversed(list(found))}
    return tuple(sorted(reversed(unique.values()), key=lambda finding: SEVERITIES.index(finding.severity)))


@torch.no_grad()
def _answer(network: nn.Module, shape: tuple[int, ...]) -> object:
    """Run one black image."""
    try:
        output = network(torch.zeros(1, *shape))
    except Exception as error:
        size = "x".join(map(str, shape))
        raise UserError(
            f"{_called(network)} cannot take images of {size} ({_line(error)}); mend it, or give the size it "
            "takes, e.g. --input-shape 1,28,28"
        ) from None
    return output.value if hasattr(output, "value") else output


def _called(module: nn.Module) -> str:
    """The name of a network of the zoo, else the class."""
    name = getattr(module, "name", None)
    return name if isinstance(name, str) else type(module).__name__


def _no_logits(output: object) -> Finding:
    got = f"shape {list(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    says = f"TopK and the labels need one row of logits for an image, but the network returns {got}"
    return Finding("output", "error", WHOLE, says, EXPORT, "return one tensor [N, classes] from forward")


@contextmanager
def _without_graph_dump() -> Iterator[None]:
    """Keep torch from printing the whole graph where it cannot export it; it has no switch for that."""
    dump = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        torch._C._jit_onnx_log = dump


def _not_exported(error: Exception) -> Finding:
    """Name the module that torch was in, as far as its error tells."""
    scope = re.search(r"scope: ([^#\n]+)", str(error))
    parts = [part.rpartition("::")[2].strip() for part in scope[1].split("/")[1:]] if scope else []
    says = f"nothing: torch cannot export it ({_line(error)})"
    mend = "keep to brevitas.nn and torch.nn layers with constant shapes (no F.pad over channels, no slicing)"
    return Finding("export", "error", ".".join(parts) or WHOLE, says, EXPORT, mend)


def _unreadable(why: str) -> Finding:
    mend = "write it with brevitas.export.export_qonnx(model, args=one_image, dynamo=False) and for one image"
    return Finding("graph", "error", WHOLE, f"nothing: the graph cannot be read ({why})", EXPORT, mend)


def _no_pixels(name: str) -> Finding:
    says = f"gives the first layer 32-bit floats (finn-plus; official FINN: software): input {name} is not UINT8"
    mend = "divide by 255 in the graph and annotate the input as UINT8, as `qtrain export` does"
    return Finding("input-type", "note", WHOLE, says, PARTITION, mend)


def _no_class() -> Finding:
    says = "builds the last scale in 32-bit floats (finn-plus; official FINN: software): no TopK behind the logits"
    mend = "put qonnx's InsertTopK(k=1) behind them, as `qtrain export` does"
    return Finding("no-top1", "note", WHOLE, says, PARTITION, mend)


def _without_data(path: Path) -> UserError:
    return UserError(f"{path} keeps its weights in another file, which is missing; put that file beside it again")


def _for_one_image(model: ModelWrapper) -> ModelWrapper:
    """Give an open batch size the value 1; FINN streams image by image."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    if dims and not dims[0].dim_value:
        dims[0].dim_value = 1
    return model


def _line(error: Exception) -> str:
    """Return an error's first line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = text.partition(" [Caused by")[0].strip()
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__
