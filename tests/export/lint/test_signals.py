"""Networks for signals [N, C, L] and rows [N, F]: lint says how to take images, and FINN takes the mended twin."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import pytest
import torch
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.export import export_finn
from qtrain.export.compiler.start import estimate_build
from qtrain.export.lint.check import Finding, lint_module
from qtrain.export.lint.finding import WHOLE
from tests.export.lint.probe_builds import moved, write_folder
from tests.export.lint.probe_networks import conv, identity, linear, net, relu, to_signed

SIGNAL = (2, 16, 1)
ROW = (12, 1, 1)


def conv_1d(inputs: int, outputs: int, kernel: int = 3, **more: Any) -> nn.Module:
    return qnn.QuantConv1d(inputs, outputs, kernel, **{"padding": 1, "bias": False, "weight_bit_width": 4, **more})


def stacked(**layers: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(layers))


def along_one_axis() -> nn.Module:
    """A network for signals as torch's users write it."""
    body = {"conv1": conv_1d(2, 8), "norm1": nn.BatchNorm1d(8), "act1": relu(), "pool1": nn.MaxPool1d(2)}
    body |= {"conv2": conv_1d(8, 8), "norm2": nn.BatchNorm1d(8), "act2": relu(), "pool2": nn.AdaptiveAvgPool1d(1)}
    return stacked(pre=to_signed(), input=identity(8), **body, flatten=nn.Flatten(), fc=linear(8))


def along_two_axes() -> nn.Module:
    """The same with every finding's mend."""
    body = {"conv1": conv(2, 8, (3, 1), padding=(1, 0)), "norm1": nn.BatchNorm2d(8), "act1": relu()}
    body |= {"pool1": nn.MaxPool2d((2, 1)), "conv2": conv(8, 8, (3, 1), padding=(1, 0)), "norm2": nn.BatchNorm2d(8)}
    body |= {"act2": relu(), "pool2": nn.AdaptiveAvgPool2d(1)}
    return stacked(pre=to_signed(), input=identity(8), **body, flatten=nn.Flatten(), fc=linear(8))


def rows(**first: nn.Module) -> nn.Module:
    """A network for rows of 12 features."""
    body = {"fc1": linear(12, 16), "norm1": nn.BatchNorm1d(16), "act1": relu(2), "fc2": linear(16)}
    return stacked(**first, pre=to_signed(), input=identity(8), **body)


def mends(findings: tuple[Finding, ...]) -> dict[str, str]:
    return {finding.layer: finding.mend for finding in findings}


@pytest.mark.parametrize("shape", [SIGNAL, SIGNAL[:2]])
def test_every_layer_along_one_axis_gets_its_mend(shape: tuple[int, ...]) -> None:
    findings = lint_module(along_one_axis(), shape)
    assert {(finding.rule, finding.severity) for finding in findings} == {("axes", "error")}
    found = {layer: mend.partition(" in its place")[0] for layer, mend in mends(findings).items()}
    assert found == {
        "conv1": "write QuantConv2d(2, 8, (3, 1), padding=(1, 0), ...)",
        "norm1": "write nn.BatchNorm2d(8)",
        "pool1": "write nn.MaxPool2d((2, 1))",
        "conv2": "write QuantConv2d(8, 8, (3, 1), padding=(1, 0), ...)",
        "norm2": "write nn.BatchNorm2d(8)",
        "pool2": "write nn.AdaptiveAvgPool2d(1), the average of the whole signal,",
    }
    assert all("[N, C, L, 1]" in mend for mend in mends(findings).values())


@pytest.mark.parametrize(
    ("layer", "mend"),
    [
        (conv_1d(2, 8, 5, padding=2, stride=2), "QuantConv2d(2, 8, (5, 1), padding=(2, 0), stride=(2, 1), ...)"),
        (conv_1d(2, 2, dilation=2, groups=2), "QuantConv2d(2, 2, (3, 1), padding=(1, 0), dilation=(2, 1), groups=2,"),
        (conv_1d(2, 8, padding="same"), "QuantConv2d(2, 8, (3, 1), padding='same', ...)"),
        (nn.Conv1d(2, 8, 3), "QuantConv2d(2, 8, (3, 1), padding=(0, 0), ...)"),
        (nn.MaxPool1d(3, 2, 1), "nn.MaxPool2d((3, 1), stride=(2, 1), padding=(1, 0))"),
        (nn.AvgPool1d(2), "nn.AdaptiveAvgPool2d(1)"),
        (nn.Dropout1d(0.5), "nn.Dropout(0.5)"),
    ],
)
def test_a_mend_keeps_what_the_layer_says(layer: nn.Module, mend: str) -> None:
    found = lint_module(stacked(input=identity(8), first=conv_1d(2, 2), layer=layer, flatten=nn.Flatten()), SIGNAL)
    assert mends(found)["layer"].startswith(f"write {mend}")


def test_the_mended_network_is_the_same_network_and_finn_takes_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = moved(along_one_axis(), SIGNAL[:2])  # type: ignore[arg-type]
    after = along_two_axes()
    state = {name: value for name, value in before.state_dict().items()}
    for name in ("conv1.weight", "conv2.weight"):
        state[name] = state[name][..., None]
    after.load_state_dict(state)
    after.eval()
    images = torch.rand(20, *SIGNAL)
    torch.testing.assert_close(after(images), before(images[..., 0]))
    assert not [finding for finding in lint_module(after, SIGNAL) if finding.severity != "note"]
    pixels = (images * 255).to(torch.uint8)
    labels = after(pixels.float() / 255).argmax(1)
    proof = export_finn(after, tmp_path / "finn", pixels=pixels, labels=labels)
    assert (proof.equal, proof.images) == (20, 20)


@pytest.mark.usefixtures("finn_plus")
@pytest.mark.parametrize("name", ["signal", "row"])
def test_the_real_compiler_takes_the_mended_networks(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, shape = {"signal": (along_two_axes, SIGNAL), "row": (lambda: rows(flatten=nn.Flatten()), ROW)}[name]
    write_folder(moved(make(), shape), shape, tmp_path / "finn")
    target = {"board": "Pynq-Z1", "target_fps": 100, "timeout_s": 120}
    build = estimate_build(tmp_path / "finn", out=tmp_path / "out", images=2, **target)
    assert build.accepted, build.reason


def test_rows_that_nobody_flattens_get_a_flatten_and_are_clean_then(tmp_path: Path) -> None:
    (found,) = lint_module(rows(), ROW)
    assert (found.rule, found.severity, found.layer) == ("flat-input", "error", "fc1")
    assert found.mend == "put nn.Flatten() in front of fc1, or at the start of the network"
    (found,) = lint_module(rows(), ROW[:1])
    assert (found.rule, found.layer) == ("flat-input", WHOLE)
    assert "nn.Flatten() at the start" in found.mend
    torch.manual_seed(0)
    mended = moved(rows(flatten=nn.Flatten()), ROW)
    assert not [finding for finding in lint_module(mended, ROW) if finding.severity != "note"]
    pixels = torch.randint(0, 256, (20, *ROW), dtype=torch.uint8)
    proof = export_finn(mended, tmp_path / "finn", pixels=pixels, labels=torch.zeros(20, dtype=torch.int64))
    assert (proof.equal, proof.images) == (20, 20)


@pytest.mark.parametrize(
    ("make", "shape", "layer"),
    [
        (lambda: net({"flatten": None}), (3, 8, 8), "fc"),
        (lambda: stacked(norm=nn.BatchNorm1d(12), body=rows()), ROW, "norm"),
        (lambda: stacked(input=identity(8, return_quant_tensor=True), fc=linear(12)), ROW, "fc"),
    ],
)
def test_the_layer_that_gets_an_image_is_named(make: Any, shape: tuple[int, int, int], layer: str) -> None:
    (found,) = lint_module(make(), shape)
    assert (found.rule, found.layer) == ("flat-input", layer)


class Squeezes(nn.Module):
    """Takes images [N, C, L, 1] and makes signals of them by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body = along_one_axis()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.squeeze(-1))


def test_a_network_that_takes_images_and_works_along_one_axis_is_told_by_its_graph() -> None:
    found = [finding for finding in lint_module(Squeezes(), SIGNAL) if finding.rule == "axes"]
    assert {finding.layer for finding in found} == {"body.conv1", "body.pool1", "body.conv2"}
    assert all("(k, 1)" in finding.mend and "[N, C, L, 1]" in finding.mend for finding in found)


def test_an_image_of_as_many_pixels_as_features_needs_a_flatten_too() -> None:
    assert [finding.rule for finding in lint_module(rows(), (4, 1, 3))] == ["flat-input"]


@pytest.mark.parametrize(("make", "shape"), [(net, (1, 8, 8)), (lambda: rows(flatten=nn.Flatten()), (13, 1, 1))])
def test_a_network_for_other_images_is_an_error_as_before(make: Any, shape: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="cannot take images of"):
        lint_module(make(), shape)
