"""The trained network in float64: what every exported graph is compared with.

In float32 a network disagrees with itself wherever a sum lands within rounding of a quantizer's boundary: the order
of a summation decides. In float64 that noise is 1e9 times smaller. The constants stay those of the float32 network,
scales and rounded weights, because they are what the exporter writes and FINN reads: where a weight lies between two
steps to float32's precision, float64 may see the other one nearer. Products of quantized values are computed on
integers, which is exact and faster (``integer_products.py``).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from brevitas.nn.mixin.parameter import QuantWeightMixin
from torch import Tensor, nn

from qtrain.export.bare import bare_copy
from qtrain.export.decoupled import decoupled_weights, in_float64, is_decoupled
from qtrain.export.errors import ProofError
from qtrain.export.execute.batches import images_at_a_time
from qtrain.export.execute.precision import exact_float32
from qtrain.export.module_copy import copy_module
from qtrain.export.proof.integer_products import use_integer_products
from qtrain.export.proof.kept_float64 import keep_float64
from qtrain.export.proof.settled import settle

INTEGER_TOLERANCE = 1e-9
# Brevitas computes a scale on every forward; computed in float64 it would not be the exported one.
_SCALE = "scaling_impl"


def layers(model: nn.Module, prefix: str = "", seen: set[nn.Module] | None = None) -> Iterator[tuple[str, nn.Module]]:
    """Yield the (path, module) of each layer: a module without children, or one of Brevitas' classes, taken whole.

    A module that is kept in several places comes once, by its first path, which is the exporter's name for it.
    """
    seen = set() if seen is None else seen
    for name, child in model.named_children():
        if child in seen:
            continue
        seen.add(child)
        path = f"{prefix}{name}"
        brevitas = any(kind.__module__.startswith("brevitas.") for kind in type(child).__mro__)
        if brevitas or not any(True for _ in child.children()):
            yield path, child
        else:
            yield from layers(child, f"{path}.", seen)


def _value(output: object) -> Tensor:
    return output.value if hasattr(output, "value") else output  # type: ignore[return-value]  # a QuantTensor


def _answer_with(value: Any) -> Callable[..., Any]:
    return lambda _module, _args, _out: value


@torch.no_grad()
def float64_reference(model: nn.Module, example: Tensor, device: torch.device | None = None) -> nn.Module:
    """Copy ``model`` in evaluation mode, in float64, with the float32 network's scales and rounded weights.

    Args:
        model: any torch module with Brevitas layers.
        example: float32 input of one image or more, for reading the scales once.
        device: of the copy, the CPU by default; the scales and rounded weights are the CPU's.

    Raises:
        ProofError: the network gives numbers that are not finite, or something else with its products on integers
            than without.
    """
    single = bare_copy(model)
    scales: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for path, module in single.named_modules():
            if path.rpartition(".")[2] == _SCALE:
                handle = module.register_forward_hook(
                    lambda _module, _args, out, path=path: scales.__setitem__(path, out.detach().clone())
                )
                stack.callback(handle.remove)
        single(example)
    double = copy_module(single).double()
    for ours, theirs in zip(double.modules(), single.modules(), strict=True):
        if isinstance(ours, QuantWeightMixin) and isinstance(theirs, QuantWeightMixin) and ours.weight is not None:
            if is_decoupled(theirs):
                continue
            ours.weight.data = _value(theirs.quant_weight()).double()
    where = device or torch.device("cpu")
    double = double.to(where)
    for path, module in double.named_modules():
        if path in scales:
            module.register_forward_hook(_answer_with(scales[path].to(where, torch.float64)))
    for path, weight in decoupled_weights(single, example).items():
        double.get_submodule(f"{path}.weight_quant").register_forward_hook(_answer_with(in_float64(weight, where)))
    keep_float64(double)
    image = example.to(where, torch.float64)
    with exact_float32(where):
        plain = _value(double(image))
        settle(double)
        use_integer_products(double)
        difference = float((_value(double(image)) - plain).abs().max())
    if not bool(plain.isfinite().all()):
        raise ProofError("the network gives NaN or infinite numbers; look at its weights, and at what it divides by")
    if not difference <= INTEGER_TOLERANCE * max(1.0, float(plain.abs().max())):
        raise ProofError(f"the network differs by {difference:.2g} between float64 and integer products; report this")
    return double


def call_name(path: str, call: int) -> str:
    """Name a layer's output: the path, for a layer used again ``path[1]``, ``path[2]`` and so on."""
    return f"{path}[{call}]" if call else path


@torch.no_grad()
def layer_outputs(model: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Run ``model``; return its logits and the output of every layer's every use, in order of execution, on the CPU."""
    outputs: dict[str, Tensor] = {}
    uses: Counter[str] = Counter()

    def note(path: str, out: object) -> None:
        outputs[call_name(path, uses[path])] = _value(out).cpu()
        uses[path] += 1

    with ExitStack() as stack:
        for path, module in layers(model):
            handle = module.register_forward_hook(lambda _module, _args, out, path=path: note(path, out))
            stack.callback(handle.remove)
        device = device_of(model)
        stack.enter_context(exact_float32(device))
        logits = _value(model(images.to(device))).cpu()
    return logits, outputs


def device_of(model: nn.Module) -> torch.device:
    """Return where a network's parameters lie."""
    return next(model.parameters()).device


@torch.no_grad()
def predict(model: nn.Module, pixels: Tensor, batch_size: int | None = None) -> Tensor:
    """Logits [N, classes] of uint8 ``pixels`` [N, C, H, W], divided by 255 in the model's own precision.

    Args:
        model: on any device.
        pixels: on any device.
        batch_size: images at a time; by default as many as are computed fast.
    """
    dtype = next(model.parameters()).dtype
    device = device_of(model)
    size = batch_size or _fast_batch(model, pixels[:1].to(device, dtype) / 255)
    with exact_float32(device):
        batches = [_value(model(batch.to(device, dtype) / 255)).cpu() for batch in pixels.split(size)]
    return torch.cat(batches)


def _fast_batch(model: nn.Module, image: Tensor) -> int:
    """How many images are computed fast at a time, by the largest output of a layer."""
    _, outputs = layer_outputs(model, image)
    largest = max((out.numel() for out in outputs.values()), default=image.numel())
    return images_at_a_time(largest, image.device, image.element_size())
