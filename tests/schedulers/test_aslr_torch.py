"""ASLR beside torch's own machinery: rates in tensors, torch.compile, accumulation, GradScaler, a plain loop."""

import math

import pytest
import torch
from torch import nn

from qtrain import ASLR, layer_groups
from tests.optimizers.unit_gradients import group_lrs, make_optimizer


def test_a_rate_in_a_tensor_is_written_in_place_one_tensor_a_group():
    rate = torch.tensor(0.1)
    parameters = [nn.Parameter(torch.zeros(3)) for _ in range(3)]
    optimizer = torch.optim.SGD([{"params": [p]} for p in parameters], lr=rate)
    scheduler = ASLR(optimizer)
    assert scheduler.lr == 0.1  # not float32's 0.10000000149
    held = [group["lr"] for group in optimizer.param_groups]
    for parameter in parameters:
        parameter.grad = torch.ones(3)
    optimizer.step()
    assert held[0] is rate
    assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, held, strict=True))
    assert group_lrs(optimizer) == pytest.approx(scheduler.last_draws)
    assert len(set(group_lrs(optimizer))) == 3
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(3))]})
    scheduler.step(0.5)
    assert scheduler.ratios == [1.0] * 4


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
def test_a_compiled_optimizer_step_uses_the_draws(rate):
    optimizer = make_optimizer([rate if isinstance(rate, float) else rate.clone() for _ in range(2)])
    scheduler = ASLR(optimizer)
    compiled = torch.compile(lambda: optimizer.step(), backend="eager")
    for _ in range(4):
        old = [group["params"][0].detach().clone() for group in optimizer.param_groups]
        compiled()
        for group, was, lr in zip(optimizer.param_groups, old, scheduler.last_draws, strict=True):
            torch.testing.assert_close(was - group["params"][0].detach(), torch.full((3,), lr))
    torch._dynamo.reset()


def test_draws_belong_to_optimizer_steps_under_gradient_accumulation():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(layer_groups(model), lr=0.1)
    scheduler = ASLR(optimizer)
    draws = []
    for micro_batch in range(8):
        (model(torch.ones(3, 4)).square().mean() / 4).backward()
        if micro_batch % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
        draws.append(scheduler.last_draws[0])
    assert [len(set(draws[:3])), len(set(draws[3:7])), len(set(draws))] == [1, 1, 3]


def test_a_step_that_grad_scaler_skips_draws_nothing():
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = ASLR(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((parameter * math.inf).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scheduler.last_draws == [0.1]
    optimizer.zero_grad()
    scaler.scale(parameter.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scheduler.last_draws == ASLR(make_optimizer()).draw()
    torch.testing.assert_close(parameter.detach(), torch.full((3,), -scheduler.last_draws[0]))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_a_plain_loop_learns_a_real_task(kind):
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = kind(layer_groups(model), lr=0.1 if kind is torch.optim.SGD else 0.01)
    scheduler = ASLR(optimizer, seed=1)
    errors = []
    for _ in range(8):
        model.train()
        for batch in torch.randperm(1400).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        model.eval()
        errors.append((model(images[1400:]).argmax(1) != labels[1400:]).float().mean().item())
        scheduler.step(errors[-1])
    assert errors[-1] < 0.1
    assert scheduler.search.best == min(errors)
