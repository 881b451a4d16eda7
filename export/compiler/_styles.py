"""Memory styles and resource types of layers, chosen so that a folding fits: inside the compiler's own process.

``_worker.py`` loads this file by its path; it imports nothing of qtrain. FINN says itself what a layer takes with a
style: the attribute is set on the node, and the node's own estimates are asked. Only what FINN's code generation can
build is offered, and only what its estimates count on both sides: a style that gives something back and takes nothing
for it is one that they pass over, as LUT RAM of weights beside RTL units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

KINDS = ("LUT", "BRAM_18K", "URAM", "DSP")
DEEPEST = 1024  # words of a memory in LUTs: the multiplexers behind deeper ones are large, and FINN counts none
NARROWEST, WIDEST = 2, 18  # bits of a factor that a DSP slice multiplies as a number: 1 bit is a sign
NEVER = 1 << 30  # words: no memory of thresholds is as deep
ONE_LUT = 64  # words that a LUT holds of a bit
TIE = 0.2  # all shares of a board together are at most 4, so that they never outweigh one layer more
Attributes = dict[str, Any]


class Way(NamedTuple):
    """One way to build a layer.

    Attributes:
        attributes: that are not as FINN sets them; none for FINN's own way.
        amounts: of ``KINDS``, by FINN's estimates.
    """

    attributes: Attributes
    amounts: tuple[float, ...]


def choose(layers: Mapping[str, Sequence[Way]], limits: Mapping[str, float]) -> dict[str, Attributes] | None:
    """Choose a way for each layer so that all fit together: exactly, with as few changes as there can be.

    Args:
        layers: ways to build each, FINN's own first.
        limits: the most of each of ``KINDS``.

    Returns:
        The attributes of the layers that are not built in FINN's own way; None where nothing fits. Of choices with as
        few changes, the one with the smallest sum of shares of what may be used.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    own = np.sum([ways[0].amounts for ways in layers.values()], axis=0)
    room = np.array([limits[kind] for kind in KINDS]) - own
    changes = [(name, way) for name, ways in layers.items() for way in ways[1:]]
    if (room >= 0).all():
        return {}
    if not changes:
        return None
    more = np.array([np.subtract(way.amounts, layers[name][0].amounts) for name, way in changes]).T
    once = np.array([[float(name == layer) for name, _ in changes] for layer in layers])
    shares = (more / np.maximum([[limits[kind]] for kind in KINDS], 1.0)).sum(axis=0)
    found = milp(
        1.0 + TIE * shares,
        constraints=[LinearConstraint(more, -np.inf, room), LinearConstraint(once, -np.inf, 1.0)],
        integrality=np.ones(len(changes)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        return None
    return {name: way.attributes for (name, way), taken in zip(changes, found.x, strict=True) if taken > 0.5}


def worthwhile(ways: Sequence[Way]) -> list[Way]:
    """Return FINN's own way, and of the others those that trade one resource for another and that no other beats."""
    own = ways[0]
    trades = [way for way in ways[1:] if _less(way, own) and _less(own, way)]
    kept = [own]
    for way in trades:
        others = [other for other in trades if other is not way]
        if not any(_beats(other, way) or (other.amounts == way.amounts and other in kept) for other in others):
            kept.append(way)
    return kept


def _less(one: Way, other: Way) -> bool:
    """Whether one takes less than another of anything."""
    return any(a < b for a, b in zip(one.amounts, other.amounts, strict=True))


def _beats(one: Way, other: Way) -> bool:
    return one.amounts != other.amounts and not _less(other, one)


def choose_for(model: Any, part: str, limits: Mapping[str, float]) -> dict[str, Attributes] | None:
    """Choose styles for the layers of FINN's graph, folded and with its final bit widths, as ``choose`` does.

    Args:
        model: FINN's graph; it is left as it was.
        part: number of the FPGA.
        limits: as of ``choose``.
    """
    return choose({node.name: ways_of(node, part) for node in _layers(model)}, limits)


def set_styles(model: Any, styles: Mapping[str, Attributes]) -> None:
    """Set attributes of the layers of FINN's graph, by their names."""
    for node in _layers(model):
        _set(node, styles.get(node.name, {}))


def _layers(model: Any) -> list[Any]:
    from finn.util.fpgadataflow import is_hls_node, is_rtl_node

    return [node for node in model.graph.node if is_hls_node(node) or is_rtl_node(node)]


def _set(node: Any, attributes: Attributes) -> Any:
    """Set attributes of a node, and return FINN's object for it."""
    from finn.util.basic import getHWCustomOp

    instance: Any = getHWCustomOp(node)
    for name, value in attributes.items():
        instance.set_nodeattr(name, value)
    return instance


def ways_of(node: Any, part: str) -> list[Way]:
    """Return the ways to build a layer, FINN's own first.

    Args:
        node: of FINN's graph; it is left as it was.
        part: number of the FPGA.
    """
    own = _way(node, part, {})
    single = []
    for alternatives in _alternatives(_set(node, {}), part):
        ways = worthwhile([own, *(_way(node, part, attributes) for attributes in alternatives)])
        single.append([way.attributes for way in ways])
    together = [{name: value for one in chosen for name, value in one.items()} for chosen in product(*single)]
    return worthwhile([own, *(_way(node, part, attributes) for attributes in together[1:])])


def _way(node: Any, part: str, attributes: Attributes) -> Way:
    """Ask FINN what a layer takes with these attributes."""
    changed = type(node)()
    changed.CopyFrom(node)
    said = _set(changed, attributes).node_res_estimation(part)
    return Way(attributes, tuple(float(said[kind]) for kind in KINDS))


def _alternatives(instance: Any, part: str) -> list[list[Attributes]]:
    """Return what FINN can build a layer with beside its own: a list of settings for each thing that can be set."""
    from finn.util.basic import is_versal

    # A constant in URAM needs a part that loads URAM from the bitfile; elsewhere the host would have to write it.
    ultra = ["ultra"] if is_versal(part) else []
    operator = instance.onnx_node.op_type
    if operator == "ConvolutionInputGenerator_rtl":
        return [_others(instance, "ram_style", ["block", "ultra"])]
    if operator == "Thresholding_rtl":
        return [_threshold_depths(instance)]
    decoupled = "mem_mode" in instance.get_nodeattr_types() and instance.get_nodeattr("mem_mode")
    if decoupled != "internal_decoupled" or instance.get_nodeattr("runtime_writeable_weights"):
        return []
    if operator == "Thresholding_hls":
        shallow = ["distributed"] if instance.calc_tmem() <= DEEPEST else []
        return [_others(instance, "ram_style", ["block", *shallow, *ultra])]
    if operator in ("MVAU_hls", "VVAU_hls"):
        shallow = ["distributed"] if instance.calc_wmem() <= DEEPEST else []
        multipliers = ["dsp"] if _multiplies_numbers(instance) else []
        return [_others(instance, "ram_style", [*shallow, *ultra]), _others(instance, "resType", multipliers)]
    if operator in ("MVAU_rtl", "VVAU_rtl"):  # their multipliers are DSP slices, their LUTs are not counted
        return [_others(instance, "ram_style", ultra)]
    return []


def _others(instance: Any, attribute: str, values: Sequence[str]) -> list[Attributes]:
    return [{attribute: value} for value in values if value != instance.get_nodeattr(attribute)]


def _multiplies_numbers(instance: Any) -> bool:
    """Whether a unit has multipliers that DSP slices can be, and as many as FINN counts."""
    widths = [instance.get_input_datatype(index).bitwidth() for index in (0, 1)]
    counted = instance.onnx_node.op_type == "MVAU_hls" or instance.get_nodeattr("SIMD") == 1  # VVAU: of one lane
    numbers = all(NARROWEST <= width <= WIDEST for width in widths)
    return numbers and counted and not instance.get_nodeattr("binaryXnorMode")


def _threshold_depths(instance: Any) -> list[Attributes]:
    """Return the depths from which on the memories of thresholds may be block RAM: a binary search has one a level.

    FINN's estimate takes URAM from depth 0 on where only the other depth is set, its code none: both are set. Below
    the depth its code makes LUT RAM, and the estimate takes what wastes least: where that is not LUT RAM it is wrong.
    """
    from finn.util.memutil import get_memutil_alternatives

    if instance.get_nodeattr("depth_trigger_bram") or instance.get_nodeattr("depth_trigger_uram"):
        return []
    found: list[Attributes] = []
    for width, depth in sorted(instance.get_pe_mem_geometries(), key=lambda memory: memory[1]):
        if depth > ONE_LUT:
            found.append({"depth_trigger_bram": math.ceil(depth), "depth_trigger_uram": NEVER})
        if get_memutil_alternatives((width, depth))[0][0] != "LUTRAM":
            break
    return found
