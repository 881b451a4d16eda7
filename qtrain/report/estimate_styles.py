"""Memory styles and resource types that a folding needs beside FINN's own, in words."""

from collections.abc import Mapping
from typing import Any

from qtrain.report.table import TableData

_PLACES = {"block": "BRAM", "distributed": "LUT RAM", "ultra": "URAM", "auto": "what Vivado takes"}
_MEMORIES = {"MVAU": "weights", "VVAU": "weights", "Thresholding": "thresholds", "ConvolutionInputGenerator": "buffer"}
_MULTIPLIERS = {"dsp": "DSP", "lut": "LUT", "auto": "what Vivado takes"}


def style_words(operator: str, styles: Mapping[str, str | int]) -> str:
    """Return what a layer's styles say: where it keeps its values, and of what its multipliers are.

    Args:
        operator: FINN's kind of layer, as ``MVAU_hls``.
        styles: its attributes that are not as FINN sets them.
    """
    memory = _MEMORIES.get(operator.rpartition("_")[0], "memory")
    words = []
    if "ram_style" in styles:
        words.append(f"{memory} in {_place(styles['ram_style'])}")
    if "ram_style_thresholds" in styles:
        words.append(f"thresholds in {_place(styles['ram_style_thresholds'])}")
    if "depth_trigger_bram" in styles:
        words.append(f"{memory} in BRAM from {styles['depth_trigger_bram']:,} words on")
    if "resType" in styles:
        words.append(f"multipliers in {_MULTIPLIERS.get(str(styles['resType']), styles['resType'])}")
    return ", ".join(words)


def _place(style: str | int) -> str:
    return _PLACES.get(str(style), str(style))


def short_name(layer: Mapping[str, Any]) -> str:
    """Return FINN's name of a layer; the longest is shortened as in its ``InferConvInpGen``."""
    return str(layer["name"]).replace("ConvolutionInputGenerator", "ConvInpGen")


def styled_layers(estimate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the layers that are not built in FINN's own styles; a record of before has none."""
    return [layer for layer in estimate["layers"] if layer.get("styles")]


def style_table(estimate: Mapping[str, Any]) -> TableData:
    """Return the layers that are not built in FINN's own styles, with theirs."""
    rows = [
        (layer["place"], short_name(layer), style_words(layer["operator"], layer["styles"]))
        for layer in styled_layers(estimate)
    ]
    return TableData(("layer", "FINN's layer", "not in FINN's own style"), tuple(rows))


def style_sentence(estimate: Mapping[str, Any]) -> str:
    """Return why layers are not built in FINN's own styles; empty where all are."""
    count = len(styled_layers(estimate))
    if not count:
        return ""
    layers = f"{count} layer has" if count == 1 else f"{count} layers have"
    own = estimate.get("in_own_styles")
    if not own:
        return f"{layers} other memory styles or resource types than FINN's own: the folding says so."
    over = [
        f"{own[kind]:,} of {has:,} {kind}"
        for kind, has in estimate["available"].items()
        if own[kind] > estimate["max_utilization"] * has
    ]
    return f"In FINN's own styles this folding would take {' and '.join(over)}: {layers} others, so that it fits."
