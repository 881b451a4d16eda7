"""A settled network gives the numbers that it gave before, to the bit, and quantizes its weights once."""

import copy

import pytest
import torch
from torch import nn

from qtrain.export.bare import bare_copy
from qtrain.export.proof import reference as proof
from qtrain.export.proof.reference import float64_reference, predict
from qtrain.export.proof.settled import settle
from qtrain.models import build_model
from tests.sampled import sampled

NAMES = ["CNV_1W1A", "CNV_4W4A", "TFC_2W2A", "VGG_SMALL_4W4A", "RESNET20_4W4A", "WRN20_2W2A"]


def trained(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(1)
    model = build_model(name, **({} if name.startswith("TFC") else {"width": 0.25}))
    shape = (3, 28, 28) if name.startswith("TFC") else (3, 32, 32)
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(16, *shape))
    return model.eval(), torch.randint(0, 256, (9, *shape), dtype=torch.uint8)


@pytest.mark.parametrize("name", sampled(NAMES, NAMES[:2]))
def test_a_settled_network_gives_the_same_numbers_to_the_bit(name: str) -> None:
    model, pixels = trained(name)
    for dtype in (torch.float32, torch.float64):
        plain = copy.deepcopy(model).to(dtype)
        quick = bare_copy(model).to(dtype)
        settle(quick)
        assert torch.equal(predict(plain, pixels, 4), predict(quick, pixels, 4))


@pytest.mark.parametrize("name", sampled(NAMES, NAMES[:2]))
def test_the_float64_reference_is_what_it_was_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, pixels = trained(name)
    quick = predict(float64_reference(model, pixels[:1].float() / 255), pixels, 3)
    monkeypatch.setattr(proof, "settle", lambda _: None)
    assert torch.equal(predict(float64_reference(model, pixels[:1].float() / 255), pixels, 3), quick)


def test_weights_are_quantized_once() -> None:
    model, pixels = trained("CNV_4W4A")
    network = bare_copy(model)
    settle(network)
    calls: list[str] = []
    for path, module in network.named_modules():
        if path.endswith("weight_quant"):
            module.register_forward_hook(lambda *_, path=path: calls.append(path))
    predict(network, pixels, 2)
    assert len(calls) == len(set(calls)) == 9


def test_the_network_itself_stays_as_it_was() -> None:
    model, pixels = trained("CNV_4W4A")
    network = bare_copy(model)
    settle(network)
    predict(network, pixels)
    with torch.no_grad():
        model.conv1.weight.add_(0.5)
    assert not torch.equal(predict(model, pixels), predict(network, pixels))
