"""Optimizers whose every step is their learning rate, for the tests of ASLR."""

import torch
from torch import nn


def make_optimizer(lrs=(0.1,), **kwargs):
    """SGD over one parameter a group, each with a gradient of one: a step moves it by its learning rate."""
    groups = [{"params": [nn.Parameter(torch.zeros(3))], "lr": lr} for lr in lrs]
    for group in groups:
        group["params"][0].grad = torch.ones(3)
    return torch.optim.SGD(groups, **kwargs)


def group_lrs(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]
