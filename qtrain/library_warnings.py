"""Warnings that libraries below give about their own insides, with which who trains or exports can do nothing."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

QUANTIZER_LIBRARIES = r"(brevitas|qonnx|onnx)\b"
ALL = r"(brevitas|torch|onnx|qonnx|matplotlib)\b"  # on the command line, where nothing but qtrain calls them


@contextmanager
def hushed() -> Iterator[None]:
    """Let Brevitas, qonnx and onnx not warn inside; torch, qtrain and one's own code still do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=QUANTIZER_LIBRARIES)
        yield
