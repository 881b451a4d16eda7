"""Weights from elsewhere: bnn_pynq's checkpoints, and the start of a network from another one's weights.

Every entry is accounted for: one that is missing, left over or of another shape is an error that names it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.cnv import CNV
from qtrain.models.fully_connected import FullyConnected
from qtrain.models.network import Network
from qtrain.models.resnet_pynq import PynqResNet, RuntimeReLU

State = dict[str, Tensor]
HALF = 4  # channels are multiples of 8: so much may have been rounded away

_DATA_PARALLEL = "module."
_COUNTER = "num_batches_tracked"  # checkpoints of torch before 0.4.1 have none, and nothing depends on it
_OLD = "zero_hw_sentinel"  # of early Brevitas, which today's ignores
# What only a checkpoint of this network holds: its class here, and what to build for it.
_LAYOUTS: dict[str, tuple[type[Network], str]] = {
    "conv_features.": (CNV, "CNV, for instance CNV_1W1A"),
    "features.": (FullyConnected, "TFC, SFC or LFC, for instance TFC_1W1A (in_channels 1, image_size 28 for MNIST)"),
    "layer1.0.": (PynqResNet, "RESNET18_PYNQ, for instance RESNET18_PYNQ_4W4A"),
}
_RESNET = {"norm1": "bn1", "norm2": "bn2", "act2": "relu_out", "fc": "linear", "pool": "final_pool"}
_SHORTCUT = {"shortcut.conv": "downsample.0", "shortcut.norm": "downsample.1", "shortcut.act": "downsample.2"}


def plain_state(content: object, origin: str = "the file") -> State:
    """The state dict in what ``torch.load`` gave: one as it is, or a trainer's dict with a ``state_dict``.

    DataParallel's ``module.`` before the names is taken off.

    Raises:
        UserError: there is no state dict of tensors; names ``origin``.
    """
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    good = isinstance(content, Mapping) and content and all(isinstance(v, Tensor) for v in content.values())
    if not good or not all(isinstance(name, str) for name in content):  # type: ignore[attr-defined]
        raise UserError(
            f"{origin} holds no weights; name a run folder of qtrain, a state dict that torch.save wrote, or a "
            "checkpoint of bnn_pynq"
        )
    found = {name.removeprefix(_DATA_PARALLEL): value for name, value in content.items()}  # type: ignore[attr-defined]
    if len(found) < len(content):  # type: ignore[arg-type]
        raise UserError(f"{origin} has entries with and without {_DATA_PARALLEL} before one name; take another copy")
    if sparse := [name for name, value in found.items() if value.layout is not torch.strided or value.is_meta]:
        raise UserError(f"{origin} has no values for {sparse[0][:80]}, or not all of them; save it as a dense tensor")
    return found


def is_pynq(model: nn.Module, state: Mapping[str, Any]) -> bool:
    """Whether the names are those of bnn_pynq's networks; a network that has such names itself is none of them."""
    own = list(model.state_dict())
    foreign = [prefix for prefix in _LAYOUTS if not any(name.startswith(prefix) for name in own)]
    return any(name.startswith(prefix) for prefix in foreign for name in state)


def load_pynq(model: Network, state_dict: Mapping[str, Any]) -> None:
    """Load a checkpoint of bnn_pynq; the network then gives the logits of Brevitas' own class.

    Nothing in a checkpoint says its bits: build the network with those in its file's name. CNV has ``input_bits=8``;
    TFC, SFC and LFC have 1 with 1-bit activations, else 2.

    Args:
        model: CNV, TFC, SFC, LFC or RESNET18_PYNQ, at the checkpoint's bits.
        state_dict: a state dict, or the trainer's dict around it.

    Raises:
        UserError: it is another network's; the network is as before.
    """
    state = pynq_names(model, plain_state(state_dict, "the checkpoint"))
    check_names(model, state)
    check_shapes(model, state)
    model.load_state_dict(state)


def pynq_names(model: Network, state: State) -> State:
    """Give a checkpoint of bnn_pynq the names of ``model``; names that mean nothing to it stay.

    Raises:
        UserError: the checkpoint is for a network of another structure.
    """
    layouts = [found for prefix, found in _LAYOUTS.items() if any(k.startswith(prefix) for k in state)]
    if not layouts:
        raise UserError(f"this is no checkpoint of bnn_pynq: it has no {', no '.join(_LAYOUTS)}...")
    kind, name = layouts[0]
    if not isinstance(model, kind):
        why = "; its additions, pool and last layer differ from RESNET18's" if kind is PynqResNet else ""
        raise UserError(f"this is a checkpoint of bnn_pynq for {name}, not for {network_name(model)}{why}; train that")
    paths = _pynq_paths(model)
    renamed: State = {}
    for key, value in state.items():
        theirs = next((p for p in paths if key.startswith(f"{p}.")), None)
        if key.endswith(_OLD):
            continue
        ours = key if theirs is None else paths[theirs] + key.removeprefix(theirs)
        if ours in renamed and not torch.equal(renamed[ours], value):
            raise UserError(f"{key} must be equal in the places that share it, but differs; take an older copy")
        renamed[ours] = value
    for path, module in model.named_modules():
        if isinstance(module, RuntimeReLU) and (key := f"{path}.{module.value_name}") in renamed:
            renamed[f"{path}.collected"] = module.finished(renamed[key])
    return renamed


def _pynq_paths(model: Network) -> dict[str, str]:
    """Paths of bnn_pynq's layers to those of ``model``; shared quantizers have several there and one here."""
    children = [name for name, _ in model.named_children()]
    if isinstance(model, CNV):
        at = children.index("flatten")
        paths = {f"conv_features.{i}": name for i, name in enumerate(children[:at])}
        return paths | {f"linear_features.{i}": name for i, name in enumerate(children[at + 1 :])}
    if isinstance(model, FullyConnected):
        return {f"features.{i}": name for i, name in enumerate(name for name in children if name != "flatten")}
    paths = {"relu": "act1"} | {_RESNET.get(name, name): name for name in children}
    shared = "act1"
    for stage in (name for name in children if name.startswith("stage")):
        for j, (name, block) in enumerate(model.get_submodule(stage).named_children()):
            ours = f"{stage}.{name}"
            theirs = f"layer{stage.removeprefix('stage')}.{j}"
            inner = {"act1": "relu1"} | _RESNET | _SHORTCUT
            parts = [*dict(block.named_children()), *_SHORTCUT]
            paths |= {f"{theirs}.{inner.get(part, part)}": f"{ours}.{part}" for part in parts}
            shared = f"{ours}.shortcut.act" if len(block.shortcut) else shared  # type: ignore[arg-type]
            paths[f"{theirs}.relu2"] = shared
            shared = f"{ours}.act2"
    return paths


def check_names(model: nn.Module, state: State) -> None:
    """See that ``state`` has the entries of ``model`` and no others; batch counters may be missing and are added.

    Raises:
        UserError: names the first that is missing or left over.
    """
    own = model.state_dict()
    state |= {key: value for key, value in own.items() if key.endswith(_COUNTER) and key not in state}
    network = network_name(model)
    again = "name weights of the same network, or train that one"
    # A quantizer's count of collected steps is ours: it is missing only where its range is.
    if missing := [key for key in own if key not in state and not key.endswith(".collected")]:
        raise UserError(f"the weights lack {missing[0]} (and {len(missing) - 1} more) of {network}; {again}")
    if extra := [key for key in state if key not in own]:
        raise UserError(f"the weights hold {extra[0]} (and {len(extra) - 1} more), which {network} has not; {again}")


def check_shapes(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """See that what both have is of one shape, and that what is a number there is one here.

    Raises:
        UserError: names the first that is not, with what to change.
    """
    own = model.state_dict()
    last = [path for path, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)][-1]
    for key, value in state.items():
        if key not in own:
            continue
        if own[key].shape == value.shape:  # looked at first: an expanded tensor can be larger than any memory
            if own[key].is_floating_point() and not (value.is_floating_point() and value.isfinite().all()):
                raise UserError(f"{key} is not finite floating point in the weights; take an older copy")
            continue
        theirs = list(value.shape)
        ours = list(own[key].shape)
        what = "width, image size and channels"
        if key.startswith(f"{last}.") and theirs[1:] == ours[1:]:
            what = "number of classes"
        other = None if what == "number of classes" else _width_of(model, state)
        if other is not None:
            what = f"width: that of the weights is {other:g}, this network's {model.width:g}; give --width {other:g}"
        raise UserError(f"{key} is {theirs} in the weights, {ours} in {network_name(model)}; both need the same {what}")


def network_name(model: nn.Module) -> str:
    """``CNV_1W1A`` for a network of the zoo, the class of another module."""
    return model.name if isinstance(model, Network) else type(model).__name__


def _width_of(model: nn.Module, state: Mapping[str, Tensor]) -> float | None:
    """Of the network that ``state`` is of, where it differs from the model's: told by the widest layer but the last."""
    if not isinstance(model, Network):
        return None
    layers = [(f"{p}.weight", m.weight) for p, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    known = [(len(weight), len(state[key])) for key, weight in layers[:-1] if key in state and state[key].dim()]
    if not known or all(ours == theirs for ours, theirs in known):
        return None
    ours, theirs = max(known)
    low = (theirs - HALF) / (ours + HALF)
    high = (theirs + HALF) / max(ours - HALF, HALF)
    for parts in range(1, 17):  # the roundest width that gives these channels
        width = round(parts * model.width * theirs / ours) / parts
        if width and low * model.width <= width <= high * model.width:
            return width
    return None
