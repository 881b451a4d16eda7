"""Layers of the hardware get the network's names, also where the branches of a residual block changed places."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from qtrain.export.compiler.layer_names import places

Layer = tuple[str, str, list[str], int]  # name, operator, inputs, weights; its output has its name


def network(layers: list[Layer], path: Path) -> Path:
    """An ONNX graph of convolutions with so many weights, and of whatever else."""
    nodes, weights = [], []
    for name, operator, inputs, size in layers:
        if size:
            weights.append(numpy_helper.from_array(np.zeros(size, np.float32), f"{name}_w"))
        nodes.append(helper.make_node(operator, [*inputs, f"{name}_w"] if size else inputs, [name], name=name))
    onnx.save(helper.make_model(helper.make_graph(nodes, "network", [], [], weights)), str(path))
    return path


def hardware(layers: list[Layer], path: Path) -> Path:
    """The same of FINN's units, whose weights are numbers in their attributes."""
    nodes = [
        helper.make_node(operator, inputs, [name], name=name, **({"MW": size, "MH": 1} if size else {}))
        for name, operator, inputs, size in layers
    ]
    onnx.save(helper.make_model(helper.make_graph(nodes, "hardware", [], [])), str(path))
    return path


RESIDUAL: list[Layer] = [
    ("conv1", "Conv", ["x"], 27),
    ("branch", "Conv", ["conv1"], 90),
    ("shortcut", "Conv", ["conv1"], 10),
    ("add", "Add", ["branch", "shortcut"], 0),
    ("fc", "MatMul", ["add"], 40),
]
SWAPPED: list[Layer] = [
    ("MVAU_0", "MVAU_hls", ["x"], 27),
    ("Fork_0", "DuplicateStreams_hls", ["MVAU_0"], 0),
    ("MVAU_1", "MVAU_hls", ["Fork_0"], 10),
    ("Buffer_0", "FMPadding_rtl", ["Fork_0"], 0),
    ("MVAU_2", "MVAU_hls", ["Buffer_0"], 90),
    ("Add_0", "ElementwiseAdd_hls", ["MVAU_2", "MVAU_1"], 0),
    ("MVAU_3", "MVAU_rtl", ["Add_0"], 40),
]


def test_swapped_branches_keep_their_names(tmp_path: Path) -> None:
    found = places(hardware(SWAPPED, tmp_path / "hardware.onnx"), network(RESIDUAL, tmp_path / "network.onnx"))
    assert found == {
        **{"MVAU_0": "conv1", "MVAU_1": "shortcut", "MVAU_2": "branch", "MVAU_3": "fc"},
        **{"Fork_0": "after conv1", "Buffer_0": "before branch", "Add_0": "after branch"},
    }


def test_two_branches_that_nothing_tells_apart_have_no_names(tmp_path: Path) -> None:
    twins = [(*layer[:3], 10) if layer[0] == "branch" else layer for layer in RESIDUAL]
    units = [(*layer[:3], 10) if layer[0] == "MVAU_2" else layer for layer in SWAPPED]
    found = places(hardware(units, tmp_path / "hardware.onnx"), network(twins, tmp_path / "network.onnx"))
    assert {unit: found[unit] for unit in ("MVAU_0", "MVAU_3")} == {"MVAU_0": "conv1", "MVAU_3": "fc"}
    assert not {"branch", "shortcut"} & set(found.values())


@pytest.mark.parametrize("size", [89, 91])
def test_where_the_weights_disagree_nothing_has_a_name(tmp_path: Path, size: int) -> None:
    other = [(*layer[:3], size) if layer[0] == "MVAU_2" else layer for layer in SWAPPED]
    assert places(hardware(other, tmp_path / "hardware.onnx"), network(RESIDUAL, tmp_path / "network.onnx")) == {}
