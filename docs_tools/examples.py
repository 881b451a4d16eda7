"""Examples of the rules of lint that no probe has alone: Python that looks at the image, files, notes."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import onnx
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor, nn
from torch.nn import functional

from docs_tools.rules import read_probes
from qtrain.export.lint.check import Finding, lint_graph, lint_module
from tests.export.lint.probe_builds import exported
from tests.export.lint.probe_networks import net
from tests.export.lint.probes import PROBES

SHAPE = (3, 8, 8)


@dataclass(frozen=True)
class Example:
    """What to ask lint about.

    Attributes:
        ask: returns its findings.
        code: as the page shows it.
    """

    ask: Callable[[], tuple[Finding, ...]]
    code: str = ""


class LooksAtTheImage(nn.Module):
    """Turns dark images over."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net()

    def forward(self, x: Tensor) -> Tensor:
        """Python decides by the image."""
        if x.mean() < 0.5:
            x = 1 - x
        return self.body(x)


class ReturnsTwo(LooksAtTheImage):
    """Returns logits and features."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Logits, and what a loss might want beside them."""
        return self.body(x), self.body.conv1(x)


class HasNoOnnx(LooksAtTheImage):
    """Uses an operator that the exporter does not know."""

    def forward(self, x: Tensor) -> Tensor:
        """An operator without a counterpart in ONNX."""
        y = self.body(x).reshape(-1, 2, 5)
        return torch.linalg.matrix_exp(y @ y.transpose(1, 2)).flatten(1)


class Drops(LooksAtTheImage):
    """Drops values in evaluation too."""

    def forward(self, x: Tensor) -> Tensor:
        """Dropout that does not follow the network's mode."""
        return self.body(functional.dropout(x, 0.1))


class Counts(LooksAtTheImage):
    """Every second answer is another."""

    def forward(self, x: Tensor) -> Tensor:
        """A state that each call moves."""
        self.calls = getattr(self, "calls", 0) + 1
        return self.body(x) * (1 + self.calls % 2)


class TakesOneImage(LooksAtTheImage):
    """A size that was written down."""

    def forward(self, x: Tensor) -> Tensor:
        """One image, whatever comes."""
        return self.body(x.view(1, 3, 8, 8))


class DividesByTheBatch(LooksAtTheImage):
    """The answer depends on how many images there are."""

    def forward(self, x: Tensor) -> Tensor:
        """A size that is computed with."""
        return self.body(x / x.shape[0])


def _without_statistics() -> tuple[Finding, ...]:
    return lint_module(net({"norm1": nn.BatchNorm2d(8, track_running_stats=False)}), SHAPE)


def _with_weights(value: float) -> tuple[Finding, ...]:
    body = net()
    nn.init.constant_(body.get_submodule("conv2").weight, value)  # type: ignore[arg-type]
    return lint_module(body, SHAPE)


def _module(kind: type[nn.Module]) -> Example:
    code = textwrap.dedent(inspect.getsource(kind.forward)).rstrip().replace("  # type: ignore[override]", "")
    return Example(lambda: lint_module(kind(), SHAPE), code)


def _probe(name: str) -> Example:
    probe = PROBES[name]
    return Example(lambda: lint_module(probe.make(), probe.shape), read_probes()[name].code)


def _file(name: str) -> Example:
    code = f"model = {read_probes()[name].code}\n"
    code += "export_qonnx(model, args=one_image, export_path='model.onnx', dynamo=False)"
    return Example(lambda: lint_graph(exported(PROBES[name])), code)


def _changed(code: str) -> Example:
    """A file of the base network as another exporter would write it; ``code`` changes its nodes."""

    def ask() -> tuple[Finding, ...]:
        graph = exported(PROBES["base"])
        nodes = {kind: [node for node in graph.graph.node if node.op_type == kind] for kind in ("MaxPool", "Conv")}
        scope = {"pool": nodes["MaxPool"][0], "conv": nodes["Conv"][0], "model": graph}
        exec(code, scope | {"attribute": onnx.helper.make_attribute, "onnx": onnx})
        del graph.graph.value_info[:]
        return lint_graph(graph)

    return Example(ask, code)


def _empty() -> tuple[Finding, ...]:
    return lint_graph(ModelWrapper(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))))


def _without_flatten() -> tuple[Finding, ...]:
    return lint_module(net({"flatten": None}), SHAPE)


EXAMPLES: dict[str, Example] = {
    "flat-input": Example(_without_flatten, 'net({"flatten": None})'),
    "frozen-branch": _module(LooksAtTheImage),
    "random": _module(Drops),
    "moving-state": _module(Counts),
    "one-image": _module(TakesOneImage),
    "across-images": _module(DividesByTheBatch),
    "batch-statistics": Example(_without_statistics, 'net({"norm1": nn.BatchNorm2d(8, track_running_stats=False)})'),
    "not-finite": Example(lambda: _with_weights(float("nan")), "nn.init.constant_(model.conv2.weight, float('nan'))"),
    "zero-weights": Example(lambda: _with_weights(0.0), "nn.init.zeros_(model.conv2.weight)"),
    "output": _module(ReturnsTwo),
    "export": _module(HasNoOnnx),
    "input-type": _file("base"),
    "no-top1": _file("base"),
    "sign-scale": _file("identity_1_bit"),
    "graph": Example(_empty),
    "open-size": _changed("model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = 'H'"),
    "renamed": _changed("for n in model.graph.node: n.op_type = n.op_type.replace('Quant', 'IntQuant')"),
    "auto-pad": _changed(
        "pool.attribute.remove(next(a for a in pool.attribute if a.name == 'pads'))\n"
        "pool.attribute.append(attribute('auto_pad', 'SAME_UPPER'))"
    ),
    "left-out": _changed("conv.attribute.remove(next(a for a in conv.attribute if a.name == 'strides'))"),
    "pool-padding": _changed("next(a for a in pool.attribute if a.name == 'pads').ints[:] = [0, 0, 1, 1]"),
    "gemm-factors": _changed(
        "last = next(n for n in model.graph.node if n.op_type == 'MatMul')\n"
        "last.op_type = 'Gemm'\nlast.attribute.append(attribute('alpha', 0.5))"
    ),
    "unread": _changed("model.graph.node.append(onnx.helper.make_node('Identity', [pool.output[0]], ['unread']))"),
    "thresholds": _probe("relu_8_bits"),
    "custom-steps": _probe("residual_post"),
}
