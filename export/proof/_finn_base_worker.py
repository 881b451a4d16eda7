"""The script inside finn-base's own interpreter: it executes one graph on images, one at a time.

:mod:`qtrain.export.proof.finn_base` starts it as a file with the path of a JSON request. It imports nothing of qtrain,
so any interpreter that has finn-base can run it. It leaves ``answer.json`` and ``logits.npy`` beside the request.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

REPORTED = ("finn-base", "onnx", "onnxruntime", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of what takes part, as this interpreter has them."""
    here = {found.metadata["Name"].lower(): found.version for found in importlib.metadata.distributions()}
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python, **{name: here[name] for name in REPORTED if name in here}}


def unusable(found: dict[str, str]) -> str | None:
    """Import the executor; return what is missing, None if nothing is."""
    if "finn-base" not in found:
        return "finn-base is not installed"
    try:
        import finn.core.onnx_exec  # noqa: F401
    except ImportError as error:
        return f"finn-base {found['finn-base']} cannot be imported ({error})"
    return None


def use_one_thread() -> None:
    """A session for each node and image is made: a pool of threads for each would cost more than it saves."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    onnxruntime.InferenceSession = functools.partial(onnxruntime.InferenceSession, sess_options=options)


def execute(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run the images until they, or the seconds, are over, but one at least; return their classes."""
    import numpy as np
    from finn.core.modelwrapper import ModelWrapper
    from finn.core.onnx_exec import execute_onnx

    parent, start = os.getppid(), time.monotonic()
    model = ModelWrapper(str(folder / "model.onnx"))
    name, output, before = model.graph.input[0].name, model.graph.output[0].name, model.graph.node[-1].input[0]
    classes, logits = [], []
    for image in np.load(folder / "images.npy", mmap_mode="r"):
        values = execute_onnx(model, {name: image[None].astype(np.float32)}, return_full_exec_context=True)
        classes.append(int(values[output].ravel()[0]))
        logits.append(values[before].ravel())
        over = request["seconds"] is not None and time.monotonic() - start >= request["seconds"]
        if over or os.getppid() != parent:  # the caller is gone: nobody waits for more
            break
    np.save(folder / "logits.npy", np.array(logits, dtype=np.float64))
    return {"classes": classes, "seconds": time.monotonic() - start}


def main() -> None:
    """Read the request, execute, write the answer."""
    path = Path(sys.argv[1])
    found = versions()
    answer: dict[str, Any] = {"versions": found, "unusable": unusable(found), "error": None}
    if answer["unusable"] is None:
        use_one_thread()
        try:
            answer.update(execute(json.loads(path.read_text()), path.parent))
        except Exception as error:
            traceback.print_exc()
            answer["error"] = f"{type(error).__name__}: {error}"
    path.with_name("answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
