"""What the compiler's process remembers or imports later changes none of its graphs, reports and answers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation import infer_datatypes
from qonnx.util import basic

from qtrain.export import export_finn
from qtrain.export.compiler import _later, _sparing, start
from qtrain.export.compiler.start import estimate_build, find_compiler
from qtrain.models import build_model

# Two builds of one folder differ in these by FINN's own doing: temporary paths, random names, times.
OF_EACH_RUN = ("dataflow_parent.onnx", "step_qonnx_to_finn.onnx", "time_per_step.json", "metadata_builder.json")


def exported(name: str, width: float, folder: Path) -> Path:
    torch.manual_seed(0)
    model = build_model(name, **({} if name.startswith("TFC") else {"width": width}))
    size = 28 if name.startswith("TFC") else 32
    pixels = torch.randint(0, 256, (24, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        for _ in range(3):
            model(pixels.float() / 255)
    export_finn(model.eval(), folder, pixels=pixels, labels=torch.arange(24) % 10)
    return folder


def plain_worker(folder: Path) -> Path:
    """A copy of the worker that remembers nothing and imports all at once."""
    folder.mkdir()
    for path in start.WORKER.parent.glob("_*.py"):
        shutil.copy(path, folder / path.name)
    for name in ("_sparing", "_lookups", "_index"):
        (folder / f"{name}.py").write_text("def install(): pass\n")
    (folder / "_later.py").write_text("def import_later(*_, **__): pass\ndef import_names_later(_): pass\n")
    return folder / start.WORKER.name


def built(folder: Path, out: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    result = estimate_build(folder, board="ZCU104", target_fps=500, out=out)
    assert result.accepted, result.reason
    files = [*(out / "intermediate_models").glob("*.onnx"), *(out / "report").glob("*.json")]
    return {path.name: path.read_bytes() for path in files if path.name not in OF_EACH_RUN}, result.verified


@pytest.mark.slow
@pytest.mark.skipif(find_compiler() is None, reason="finn-plus is not installed (make finn)")
@pytest.mark.parametrize(
    ("name", "width"), [("TFC_2W2A", 1), ("CNV_1W2A", 0.125), ("VGG_SMALL_4W4A", 0.125), ("RESNET20_3W3A", 0.5)]
)
def test_graphs_and_reports_are_the_same_byte_for_byte(
    name: str, width: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(name, width, tmp_path / "finn")
    sparing = built(folder, tmp_path / "sparing")
    monkeypatch.setattr(start, "WORKER", plain_worker(tmp_path / "plain"))
    plain = built(folder, tmp_path / "plainly")
    assert len(plain[0]) > 15
    assert sparing[0].keys() == plain[0].keys()
    assert [file for file in plain[0] if plain[0][file] != sparing[0][file]] == []
    assert sparing[1] == plain[1]


def chain(kind: str = "UINT4") -> ModelWrapper:
    """x -> Identity -> Add with itself -> y; only x has a type."""
    nodes = [helper.make_node("Identity", ["x"], ["m"]), helper.make_node("Add", ["m", "m"], ["y"])]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    model = ModelWrapper(helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:])))
    model.set_tensor_datatype("x", DataType[kind])
    return model


def test_a_node_is_inferred_until_it_is_settled_and_again_where_a_type_changed() -> None:
    asked: list[str] = []
    real = infer_datatypes._infer_node_datatype

    def counted(model: ModelWrapper, node: object, scaled: bool) -> bool:
        asked.append(node.op_type)  # type: ignore[attr-defined]
        return real(model, node, scaled)

    infer = _sparing._inferring(counted, basic)
    model = chain()
    found = [[infer(model, node, False) for node in model.graph.node] for _ in range(4)]
    assert found == [[True, True], [False, False], [False, False], [False, False]]
    assert len(asked) == 4  # the third round and the fourth asked nobody
    model.set_tensor_datatype("x", DataType["INT3"])
    assert [infer(model, node, False) for node in model.graph.node] == [True, True]
    assert model.get_tensor_datatype("m") == DataType["INT3"]
    assert model.get_tensor_datatype("y") == DataType["INT32"]


def test_a_node_is_settled_whatever_it_is_called_and_whatever_its_layout() -> None:
    asked: list[str] = []
    real = infer_datatypes._infer_node_datatype

    def counted(model: ModelWrapper, node: object, scaled: bool) -> bool:
        asked.append(node.name)  # type: ignore[attr-defined]
        return real(model, node, scaled)

    infer = _sparing._inferring(counted, basic)
    model = chain()
    for name in "xmy":
        model.set_tensor_layout(name, ["N"])
    for _ in range(2):
        for node in model.graph.node:
            infer(model, node, False)
    assert len(asked) == 4
    model.rename_tensor("x", "first")
    model.rename_tensor("y", "last")
    for number, node in enumerate(model.graph.node):
        node.name = f"other_{number}"
        assert not infer(model, node, False)
    assert len(asked) == 4
    model.graph.node[1].op_type = "Sub"  # another operator on the same types
    assert infer(model, model.graph.node[1], False)
    assert model.get_tensor_datatype("last") == DataType["INT32"]


def test_a_parameter_without_a_written_type_has_that_of_its_numbers() -> None:
    nodes = [helper.make_node("Mul", ["x", "scale"], ["y"])]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    model = ModelWrapper(helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:])))
    model.set_initializer("scale", np.ones(1, np.float32))
    model.set_tensor_datatype("x", DataType["INT4"])
    infer = _sparing._inferring(infer_datatypes._infer_node_datatype, basic)
    for _ in range(3):
        infer(model, model.graph.node[0], False)
    assert model.get_tensor_datatype("y") == DataType["FLOAT32"]
    model.set_tensor_datatype("scale", DataType["INT2"])
    assert infer(model, model.graph.node[0], False)
    assert model.get_tensor_datatype("y") == DataType["INT32"]


def test_a_node_without_a_written_type_is_always_inferred() -> None:
    calls = []
    infer = _sparing._inferring(lambda *_: calls.append(1) or False, basic)
    model = chain()
    for _ in range(3):
        infer(model, model.graph.node[0], False)
    assert len(calls) == 3  # the output has no annotation, which inferring would add


@pytest.mark.parametrize(
    "values", [[1.0, 3.0, 2.0], [float("nan"), 1.0], [1.0, float("nan")], [1.0, float("nan"), 2.0], [-0.5]]
)
def test_the_largest_is_that_of_python(values: list[float]) -> None:
    found = _sparing.largest(np.array(values))
    assert np.array_equal(found, max(np.array(values)), equal_nan=True)


def test_the_largest_of_anything_else_is_that_of_python() -> None:
    assert _sparing.largest(3, 5) == 5
    assert _sparing.largest("ab", key=str.upper) == "b"
    assert _sparing.largest([], default=7) == 7
    with pytest.raises(ValueError, match="empty"):
        _sparing.largest(np.array([]))


def test_equal_models_share_a_session_of_one_thread() -> None:
    made: list[tuple[bytes, int]] = []
    runtime = SimpleNamespace(
        SessionOptions=SimpleNamespace,
        InferenceSession=lambda model, sess_options: (
            made.append((model, sess_options.intra_op_num_threads)) or len(made)
        ),
        other=1,
    )
    seen = _sparing._sessions(runtime)
    assert [seen.InferenceSession(model) for model in (b"a", b"b", b"a")] == [1, 2, 1]
    assert made == [(b"a", 1), (b"b", 1)]
    assert seen.other == 1
    assert seen.InferenceSession(b"a", sess_options=SimpleNamespace(intra_op_num_threads=5)) == 3
    assert made[-1] == (b"a", 5)


LATER = """
import json, runpy, sys
later = runpy.run_path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
import outer.used
later["import_later"]("heavy", "heavy.inner")
later["import_names_later"]("outer.named")
import heavy, heavy.inner as inner
later["import_later"]("frames", classes=["Frame"], functions=["soft"])
from outer.named import NAME, Class, run
import frames
from frames import soft
annotated = list[Class], frames.Frame | None
import log
first = [*log.LOADED, *([run.__name__, soft.__name__] != ["run", "soft"])*["wrong name"]]
answers = [NAME, inner.value(), heavy.inner.value(), Class.kind(), Class(3).number, run(2), soft(3)]
answers += [isinstance(frames.other(), frames.Frame)]
print(json.dumps([first, answers, list(log.LOADED)]))
"""


def test_a_module_is_imported_when_something_of_it_is_asked_for(tmp_path: Path) -> None:
    files = {
        "log.py": "LOADED = []\n",
        "heavy/__init__.py": "import log\nlog.LOADED.append('heavy')\n",
        "heavy/inner.py": "import log\nlog.LOADED.append('heavy.inner')\ndef value(): return 5\n",
        "frames.py": "import log\nlog.LOADED.append('frames')\nclass Frame: pass\n"
        "def other(): return Frame()\ndef soft(x): return -x\n",
        "outer/__init__.py": "",
        "outer/used.py": "",
        "outer/named.py": "import log\nlog.LOADED.append('named')\nNAME = 'text'\nclass Class:\n"
        "    def __init__(self, number): self.number = number\n"
        "    @classmethod\n    def kind(cls): return 'real'\n"
        "def run(x): return x + 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    words = [sys.executable, "-c", LATER, _later.__file__, str(tmp_path)]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    first, answers, after = json.loads(result.stdout)
    assert first == []
    assert answers == ["text", 5, 5, "real", 3, 3, -3, True]
    assert sorted(after) == ["frames", "heavy", "heavy.inner", "named"]
