"""``quantize``: a float module to a FINN-safe network, as source that works at any bits and as a module."""

import keyword
import linecache
import types
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.network import Network
from qtrain.models.quantize.calibrate import calibrated, load_float
from qtrain.models.quantize.emit import source
from qtrain.models.quantize.heads import make_head
from qtrain.models.quantize.ops import Plan, Refusal, Refused
from qtrain.models.quantize.pixels import Pixels, channel_values, fold_pixels
from qtrain.models.quantize.refusals import refusal
from qtrain.models.quantize.streams import quantize_streams
from qtrain.models.quantize.trace import BATCH, Traced, trace
from qtrain.models.quantize.translate import translate

FLOAT = 32
SAME = 1e-3  # of the largest logit: so much may the float twin differ by rounding
Values = float | tuple[float, ...] | list[float] | Tensor


@dataclass(frozen=True)
class Quantized:
    """A float network made FINN-safe; `quantize` makes it.

    Attributes:
        name: of the class in ``source``.
        source: Python text of the network, to be saved as a file.
        notes: what is otherwise than in the float network, one line each.
        shape: of one image, (C, H, W).
        classes: logits an image.
        exact: whether the new network pads its images as the float one does; where not, ``notes`` say it.
    """

    name: str
    source: str
    notes: tuple[str, ...]
    shape: tuple[int, ...]
    classes: int
    exact: bool
    _plan: Plan = field(repr=False)
    _mean: Tensor = field(repr=False)
    _std: Tensor = field(repr=False)
    _module: nn.Module = field(repr=False)

    def build(self, weight_bits: int = 4, act_bits: int = 4, **options: Any) -> Network:
        """Return the network of ``source`` at some bits, with random weights.

        Args:
            weight_bits: 1 to 8; 32 with 32 activation bits is the float network.
            act_bits: 1 to 8.
            options: num_classes, bits, input_bits, scaling, power_of_two, per_channel, as in ``source``.
        """
        return _built(self.source, self.name, weight_bits, act_bits, options)

    def float_network(self) -> Network:
        """Return the network in float with the float module's weights; it computes what that one computes."""
        network = self.build(FLOAT, FLOAT)
        load_float(network, self._plan)
        return network.eval()

    def calibrate(self, images: Tensor, weight_bits: int = 8, act_bits: int | None = None, **options: Any) -> Network:
        """Return the network with the float module's weights and ranges that fit them and the images.

        Args:
            images: uint8 [N, C, H, W] of the training set; some hundreds of all classes do.
            weight_bits: 1 to 8.
            act_bits: 1 to 8; by default those of the weights.
            options: as for ``build``; scaling "learned" or "statistics".

        Raises:
            UserError: images of another type or shape, too few of them, or constant scales.
        """
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.shape:
            given = f"{str(images.dtype).removeprefix('torch.')} {list(images.shape)}"
            raise UserError(f"calibration takes images uint8 [N, {', '.join(map(str, self.shape))}], but got {given}")
        if options.get("scaling") == "constant":
            raise UserError("constant scales cannot be calibrated; take scaling 'learned' or 'statistics'")
        network = self.build(weight_bits, weight_bits if act_bits is None else act_bits, **options)
        return calibrated(network, self.float_network(), self._plan, images)


def quantize(
    model: nn.Module, shape: tuple[int, ...], *, mean: Values = 0.0, std: Values = 1.0, name: str | None = None
) -> Quantized:
    """Make a trained float module FINN-safe.

    The new network takes images in [0, 1], as all of qtrain's do, whatever the float one took: say so with ``mean`` and
    ``std``. Layers keep their names; the notes tell what was changed.

    Args:
        model: a plain torch module; it is left as it is.
        shape: of one image, (C, H, W).
        mean: that images in [0, 1] had taken off before the float module got them; a number, or one a channel.
        std: that they were divided by then.
        name: of the new class; by default the module's.

    Raises:
        Refused: a layer or function has no FINN-safe form; names it, its place and what to do.
        UserError: the module cannot be traced, does not take such images or returns no logits.
    """
    if len(shape) != 3:
        raise UserError(f"shape must be (channels, height, width) of one image, but got {tuple(shape)}")
    label = _class_name(name or type(model).__name__)
    traced = trace(model, tuple(shape))
    plan = translate(traced, label)
    _check(plan)
    means = channel_values(mean, shape[0], "mean")
    stds = channel_values(std, shape[0], "std")
    pixels = fold_pixels(plan, means, stds)
    _finish(plan, pixels)
    text = source(plan, pixels, traced.classes)
    exact = pixels.exact
    found = Quantized(
        label, text, tuple(plan.notes), traced.shape, traced.classes, exact, plan, means, stds, traced.module
    )
    _check_same(found, traced)
    return found


def _finish(plan: Plan, pixels: Pixels) -> None:
    """Give the plan its input, its head and its quantizers."""
    for op in plan.ops:
        if op.kind == "affine":
            said = f"{op.options['name']} with a constant, behind the first layer"
            plan.refusals.append(refusal(op.path, "mul", said))
    _check(plan)
    make_head(plan)
    for op in plan.ops:
        if op.kind == "softmax":
            plan.refusals.append(refusal(op.path, "softmax", "a softmax inside the network"))
    _check(plan)
    plan.ops[0].path = "" if pixels.raw else plan.new_path("", "input")
    if not pixels.exact:
        plan.notes.append(
            "the first convolution pads with black, where the float network padded with its mean colour"
            if pixels.raw
            else "the first convolution pads with grey, where the float network padded with its own zero"
        )
    if pixels.raw:
        plan.notes.append(
            "the first layer takes the pixels as they are (UINT8 / 255), since the float one padded black"
        )
    _mark_classes(plan)
    quantize_streams(plan)


def _mark_classes(plan: Plan) -> None:
    """Mark the layers whose outputs are the classes where activations or pools stand behind the last one."""
    op = plan.output
    while len(op.inputs) == 1 and op.kind not in ("conv", "linear", "head", "head_conv"):
        if op.kind in ("norm", "row_norm"):
            op.options["classes"] = True
        op = op.source
    if op.kind in ("conv", "linear"):
        op.options["classes"] = True


def _check(plan: Plan) -> None:
    if plan.refusals:
        raise Refused(plan.name, plan.refusals)
    if not any(op.kind in ("conv", "linear", "head", "head_conv") for op in plan.ops):
        only = Refusal("forward", "it has no convolution and no linear layer", "give a network that can learn")
        raise Refused(plan.name, [only])


def _class_name(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(f"name must be a name for a class, such as Net, but got {name!r}")
    return "Net" if name in ("Sequential", "GraphModule") else name


def _built(text: str, name: str, weight_bits: int, act_bits: int, options: dict[str, Any]) -> Network:
    """Run the source and build its class; tracebacks show its lines."""
    file = f"<quantized {name}>"
    module = types.ModuleType(f"quantized_{name}")
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    exec(compile(text, file, "exec"), module.__dict__)
    return cast(Network, getattr(module, name)(weight_bits, act_bits, **options))


@torch.no_grad()
def _check_same(found: Quantized, traced: Traced) -> None:
    """See that the new network in float computes what the module computes: a wrong rewrite must not pass.

    Raises:
        UserError: it computes something else.
    """
    if not found.exact:
        return
    images = torch.rand(4 * BATCH, *found.shape)
    normalised = (images - found._mean[:, None, None]) / found._std[:, None, None]
    wanted = traced.module(normalised)
    given = found.float_network()(images)
    if found._plan.ending:
        given = given.log_softmax(1) if "log" in found._plan.ending.lower() else given.softmax(1)
    apart = float((wanted - given).abs().max() / wanted.abs().max().clamp(min=1e-6))
    if not apart <= SAME:
        raise UserError(
            f"the network made of {found.name} differs from it by {apart:.2g} of its largest logit; its forward does "
            "something that the trace does not show (writes in place, random numbers): write it plainly, or report it"
        )
