"""The script inside the compiler's own process: it imports finn-plus and builds one network.

:mod:`qtrain.export.compiler.start` starts it as a file with the path of a JSON request. It imports nothing of qtrain,
so any interpreter that has finn-plus can run it. It leaves ``answer.json`` beside the request; without one it has
failed.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPORTED = ("finn-plus", "qonnx", "onnx", "onnxruntime", "numpy", "protobuf", "brevitas", "torch")
STEP_IMAGES = 2  # executed after each step of ours; the finished hardware takes all
# FINN's executor takes long for an image of a deep network: no image is begun beyond these.
STEPS_SECONDS, HARDWARE_SECONDS = 120.0, 60.0
OWN_MODULES = ("custom_transforms", "custom_steps")  # the second imports the first
OLDEST = (1, 6)  # what came before has other steps and pins, and starts from a repository instead of a package


def end_with_parent() -> None:
    """End the whole process group when the caller dies: the system then closes its end of standard input."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def refuse_network(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: an estimate needs no network, so a connection to a host is an error; local sockets pass."""
    if event == "socket.connect" and isinstance(args[1], tuple):
        raise ConnectionRefusedError(f"the compiler runs without a network but wanted {args[1]}")


def stand_in_for_simulator() -> None:
    """Fill the names that ``finn.xsi`` would build against Vivado's simulator: estimates never call them."""
    import finn.xsi

    for name in finn.xsi._LAZY_NAMES:
        setattr(finn.xsi, name, type(name, (), {}))
    finn.xsi.ensure_available = lambda: True


class FailureCatcher(logging.Handler):
    """Keeps the exception FINN's builder caught: it logs only the text, and an assertion often has none."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.failure: dict[str, str] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take the exception at hand when the builder reports that the build failed."""
        error = sys.exc_info()[1]
        if error is None or not record.getMessage().startswith("FINN "):
            return
        frames = traceback.extract_tb(error.__traceback__)
        steps = [frame.name for frame in frames if frame.name.startswith("step_")]
        last = frames[-1]
        text = str(error) or f"{last.line} ({Path(last.filename).name}, line {last.lineno})"
        self.failure = {"step": steps[0] if steps else "", "type": type(error).__name__, "message": text}


class StepChecker:
    """Executes the graph after a step on golden images and notes whether the classes are the expected ones.

    FINN's own verifications belong to its own steps; this one takes any, until its time is used up.

    Args:
        config: the build's, with the golden pair.
        images: how many of the pair.
        seconds: for all steps together.
    """

    def __init__(self, config: dict[str, Any], images: int, seconds: float = STEPS_SECONDS) -> None:
        import numpy as np

        pair = [np.load(config[f"verify_{name}_npy"])[:images] for name in ("input", "expected_output")]
        self.images, self.expected = pair
        self.checks: list[dict[str, Any]] = []
        self.left = seconds
        self._executed: tuple[bytes, dict[str, Any]] | None = None

    def after(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return the step with a check behind it, under its own name."""

        @functools.wraps(step)
        def checked(model: Any, cfg: Any) -> Any:
            model = step(model, cfg)
            if self.left > 0:
                started = time.monotonic()
                self.checks.append({"step": step.__name__, **self._check(model)})
                self.left -= time.monotonic() - started
            return model

        return checked

    def _check(self, model: Any) -> dict[str, Any]:
        """Execute the graph; one that the step left as it was speaks for itself."""
        graph = model.model.SerializeToString()
        if self._executed is None or self._executed[0] != graph:
            self._executed = (graph, self._execute(model))
        return self._executed[1]

    def _execute(self, model: Any) -> dict[str, Any]:
        from qonnx.core.onnx_exec import execute_onnx

        name, output = model.graph.input[0].name, model.graph.output[0].name

        def classes(image: Any) -> Any:
            return execute_onnx(model, {name: image[None]})[output]

        return compared(classes, self.images, self.expected, self.left)


def compared(classes: Callable[[Any], Any], images: Any, expected: Any, seconds: float) -> dict[str, Any]:
    """Whether ``classes`` of each image are the expected ones; of the first, and of more while the time lasts."""
    import numpy as np

    equal: list[bool] = []
    last = time.monotonic() + seconds
    try:
        for image, right in zip(images, expected, strict=True):
            if equal and time.monotonic() > last:
                break
            equal.append(bool(np.array_equal(classes(image).ravel(), right.ravel())))
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "equal": []}
    return {"error": None, "equal": equal}


def load_modules(folder: Path, steps: list[str] | None) -> None:
    """Execute the modules that build steps come from, each by its path: nothing else of the folder is importable.

    The folder on the path would let a file of it pass for any module that the compiler looks for and does not find;
    read here, no byte code beside a file is taken for it.

    Args:
        folder: of the build.
        steps: by name, ``module.step_x`` those of a module there; None for the steps that the folder brings.
    """
    named = OWN_MODULES if steps is None else tuple(dict.fromkeys(s.partition(".")[0] for s in steps if "." in s))
    wanted = (*OWN_MODULES, *named) if "custom_steps" in named else named
    for name in dict.fromkeys(wanted):
        path = folder / f"{name}.py"
        if path.is_file():
            module = types.ModuleType(name)
            module.__file__ = str(path)
            sys.modules[name] = module
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)


def folder_steps(folder: Path, checker: StepChecker | None) -> tuple[list[Any], str | None]:
    """Return the steps that the folder brings, ours checked, and the first that must be exact; else FINN's own."""
    from finn.builder.build_dataflow_config import estimate_only_dataflow_steps
    from finn.builder.build_dataflow_steps import build_dataflow_step_lookup

    own: Any = sys.modules.get("custom_steps")
    if not hasattr(own, "ESTIMATE_STEPS"):
        return list(estimate_only_dataflow_steps), None
    steps = [build_dataflow_step_lookup[step] if step == "step_qonnx_to_finn" else step for step in own.ESTIMATE_STEPS]
    return [checker.after(step) if checker and callable(step) else step for step in steps], own.EXACT_FROM


def beside(name: str) -> Any:
    """Import a file of this folder; the folder itself must not be on the path, its files have plain names."""
    spec: Any = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def search(config: dict[str, Any], build_config: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Search the fastest folding that fits, from what the build left; an error of FINN's is part of the answer."""
    from finn.builder.build_dataflow import resolve_build_steps

    try:
        how = (resolve_build_steps(build_config), request["limits"], request["width"], beside("_styles"))
        found: dict[str, Any] = beside("_folding").search(config, *how)
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "probes": [], "best": None, "complete": False}
    return found


def build(request: dict[str, Any]) -> dict[str, Any]:
    """Run FINN's builder and say how it ended; what the result is worth is for the caller to judge."""
    from finn.builder.build_dataflow import build_dataflow_cfg
    from finn.builder.build_dataflow_config import DataflowBuildConfig

    folder, steps, exact_from = Path(request["folder"]), request["config"]["steps"], None
    load_modules(folder, steps)
    checker = StepChecker(request["config"], STEP_IMAGES) if request["verification"] else None
    if steps is None:
        steps, exact_from = folder_steps(folder, checker)
    verify_steps = [kind for step, kind in request["verification"].items() if step in steps and not exact_from]
    config = {**request["config"], "steps": steps, "verify_steps": verify_steps or None}
    catcher = FailureCatcher()
    logging.getLogger("build_dataflow").addHandler(catcher)
    build_config = DataflowBuildConfig.from_dict(config)
    code = build_dataflow_cfg(folder / "model.onnx", build_config)
    names = [step if isinstance(step, str) else step.__name__ for step in steps]
    answer = {"exit_code": code, "failure": catcher.failure, "steps": names, "verify_steps": verify_steps}
    answer |= {"checks": checker.checks if checker else [], "exact_from": exact_from}
    partitioned = (Path(config["output_dir"]) / "intermediate_models" / "dataflow_parent.onnx").exists()
    if code == 0 and partitioned and request["limits"]:
        answer["search"] = search(config, build_config, request)
    if code == 0 and request["verification"]:
        answer["hardware"] = execute_hardware(config, names[-1].rpartition(".")[2])
    return answer


def execute_hardware(config: dict[str, Any], last_step: str) -> dict[str, Any] | None:
    """Execute the finished dataflow graph image by image, each layer by FINN's Python model of the hardware.

    FINN's own flow compares this graph only in simulations that need Vitis or Vivado. None where there is no graph.
    """
    import numpy as np
    from finn.util.execution import execute_parent
    from finn.util.verification import despecialize_model
    from qonnx.core.modelwrapper import ModelWrapper

    models = Path(config["output_dir"]) / "intermediate_models"
    parent, child = models / "dataflow_parent.onnx", models / "hardware_python.onnx"
    if not parent.exists():
        return None
    images, expected = np.load(config["verify_input_npy"]), np.load(config["verify_expected_output_npy"])
    try:
        despecialize_model(ModelWrapper(str(models / f"{last_step}.onnx"))).save(str(child))
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "equal": []}
    return compared(lambda image: execute_parent(parent, child, image[None]), images, expected, HARDWARE_SECONDS)


def versions() -> dict[str, str]:
    """Return the versions of what takes part, as this interpreter has them."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in REPORTED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def postpone_imports() -> None:
    """Let what the builder imports and no estimate uses be imported when it is used."""
    later = beside("_later")
    later.import_later("torch", "torch.nn", "torch.nn.functional")
    later.import_later("pandas", classes=("DataFrame", "Series"))
    later.import_later("networkx", classes=("DiGraph",))
    later.import_later("scipy.special", functions=("softmax",))
    for name in ("qor.estimator", "builder.passes", "transformation.fpgadataflow.loop_rolling"):
        later.import_names_later(f"finn.{name}")


def unusable(found: dict[str, str]) -> str | None:
    """Import the builder without Vivado; return what is missing, None if nothing is."""
    if "finn-plus" not in found:
        return "finn-plus is not installed"
    if tuple(map(int, re.findall(r"\d+", found["finn-plus"])[:2])) < OLDEST:
        return f"finn-plus {found['finn-plus']} is too old"
    try:
        stand_in_for_simulator()
        postpone_imports()
        import finn.builder.build_dataflow  # noqa: F401
    except ImportError as error:
        return f"finn-plus {found['finn-plus']} cannot be imported ({error})"
    return None


def main() -> None:
    """Read the request, build, write the answer."""
    request_path = Path(sys.argv[1])
    request = json.loads(request_path.read_text())
    end_with_parent()
    sys.addaudithook(refuse_network)
    found = versions()
    answer: dict[str, Any] = {"versions": found, "unusable": unusable(found)}
    if answer["unusable"] is None:
        beside("_lookups").install()
        beside("_index").install()
        beside("_sparing").install()
        answer |= build(request)
    request_path.with_name("answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
