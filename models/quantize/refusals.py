"""What FINN does not take and what to put in its place, by the name of the layer or function."""

from qtrain.models.quantize.ops import Refusal

_RELU = "use nn.ReLU in its place and train the float network some epochs more"
_NORM = "use nn.BatchNorm2d, which thresholds absorb, and train again"
_AVERAGE = (
    "use nn.MaxPool2d, or a stride of 2 in the convolution before it; only a global average pool in front of the last "
    "layer is taken (nn.AdaptiveAvgPool2d(1))"
)
_ATTENTION = "FINN has no attention and no softmax inside a network; use convolutions or nn.Linear"
_ONE_ROW = "write the sequence as an image of one row: nn.Conv2d(..., (1, k)), nn.BatchNorm2d, nn.MaxPool2d((1, k))"
_LAYER = "write it as a layer (nn.Conv2d, nn.Linear, nn.BatchNorm2d) made in __init__"
_FACTOR = "fold the factor or offset into the weights of the layer before it"
_GATE = "leave gates (squeeze-and-excitation, attention) out; FINN multiplies streams by constants alone"

_MENDS: dict[str, str] = {
    **dict.fromkeys(("SiLU", "GELU", "Mish", "Hardswish", "Hardsigmoid", "ELU", "CELU", "SELU", "Softplus"), _RELU),
    **dict.fromkeys(("LeakyReLU", "PReLU", "RReLU", "Sigmoid", "Tanh", "Softsign", "LogSigmoid", "GLU"), _RELU),
    **dict.fromkeys(("silu", "gelu", "mish", "hardswish", "hardsigmoid", "elu", "celu", "selu", "softplus"), _RELU),
    **dict.fromkeys(("leaky_relu", "prelu", "rrelu", "sigmoid", "tanh", "softsign", "logsigmoid", "glu"), _RELU),
    **dict.fromkeys(("GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm", "InstanceNorm2d"), _NORM),
    **dict.fromkeys(("group_norm", "layer_norm", "local_response_norm", "rms_norm", "instance_norm"), _NORM),
    **dict.fromkeys(("AvgPool2d", "AdaptiveAvgPool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean"), _AVERAGE),
    **dict.fromkeys(("LPPool2d", "FractionalMaxPool2d", "AdaptiveMaxPool2d", "adaptive_max_pool2d"), _AVERAGE),
    **dict.fromkeys(("MultiheadAttention", "TransformerEncoderLayer", "TransformerEncoder"), _ATTENTION),
    **dict.fromkeys(("scaled_dot_product_attention", "matmul", "bmm", "einsum", "Softmax", "softmax"), _ATTENTION),
    **dict.fromkeys(("Conv1d", "MaxPool1d", "AvgPool1d", "AdaptiveAvgPool1d", "Conv3d"), _ONE_ROW),
    **dict.fromkeys(("conv2d", "linear", "batch_norm"), _LAYER),
    **dict.fromkeys(("mul", "imul", "mul_", "truediv", "itruediv", "div", "div_", "sub", "isub", "sub_"), _FACTOR),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), "FINN has no recurrent layers; use convolutions over the sequence"),
    **dict.fromkeys(("ConvTranspose2d", "Upsample", "UpsamplingNearest2d", "interpolate", "PixelShuffle"), (
        "FINN's flow for classifiers takes no layer that makes the image larger; leave it out"
    )),
    **dict.fromkeys(("cat", "concat", "concatenate", "chunk", "split", "stack"), (
        "add the branches instead (they then share one quantizer); widen a branch with a 1x1 convolution where the "
        "channels differ"
    )),
    **dict.fromkeys(("ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d", "ConstantPad2d", "pad"), (
        "use the convolution's own padding of zeros with an odd kernel, the same on both sides"
    )),
    **dict.fromkeys(("amax", "max"), "use F.adaptive_max_pool2d(x, 1) for the largest value of each channel"),
    **dict.fromkeys(("view", "reshape", "permute", "transpose", "flatten", "unflatten", "PixelUnshuffle"), (
        "only flattening a whole image to one row in front of a linear layer is taken"
    )),
}  # fmt: skip
_ANY = "leave it out, or replace it by convolutions, BatchNorm, ReLU, max-pools and additions"


def refusal(path: str, name: str, said: str | None = None, mend: str | None = None) -> Refusal:
    """Return the refusal of a layer or function.

    Args:
        path: where it stands.
        name: of its class or function, which the mend is looked up by.
        said: what it is, where the name does not say it.
        mend: instead of the usual one.
    """
    return Refusal(path, said or f"{name}, which FINN does not take", mend or _MENDS.get(name, _ANY))


def gate(path: str) -> Refusal:
    """Return the refusal of two streams that are multiplied."""
    return Refusal(path, "two streams are multiplied", _GATE)
