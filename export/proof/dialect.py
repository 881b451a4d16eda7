"""The dialect of finn-base, qonnx's ancestor: the same graphs, other operator domains, fewer operators and types.

What it lacks, or has under the same name with another meaning, is refused: it would fail late there, or be wrong.
"""

import copy
import re

from onnx import NodeProto, helper
from qonnx.core.modelwrapper import ModelWrapper

from qtrain.errors import UserError

OURS = "qonnx.custom_op."
THEIRS = "finn.custom_op."
_DOMAINS = {"onnx.brevitas": f"{THEIRS}general"}  # what Brevitas writes before qonnx's clean-up

# finn-base 0.0.3: finn/custom_op/general/__init__.py
_OPERATORS = (
    "BipolarQuant",
    "Im2Col",
    "MaxPoolNHWC",
    "MultiThreshold",
    "Quant",
    "QuantAvgPool2d",
    "Trunc",
    "XnorPopcountMatMul",
)
_ROUNDINGS = ("ROUND", "CEIL", "FLOOR")
_DATATYPES = re.compile(r"BINARY|BIPOLAR|TERNARY|FLOAT32|U?INT\d+|FIXED<\d+,\s*\d+>")
# MultiThreshold's layouts that have the channels on axis 1, or, as NHWC of four dimensions, where finn-base looks too
_CHANNELS_FIRST = ("NC", "NCW", "NCHW")


def to_finn_base(model: ModelWrapper) -> ModelWrapper:
    """Return a cleaned QONNX graph in finn-base's dialect, for its ``ModelWrapper`` and its ``execute_onnx``.

    Domains ``qonnx.custom_op.*`` become ``finn.custom_op.*``; layouts of MultiThreshold that finn-base does not know
    become its name for the same; data types that it does not know become FLOAT32, which it carries them in; the ONNX
    operators' version is the first import, where it looks.

    Args:
        model: left as it is.

    Raises:
        UserError: an operator, a rounding or a layout that finn-base has not, or a Trunc of version 2, which it would
            compute as version 1 without a word.
    """
    model = copy.deepcopy(model)
    version = max((o.version for o in model.model.opset_import if o.domain.startswith(OURS)), default=1)
    for node in model.graph.node:
        domain = _renamed(node.domain)
        if domain.startswith(THEIRS):
            _check(node, version)
            node.domain = domain
            if node.op_type == "MultiThreshold":
                _set_layout(node, model)
    imports = {
        _renamed(o.domain): (1 if _renamed(o.domain) != o.domain else o.version) for o in model.model.opset_import
    }
    onnx_first = sorted(imports.items(), key=lambda item: item[0] not in ("", "ai.onnx"))
    del model.model.opset_import[:]
    model.model.opset_import.extend(helper.make_opsetid(domain, number) for domain, number in onnx_first)
    for annotation in model.graph.quantization_annotation:
        for entry in annotation.quant_parameter_tensor_names:
            if entry.key == "finn_datatype" and not _DATATYPES.fullmatch(entry.value):
                entry.value = "FLOAT32"
    return model


def _renamed(domain: str) -> str:
    if domain in _DOMAINS:
        return _DOMAINS[domain]
    return THEIRS + domain.removeprefix(OURS) if domain.startswith(OURS) else domain


def _text(node: NodeProto, name: str) -> str:
    """A text attribute, empty where the node has none."""
    return next((helper.get_attribute_value(a).decode() for a in node.attribute if a.name == name), "")


def _check(node: NodeProto, version: int) -> None:
    """See that finn-base computes this node as qonnx does.

    Args:
        node: of a custom domain.
        version: of qonnx's operators, as the graph imports them.
    """
    if _renamed(node.domain) != f"{THEIRS}general" or node.op_type not in _OPERATORS:
        raise _refused(node, f"it has no operator {node.op_type} of {node.domain}", f"it has {', '.join(_OPERATORS)}")
    if node.op_type == "Trunc" and (version > 1 or len(node.input) != 5):
        raise _refused(
            node,
            "it would compute Trunc of version 2 as version 1, silently wrong",
            "train with an average pool that is not truncated (qtrain's networks have nn.AdaptiveAvgPool2d)",
        )
    rounding = _text(node, "rounding_mode") or "ROUND"
    if node.op_type in ("Quant", "Trunc") and rounding not in _ROUNDINGS:
        raise _refused(node, f"it has no rounding {rounding}", f"it has {', '.join(_ROUNDINGS)}")


def _set_layout(node: NodeProto, model: ModelWrapper) -> None:
    """Leave a MultiThreshold with a layout that both read alike; where it has none, qonnx guesses by the rank."""
    rank = len(model.get_tensor_shape(node.input[0]) or ())
    layout = _text(node, "data_layout") or {2: "NC", 3: "NWC", 4: "NCHW"}.get(rank, "unknown")
    if layout not in _CHANNELS_FIRST and (layout, rank) != ("NHWC", 4):
        raise _refused(node, f"it has no layout {layout} of {rank} dimensions", "it has NC, NCW, NCHW and NHWC")
    kept = [a for a in node.attribute if a.name != "data_layout"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("data_layout", "NHWC" if layout == "NHWC" else "NCHW")])


def _refused(node: NodeProto, why: str, mend: str) -> UserError:
    return UserError(f"finn-base cannot take node {node.name or node.op_type}: {why}; {mend}")
