"""From the exporter's node names to the module paths of the network, so that errors and folding speak its names."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

from qtrain.export.proof.reference import call_name

_NOISE = {"export_handler", "act_quant"}


def readable(node_name: str) -> str:
    """Turn ``/layer1/layer1.0/conv1/Conv`` into ``layer1_0_conv1_Conv``; a readable name stays as it is.

    The exporter counts the uses of a shared quantizer in its handler: ``/sum/act_quant/export_handler_1/Quant`` is the
    second one, ``sum_1_Quant``.
    """
    parts = [re.sub(r"^export_handler_(\d+)$", r"\1", p) for p in node_name.split("/") if p and p not in _NOISE]
    # A Sequential's children repeat its name: /layer1/layer1.0.
    parts = [p for i, p in enumerate(parts) if i + 1 == len(parts) or not parts[i + 1].startswith(p + ".")]
    return "_".join(parts).replace(".", "_")


def layer_tensors(model: ModelWrapper, paths: Iterable[str]) -> dict[str, str]:
    """Map each use of a module (``path``, the second one ``path[1]``) to the graph tensor that holds its output.

    That is the output of the use's last node.
    """
    names = {path.replace(".", "_"): path for path in paths}
    found: dict[str, str] = {}
    for node in model.graph.node:
        full, name = _layer_of(readable(node.name), names)
        if name:
            count = re.match(r"_(?:use)?(\d+)(_|$)", full[len(name) :])  # from use_names.py, or rename's
            use = call_name(names[name], int(count[1]) if count else 0)
            found.pop(use, None)  # in the order of the last nodes: a layer's first one quantizes its weights
            found[use] = node.output[0]
    return found


def _layer_of(full: str, names: Collection[str]) -> tuple[str, str]:
    """Return a node's name from its layer's on, and the layer's name, empty where it has none.

    A module that lies in two places keeps its first place's name, and in the other it comes behind its parent's.
    """
    while full:
        name = full
        while name and name not in names:
            name = name.rpartition("_")[0]
        if name:
            return full, name
        full = full.partition("_")[2]
    return "", ""


def rename(model: ModelWrapper) -> ModelWrapper:
    """Name nodes by their layers (``conv1``, ``act1``, ``norm9_Mul``), tensors by their nodes."""
    for node, name in zip(model.graph.node, _node_names(model.graph.node), strict=True):
        node.name = name
    _rename_tensors(model, _tensor_names(model))
    return model


def _node_names(nodes: Sequence[NodeProto]) -> list[str]:
    """Return a layer's name for its only operator, and else the operator behind it; a second use is counted."""
    full = [readable(node.name) for node in nodes]
    layers = [name.removesuffix(f"_{node.op_type}") for name, node in zip(full, nodes, strict=True)]
    operators = Counter(layers)
    wanted = [layer if operators[layer] == 1 else name for name, layer in zip(full, layers, strict=True)]
    taken: Counter[str] = Counter()
    names = []
    for name in wanted:
        names.append(f"{name}_{taken[name]}" if taken[name] else name)
        taken[name] += 1
    return names


def _tensor_names(model: ModelWrapper) -> dict[str, str]:
    """Return the new name of each tensor by its old one."""
    graph = model.graph
    parameters = {tensor.name for tensor in graph.initializer}
    names: dict[str, str] = {}
    for node in graph.node:
        names |= {t: f"{node.name}_param{i}" for i, t in enumerate(node.input) if t in parameters}
        names |= {t: f"{node.name}_out{i or ''}" for i, t in enumerate(node.output)}
    names |= {graph.input[0].name: "global_in", graph.output[0].name: "global_out"}
    return {old: new for old, new in names.items() if old and old != new}


def _rename_tensors(model: ModelWrapper, names: Mapping[str, str]) -> None:
    """Rename all at once: in a graph that qonnx named, a new name may be another tensor's old one.

    qonnx's own ``rename_tensor`` goes through the whole graph for each name.
    """
    graph = model.graph
    for described in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        described.name = names.get(described.name, described.name)
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = names.get(annotation.tensor_name, annotation.tensor_name)
    for node in graph.node:
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
