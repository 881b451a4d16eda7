"""Run the ``build.py`` of a FINN folder in the interpreter of a compiler, and look at what it left: a child process.

Usage: _official_worker.py FOLDER IMAGES ANSWER. ``official_finn.py`` starts it; it imports nothing of qtrain, since the
interpreter is the compiler's own. ANSWER takes the findings as JSON.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import json
import os
import runpy
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

# FINN imports these at its start and uses them in simulations and in layers that no network here has.
UNUSED = ("pyverilator", "torch", "torchvision", "brevitas", "brevitas_examples")
PARTITION = "StreamingDataflowPartition"
PACKAGES = ("numpy", "onnx", "onnxruntime", "protobuf", "finn-plus")
UNITS = {"MVAU": ("MW", "MH", "PE", "SIMD"), "VVAU": ("Channels", "PE", "SIMD"), "Thresholding": ("NumChannels", "PE")}


class Anything(type):
    """The type of a class that has every name; each is another such class."""

    def __getattr__(cls, name: str) -> Any:
        """Make it; what Python itself asks for is not there."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})


class Inert(ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> Any:
        """Make it; what Python itself asks for is not there."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})


class InertFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what is not installed of the unused packages; it stands last, behind all that is."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Find a module of theirs."""
        if name.split(".")[0] not in UNUSED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Make an empty one."""
        return Inert(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs."""


def run_build(folder: Path) -> dict[str, Any]:
    """Run ``build.py --estimates`` as the command line does; return its status and its line."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv = ["build.py", "--estimates"]
    started, code, out, err = time.monotonic(), None, sys.stdout, sys.stderr
    try:
        runpy.run_path("build.py", run_name="__main__")
    except SystemExit as end:
        code = end.code
    sys.stdout, sys.stderr = out, err  # FINN+ leaves its own
    said = code if isinstance(code, str) else ""
    return {"status": 1 if said else code or 0, "said": said, "seconds": round(time.monotonic() - started, 1)}


def look(folder: Path, images: int) -> dict[str, Any]:
    """Read the partition, the verifications, the units' sizes and folding; execute the dataflow graph."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.custom_op.registry import getCustomOp

    output = folder / "output"
    models = output / "intermediate_models"
    verified: dict[str, list[bool]] = {}
    for path in sorted((output / "verification_output").glob("verify_*.npy")):
        kind, _, verdict = path.stem[len("verify_") :].rsplit("_", 2)
        verified.setdefault(kind, []).append(verdict == "SUCCESS")
    found: dict[str, Any] = {"golden": verified}
    if not (models / "dataflow_parent.onnx").exists():
        return found
    parent = ModelWrapper(str(models / "dataflow_parent.onnx"))
    found["parent"] = [node.op_type for node in parent.graph.node]
    last = models / "step_generate_estimate_reports.onnx"
    if last.exists():
        found["units"] = {
            node.name: {name: getCustomOp(node).get_nodeattr(name) for name in names}
            for node in ModelWrapper(str(last)).graph.node
            if (names := UNITS.get(node.op_type.split("_")[0]))
        }
    try:
        found["classes"] = execute(folder, parent, models / "step_create_dataflow_partition.onnx", images)
    except Exception as error:
        traceback.print_exc()
        found["error"] = f"{type(error).__name__}: {error}"
    return found


def flattened(child: Any) -> Any:
    """Put a Reshape in front of every matrix unit that takes all of an image as one vector.

    FINN removes that flatten, since hardware streams need none, and main's Python model of the unit needs it.
    """
    import numpy as np
    from onnx import helper
    from qonnx.custom_op.registry import getCustomOp

    for node in list(child.graph.node):
        if node.op_type != "MVAU":
            continue
        width = getCustomOp(node).get_nodeattr("MW")
        if child.get_tensor_shape(node.input[0])[-1] == width:
            continue
        vector, shape = f"{node.name}_vector", f"{node.name}_shape"
        child.set_initializer(shape, np.array([1, width], dtype=np.int64))
        child.set_tensor_shape(vector, [1, width])
        child.set_tensor_datatype(vector, child.get_tensor_datatype(node.input[0]))
        place = list(child.graph.node).index(node)
        child.graph.node.insert(place, helper.make_node("Reshape", [node.input[0], shape], [vector]))
        node.input[0] = vector
    return child


def execute(folder: Path, parent: Any, child: Path, images: int) -> dict[str, Any]:
    """Classes of the first test images in the graph after create_dataflow_partition against torch's in float64."""
    import numpy as np
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.custom_op.registry import getCustomOp

    executable = child.with_name("executable.onnx")
    flattened(ModelWrapper(str(child))).save(str(executable))
    for node in parent.graph.node:
        if node.op_type == PARTITION:
            getCustomOp(node).set_nodeattr("model", str(executable))
    pixels = np.load(folder / "proof" / "images.npy")[:images].astype(np.float32)
    expected = np.load(folder / "proof" / "expected.npz")["logits"][:images].argmax(1)
    source, target = parent.graph.input[0].name, parent.graph.output[0].name
    started = time.monotonic()
    got = [int(execute_onnx(parent, {source: image[None]})[target].item()) for image in pixels]
    equal = int((np.array(got) == expected).sum())
    return {"images": len(pixels), "equal": equal, "seconds": round(time.monotonic() - started, 1)}


def versions() -> dict[str, str]:
    """Versions of what takes part."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Build, look, answer."""
    folder, images, answer = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    del sys.path[0]  # of this script, whose neighbours have names of packages
    sys.meta_path.append(InertFinder())
    found: dict[str, Any] = {"versions": versions(), **run_build(folder)}
    try:
        found |= look(folder, images)
    except Exception as error:
        traceback.print_exc()
        found["error"] = f"{type(error).__name__}: {error}"
    answer.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
