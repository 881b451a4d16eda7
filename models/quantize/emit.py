"""The new network as source: a module of Python that stands alone, with one class that works at any bits."""

from collections.abc import Iterator
from textwrap import wrap

from torch import nn

from qtrain.models.quantize.calls import WIDTH, called
from qtrain.models.quantize.ops import Op, Plan
from qtrain.models.quantize.pixels import Pixels

_SIGNATURE = """    def __init__(
        self,
        weight_bits: int = 4,
        act_bits: int = 4,
        num_classes: int = {classes},
        *,
        bits: str = "",
        input_bits: int = 8,
        scaling: str = "auto",
        power_of_two: bool = False,
        per_channel: bool = True,
    ):
        super().__init__()
        layers = OwnLayers(
            self,
            weight_bits,
            act_bits,
            bits=bits,
            input_bits=input_bits,
            scaling=scaling,
            power_of_two=power_of_two,
            per_channel=per_channel,
        )
"""


def source(plan: Plan, pixels: Pixels, classes: int) -> str:
    """Return the text of a module with the network's class."""
    base = "PixelNetwork" if pixels.raw else "OwnNetwork"
    uses_torch = any(op.kind in ("max_pool", "average", "flatten") for op in plan.ops)
    lines = [
        f'"""{plan.name}, made FINN-safe by qtrain from a float network of the same structure.',
        "",
        *_told(plan),
        '"""',
        "",
        f"from torch import Tensor{', nn' if uses_torch else ''}",
        "",
        f"from qtrain.models.own_layers import OwnLayers, {base}",
        "",
        "",
        f"class {plan.name}({base}):",
        f'    """Logits [N, num_classes] of images [N, {", ".join(map(str, plan.shape))}] in [0, 1].',
        "",
        "    Args:",
        "        weight_bits: of the weights, 1 to 8; 32 with 32 activation bits is the float network.",
        "        act_bits: of the activations.",
        "        num_classes: logits an image.",
        '        bits: other bits for single layers, "first=8,layer1.*=2".',
        "        input_bits: of the quantizer of the images.",
        '        scaling: where ranges come from: "learned" ("auto"), "statistics" or "constant".',
        "        power_of_two: round the scales to powers of two.",
        "        per_channel: weights with a scale for each output channel, but in the last layer.",
        '    """',
        "",
        _SIGNATURE.format(classes=classes).rstrip(),
        *(f"        {line}" for line in _made(plan)),
        "        layers.finish()",
        "",
        "    def logits(self, x: Tensor) -> Tensor:",
        f'        """Logits of images in {"[0, 1]" if pixels.raw else "[-1, 1]"}."""',
        *(f"        {line}" for line in called(plan)),
        "",
    ]
    return "\n".join(lines)


def _told(plan: Plan) -> list[str]:
    """Return what is otherwise than in the float network, a point each."""
    if not plan.notes:
        return ["Nothing but the quantizers was added."]
    points = [wrap(note, WIDTH - 2, initial_indent="- ", subsequent_indent="  ") for note in plan.notes]
    return ["What is otherwise than there:", *(line for point in points for line in point)]


def _made(plan: Plan) -> Iterator[str]:
    """Yield the lines that make the layers, each once."""
    seen = set()
    for op in plan.ops:
        line = _make(op)
        if line is not None and op.path not in seen:
            seen.add(op.path)
            yield line


def _make(op: Op) -> str | None:
    name = repr(op.path).replace("'", '"')
    layer = op.layer
    if op.kind in ("conv", "head_conv"):
        assert isinstance(layer, nn.Conv2d)
        return _make_conv(op, name, layer)
    if op.kind in ("linear", "head"):
        assert isinstance(layer, nn.Linear)
        outputs = _outputs(op, layer.out_features)
        if op.kind == "head":
            return f'layers.add_head({name}, {layer.in_features}, {outputs}, "{op.options["norm"]}")'
        return f"layers.add_linear({name}, {layer.in_features}, {outputs}{_extra(_role(op) | _bias(op))})"
    if op.kind in ("norm", "row_norm"):
        assert isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d)
        other: dict[str, object] = {"eps": layer.eps, "momentum": layer.momentum}
        usual = {"eps": 1e-5, "momentum": 0.1}
        changed = {key: value for key, value in other.items() if value != usual[key]}
        return f"layers.add_{op.kind}({name}, {_outputs(op, layer.num_features)}{_extra(changed)})"
    if op.kind in ("relu", "signed", "quantizer", "sum"):
        return f"layers.add_{op.kind}({name}{_extra(op.options)})"
    if op.kind == "image":
        return f"layers.add_input({name})" if op.path else None
    return _make_plain(op, name)


def _make_plain(op: Op, name: str) -> str | None:
    """Return the line of a layer without weights."""
    if op.kind == "max_pool":
        options = dict(op.options)
        return f"layers.place({name}, nn.MaxPool2d({options.pop('kernel_size')}{_extra(options)}))"
    if op.kind == "average":
        return f"layers.place({name}, nn.AdaptiveAvgPool2d(1))"
    if op.kind == "flatten":
        return f"layers.place({name}, nn.Flatten())"
    return None


def _make_conv(op: Op, name: str, layer: nn.Conv2d) -> str:
    outputs = _outputs(op, layer.out_channels)
    if op.kind == "head_conv":
        return f'layers.add_head_conv({name}, {layer.in_channels}, {outputs}, "{op.options["norm"]}")'
    options = {"stride": layer.stride, "padding": op.options["padding"], "dilation": layer.dilation}
    usual = {"stride": 1, "padding": 0, "dilation": 1}
    changed: dict[str, object] = {k: _short(v) for k, v in options.items() if _short(v) != usual[k]}
    if layer.groups > 1:
        changed["groups"] = layer.groups
    more = _extra(changed | _bias(op) | _role(op))
    return f"layers.add_conv({name}, {layer.in_channels}, {outputs}, {_short(layer.kernel_size)}{more})"


def _outputs(op: Op, outputs: int) -> str:
    return "num_classes" if op.kind in ("head", "head_conv") or op.options.get("classes") else str(outputs)


def _role(op: Op) -> dict[str, object]:
    return {"role": "first"} if "pixels" in op.options else {}


def _bias(op: Op) -> dict[str, object]:
    return {"bias": True} if op.options.get("bias") else {}


def _short(value: object) -> object:
    """Return one number for a pair of equal ones."""
    if isinstance(value, list | tuple) and value[0] == value[1]:
        return value[0]
    return tuple(value) if isinstance(value, list | tuple) else value


def _extra(options: dict[str, object]) -> str:
    return "".join(f", {key}={_text(_short(value))}" for key, value in options.items())


def _text(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
