"""Start a network from another one's weights: its float twin, the same network at other bits or scales.

What a layer's weights become depends on where its range comes from:

- "statistics" follows the weights: they are copied.
- "learned": copied; the range is the source's where the bits are equal, else the one with the least squared error.
- "constant" with 2 bits and more: copied where the source has the same range, else scaled so that the best range for
  them becomes the fixed one, and clipped to it.
- 1 bit: only the signs count, so they are scaled to the deviation of fresh weights, for which the learning rate was
  chosen; copied where the source has the same limit, or 1 bit too.

A norm behind the layer then hides any factor, once its running statistics take the factor too: that between the
quantized weights and the source's, channel by channel. Learned ranges of activations keep their trained ratio to their
start; where the source has none, they start from the deviation that the norm before them gives.
"""

import copy
import re
from math import log2

import torch
from brevitas.nn.quant_layer import QuantNonLinearActLayer as QuantNLAL
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from qtrain.models.layers import ScalarNorm
from qtrain.models.network import Network
from qtrain.models.pynq_weights import is_pynq, pynq_names
from qtrain.models.ranges import best_range, deviations
from qtrain.models.resnet_pynq import RuntimeReLU
from qtrain.models.weights import State, check_names, check_shapes, plain_state

RANGES = ".scaling_impl.value"  # trained ranges of weights and activations end so
_QUANTIZER = ("_quant.", ".collected")


@torch.no_grad()
def initialise_from(model: Network, state_dict: object, source: Network | None = None) -> None:
    """Give ``model`` the weights of another network of its structure.

    The last layer differs in float: it has a bias for each class and no norm. From there the biases are left out, as
    one norm of all logits cannot hold them; towards there the norm is folded into weights and bias.

    Args:
        model: just built.
        state_dict: trained weights: a state dict, one of bnn_pynq, or a trainer's dict around it.
        source: an untrained network as it was when the weights were trained, which says its bits and ranges; without
            one the weights are a float twin's or, where they have a norm of the logits, those of such a network as
            ``model`` is, bits and ranges included.

    Raises:
        UserError: the weights are of another network, width or number of classes; ``model`` is as before.
    """
    state = plain_state(state_dict, "the source")
    if is_pynq(model, state):
        state = pynq_names(model, state)
    own = {key: value.clone() for key, value in model.state_dict().items()}
    trained, gain = _match_last_layer(model, state)
    if source is None and trained.keys() == state.keys():
        source = copy.deepcopy(model)
    result = {key: value for key, value in trained.items() if not _is_quantizers(key)}
    result |= {key: value for key, value in own.items() if _is_quantizers(key)}
    modules = dict(model.named_modules())  # quantizers of layers that are not there are left over, as weights are
    result |= {key: value for key, value in trained.items() if _is_quantizers(key) and _layer(key) not in modules}
    check_names(model, result)
    check_shapes(model, result)
    result |= _runtime_ranges(model, trained)
    fresh = {key: value.clone() for key, value in source.state_dict().items()} if source is not None else {}
    if source is not None:
        fitting = {key: value for key, value in state.items() if key in fresh and value.shape == fresh[key].shape}
        source.load_state_dict(fresh | fitting)
        source.eval()
    model.load_state_dict(result)
    for path, layer in _weight_layers(model):
        _adapt_layer(model, path, layer, own[f"{path}.weight"], source, trained)
    _weight_layers(model)[-1][1].weight.mul_(gain)
    _adapt_activations(model, trained, fresh)


def _is_quantizers(key: str) -> bool:
    return any(part in key for part in _QUANTIZER)


def _layer(key: str) -> str:
    """The layer that a quantizer's entry belongs to."""
    return re.split(r"\.(?:\w+_quant|collected)\b", key)[0]


def _weight_layers(model: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    return [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def _match_last_layer(model: Network, state: State) -> tuple[State, Tensor | float]:
    """Take the bias away where ``model`` has a norm, or fold the norm where it has a bias.

    Returns:
        The entries that ``model`` takes, and the factor that the weights of its last layer get for the norm.
    """
    own = model.state_dict()
    state = dict(state)
    last, layer = _weight_layers(model)[-1]
    after = _after(model, last)
    bias = f"{last}.bias"
    norm = next((name for name, m in model.named_modules() if after is not None and m is after), "")
    if isinstance(after, ScalarNorm) and bias in state and f"{norm}.weight" not in state:
        del state[bias]
        return state | {key: value for key, value in own.items() if key.startswith(f"{norm}.")}, 1.0
    names = [f"{norm}.{name}" for name in ("running_mean", "running_var", "weight", "bias")]
    if bias in own and bias not in state and all(name in state and state[name].numel() == 1 for name in names):
        mean, var, scale, offset = (state.pop(name) for name in names)
        gain = scale / (var + ScalarNorm().eps).sqrt()
        return state | {bias: (offset - mean * gain).expand(len(layer.weight)).clone()}, gain
    return state, 1.0


def _runtime_ranges(model: nn.Module, state: State) -> State:
    """Those of RESNET18_PYNQ: percentiles of what comes in, so that any bits can go on with them."""
    found: State = {}
    for path, module in model.named_modules():
        names = (f"{path}.{RuntimeReLU.value_name}", f"{path}.collected")
        if isinstance(module, RuntimeReLU) and all(name in state for name in names):
            found |= {name: state[name] for name in names}
    return found


def _after(model: nn.Module, path: str) -> nn.Module | None:
    """The sibling registered after a layer."""
    parent, _, name = path.rpartition(".")
    siblings = dict(model.get_submodule(parent).named_children())
    names = list(siblings)
    at = names.index(name) + 1
    return siblings[names[at]] if at < len(names) else None


def _bits(layer: nn.Module) -> int | None:
    """Of a layer's weights, None in float."""
    return int(layer.weight_quant.bit_width()) if isinstance(layer, QuantLayer) else None


def _effective(layer: nn.Module) -> Tensor:
    """The weights that a layer multiplies with."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    weight = layer.quant_weight() if isinstance(layer, QuantLayer) else layer.weight
    return (weight.value if hasattr(weight, "value") else weight).detach()


def _adapt_layer(
    model: Network, path: str, layer: nn.Conv2d | nn.Linear, own: Tensor, source: Network | None, trained: State
) -> None:
    """Set a layer's weights and range, then the running statistics of the norm behind it."""
    weight = trained[f"{path}.weight"].to(own)
    bits = _bits(layer)
    limit = model.weight_limits.get(path)
    before = source.get_submodule(path) if source is not None else None
    meant = weight if before is None else _effective(before)
    norm = _after(model, path)
    norm = norm if isinstance(norm, _BatchNorm | ScalarNorm) else None
    learned = dict(layer.named_parameters()).get(f"weight_quant.tensor_quant{RANGES}")
    alike = source is not None and source.weight_limits.get(path) == limit
    if bits is None:
        weight = meant
    elif alike and (limit is not None or bits == _bits(before or layer)):
        pass
    elif bits == 1:
        weight = weight * own.std() / weight.std().clamp(min=1e-12)
    elif limit is not None and norm is not None:
        weight = weight * limit / best_range(weight, bits)
    layer.weight.copy_(weight if limit is None else weight.clamp(-limit, limit))
    if learned is not None and bits is not None:
        value = trained.get(f"{path}.weight_quant.tensor_quant{RANGES}")
        if before is None or value is None or _bits(before) != bits or value.shape != learned.shape:
            value = best_range(weight, bits, per_channel=learned.dim() > 0).log2().reshape(learned.shape)
        learned.copy_(value)
    if norm is not None:
        _rescale(norm, meant, _effective(layer))


def _rescale(norm: _BatchNorm | ScalarNorm, before: Tensor, after: Tensor) -> None:
    """Let a norm's running statistics follow weights that changed from ``before`` to ``after``."""
    rows = len(before) if isinstance(norm, _BatchNorm) else 1
    old = before.reshape(rows, -1)
    new = after.reshape(rows, -1)
    power = old.square().sum(1)
    factor = torch.where(power > 0, (old * new).sum(1) / power.clamp(min=1e-30), 1.0).clamp(min=1e-3)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.mul_(factor)
    norm.running_var.mul_(factor.square())


def _adapt_activations(model: Network, trained: State, fresh: State) -> None:
    """Set the trained ranges of activations; ``fresh`` is the source as it was before it was trained."""
    spread = deviations(model)
    for path, module in model.named_modules():
        if not isinstance(module, QuantNLAL) or isinstance(module, RuntimeReLU):
            continue
        for key, value in module.named_parameters():
            full = f"{path}.{key}"
            if full in trained and full in fresh:
                value.add_(trained[full].to(value) - fresh[full].to(value))  # of logarithms: a ratio
            elif path in spread:
                value.add_(log2(max(spread[path], 1e-3)))
