"""qonnx's passes with indexed lookups leave the graphs that they leave without."""

import subprocess
import sys
from pathlib import Path

from qtrain.export import _finn_index

# In a process of its own: what is installed stays.
SCRIPT = """
import random, runpy, sys
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation import general
from qonnx.transformation.infer_shapes import InferShapes
from qtrain.export.passes import clean
from qtrain.export.qonnx import to_qonnx
from qtrain.models import build_model

def untidy(graph, seed):
    # nodes in any order, parameters shared, shapes and their records missing
    nodes = list(graph.graph.node)
    random.Random(seed).shuffle(nodes)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    scales = {}
    for node in graph.graph.node:
        for i, name in enumerate(node.input):
            value = graph.get_initializer(name)
            if value is not None and value.size == 1:
                node.input[i] = scales.setdefault(value.item(), name)
    for info in list(graph.graph.value_info)[::3]:
        graph.graph.value_info.remove(info)

def passed(model, seed):
    graph = ModelWrapper(model.SerializeToString())
    untidy(graph, seed)
    for step in (general.SortGraph(), general.GiveUniqueParameterTensors(), InferShapes()):
        graph = graph.transform(step)
    specified = graph.check_all_tensor_shapes_specified()
    return graph.model.SerializeToString(deterministic=True), specified

torch.manual_seed(0)
graphs = [clean(to_qonnx(build_model(n, width=0.125).eval(), (3, 32, 32))).model for n in ("CNV_2W2A", "RESNET20_4W4A")]
random.seed(0); before = [passed(model, seed) for model in graphs for seed in range(3)]
calls = []
find = ModelWrapper.find_producer
ModelWrapper.find_producer = lambda self, name: calls.append(name) or find(self, name)
general.SortGraph().apply(ModelWrapper(graphs[0].SerializeToString()))
assert calls
runpy.run_path(sys.argv[1])["install"]()
del calls[:]
general.SortGraph().apply(ModelWrapper(graphs[0].SerializeToString()))
assert not calls, "the pass still searches"
random.seed(0); after = [passed(model, seed) for model in graphs for seed in range(3)]
assert before == after
assert len({graph for graph, _ in before}) == 6
print("same")
"""


def test_graphs_are_the_same_with_and_without(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "ignore", "-c", SCRIPT, _finn_index.__file__]
    result = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert (result.returncode, result.stdout) == (0, "same\n"), result.stderr
