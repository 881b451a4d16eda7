"""TF32 is allowed or not inside, however torch was told before, and afterwards everything is as it was."""

import multiprocessing

import pytest
import torch

from qtrain.training.tf32 import tf32

BACKENDS = torch.backends
LEAVES = (BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn, BACKENDS.cuda.matmul)
NEW = pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="a torch without the newer interface")


def read() -> list[str]:
    return [leaf.fp32_precision for leaf in LEAVES]


def flags() -> list[bool]:
    return [BACKENDS.cudnn.allow_tf32, BACKENDS.cuda.matmul.allow_tf32]


def followed() -> list[list[str]]:
    """What each says when the widest setting moves: how it was set, not only what it says."""
    found, kept = [], BACKENDS.fp32_precision
    for value in ("ieee", "tf32"):
        BACKENDS.fp32_precision = value
        found.append(read())
    BACKENDS.fp32_precision = kept
    return found


def check(before: str, readable: bool, restorable: bool) -> None:
    """In a process of its own: torch's first state does not come back."""
    torch.set_num_threads(1)
    exec(before, {"b": BACKENDS, "torch": torch})
    first = read(), flags() if readable else None, followed() if restorable else None
    for allowed, wanted in ((True, "tf32"), (False, "ieee")):
        with tf32(allowed):
            assert read() == [wanted] * 3
            assert not readable or flags() == [allowed] * 2
            with tf32(not allowed):
                assert wanted not in read()
            assert read() == [wanted] * 3
        assert (read(), flags() if readable else None, followed() if restorable else None) == first


@NEW
@pytest.mark.parametrize(
    ("before", "readable", "restorable"),
    [
        ("", True, False),
        ("b.cuda.matmul.allow_tf32 = True", True, False),
        ("b.cudnn.allow_tf32 = False; b.cuda.matmul.allow_tf32 = False", True, True),
        ("torch.set_float32_matmul_precision('high')", True, False),
        ("b.fp32_precision = 'ieee'", False, True),
        ("b.fp32_precision = 'tf32'", False, True),
        ("b.fp32_precision = 'tf32'; b.cudnn.conv.fp32_precision = 'ieee'", False, True),
        ("b.cudnn.fp32_precision = 'tf32'", False, True),
        ("b.cudnn.conv.fp32_precision = 'ieee'", False, False),
        ("b.cuda.matmul.fp32_precision = 'tf32'", False, False),
        ("b.cudnn.allow_tf32 = True; b.fp32_precision = 'ieee'", False, True),
    ],
)
def test_tf32_is_what_was_asked_for_and_then_what_it_was(before: str, readable: bool, restorable: bool) -> None:
    process = multiprocessing.get_context("fork").Process(target=check, args=(before, readable, restorable))
    process.start()
    process.join()
    assert process.exitcode == 0
