"""Weights from elsewhere: every entry is accounted for; one missing, left over or of another shape is an error."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.network import Network

State = dict[str, Tensor]
HALF = 4  # channels are multiples of 8: so much may have been rounded away

_DATA_PARALLEL = "module."
_COUNTER = "num_batches_tracked"  # checkpoints of torch before 0.4.1 have none, and nothing depends on it


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
