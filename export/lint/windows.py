"""Lint's rules about what slides over an image: convolutions, padding and max-pools, attribute by attribute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnx import NodeProto

from qtrain.export.lint.finding import LOWERING, PARTITION, TO_FINN, UNMAPPED, Finding
from qtrain.export.lint.streams import QUANTIZERS, Network, Rule, attributes

LAYOUT = "step_channels_last"  # ours; official FINN makes its pools in step_convert_to_hw
# What ONNX lets a file leave out and FINN reads all the same.
WRITTEN_OUT = {"Conv": ("group", "pads", "strides"), "MaxPool": ("pads", "strides"), "Quant": ("narrow", "signed")}
NOT_SET = ("", "NOTSET")


def convolutions(net: Network) -> Iterator[Finding]:
    """Groups and biases."""
    for node in net.running("Conv"):
        options, channels, outputs = attributes(node), net.shape(node.input[0])[1], net.shape(node.output[0])[1]
        groups = options.get("group", 1)
        if groups != 1 and not groups == channels == outputs:
            says = "cannot reshape array: of grouped convolutions only depthwise ones are lowered, one filter a channel"
            mend = "use groups=1, or groups equal to the input channels (depthwise) and a 1x1 convolution behind it"
            yield Finding("groups", "error", net.layer(node), says, LOWERING, mend)
        if len(node.input) > 2 and net.weight_quantizer(node.input[2]) is not None:
            says = "cannot reshape array of size 1 into shape (1,C,1,1); official FINN main computes wrong classes"
            mend = "keep the bias in float (bias_quant None), or bias=False before a BatchNorm: thresholds absorb both"
            yield Finding("bias-quantizer", "error", net.layer(node), says, TO_FINN, mend)


def paddings(net: Network) -> Iterator[Finding]:
    """Padding that is a layer of its own, for whatever values it pads with; one that adds nothing is none."""
    for node in net.running("Pad"):
        if net.shape(node.input[0]) != net.shape(node.output[0]):
            says = UNMAPPED.format("Pad") + "; its default steps: IndexError"
            mend = "use an odd kernel and the convolution's own padding of zeros, the same on both sides"
            yield Finding("padding", "error", net.layer(node), says, PARTITION, mend)


def thin_images(net: Network) -> Iterator[Finding]:
    """Images without two axes, and images of one row or column: what slides over them must be as thin."""
    for node in net.running("Conv", "MaxPool"):
        options, sizes = attributes(node), net.shape(node.input[0])[2:]
        kernel = options.get("kernel_shape") or list(net.shape(node.input[1])[2:])
        pads = options.get("pads", [0, 0] * len(kernel))
        if len(sizes) != 2:
            says = f"IndexError: list index out of range; {node.op_type} has {len(sizes)} axes, FINN's images have two"
            mend = "give a sequence as an image of one row: QuantConv2d(..., (1, k), padding=(0, k // 2)), "
            mend += "nn.MaxPool2d((1, k))"
            yield Finding("axes", "error", net.layer(node), says, LOWERING, mend)
        elif any(size == 1 and (k, pad) != (1, 0) for size, k, pad in zip(sizes, kernel, pads, strict=False)):
            says = f"Unexpected kernel shape and padding for an input image of {_sizes(sizes)}"
            mend = "along an axis of one pixel use a kernel of 1 and no padding, e.g. (1, 3) with padding=(0, 1); the "
            mend += "rest of a larger kernel meets zeros only"
            yield Finding("thin-image", "error", net.layer(node), says, _step(node), mend)


def left_out(net: Network) -> Iterator[Finding]:
    """Attributes that a file leaves to ONNX's defaults, or to ``auto_pad``, and FINN reads."""
    for node in net.of_type(*WRITTEN_OUT):
        options = attributes(node)
        automatic = options.get("auto_pad", "NOTSET")
        if automatic not in NOT_SET and _automatic_is_refused(net, node, options):
            says = f"of auto_pad={automatic} it computes no pads here: Required attribute pads unspecified, or invalid "
            says += "dimensions"
            mend = "write the pads out: pads=[top, left, bottom, right] and no auto_pad, the same on both sides"
            yield Finding("auto-pad", "error", net.layer(node), says, _step(node), mend)
        needed = [name for name in WRITTEN_OUT[node.op_type] if name != "pads" or automatic in NOT_SET]
        if missing := [name for name in needed if name not in options]:
            names = ", ".join(missing)
            says = f"reads {names}, which the file leaves to ONNX's defaults: Required attribute unspecified, or "
            says += "AttributeError: 'NoneType' object has no attribute 'ints'"
            mend = f"write {names} out, as brevitas.export.export_qonnx does"
            yield Finding("left-out", "error", net.layer(node), says, _step(node), mend)


def _automatic_is_refused(net: Network, node: NodeProto, options: dict[str, Any]) -> bool:
    """Whether FINN cannot tell the pads, or takes others.

    It computes those of a convolution without stride and dilation; of a pool it reads ``pads``, where they are written.
    """
    if node.op_type == "Conv":
        plain = all(value == 1 for name in ("strides", "dilations") for value in options.get(name, [1]))
        return bool(options["auto_pad"] != "VALID" and not plain)
    if "pads" not in options:
        return True
    sizes, outputs, kernel = net.shape(node.input[0])[2:], net.shape(node.output[0])[2:], options["kernel_shape"]
    strides, pads = options.get("strides", [1] * len(kernel)), options["pads"]
    axes = range(len(kernel))
    counts = [(sizes[i] + pads[i] + pads[i + len(kernel)] - kernel[i]) // strides[i] + 1 for i in axes]
    return counts != list(outputs)


def _step(node: NodeProto) -> str:
    return {"MaxPool": LAYOUT, "Quant": TO_FINN}.get(node.op_type, LOWERING)


def max_pools(net: Network) -> Iterator[Finding]:
    """Windows of a max-pool: all of them whole, without holes, each pixel in one at least, padded alike."""
    for node in net.running("MaxPool"):
        options, sizes = attributes(node), net.shape(node.input[0])[2:]
        kernel = options["kernel_shape"]
        ones = [1] * len(kernel)
        strides, dilations = options.get("strides", ones), options.get("dilations", ones)
        pads = options.get("pads", [0, 0] * len(kernel))
        layer, axes = net.layer(node), range(len(kernel))
        if any(dilation != 1 for dilation in dilations):
            says = f"computes it without its dilation of {_sizes(dilations)}: cannot reshape array"
            mend = "take dilation out of the max-pool; a convolution may have it"
            yield Finding("pool-dilation", "error", layer, says, PARTITION, mend)
        if any(kernel[axis] < strides[axis] for axis in axes):
            says = UNMAPPED.format(f"MaxPool, whose windows of {_sizes(kernel)} leave out pixels at a stride of ")
            says += _sizes(strides)
            mend = "use a kernel as large as the stride at least, or a convolution with this stride"
            yield Finding("pool-stride", "error", layer, says, PARTITION, mend)
        if any(pads) and _shared_and_signed(net, node):
            says = (
                "FMPadding_Batch doesn't currently support pad_val != 0: these values may be below zero, and another "
            )
            says += "layer reads them too"
            mend = "pool behind a QuantReLU, pool without padding, or give the pool a quantizer of its own"
            yield Finding("pool-signed", "error", layer, says, PARTITION, mend)
        if any(pads[axis] != pads[axis + len(kernel)] for axis in axes):
            says, mend = "Uneven padding not supported", "pad the same on both sides: nn.MaxPool2d's own padding does"
            yield Finding("pool-padding", "error", layer, says, LAYOUT, mend)
        left = [sizes[i] + pads[i] + pads[i + len(kernel)] - dilations[i] * (kernel[i] - 1) - 1 for i in axes]
        if options.get("ceil_mode", 0) and any(rest % stride for rest, stride in zip(left, strides, strict=True)):
            says = "computes it without ceil_mode: cannot reshape array (a window more at the edge than it has pixels)"
            mend = f"use ceil_mode=False; {_as_many(sizes, kernel, strides, net.shape(node.output[0])[2:])}"
            yield Finding("pool-ceil", "error", layer, says, PARTITION, mend)
        elif kernel == strides and any(size % stride for size, stride in zip(sizes, strides, strict=True)):
            says = "finn-plus takes it; users report that official FINN wants sizes that the pool divides, and "
            says += f"{_sizes(sizes)} is no multiple of {_sizes(strides)}"
            mend = "pad the convolution before it (padding=1 for a 3x3 kernel), or pool elsewhere"
            yield Finding("odd-pool", "warning", layer, says, "step_convert_to_hw (main, dev)", mend)


def _shared_and_signed(net: Network, pool: NodeProto) -> bool:
    """Whether a pool reads a signed quantizer that others read: only the pool's own can count from zero."""
    source = net.producer(pool.input[0])
    if source is None or source.op_type not in QUANTIZERS or len(net.consumers(source)) < 2:
        return False
    return source.op_type == "BipolarQuant" or bool(attributes(source).get("signed", 0))


def _as_many(sizes: tuple[int, ...], kernel: list[int], strides: list[int], wanted: tuple[int, ...]) -> str:
    """What gives as many pixels as ``ceil_mode`` does: padding, where half a window is enough of it."""
    pads = []
    for size, window, stride, pixels in zip(sizes, kernel, strides, wanted, strict=True):
        enough = (pad for pad in range(window // 2 + 1) if (size + 2 * pad - window) // stride + 1 == pixels)
        pads.append(next(enough, None))
    if None in pads:
        return "give the layer before it a size that the pool divides (its padding), or pool elsewhere"
    return f"padding={_argument(pads)} gives as many pixels"


def _argument(values: list[Any]) -> str:
    return str(values[0]) if len(set(values)) == 1 else str(tuple(values))


def _sizes(values: tuple[int, ...] | list[int]) -> str:
    return "x".join(map(str, values))


WINDOW_RULES: tuple[Rule, ...] = (convolutions, paddings, left_out, thin_images, max_pools)
