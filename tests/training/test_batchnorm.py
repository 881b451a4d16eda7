"""BatchNorm's statistics for other weights: what they become, and that nothing else moves."""

import pytest
import torch
from torch import nn

from qtrain.errors import UserError
from qtrain.models import build_model
from qtrain.models.layers import ScalarNorm
from qtrain.training.batchnorm import norms, re_estimate
from tests.sampled import sampled


def batches(number=3, size=8):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(size, 3, 32, 32, generator=generator) for _ in range(number)]


def test_statistics_are_the_mean_over_the_batches():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), ScalarNorm())
    net[0].running_mean.fill_(torch.nan)  # what was there counts for nothing
    images = batches()
    re_estimate(net.eval(), images)
    assert torch.allclose(net[0].running_mean, torch.stack([i.mean((0, 2, 3)) for i in images]).mean(0))
    assert torch.allclose(net[0].running_var, torch.stack([i.var((0, 2, 3)) for i in images]).mean(0))
    assert torch.allclose(net[2].running_var, torch.ones(1), atol=1e-1)
    assert abs(net[2].running_mean.item()) < 1e-4


def test_equals_torchs_update_bn_on_a_float_net():
    torch.manual_seed(0)
    nets = [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(3600))
        for _ in range(2)
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    images = batches()
    torch.optim.swa_utils.update_bn(images, nets[0])
    re_estimate(nets[1], images)
    found = zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in found)


@pytest.mark.parametrize(("network", "scaling"), [("CNV_1W1A", "constant"), ("CNV_2W2A", "statistics")])
@pytest.mark.parametrize("passes", sampled([0, 1], [1]))
def test_only_the_norms_statistics_move_in_a_quantized_net(network, scaling, passes):
    torch.manual_seed(0)
    net = build_model(network, width=0.125, scaling=scaling).train()
    images = batches()
    for some in images[:passes]:
        net(some)
    numbers = [{k: v for k, v in vars(m).items() if type(v) in (int, float, bool)} for m in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    re_estimate(net, images)
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    paths = {f"{path}.{s}" for path, m in net.named_modules() if m in norms(net) for s in statistics} & set(before)
    assert moved <= paths
    assert {name for name in moved if name.endswith("mean")} == {name for name in paths if name.endswith("mean")}
    after = [{k: v for k, v in vars(m).items() if type(v) in (int, float, bool)} for m in net.modules()]
    assert after == numbers  # modes, momenta and Brevitas' counters


def test_no_batch_is_an_error_and_changes_nothing():
    net = nn.Sequential(nn.BatchNorm2d(3))
    net[0].running_mean.fill_(3)
    with pytest.raises(UserError, match="at least one batch"):
        re_estimate(net, [])
    assert net[0].running_mean.tolist() == [3, 3, 3]
    assert net[0].training
    assert net[0].momentum == 0.1
