"""What someone does to a FINN folder who recomputes every checksum afterwards."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.transformation.infer_shapes import InferShapes

from qtrain.export.folder.at_board import ENTRIES, FILES, at_board, board_texts
from qtrain.export.folder.readme import folder_readme
from qtrain.export.foreign.arrays import read_npy
from qtrain.export.proof.digests import test_digest as digest_of
from qtrain.export.proof.known import TEST_SPLITS
from qtrain.records.checksum import without_checksum
from qtrain.records.files import write_json

LAST_STAGE = "stages/4_annotated.onnx"


def manifest_of(folder: Path) -> dict[str, Any]:
    return without_checksum(json.loads((folder / "manifest.json").read_text()))


def write_manifest(folder: Path, manifest: dict[str, Any], also: tuple[str, ...] = ()) -> None:
    """Write a manifest whose checksums are right."""
    names = [name for name in (*manifest["files"], *also) if (folder / name).is_file()]
    manifest["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    write_json(folder / "manifest.json", manifest)


def state(folder: Path, **facts: Any) -> None:
    """Put facts into the manifest, ``proof_x`` into its proof, and have README.md say the same."""
    manifest = manifest_of(folder)
    for name, value in facts.items():
        part, _, entry = name.partition("_")
        if part == "proof":
            manifest["proof"][entry] = value
        else:
            manifest[name] = value
    follow(folder, manifest)
    write_manifest(folder, manifest)


def follow(folder: Path, manifest: dict[str, Any]) -> None:
    """Have all that follows from a manifest say the same: its entry for the board, ``board/``'s texts, README.md."""
    manifest["at_board"] = at_board(manifest)
    for name, text in board_texts(manifest).items():
        (folder / name).write_text(text)
    (folder / "README.md").write_text(folder_readme(manifest, read_npy(folder / "input.npy").shape[1:]))


def as_before(folder: Path) -> None:
    """Make a folder what the version before wrote, which had nothing for the board."""
    shutil.rmtree(folder / "board")
    manifest = {name: value for name, value in manifest_of(folder).items() if name not in ENTRIES}
    (folder / "README.md").write_text(folder_readme(manifest, read_npy(folder / "input.npy").shape[1:]))
    manifest["files"] = {name: digest for name, digest in manifest["files"].items() if name not in FILES}
    write_manifest(folder, manifest)


def change_graph(folder: Path, change: Callable[[ModelWrapper], ModelWrapper | None]) -> None:
    """Change the graph and its last stage alike, and what the manifest says of them."""
    graph = ModelWrapper(str(folder / "model.onnx"))
    graph = change(graph) or graph
    for name in ("model.onnx", LAST_STAGE):
        graph.save(str(folder / name))
    manifest = manifest_of(folder)
    manifest["stages"][-1]["nodes"] = len(graph.graph.node)
    write_manifest(folder, manifest)


def back_door(graph: ModelWrapper) -> ModelWrapper:
    """Let a first pixel of 255 give class 0, with all annotations right."""
    top1, logits = graph.graph.node[-1], graph.graph.node[-1].input[0]
    shape = graph.get_tensor_shape(graph.graph.input[0].name)
    weights = np.zeros((int(np.prod(shape)), graph.get_tensor_shape(logits)[1]), np.float32)
    weights[0, 0] = 1
    constants = {"door_weights": weights, "door_limit": np.float32(254), "door_height": np.float32(1e6)}
    graph.graph.initializer.extend(numpy_helper.from_array(np.array(v), n) for n, v in constants.items())
    nodes = [
        helper.make_node("Flatten", [graph.graph.input[0].name], ["door_flat"], axis=1),
        helper.make_node("MatMul", ["door_flat", "door_weights"], ["door_pixel"]),
        helper.make_node("Sub", ["door_pixel", "door_limit"], ["door_above"]),
        helper.make_node("Relu", ["door_above"], ["door_open"]),
        helper.make_node("Mul", ["door_open", "door_height"], ["door_high"]),
        helper.make_node("Add", [logits, "door_high"], ["door_logits"]),
    ]
    graph.graph.node.remove(top1)
    top1.input[0] = "door_logits"
    graph.graph.node.extend([*nodes, top1])
    return graph.transform(InferShapes()).transform(InferDataTypes())


def keep_weights_outside(folder: Path) -> None:
    """Move the graph's constants into a file of their own."""
    model = onnx.load(str(folder / "model.onnx"))
    onnx.save_model(model, str(folder / "model.onnx"), save_as_external_data=True, location="weights.bin")


def relabel(folder: Path) -> None:
    """Make every answer right."""
    data = dict(np.load(folder / "proof" / "expected.npz"))
    data["labels"] = data["logits"].argmax(1)
    np.savez(folder / "proof" / "expected.npz", **data)
    np.save(folder / "board" / "labels.npy", data["labels"])
    _say_data(folder, 100.0)


def cut_test_set(folder: Path, images: int) -> None:
    """Keep the first images, and the manifest's figures."""
    data = dict(np.load(folder / "proof" / "expected.npz"))
    np.savez(folder / "proof" / "expected.npz", **{name: values[:images] for name, values in data.items()})
    for name in ("proof/images.npy", *FILES[:3]):
        np.save(folder / name, np.load(folder / name)[:images])
    _say_data(folder, None)


def _say_data(folder: Path, accuracy: float | None) -> None:
    """Say the test split's digest anew, and an accuracy, in the words beside the manifest too."""
    manifest = manifest_of(folder)
    images = torch.from_numpy(np.load(folder / "proof" / "images.npy"))
    labels = torch.from_numpy(np.load(folder / "proof" / "expected.npz")["labels"])
    digest = digest_of(images, labels)
    manifest["data"] = {"test_split": digest, "known_as": TEST_SPLITS.get(digest)}
    if accuracy is not None:
        manifest["proof"] |= {"accuracy_torch": accuracy, "accuracy_graph": accuracy}
        missing = sorted(set(range(10)) - set(labels.tolist()))
        words = f"no test image is of {'class' if len(missing) == 1 else 'classes'} {', '.join(map(str, missing))}"
        manifest["proof"]["caveats"] = [words] if missing else []
        follow(folder, manifest)
    write_manifest(folder, manifest)
