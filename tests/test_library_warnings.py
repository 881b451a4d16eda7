"""Brevitas' and qonnx' warnings about their own insides reach nobody; those of torch and of one's own code do."""

import warnings

import brevitas.nn as qnn
import pytest
from brevitas.inject.enum import BitWidthImplType
from torch import nn

from qtrain.export import lint_network
from qtrain.library_warnings import hushed
from qtrain.models import build_model


@pytest.mark.parametrize(
    ("module", "heard"),
    [("qonnx.core", False), ("brevitas.nn", False), ("onnx", False), ("torch.optim", True), ("onnx_of_mine", True)],
)
def test_who_is_heard(module: str, heard: bool) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with hushed():
            warnings.warn_explicit("so it is", UserWarning, "a file", 1, module=module)
    assert bool(told) == heard


def test_a_network_is_linted_without_a_word_of_theirs() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        lint_network(build_model("TFC_1W1A", width=0.125, in_channels=1, image_size=(28, 28)), (1, 28, 28))
    theirs = ("brevitas", "qonnx", "onnx")
    assert not [str(line.message) for line in told if any(f"/{name}/" in line.filename for name in theirs)]


def test_learned_bits_are_linted_without_a_word() -> None:
    """torch warns whoever turns a number with a gradient into one of Python's."""
    learned = qnn.QuantReLU(bit_width=4, bit_width_impl_type=BitWidthImplType.PARAMETER)
    network = nn.Sequential(qnn.QuantIdentity(), qnn.QuantConv2d(3, 4, 3, bias=False), learned, nn.Flatten())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        lint_network(network.append(qnn.QuantLinear(4 * 36, 10, bias=False)).eval(), (3, 8, 8))
    assert not [str(line.message) for line in told if "requires_grad" in str(line.message)]
