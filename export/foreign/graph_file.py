"""A bare QONNX file of any origin: read with one clear line where it cannot be, and laid out for the compiler."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from qtrain.errors import UserError, is_of_machine
from qtrain.export.folder.contents import SHIPPED, SHIPPED_FROM
from qtrain.export.foreign.boundary import one_line
from qtrain.export.foreign.graph_checks import check_graph
from qtrain.export.lint.ends import OLDER_NAMES
from qtrain.records.files import temporary_folder
from qtrain.records.plain_files import read_plain

MOST_GRAPH = 1 << 31  # bytes; protobuf has no larger messages


def read_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with the weights that it may keep in files beside it.

    Raises:
        UserError: no such file, not ONNX, cut short, a file with its weights is missing or too short, or no graph that
            can be worked on.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; name a FINN folder or a QONNX file")
    content = read_plain(path, MOST_GRAPH)
    try:
        proto = onnx.load_from_string(content)
    except Exception as error:  # protobuf has no error of its own that all its versions raise
        if is_of_machine(error):
            raise
        proto = onnx.ModelProto()
    if not proto.graph.node or not proto.graph.output:
        raise UserError(f"{path} is not an ONNX file, or cut short; write it again with brevitas.export.export_qonnx")
    with one_line(path):
        check_graph(proto, path)
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        if is_of_machine(error):
            raise
        names = {
            entry.value
            for tensor in proto.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        where = ", ".join(sorted(names))
        raise UserError(
            f"{path} keeps its weights in {where}, which is missing or cut short; put it back beside it"
        ) from None
    return proto


def check_file(path: Path) -> None:
    """See that a graph can be worked on, where the file holds one; whoever reads it says what else is wrong.

    Raises:
        UserError: names the node or tensor and what is wrong with it.
    """
    try:
        proto = onnx.load_from_string(read_plain(path, MOST_GRAPH))
    except Exception:  # no file or no ONNX: its reader has the words for it
        return
    with one_line(path):
        check_graph(proto, path)


@contextmanager
def folder_of(path: Path) -> Iterator[Path]:
    """Yield a temporary folder for the compiler: the graph with its weights inside, and our build steps.

    Operators that qonnx has renamed go by the names that the compilers know; they mean the same.

    Raises:
        UserError: as ``read_graph``.
    """
    proto = read_graph(path)
    for node in proto.graph.node:
        node.op_type = OLDER_NAMES.get(node.op_type, node.op_type)
    with temporary_folder("qtrain-graph-") as folder:
        onnx.save(proto, str(folder / "model.onnx"))
        for name in SHIPPED:
            shutil.copyfile(SHIPPED_FROM / name, folder / name)
        yield folder
