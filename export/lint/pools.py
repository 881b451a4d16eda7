"""Rules about pools: averages, which divide, truncations behind them, and the windows of max-pools."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto

from qtrain.export.lint.convolutions import sizes_text
from qtrain.export.lint.finding import UNMAPPED, Spot
from qtrain.export.lint.streams import INVARIANT, QUANTIZERS, GraphView, attributes

AVERAGE_POOL = UNMAPPED.format("AveragePool")
_WHOLE_IMAGE = "use nn.AdaptiveAvgPool2d(1) instead"


def average_pools(graph: GraphView) -> Iterator[Spot]:
    """Find average pools: they divide, which gives no integers; the global one leaves its division to TopK."""
    for node in graph.running("AveragePool"):
        if any(reader.op_type == "Trunc" for reader in graph.consumers(node)):
            continue
        whole = graph.shape(node.output[0])[2:] == (1, 1)
        yield graph.spot(node, AVERAGE_POOL, mend=_WHOLE_IMAGE if whole else "")


def _truncations(graph: GraphView) -> Iterator[tuple[NodeProto, bool, str]]:
    """Yield each truncation, whether it stands behind an average pool, and its rounding mode in capitals."""
    for node in graph.running("Trunc"):
        before = graph.producer(node.input[0])
        behind_pool = before is not None and before.op_type == "AveragePool"
        yield node, behind_pool, attributes(node).get("rounding_mode", "FLOOR").upper()


def lone_truncations(graph: GraphView) -> Iterator[Spot]:
    """Find truncations that do not stand behind an average pool."""
    for node, behind_pool, _ in _truncations(graph):
        if not behind_pool:
            yield graph.spot(node, UNMAPPED.format("Trunc"))


def truncations_by_compiler(graph: GraphView) -> Iterator[Spot]:
    """Find truncating pools that round down: FINN shifts bits out, but not every compiler does so rightly."""
    for node, behind_pool, rounding in _truncations(graph):
        if behind_pool and rounding == "FLOOR":
            says = "finn-plus and FINN's dev compute it right; official FINN main builds it and computes wrong classes"
            yield graph.spot(node, says)


def truncation_roundings(graph: GraphView) -> Iterator[Spot]:
    """Find truncating pools that do not round down."""
    for node, behind_pool, rounding in _truncations(graph):
        if behind_pool and rounding != "FLOOR":
            yield graph.spot(node, "The Trunc node must have the rounding_mode set to 'FLOOR'.")


def quantized_averages(graph: GraphView) -> Iterator[Spot]:
    """Find quantizers of the global average, whose division waits for a layer's thresholds or for TopK."""
    for node in graph.running(*QUANTIZERS):
        before = graph.producer(node.input[0])
        while before is not None and before.op_type in INVARIANT:
            before = graph.producer(before.input[0])
        if before is not None and before.op_type == "GlobalAveragePool":
            yield graph.spot(node, UNMAPPED.format("Transpose, between the average and its quantizer"))


@dataclass(frozen=True)
class _MaxPool:
    """A max-pool with its attributes, one number an axis of the image.

    Attributes:
        node: of the graph.
        sizes: of the image that it reads.
        kernel: sizes of a window.
        strides: from window to window.
        dilations: from pixel to pixel of a window.
        pads: at the beginning of each axis.
        end_pads: at the end of each axis.
        ceil_mode: whether windows may reach beyond the image.
    """

    node: NodeProto
    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    end_pads: tuple[int, ...]
    ceil_mode: bool

    @property
    def reaches_beyond(self) -> bool:
        """Whether ``ceil_mode`` makes a window that reaches beyond the padded image."""
        if not self.ceil_mode:
            return False
        for axis, stride in enumerate(self.strides):
            window = self.dilations[axis] * (self.kernel[axis] - 1) + 1
            padded = self.sizes[axis] + self.pads[axis] + self.end_pads[axis]
            if (padded - window) % stride:
                return True
        return False


def _max_pools(graph: GraphView) -> Iterator[_MaxPool]:
    """Yield the max-pools in graph order."""
    for node in graph.running("MaxPool"):
        options = attributes(node)
        kernel = tuple(options["kernel_shape"])
        axes = len(kernel)
        pads = tuple(options.get("pads", [0, 0] * axes))
        yield _MaxPool(
            node=node,
            sizes=graph.shape(node.input[0])[2:],
            kernel=kernel,
            strides=tuple(options.get("strides", [1] * axes)),
            dilations=tuple(options.get("dilations", [1] * axes)),
            pads=pads[:axes],
            end_pads=pads[axes:],
            ceil_mode=bool(options.get("ceil_mode", 0)),
        )


def dilated_pools(graph: GraphView) -> Iterator[Spot]:
    """Find max-pools with holes in their windows."""
    for pool in _max_pools(graph):
        if any(dilation != 1 for dilation in pool.dilations):
            says = f"computes it without its dilation of {sizes_text(pool.dilations)}: cannot reshape array"
            yield graph.spot(pool.node, says)


def leaping_pools(graph: GraphView) -> Iterator[Spot]:
    """Find max-pools whose windows leave out pixels."""
    for pool in _max_pools(graph):
        if any(size < stride for size, stride in zip(pool.kernel, pool.strides, strict=True)):
            windows = f"MaxPool, whose windows of {sizes_text(pool.kernel)} leave out pixels at a stride of "
            yield graph.spot(pool.node, UNMAPPED.format(windows) + sizes_text(pool.strides))


def signed_pools(graph: GraphView) -> Iterator[Spot]:
    """Find padded max-pools of values below zero that others read too."""
    for pool in _max_pools(graph):
        if any((*pool.pads, *pool.end_pads)) and _shared_and_signed(graph, pool.node):
            says = "FMPadding_Batch doesn't currently support pad_val != 0: these values may be below zero, and "
            says += "another layer reads them too"
            yield graph.spot(pool.node, says)


def _shared_and_signed(graph: GraphView, pool: NodeProto) -> bool:
    """Whether a pool reads a signed quantizer that others read: only the pool's own can count from zero."""
    source = graph.producer(pool.input[0])
    if source is None or source.op_type not in QUANTIZERS or len(graph.consumers(source)) < 2:
        return False
    return source.op_type == "BipolarQuant" or bool(attributes(source).get("signed", 0))


def unevenly_padded_pools(graph: GraphView) -> Iterator[Spot]:
    """Find max-pools that are padded on one side more than on the other."""
    for pool in _max_pools(graph):
        if pool.pads != pool.end_pads:
            yield graph.spot(pool.node, "Uneven padding not supported")


def pools_beyond_the_image(graph: GraphView) -> Iterator[Spot]:
    """Find max-pools of which ``ceil_mode`` makes a window more than the image has."""
    for pool in _max_pools(graph):
        if pool.reaches_beyond:
            says = "computes it without ceil_mode: cannot reshape array (a window more at the edge than it has pixels)"
            pads = _enough_padding(pool, graph.shape(pool.node.output[0])[2:])
            mend = f"use ceil_mode=False; padding={_argument(pads)} gives as many pixels" if pads else ""
            yield graph.spot(pool.node, says, mend=mend)


def _enough_padding(pool: _MaxPool, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Return the padding that gives as many pixels as ``ceil_mode`` does; empty where half a window is too little."""
    pads = []
    for size, window, stride, pixels in zip(pool.sizes, pool.kernel, pool.strides, wanted, strict=True):
        enough = [pad for pad in range(window // 2 + 1) if (size + 2 * pad - window) // stride + 1 == pixels]
        pads += enough[:1]
    return tuple(pads) if len(pads) == len(wanted) else ()


def _argument(values: tuple[Any, ...]) -> str:
    """Return values as an argument of torch: one number where all are equal."""
    return str(values[0]) if len(set(values)) == 1 else str(values)


def pools_of_odd_sizes(graph: GraphView) -> Iterator[Spot]:
    """Find max-pools whose stride does not divide the image."""
    for pool in _max_pools(graph):
        odd = any(size % stride for size, stride in zip(pool.sizes, pool.strides, strict=True))
        if odd and pool.kernel == pool.strides and not pool.reaches_beyond:
            says = "finn-plus takes it; users report that official FINN wants sizes that the pool divides, and "
            says += f"{sizes_text(pool.sizes)} is no multiple of {sizes_text(pool.strides)}"
            yield graph.spot(pool.node, says)
