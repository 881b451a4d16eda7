"""Seeded damage to a FINN folder: to its graph as bytes and as a structure, and to the files beside it."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qtrain.records.checksum import without_checksum

HUGE = (2**31, 2**40, 2**62, -1, 10**6)
ODD_VALUES = (float("nan"), float("inf"), 1e30, -1.0, 0.0, 1e12)
OPERATORS = ("Conv", "MatMul", "Reshape", "TopK", "Quant", "Loop", "Flatten", "Resize", "Softsign", "MaxPool", "")
Structure = Callable[[ModelProto, Random], None]


def flip(data: bytes, random: Random) -> bytes:
    """Change up to eight bytes."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def cut(data: bytes, random: Random) -> bytes:
    """Keep a beginning."""
    return data[: random.randrange(len(data))]


def _node(model: ModelProto, random: Random) -> Any:
    return random.choice(model.graph.node)


def _constant(model: ModelProto, random: Random) -> Any:
    return random.choice(model.graph.initializer)


def _delete_node(model: ModelProto, random: Random) -> None:
    del model.graph.node[random.randrange(len(model.graph.node))]


def _delete_constant(model: ModelProto, random: Random) -> None:
    del model.graph.initializer[random.randrange(len(model.graph.initializer))]


def _rename_input(model: ModelProto, random: Random) -> None:
    node = _node(model, random)
    if node.input:
        node.input[random.randrange(len(node.input))] = random.choice(("", "nowhere", node.output[0]))


def _rename_output(model: ModelProto, random: Random) -> None:
    node, other = _node(model, random), _node(model, random)
    node.output[0] = random.choice(("", "nowhere", other.output[0], model.graph.input[0].name))


def _cycle(model: ModelProto, random: Random) -> None:
    first, second = _node(model, random), _node(model, random)
    if first.input:
        first.input[0] = second.output[0]


def _shuffle(model: ModelProto, random: Random) -> None:
    nodes = list(model.graph.node)
    random.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _operator(model: ModelProto, random: Random) -> None:
    _node(model, random).op_type = random.choice(OPERATORS)


def _domain(model: ModelProto, random: Random) -> None:
    _node(model, random).domain = random.choice(
        ("", "com.example", "qonnx.custom_op.general", "os", "finn.custom_op.x")
    )


def _attribute(model: ModelProto, random: Random) -> None:
    node = _node(model, random)
    names = [a.name for a in node.attribute] + ["axis", "kernel_shape", "pads", "strides", "perm", "group"]
    name = random.choice(names)
    kept = [a for a in node.attribute if a.name != name]
    value = random.choice([0, -1, 2**62, 1.5, float("nan"), "x", b"\xff", [], [0], [1, 2, 3], [2**40] * 4, [-3, 7]])
    del node.attribute[:]
    node.attribute.extend(kept)
    if value != []:
        node.attribute.append(helper.make_attribute(name, value))


def _dims(model: ModelProto, random: Random) -> None:
    tensor = _constant(model, random)
    if tensor.dims and random.random() < 0.7:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice((*HUGE, 0, 1, 3))
    else:
        tensor.dims.append(random.choice((*HUGE, 0, 1)))


def _transpose_constant(model: ModelProto, random: Random) -> None:
    tensor = _constant(model, random)
    dims = list(tensor.dims)
    random.shuffle(dims)
    del tensor.dims[:]
    tensor.dims.extend(dims)


def _type(model: ModelProto, random: Random) -> None:
    _constant(model, random).data_type = random.choice(range(0, 30))


def _value(model: ModelProto, random: Random) -> None:
    tensor = _constant(model, random)
    values = np.array(numpy_helper.to_array(tensor))
    if values.size and values.dtype.kind == "f":
        values.flat[random.randrange(values.size)] = random.choice(ODD_VALUES)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _input_shape(model: ModelProto, random: Random) -> None:
    kind = random.choice((model.graph.input, model.graph.output))[0].type.tensor_type
    kind.elem_type = random.choice((0, 1, 1, 2, 7, 8, 11))
    if kind.shape.dim:
        random.choice(kind.shape.dim).dim_value = random.choice((*HUGE, 0, 3))


def _grow(model: ModelProto, random: Random) -> None:
    """Put a node in front that asks for much memory."""
    operator = random.choice(("ConstantOfShape", "Expand", "Tile", "Pad", "Range", "Resize"))
    size = random.choice(HUGE)
    model.graph.initializer.append(numpy_helper.from_array(np.array([size, size // 2, 3]), "much"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, 1), np.float32), "one"))
    inputs = {"ConstantOfShape": ["much"], "Range": ["one", "much", "one"], "Resize": ["one", "", "", "much"]}
    node = helper.make_node(operator, inputs.get(operator, ["one", "much"]), ["grown"], name="grow")
    model.graph.node.insert(0, node)
    reader = _node(model, random)
    reader.input[0] = random.choice(("grown", reader.input[0]))


def _subgraph(model: ModelProto, random: Random) -> None:
    """Nest graphs deeper than protobuf likes."""
    graph = helper.make_graph([], "inner", [], [])
    for _ in range(random.choice((3, 12, 20))):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["d"], then_branch=graph)], "outer", [], [])
    model.graph.node.insert(0, helper.make_node("If", [model.graph.initializer[0].name], ["d"], then_branch=graph))


def _external(model: ModelProto, random: Random) -> None:
    tensor = _constant(model, random)
    place = random.choice(("../outside", "/etc/hostname", "model.onnx", "none.bin"))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", str(random.choice((0, 2**40, -1)))), ("length", str(2**40))):
        tensor.external_data.add(key=key, value=value)


def _opset(model: ModelProto, random: Random) -> None:
    model.opset_import[0].version = random.choice((1, 6, 99, 2**31))


def _empty(model: ModelProto, random: Random) -> None:
    field = random.choice(("input", "output", "initializer", "value_info", "node"))
    model.graph.ClearField(field)


STRUCTURE: tuple[Structure, ...] = (
    _delete_node,
    _delete_constant,
    _rename_input,
    _rename_output,
    _cycle,
    _shuffle,
    _operator,
    _domain,
    _attribute,
    _attribute,
    _dims,
    _transpose_constant,
    _type,
    _value,
    _input_shape,
    _grow,
    _subgraph,
    _external,
    _opset,
    _empty,
)


def damage_graph(path: Path, random: Random) -> str:
    """Damage an ONNX file; return how."""
    way = random.choice(("flip", "cut", *(["structure"] * 6)))
    data = path.read_bytes()
    if way != "structure":
        path.write_bytes((flip if way == "flip" else cut)(data, random))
        return way
    model = onnx.load_from_string(data)
    step = random.choice(STRUCTURE)
    step(model, random)
    path.write_bytes(model.SerializeToString())
    return step.__name__.strip("_")


def damage_array(path: Path, random: Random) -> str:
    """Damage a NumPy file; return how."""
    way = random.choice(("flip", "cut", "other", "objects", "declared"))
    data = path.read_bytes()
    if way in ("flip", "cut"):
        path.write_bytes((flip if way == "flip" else cut)(data, random))
        return way
    if way == "declared":
        path.write_bytes(data.replace(b"(4, ", b"(%d, " % random.choice((5, 2**40, 2**62)), 1))
        return way
    other = np.array([{"a": 1}], dtype=object) if way == "objects" else np.zeros(random.choice((0, 3, (4, 1), (4, 9))))
    file = io.BytesIO()
    arrays = {name: other for name in ("labels", "logits")}
    np.savez(file, **arrays) if path.suffix == ".npz" else np.save(file, other)
    path.write_bytes(file.getvalue())
    return way


def damage_manifest(path: Path, random: Random) -> str:
    """Damage the manifest; return how."""
    way = random.choice(("flip", "cut", "value", "value", "value", "deep", "digits", "path", "binary"))
    data = path.read_bytes()
    if way in ("flip", "cut"):
        path.write_bytes((flip if way == "flip" else cut)(data, random))
    elif way == "value":
        manifest = without_checksum(json.loads(data))
        name = random.choice(list(manifest))
        manifest[name] = random.choice([None, [], {}, "x", -1, 10**40, 1e400, True, {"a": None}, [1]])
        path.write_text(json.dumps(manifest))
    elif way == "deep":
        path.write_text("[" * 100_000)
    elif way == "digits":
        path.write_text('{"format": ' + "9" * 10_000 + "}")
    elif way == "path":
        manifest = without_checksum(json.loads(data))
        manifest["files"][random.choice(("../../etc/passwd", "/etc/passwd", "\0", "a" * 5000))] = "0"
        path.write_text(json.dumps(manifest))
    else:
        path.write_bytes(bytes(random.randrange(256) for _ in range(200)))
    return way
