"""What each layer of torch becomes."""

from collections.abc import Callable
from typing import Any

from torch import nn

from qtrain.models.quantize.ops import Op, Plan
from qtrain.models.quantize.refusals import refusal

Shape = tuple[int, ...]
_DROPPED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def translate(plan: Plan, path: str, layer: nn.Module, sources: list[Op], shape: Shape) -> Op:
    """Add a layer's operation to the plan; one that FINN does not take is refused there.

    Args:
        plan: gets the operation.
        path: of the layer.
        layer: of the float network.
        sources: what it reads.
        shape: of its output for one image.
    """
    if isinstance(layer, _DROPPED):
        if not isinstance(layer, nn.Identity):
            plan.notes.append(f"{path}: {type(layer).__name__} is left out")
        return sources[0]
    for kind, make in _TABLE.items():
        if isinstance(layer, kind):
            return make(plan, path, layer, sources, shape)
    return refuse(plan, path, type(layer).__name__, sources, shape)


def refuse(
    plan: Plan, path: str, name: str, sources: list[Op], shape: Shape, said: str | None = None, mend: str | None = None
) -> Op:
    """Note a refusal, and add an operation in its place so that the rest can be looked at."""
    plan.refusals.append(refusal(path, name, said, mend))
    return plan.add(Op("unknown", sources, path, shape))


def average(
    plan: Plan, path: str, name: str, sources: list[Op], shape: Shape, window: tuple[Any, Any] | None = None
) -> Op:
    """Add an average pool, where it takes the whole image, or nothing where it changes nothing.

    Args:
        plan: gets the operation.
        path: of the pool.
        name: of its class or function.
        sources: what it reads.
        shape: of its output for one image.
        window: kernel and padding; None where the pool adapts them to its output.
    """
    height, width = sources[0].shape[1:]
    kernel = (height // shape[1], width // shape[2]) if window is None else _pair(window[0])
    padded = window is not None and _pair(window[1]) != (0, 0)
    if kernel == (1, 1) and shape == sources[0].shape and not padded:
        plan.notes.append(f"{path}: {name} changes nothing at {height}x{width} and is left out")
        return sources[0]
    if kernel == (height, width) and not padded:
        return plan.add(Op("average", sources, path, shape))
    said = f"{name} averages over windows ({height}x{width} to {shape[1]}x{shape[2]})"
    return refuse(plan, path, name, sources, shape, said)


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, list | tuple) else (value, value)


def max_pool(plan: Plan, path: str, options: dict[str, Any], sources: list[Op], shape: Shape) -> Op:
    """Add a max-pool."""
    usual = {"stride": options["kernel_size"], "padding": 0, "dilation": 1, "ceil_mode": False}
    given = {name: value for name, value in options.items() if value is not None}
    changed = {name: value for name, value in given.items() if value != usual.get(name)}
    return plan.add(Op("max_pool", sources, path, shape, options=changed))


def limited(plan: Plan, path: str, low: float, high: float | None, sources: list[Op], shape: Shape) -> Op:
    """Add an activation between two limits: from zero up, or symmetric around zero."""
    if low == 0:
        return plan.add(Op("relu", sources, path, shape, options={} if high is None else {"limit": float(high)}))
    if high is not None and low == -high:
        return plan.add(Op("signed", sources, path, shape, options={"limit": float(high)}))
    said = f"a clamp to [{low:g}, {'inf' if high is None else format(high, 'g')}]"
    return refuse(plan, path, "Hardtanh", sources, shape, said, "clamp from 0 up (nn.ReLU6) or to [-a, a]")


def _conv(plan: Plan, path: str, layer: nn.Conv2d, sources: list[Op], shape: Shape) -> Op:
    if layer.padding_mode != "zeros":
        said = f"a convolution that pads with {layer.padding_mode}"
        return refuse(plan, path, "Conv2d", sources, shape, said, "use padding_mode='zeros'")
    depthwise = layer.groups == layer.in_channels == layer.out_channels
    if layer.groups > 1 and not depthwise:
        said = f"a convolution of {layer.in_channels} to {layer.out_channels} channels in {layer.groups} groups"
        mend = "use groups=1, or one filter a channel (depthwise, groups=in_channels=out_channels) and a 1x1 behind it"
        return refuse(plan, path, "Conv2d", sources, shape, said, mend)
    padding = _padding(layer)
    if padding is None:
        said = "padding='same' of an even kernel, which pads one side more than the other"
        return refuse(plan, path, "Conv2d", sources, shape, said, "use an odd kernel, or padding by a number")
    options = {"padding": padding, "bias": layer.bias is not None}
    return plan.add(Op("conv", sources, path, shape, layer, options))


def _padding(layer: nn.Conv2d) -> tuple[int, int] | None:
    """Return the padding in numbers; None where its sides differ."""
    if not isinstance(layer.padding, str):
        return layer.padding  # type: ignore[return-value]
    if layer.padding == "valid":
        return (0, 0)
    reach = [step * (kernel - 1) for kernel, step in zip(layer.kernel_size, layer.dilation, strict=True)]
    return None if any(r % 2 for r in reach) else (reach[0] // 2, reach[1] // 2)


def _linear(plan: Plan, path: str, layer: nn.Linear, sources: list[Op], shape: Shape) -> Op:
    if len(shape) != 1:
        said = f"a linear layer over {list(sources[0].shape)}, not over one row"
        return refuse(plan, path, "Linear", sources, shape, said, "put nn.Flatten() before it, or use a 1x1 nn.Conv2d")
    return plan.add(Op("linear", sources, path, shape, layer, {"bias": layer.bias is not None}))


def _norm(plan: Plan, path: str, layer: nn.Module, sources: list[Op], shape: Shape) -> Op:
    if layer.running_mean is None:
        said = "a BatchNorm without running statistics"
        return refuse(plan, path, "BatchNorm2d", sources, shape, said, "use track_running_stats=True and train again")
    if not layer.affine:
        plan.notes.append(f"{path}: the norm learns a scale and an offset from now on")
    if len(shape) == 3:
        return plan.add(Op("norm", sources, path, shape, layer))
    if len(shape) == 1:
        return plan.add(Op("row_norm", sources, path, shape, layer))
    return refuse(plan, path, "BatchNorm1d", sources, shape, f"a norm over {list(shape)}", "use an image of one row")


def _flatten(plan: Plan, path: str, layer: nn.Flatten, sources: list[Op], shape: Shape) -> Op:
    return flatten(plan, path, "flatten", sources, shape)


def flatten(plan: Plan, path: str, name: str, sources: list[Op], shape: Shape) -> Op:
    """Add the flattening of an image to one row; one that changes nothing is left out."""
    if sources[0].shape == shape:
        return sources[0]
    if len(shape) == 1:
        return plan.add(Op("flatten", sources, path, shape))
    said = f"{name} from {list(sources[0].shape)} to {list(shape)}"
    return refuse(plan, path, name, sources, shape, said)


def _max_pool(plan: Plan, path: str, layer: nn.MaxPool2d, sources: list[Op], shape: Shape) -> Op:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    return max_pool(plan, path, {name: getattr(layer, name) for name in names}, sources, shape)


def adaptive_max_pool(plan: Plan, path: str, sources: list[Op], shape: Shape) -> Op:
    """Add a max-pool over the whole image."""
    if shape[1:] != (1, 1):
        return refuse(plan, path, "AdaptiveMaxPool2d", sources, shape, mend="use nn.MaxPool2d with a kernel and stride")
    return max_pool(plan, path, {"kernel_size": tuple(sources[0].shape[1:])}, sources, shape)


def _adaptive_max_pool(plan: Plan, path: str, layer: nn.Module, sources: list[Op], shape: Shape) -> Op:
    return adaptive_max_pool(plan, path, sources, shape)


def _relu(plan: Plan, path: str, layer: nn.Module, sources: list[Op], shape: Shape) -> Op:
    return limited(plan, path, 0, None, sources, shape)


def _hardtanh(plan: Plan, path: str, layer: nn.Hardtanh, sources: list[Op], shape: Shape) -> Op:
    return limited(plan, path, layer.min_val, layer.max_val, sources, shape)


def _adaptive_average(plan: Plan, path: str, layer: nn.Module, sources: list[Op], shape: Shape) -> Op:
    return average(plan, path, "AdaptiveAvgPool2d", sources, shape)


def _average(plan: Plan, path: str, layer: nn.AvgPool2d, sources: list[Op], shape: Shape) -> Op:
    return average(plan, path, "AvgPool2d", sources, shape, (layer.kernel_size, layer.padding))


def _softmax(plan: Plan, path: str, layer: nn.Module, sources: list[Op], shape: Shape) -> Op:
    return plan.add(Op("softmax", sources, path, shape, options={"name": type(layer).__name__}))


# A ReLU6 is a Hardtanh.
_TABLE: dict[type[nn.Module], Callable[..., Op]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm1d: _norm,
    nn.Flatten: _flatten,
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveMaxPool2d: _adaptive_max_pool,
    nn.ReLU: _relu,
    nn.Hardtanh: _hardtanh,
    nn.AdaptiveAvgPool2d: _adaptive_average,
    nn.AvgPool2d: _average,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _softmax,
}
