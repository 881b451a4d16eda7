"""A damaged graph or folder ends every command in one line: no traceback, nothing executed, nothing written outside."""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from benchmarks import fuzz
from qtrain.errors import UserError
from qtrain.export import pipeline
from qtrain.export.foreign.arrays import read_npy, read_npz
from qtrain.export.foreign.graph_checks import check_graph
from tests.checks import check_refusal

CHUNK = 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small proven folder."""
    return fuzz.small_folder(tmp_path_factory.mktemp("whole") / "finn")


@pytest.fixture(scope="module", autouse=True)
def watched() -> Iterator[None]:
    """Note what Python executes and writes; a hook stays for the process' life, and is silent when nothing watches."""
    sys.addaudithook(fuzz.WATCH)
    yield
    fuzz.WATCH.inside = None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", [pytest.param(n * CHUNK, marks=pytest.mark.slow if n else ()) for n in range(5)])
def test_damaged_folders_end_in_one_line(whole: Path, first: int) -> None:
    outcomes = [fuzz.run_case(whole, seed, every=False) for seed in range(first, first + CHUNK)]
    assert [line for _, _, faults in outcomes for line in faults] == []
    statuses = {status for _, found, _ in outcomes for status in found}
    assert statuses >= {2}


def test_the_watch_sees_writes_and_programs(tmp_path: Path) -> None:
    with fuzz.watched(tmp_path / "inside") as seen:
        sys.audit("open", "/nowhere/file", "w", 0)
        sys.audit("os.system", "ls")
        sys.audit("open", str(tmp_path / "inside" / "file"), "w", 0)
    assert seen == ["writes /nowhere/file", "os.system ls"]


@pytest.mark.filterwarnings("ignore")
def test_a_fault_of_ours_stays_visible(whole: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr(pipeline, "prove", broken)
    check_refusal(cli("verify", whole), 2, "cannot be executed (KeyError: 'a fault of ours')", "QTRAIN_DEBUG=1")
    with pytest.raises(UserError) as chained:
        pipeline.verify(whole)
    assert isinstance(chained.value.__cause__, KeyError)
    monkeypatch.setenv("QTRAIN_DEBUG", "1")
    with pytest.raises(KeyError, match="a fault of ours"):
        pipeline.verify(whole)


def graph_of(nodes: list, constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Return a graph of one image x and the output y."""
    image, out = (helper.make_tensor_value_info(name, 1, [1, 3, 4, 4]) for name in "xy")
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return helper.make_model(helper.make_graph(nodes, "g", [image], [out], tensors))


MUCH = np.array([2**20, 2**20])
GROWING = [
    (helper.make_node("ConstantOfShape", ["much"], ["c"], name="grow"), MUCH),
    (helper.make_node("Expand", ["one", "much"], ["c"], name="grow"), MUCH),
    (helper.make_node("Tile", ["one", "much"], ["c"], name="grow"), MUCH),
    (helper.make_node("Pad", ["one", "much"], ["c"], name="grow"), np.array([0, 0, 2**20, 2**20])),
    (helper.make_node("Range", ["zero", "last", "step"], ["c"], name="grow"), MUCH),
    (helper.make_node("RandomNormal", [], ["c"], name="grow", shape=[2**40]), MUCH),
]


@pytest.mark.parametrize(("node", "much"), GROWING, ids=lambda value: getattr(value, "op_type", ""))
def test_no_constant_may_ask_for_gigabytes(node: onnx.NodeProto, much: np.ndarray) -> None:
    constants = {"much": much, "one": np.ones((1, 1), np.float32)}
    constants |= {"zero": np.array(0), "last": np.array(2**40), "step": np.array(1)}
    model = graph_of([node, helper.make_node("Add", ["x", "c"], ["y"], name="add")], constants)
    with pytest.raises(UserError, match=r"m\.onnx: .*(GiB are allowed|size cannot be told)"):
        check_graph(model, Path("m.onnx"))


def test_cycles_and_second_definitions_are_named() -> None:
    add = helper.make_node("Add", ["x", "z"], ["y"], name="first")
    back = helper.make_node("Relu", ["y"], ["z"], name="second")
    with pytest.raises(UserError, match=r"node 'first' \(Add\) waits for its own output"):
        check_graph(graph_of([add, back], {}), Path("m.onnx"))
    twice = helper.make_node("Relu", ["x"], ["y"], name="twice")
    with pytest.raises(UserError, match="tensor 'y' is defined twice"):
        check_graph(graph_of([twice, twice], {}), Path("m.onnx"))


@pytest.mark.parametrize("dims", [[2**40], [-1], [5], []])
def test_a_constant_holds_what_it_declares(dims: list[int]) -> None:
    model = graph_of([helper.make_node("Relu", ["x"], ["y"])], {"w": np.ones(3, np.float32)})
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    with pytest.raises(UserError, match="constant 'w' declares"):
        check_graph(model, Path("m.onnx"))


def test_an_array_is_not_larger_than_its_file(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((4, 2)))
    path = tmp_path / "a.npy"
    path.write_bytes(file.getvalue().replace(b"(4, 2)", b"(%d, 2)" % 10**9))
    with pytest.raises(UserError, match="declares"):
        read_npy(path)
    np.save(path, np.array([{}], dtype=object))
    with pytest.raises(UserError, match="holds Python objects"):
        read_npy(path)
    np.savez_compressed(tmp_path / "b.npz", labels=np.zeros(10**6))
    with pytest.raises(UserError, match="is compressed or larger than the file"):
        read_npz(tmp_path / "b.npz", "labels")


def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", values=values, more=np.array(3))
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), values)
    for got, expected in zip(read_npz(tmp_path / "b.npz", "values", "more"), (values, 3), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert read_npy(tmp_path / "a.npy").flags.writeable
