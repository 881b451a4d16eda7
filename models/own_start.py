"""Start a network of one's own from other weights: entries of the same name and shape are taken."""

from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.weights import plain_state

_QUANTIZER = ("_quant.", "quant_proxy")  # parts of Brevitas' paths below a layer


def start_own(model: nn.Module, state_dict: object) -> None:
    """Give a network of one's own the weights of another one, at any bits.

    Every entry of the same name and shape is taken, ranges of quantizers included: Brevitas keeps the range and not the
    step, so that it holds at other bits. A quantizer that the weights know nothing of stays as it is built.

    Args:
        model: just built.
        state_dict: trained weights: a state dict, or a trainer's dict around it.

    Raises:
        UserError: a layer's entry is missing or of another shape; ``model`` is as before.
    """
    state = plain_state(state_dict, "the source")
    own = model.state_dict()
    for key, value in own.items():
        if key in state and state[key].shape != value.shape:
            theirs, ours = list(state[key].shape), list(value.shape)
            raise UserError(f"{key} is {theirs} in the weights, {ours} in {type(model).__name__}; give both one size")
        if key not in state and not _is_quantizers(key) and not key.endswith("num_batches_tracked"):
            raise UserError(f"the weights have no {key}, which {type(model).__name__} needs; they have {_first(state)}")
    known = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    taken = {key: value for key, value in state.items() if key in known}
    model.load_state_dict(taken, strict=False)


def _is_quantizers(key: str) -> bool:
    return any(part in key for part in _QUANTIZER)


def _first(state: dict[str, Tensor]) -> str:
    """Return the names of the first entries."""
    names = list(state)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
