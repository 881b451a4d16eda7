"""layer_groups: every trainable parameter once, each layer together with its norm and its quantizer scales."""

import pytest
import torch
from torch import nn

from qtrain import layer_groups
from qtrain.errors import UserError


def names_of(module, groups):
    names = {id(parameter): name for name, parameter in module.named_parameters(remove_duplicate=False)}
    return {group["name"]: [names[id(parameter)] for parameter in group["params"]] for group in groups}


def test_a_layer_is_grouped_with_its_norm():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    assert names_of(model, layer_groups(model)) == {
        "0": ["0.weight", "0.bias", "1.weight", "1.bias"],
        "4": ["4.weight", "4.bias"],
    }


def test_what_comes_before_the_first_layer_joins_it_and_norms_of_any_shape_start_none():
    model = nn.Sequential(
        nn.LayerNorm((4, 4)), nn.Flatten(), nn.Linear(16, 1), nn.PReLU(3), nn.Linear(1, 2, bias=False)
    )
    assert names_of(model, layer_groups(model)) == {
        "2": ["0.weight", "0.bias", "2.weight", "2.bias", "3.weight"],
        "4": ["4.weight"],
    }


def test_learned_quantizer_scales_join_the_layer_they_are_in_or_behind():
    import brevitas.nn as qnn  # here: it takes seconds that no other test of this file needs
    import brevitas.quant as quant

    model = nn.Sequential(
        qnn.QuantIdentity(act_quant=quant.Int8ActPerTensorFloat),
        qnn.QuantConv2d(
            3, 4, 3, weight_quant=quant.Int8WeightPerTensorFloat, weight_scaling_impl_type="parameter_from_stats"
        ),
        nn.BatchNorm2d(4),
        qnn.QuantReLU(
            per_channel_broadcastable_shape=(1, 4, 1, 1),
            scaling_per_output_channel=True,
            scaling_stats_permute_dims=(1, 0, 2, 3),
        ),
        nn.Flatten(),
        qnn.QuantLinear(4, 2, bias=False, weight_quant=quant.Int8WeightPerTensorFloat),
    )
    groups = names_of(model, layer_groups(model))
    assert list(groups) == ["1", "5"]
    assert groups["5"] == ["5.weight"]
    assert sorted(groups["1"] + groups["5"]) == sorted(name for name, _ in model.named_parameters())
    assert sum("scaling_impl" in name for name in groups["1"]) == 3


def test_every_trainable_parameter_appears_once_also_where_layers_share_it():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
            self.embed = nn.Embedding(10, 8)
            self.positions = nn.Parameter(torch.zeros(1, 5, 8))
            self.block = nn.TransformerEncoderLayer(8, 2, 16)
            self.frozen = nn.Linear(8, 8).requires_grad_(False)
            self.head = nn.Linear(8, 10)
            self.head.weight = self.embed.weight

    model = nn.Sequential(Tied())
    groups = layer_groups(model)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    layers = ["0", "0.embed", "0.block.self_attn", "0.block.linear1", "0.block.linear2", "0.head"]
    assert [group["name"] for group in groups] == layers
    assert len(torch.optim.SGD(groups, lr=0.1).param_groups) == len(groups)


@pytest.mark.parametrize("module", [nn.Linear(2, 3), nn.BatchNorm1d(3)], ids=["layer", "norm"])
def test_a_module_on_its_own_is_one_group(module):
    assert [len(group["params"]) for group in layer_groups(module)] == [2]


def test_a_module_without_trainable_parameters_is_refused():
    with pytest.raises(UserError, match="ReLU has no trainable parameter"):
        layer_groups(nn.ReLU())
