"""The folder's steps look FINN's transformations up by name: what a version calls otherwise, and what it lacks.

Stand-in modules have every name but those that a version lacks; a transformation of theirs notes its name and leaves
the graph alone. The real compiler runs the steps in test_custom_steps.py.
"""

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.base import Transformation

from qtrain.export.folder.shipped import custom_transforms

SOURCE = Path(custom_transforms.__file__).with_name("custom_steps.py")
ONE_MODULE, OWN_MODULES = "convert_to_hw_layers", "convert_to_hw"
# What a version of FINN lacks of all that the steps ask for.
LACKS = {
    "main": {"InferElementwiseBinaryOperation", OWN_MODULES},
    "dev": {"InferAddStreamsLayer", "InferStreamingMaxPool", OWN_MODULES},
    "finn-plus": {"InferAddStreamsLayer", "InferStreamingMaxPool", "InferChannelwiseLinearLayer", ONE_MODULE},
}


class StandIn(ModuleType):
    """A module of FINN that has every transformation but those that it lacks."""

    def __init__(self, name: str, lacks: set[str], applied: list[str]):
        super().__init__(name)
        self._lacks, self._applied = lacks, applied
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in self._lacks:
            raise AttributeError(name)
        applied = self._applied

        class Noted(Transformation):
            def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
                applied.append(name)
                return model, False

        return Noted


class Finder:
    """Finds every module of FINN but those that a version lacks."""

    def __init__(self, lacks: set[str], applied: list[str]):
        self._lacks, self._applied = lacks, applied

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if not name.startswith("finn") or self._lacks & set(name.split(".")):
            return None
        return importlib.util.spec_from_loader(name, self)

    def create_module(self, spec: Any) -> ModuleType:
        return StandIn(spec.name, self._lacks, self._applied)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "finn.builder.build_dataflow_config":
            module.estimate_only_dataflow_steps = ["step_streamline", "step_convert_to_hw"]
            module.default_build_dataflow_steps = ["step_streamline", "step_convert_to_hw"]
            module.VerificationStepType = SimpleNamespace(STREAMLINED_PYTHON="streamlined_python")


@pytest.fixture
def run_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[str]], list[str]]:
    """Return a function that runs all steps in a FINN that lacks something, and says what was applied."""

    def run(lacks: set[str]) -> list[str]:
        applied: list[str] = []
        for name in [name for name in sys.modules if name.split(".")[0] == "finn"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Finder(lacks, applied), *without_finn(sys.meta_path)])
        monkeypatch.setitem(sys.modules, "custom_transforms", custom_transforms)
        spec = importlib.util.spec_from_file_location("custom_steps", SOURCE)
        assert spec is not None
        assert spec.loader is not None
        steps = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(steps)
        config = SimpleNamespace(standalone_thresholds=True, _resolve_verification_steps=list)
        model = graph()
        for step in steps.OWN_STEPS:
            model = step(model, config)
        return applied

    yield run
    for name in [name for name in sys.modules if name.split(".")[0] == "finn"]:
        del sys.modules[name]


def without_finn(finders: list[Any]) -> list[Any]:
    """The import system's finders, blind to an installed FINN."""

    class Blind:
        def __init__(self, finder: Any):
            self._finder = finder

        def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
            return None if name.split(".")[0] == "finn" else self._finder.find_spec(name, path, target)

    return [Blind(finder) for finder in finders]


def graph() -> ModelWrapper:
    """One ReLU: the stand-ins leave it alone, and qonnx's own transformations have nothing to do."""
    shape = [1, 4]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("a", "b")]
    node = helper.make_node("Relu", ["a"], ["b"])
    return ModelWrapper(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:])))


@pytest.mark.parametrize("version", LACKS)
def test_every_version_of_finn_takes_the_steps(version: str, run_steps: Callable[[set[str]], list[str]]) -> None:
    applied = set(run_steps(LACKS[version]))
    assert not applied & LACKS[version]
    assert ("InferStreamingMaxPool" in applied) == (version == "main")
    assert {"InferPool", "InferConvInpGen", "RemoveCNVtoFCFlatten", "RoundAndClipThresholds"} <= applied


def required() -> list[str]:
    """The names that the steps' source looks up in FINN without another in their place."""
    source = SOURCE.read_text()
    found = re.findall(r"\b(?:absorb|collapse_repeated|reorder|thresholds|reshape)\.(\w+)\(", source)
    single = re.findall(r'^    \("(\w+)",\),$', source, re.MULTILINE)
    return sorted({*found, *single})


@pytest.mark.parametrize("name", required())
def test_a_name_that_nothing_serves_is_said_in_one_line(name: str, run_steps: Callable[[set[str]], list[str]]) -> None:
    with pytest.raises(AttributeError) as missing:
        run_steps(LACKS["dev"] | {name})
    assert str(missing.value).startswith(f"this FINN has no {name}")
    assert "which the steps of this folder need" in str(missing.value)
    assert "\n" not in str(missing.value)


@pytest.mark.parametrize(
    "names",
    [
        {"InferAddStreamsLayer", "InferElementwiseBinaryOperation"},
        {"InferStreamingMaxPool", "InferPool"},
    ],
)
def test_where_all_of_several_are_missing_all_are_named(
    names: set[str], run_steps: Callable[[set[str]], list[str]]
) -> None:
    with pytest.raises(AttributeError) as missing:
        run_steps(names)
    assert all(name in str(missing.value) for name in names)
