"""How images reach the first layers: what the float network does to pixels is folded into these layers' weights.

The new network takes images in [0, 1] and moves them to [-1, 1), where a fixed-point quantizer of 8 bits stands. A
padded convolution then pads with grey (0), where the float network padded with ITS zero: black for one that takes
[0, 1], the mean colour for one that takes normalised images. Where black is nearer, the new network takes the pixels as
they are, as FINN does too: its weights then see UINT8 images, and the pads are right.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.quantize.ops import Op, Plan, Refusal

PROBES = (0.0, 0.25, 1.0)  # images of one brightness, which tell an affine map from others
NEARER_BLACK = 0.25  # the float network's zero, as brightness, below which black is nearer than grey
NORMS = ("norm", "row_norm")
_KEEP = ("flatten", "max_pool")  # pass pixels on as they are, or the largest of them


@dataclass(frozen=True)
class Pixels:
    """What the first layers see.

    Attributes:
        raw: whether pixels stay in [0, 1] and have no quantizer.
        exact: whether a padded first layer pads with the float network's own zero.
    """

    raw: bool
    exact: bool


Map = tuple[Tensor, Tensor]  # factor and offset of each channel, from pixels in [0, 1]


def fold_pixels(plan: Plan, mean: Tensor, std: Tensor) -> Pixels:
    """Take all operations on pixels out of the plan and leave their factors and offsets with the first layers.

    Args:
        plan: its first layers get ``options["pixels"]``, factor and offset [C] for what the new network gives them.
        mean: of each channel, that the float network's images had taken off, [C].
        std: of each channel, that they were divided by, [C].
    """
    image = plan.ops[0]
    if any(op.kind == "image" for op in plan.ops[1:]):
        plan.refusals.append(Refusal("forward", "it takes several inputs", "take one tensor of images alone"))
        return Pixels(False, True)
    maps: dict[Op, Map] = {image: (1 / std, -mean / std)}
    firsts: list[Op] = []
    for op in list(plan.ops[1:]):
        if not op.inputs or op.inputs[0] not in maps:
            continue
        if op.kind in ("conv", "linear"):
            firsts.append(op)
        elif len(op.inputs) == 1 and (found := _follow(plan, op, maps[op.source])) is not None:
            maps[op] = found
        else:
            where = op.path or op.kind
            mend = "let a convolution or linear layer read the images first"
            plan.refusals.append(Refusal(where, "it reads the images themselves", mend))
    pixels = _choose(firsts, maps)
    for op in firsts:
        op.options["pixels"] = _towards(maps[op.source], pixels.raw)
        _keep_offset(plan, op)
    for op in [op for op in maps if op.kind in ("affine", "norm")]:
        plan.notes.append(f"{op.path}: folded into the weights of the first layer")
        plan.remove(op)
    return pixels


def _keep_offset(plan: Plan, first: Op) -> None:
    """Give a first layer a bias for the offset of its pixels, where no norm behind it can take that off."""
    if offset_behind(first) is not None and any(op.kind not in NORMS for op in plan.readers(first)):
        first.options["bias"] = True


def offset_behind(op: Op) -> Tensor | None:
    """Return what a layer without bias lacks, for the norm behind it to take off its running mean."""
    if op.options.get("bias", True) or "pixels" not in op.options:
        return None
    assert isinstance(op.layer, nn.Conv2d | nn.Linear)
    return folded(op, op.layer)[1]


def _follow(plan: Plan, op: Op, before: Map) -> Map | None:
    """Return the map behind an operation on pixels; None where it is none of each channel's."""
    if op.kind in _KEEP:
        return before if op.kind == "flatten" or bool((before[0] > 0).all()) else None
    if op.kind == "affine":
        compute = op.options["compute"]
    elif op.kind == "norm" and op.layer is not None:
        compute = op.layer
    else:
        return None
    seen = []
    for level in PROBES:
        flat = (before[0] * level + before[1])[None, :, None, None]
        seen.append(compute(flat.expand(1, *op.shape)).detach())
    channels = [image[0].flatten(1) for image in seen]
    if any(not torch.allclose(c, c[:, :1].expand_as(c)) for c in channels):
        return None
    dark, middle, bright = (c[:, 0] for c in channels)
    if not torch.allclose(middle, dark + PROBES[1] * (bright - dark), atol=1e-4):
        return None
    return bright - dark, dark


def _choose(firsts: list[Op], maps: dict[Op, Map]) -> Pixels:
    """Choose between pixels as they are and moved to [-1, 1), by what padded first layers pad with."""
    zeros = [-maps[op.source][1] / maps[op.source][0] for op in firsts if _pads(op)]
    if not zeros:
        return Pixels(raw=False, exact=True)
    zero = torch.cat(zeros)
    raw = bool(zero.mean() < NEARER_BLACK)
    wanted = 0.0 if raw else 0.5
    return Pixels(raw, exact=bool((zero - wanted).abs().max() < 1e-6))


def _pads(op: Op) -> bool:
    return op.kind == "conv" and any(op.options["padding"])


def _towards(pixels: Map, raw: bool) -> Map:
    """Return a map from what the new network gives its first layers, instead of from [0, 1]."""
    factor, offset = pixels
    return pixels if raw else (factor / 2, offset + factor / 2)


def channel_values(values: float | tuple[float, ...] | list[float] | Tensor, channels: int, what: str) -> Tensor:
    """Return a number for each channel.

    Raises:
        UserError: there are as many numbers as neither one nor the channels, or they are not finite.
    """
    found = torch.as_tensor(values, dtype=torch.float32).flatten()
    if found.numel() not in (1, channels) or not bool(found.isfinite().all()):
        raise UserError(f"{what} must be one number or one for each of {channels} channels, but got {values!r}")
    if what == "std" and bool((found == 0).any()):
        raise UserError(f"std must not be 0, but got {values!r}; give what the images were divided by")
    return found.expand(channels).clone()


def folded(op: Op, layer: nn.Conv2d | nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a first layer for what the new network gives it."""
    weight = layer.weight.detach().float()
    bias = None if layer.bias is None else layer.bias.detach().float()
    if "pixels" not in op.options:
        return weight, bias
    factor, offset = op.options["pixels"]
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        shift = weight.sum((1, 2, 3)) * offset
        weight = weight * factor[:, None, None, None]
    elif isinstance(layer, nn.Conv2d):
        shift = torch.einsum("oihw,i->o", weight, offset)
        weight = weight * factor[None, :, None, None]
    else:
        pixels = weight.shape[1] // len(factor)
        shift = weight @ offset.repeat_interleave(pixels)
        weight = weight * factor.repeat_interleave(pixels)
    if bool(shift.abs().max() == 0):
        return weight, bias
    return weight, shift if bias is None else bias + shift
