"""bnn_pynq's checkpoints: which of this project's networks they are for, and under which names."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from qtrain.errors import UserError
from qtrain.models.cnv import CNV
from qtrain.models.fully_connected import FullyConnected
from qtrain.models.network import Network
from qtrain.models.resnet_pynq import PynqResNet, RuntimeReLU
from qtrain.models.weights import State, check_names, check_shapes, network_name, plain_state

_OLD = "zero_hw_sentinel"  # of early Brevitas, which today's ignores
# What only a checkpoint of this network holds: its class here, and what to build for it.
_LAYOUTS: dict[str, tuple[type[Network], str]] = {
    "conv_features.": (CNV, "CNV, for instance CNV_1W1A"),
    "features.": (FullyConnected, "TFC, SFC or LFC, for instance TFC_1W1A (in_channels 1, image_size 28 for MNIST)"),
    "layer1.0.": (PynqResNet, "RESNET18_PYNQ, for instance RESNET18_PYNQ_4W4A"),
}
_RESNET = {"norm1": "bn1", "norm2": "bn2", "act2": "relu_out", "fc": "linear", "pool": "final_pool"}
_SHORTCUT = {"shortcut.conv": "downsample.0", "shortcut.norm": "downsample.1", "shortcut.act": "downsample.2"}


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
    layout = next((found for prefix, found in _LAYOUTS.items() if any(key.startswith(prefix) for key in state)), None)
    if layout is None:
        raise UserError(f"this is no checkpoint of bnn_pynq: it has no {', no '.join(_LAYOUTS)}...")
    kind, name = layout
    if not isinstance(model, kind):
        why = "; its additions, pool and last layer differ from RESNET18's" if kind is PynqResNet else ""
        raise UserError(f"this is a checkpoint of bnn_pynq for {name}, not for {network_name(model)}{why}; train that")
    renamed = _renamed(state, _pynq_paths(model))
    for path, module in model.named_modules():
        if isinstance(module, RuntimeReLU) and (key := f"{path}.{module.value_name}") in renamed:
            renamed[f"{path}.collected"] = module.finished(renamed[key])
    return renamed


def _renamed(state: State, paths: Mapping[str, str]) -> State:
    """Return a state under other paths of its layers.

    Raises:
        UserError: two layers that share a quantizer hold different values of it.
    """
    renamed: State = {}
    for key, value in state.items():
        if key.endswith(_OLD):
            continue
        theirs = next((path for path in paths if key.startswith(f"{path}.")), "")
        ours = paths[theirs] + key.removeprefix(theirs) if theirs else key
        if ours in renamed and not torch.equal(renamed[ours], value):
            raise UserError(f"{key} must be equal in the places that share it, but differs; take an older copy")
        renamed[ours] = value
    return renamed


def _pynq_paths(model: Network) -> dict[str, str]:
    """Return paths of bnn_pynq's layers with those of ``model``."""
    children = [name for name, _ in model.named_children()]
    if isinstance(model, CNV):
        flatten = children.index("flatten")
        return _numbered("conv_features", children[:flatten]) | _numbered("linear_features", children[flatten + 1 :])
    if isinstance(model, FullyConnected):
        return _numbered("features", [name for name in children if name != "flatten"])
    return _resnet_paths(model)


def _numbered(sequence: str, names: Sequence[str]) -> dict[str, str]:
    return {f"{sequence}.{i}": name for i, name in enumerate(names)}


def _resnet_paths(model: Network) -> dict[str, str]:
    """Return those of its ResNet; a quantizer that blocks share has a path in each there, and one here."""
    children = [name for name, _ in model.named_children()]
    paths = {"relu": "act1"} | {_RESNET.get(name, name): name for name in children}
    inner = {"act1": "relu1"} | _RESNET | _SHORTCUT
    shared = "act1"
    for stage in (name for name in children if name.startswith("stage")):
        for i, (name, block) in enumerate(model.get_submodule(stage).named_children()):
            theirs, ours = f"layer{stage.removeprefix('stage')}.{i}", f"{stage}.{name}"
            parts = [*dict(block.named_children()), *_SHORTCUT]
            paths |= {f"{theirs}.{inner.get(part, part)}": f"{ours}.{part}" for part in parts}
            if len(block.shortcut):  # type: ignore[arg-type]
                shared = f"{ours}.shortcut.act"
            paths[f"{theirs}.relu2"] = shared
            shared = f"{ours}.act2"
    return paths
