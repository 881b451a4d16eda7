"""The check of the fused kernels on a GPU, with the interpreter in its place."""

import pytest
import torch

import qtrain.models.fast_forward as forward
from benchmarks.gpu import check_kernels as module
from benchmarks.gpu.check_kernels import check_kernels
from benchmarks.gpu.place import Place, make_place
from qtrain.triton_kernels import trusted
from tests.kernels import ROOMS


def place() -> Place:
    return make_place("cpu", width=0.125, batch=4, full=2)


@pytest.mark.slow
def test_every_room_is_checked_and_a_run_trains_alike(interpreted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter cuts what it brings to bfloat16, where GPUs round.
    monkeypatch.setattr(forward, "grid_dtypes", lambda *_: (torch.float32, torch.float32))
    said: dict[str, tuple[bool, str]] = {}
    check_kernels("CNV_4W4A", place(), lambda name, passed, detail="": said.update({name: (passed, detail)}))
    assert {room for room, _ in module.ROOMS} == set(ROOMS)
    assert len(said) == len(ROOMS) + 1
    assert all(passed for passed, _ in said.values()), said
    assert not any(trusted(room, torch.device("cpu")) for room in ROOMS)
