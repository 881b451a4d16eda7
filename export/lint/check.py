"""Lint: what FINN would say of a network, before it is trained. ``lint_module`` for torch, ``lint_graph`` for QONNX."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.errors import UserError, is_of_machine
from qtrain.export.bare import bare_copy
from qtrain.export.lint.ask import Findings, ask_error, ask_file, ask_graph, ask_module, ask_run, in_order
from qtrain.export.lint.ends import OLDER_NAMES
from qtrain.export.lint.finding import Finding
from qtrain.export.lint.modules import fixed_scales, module_paths
from qtrain.export.lint.running import Trial
from qtrain.export.lint.streams import GraphView
from qtrain.export.lint.table import MODULE_ORDER
from qtrain.export.passes import annotate, fold, take_class
from qtrain.export.stages import Stage, graph_stages
from qtrain.generators import kept_generators

__all__ = ["Finding", "lint_file", "lint_graph", "lint_module"]


def lint_module(module: nn.Module, shape: tuple[int, ...] = (3, 32, 32)) -> Findings:
    """Check a torch network, trained or not, against what FINN takes; the module is left as it is.

    Args:
        module: takes float images [N, C, H, W] in [0, 1] and returns logits [N, classes]; what takes signals [N, C, L]
            or rows [N, F] gets a finding that says how to take images.
        shape: of one image, (C, H, W): (C, L, 1) of a signal, (F, 1, 1) of a row.

    Raises:
        UserError: the network cannot run on such images, or BREVITAS_JIT is set.
    """
    return lint_with_stages(module, shape)[0]


def lint_with_stages(module: nn.Module, shape: tuple[int, ...]) -> tuple[Findings, tuple[Stage, ...]]:
    """Check a torch network as ``lint_module`` does.

    Returns:
        The findings, and the stages of the graph that was looked at; none where what was found first needs no graph,
        or where there cannot be one.
    """
    with kept_generators():  # a network may draw random numbers; the user's stay as they are
        network = bare_copy(module)
        trial = Trial(network, shape)
        if unfit := ask_run(trial, "axes", "flat-input"):
            return in_order(unfit), ()
        if causes := _causes(trial):
            return in_order(causes), ()
        # What Python decides it decides for a whole batch, which the first of these rules names.
        asked = ask_run(trial, "frozen-branch") or ask_run(trial, "across-images")
        try:
            with _without_graph_dump():
                stages = tuple(graph_stages(module, shape))
        except UserError:
            raise
        except Exception as error:
            if is_of_machine(error):
                raise
            return in_order([*ask_error(error, "export"), *ask_module(network, "average-pool"), *asked]), ()
        graph = GraphView(stages[-1].graph, module_paths(network), fixed_scales(network))
        return in_order([*ask_module(network, *MODULE_ORDER), *asked, *ask_graph(graph)]), stages


def _causes(trial: Trial) -> list[Finding]:
    """Return what would make everything further a symptom of it: lint ends there. Empty where nothing does."""
    if broken := ask_module(trial.network, "not-finite"):
        return broken
    if unfit := ask_run(trial, "output") or ask_module(trial.network, "not-quantized"):
        return unfit
    if ask_module(trial.network, "weights-clamped"):  # they shrink with every call, which their own rule names
        return ask_run(trial, "random", "batch-statistics")
    return ask_run(trial, "one-image", "random", "batch-statistics", "moving-state")


def lint_graph(model: ModelWrapper) -> Findings:
    """Check a QONNX graph of any origin: cleaned or not, with or without TopK and the UINT8 input.

    Args:
        model: left as it is.
    """
    model = copy.deepcopy(model)
    if unfit := ask_file(model, "graph") or ask_file(model, "not-quantized"):
        return in_order(unfit)
    found = ask_file(model, "open-size", "renamed")
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"
        node.op_type = OLDER_NAMES.get(node.op_type, node.op_type)
    try:
        model = annotate(fold(_for_one_image(model)))
        found += ask_file(model, "output", "input-type")
        if without_class := ask_file(model, "no-top1"):
            found += without_class
            model = annotate(take_class(model))
    except Exception as error:
        if any(finding.severity == "error" for finding in found):
            return in_order(found)
        return in_order(ask_error(error, "graph"))
    return in_order([*found, *ask_graph(GraphView(model))])


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
    except Exception as error:
        if is_of_machine(error):
            raise
        proto = onnx.ModelProto()
    if not proto.graph.node:
        raise UserError(f"{path} is not an ONNX file, or cut short; write it again with brevitas.export.export_qonnx")
    return lint_graph(ModelWrapper(proto))


@contextmanager
def _without_graph_dump() -> Iterator[None]:
    """Keep torch from printing the whole graph where it cannot export it; it has no switch for that."""
    dump = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        torch._C._jit_onnx_log = dump


def _without_data(path: Path) -> UserError:
    """Return the error of a graph whose weights lie in a file that is missing."""
    return UserError(f"{path} keeps its weights in another file, which is missing; put that file beside it again")


def _for_one_image(model: ModelWrapper) -> ModelWrapper:
    """Give an open batch size the value 1; FINN streams image by image."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    if dims and not dims[0].dim_value:
        dims[0].dim_value = 1
    return model
