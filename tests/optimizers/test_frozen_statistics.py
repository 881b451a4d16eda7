"""Frozen statistics: a pass under them leaves no trace, and they are back after an error."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from brevitas.inject.enum import ScalingImplType
from brevitas.nn import QuantLinear
from brevitas.quant import Int8WeightPerTensorFloat
from torch import Tensor, nn

from qtrain.models import build_model
from qtrain.optimizers import frozen_statistics
from tests.sampled import sampled

FROM_STATS = ScalingImplType.PARAMETER_FROM_STATS


def everything(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """All that training changes: state, buffers that Brevitas leaves out of it, plain numbers."""
    yield from ((name, value.clone()) for name, value in model.state_dict().items())
    yield from ((name, value.clone()) for name, value in model.named_buffers())
    for path, module in model.named_modules():
        yield from ((f"{path}:{k}", v) for k, v in vars(module).items() if isinstance(v, int | float))


def changes(before: list[tuple[str, Any]], after: list[tuple[str, Any]]) -> set[str]:
    assert [name for name, _ in before] == [name for name, _ in after]
    return {
        name
        for (name, old), (_, new) in zip(before, after, strict=True)
        if not (torch.equal(old, new) if isinstance(old, Tensor) else old == new)
    }


NETWORKS = [
    ("CNV_2W2A", {}),
    ("RESNET20_4W4A", {"scaling": "statistics"}),
    ("RESNET20_4W4A", {"scaling": "learned"}),
    ("RESNET18_4W4A", {"scaling": "learned", "per_channel": True}),
    ("RESNET18_PYNQ_4W4A", {}),
]


@pytest.mark.parametrize(("network", "options"), sampled(NETWORKS, NETWORKS[:2]))
def test_frozen_pass_is_the_last_pass_again_and_leaves_no_trace(network: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build_model(network, width=0.125, image_size=32, **options).train()
    for module in model.modules():
        if hasattr(module, "collect_stats_steps"):
            module.collect_stats_steps = 6  # instead of 300; shared quantizers are called two or three times a pass
    images = torch.rand(4, 3, 32, 32)
    for _ in range(8 if "PYNQ" in network else 2):
        fresh = list(everything(model))
        first = model(images).detach()
        before = list(everything(model))
        with torch.no_grad(), frozen_statistics(model):
            again, other = model(images), model(images + 1)
        assert not changes(before, list(everything(model)))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert changes(fresh, before)  # a pass outside does leave traces


def test_frozen_pass_of_a_network_that_never_saw_a_batch_leaves_no_trace() -> None:
    model = build_model("RESNET18_PYNQ_4W4A", width=0.125, image_size=32).train()
    before = list(everything(model))
    with torch.no_grad(), frozen_statistics(model):
        model(torch.rand(4, 3, 32, 32))
    assert not changes(before, list(everything(model)))
    assert all(bool((p == 1).all()) for name, p in model.named_parameters() if name.endswith("scaling_impl.value"))


def test_frozen_pass_does_not_set_a_trained_range_that_starts_from_the_weights() -> None:
    layer = QuantLinear(8, 4, bias=False, weight_quant=Int8WeightPerTensorFloat, weight_scaling_impl_type=FROM_STATS)
    (name, trained), *_ = [(n, p) for n, p in layer.named_parameters() if n.endswith("scaling_impl.value")]
    with torch.no_grad(), frozen_statistics(layer):
        layer(torch.ones(1, 8))
        assert trained.item() != 1
    assert trained.item() == 1
    layer(torch.ones(1, 8))
    assert layer.state_dict()[name].item() == pytest.approx(layer.weight.abs().max().item())


def test_statistics_are_back_after_an_error_inside() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(4, 1))
    with pytest.raises(RuntimeError, match="shapes"), frozen_statistics(model):
        model(torch.randn(5, 3))
    assert int(model[0].num_batches_tracked) == 0  # type: ignore[arg-type]
    assert torch.equal(model[0].running_mean, torch.zeros(3))  # type: ignore[arg-type]
