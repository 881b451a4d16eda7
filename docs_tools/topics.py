"""What each rule of lint looks for, by topic; ``tests/docs/test_docs.py`` sees that no rule is missing."""

TOPICS: dict[str, dict[str, str]] = {
    "Images and first layer": {
        "float-input": "A convolution or linear layer that gets floats: no quantizer in front of it, or a norm or a "
        "mean between the quantizer and it",
        "channels-last": "Images with the channels last, turned by a Transpose before the first layer",
        "open-size": "Of a QONNX file: a height, width or number of channels that is left open",
        "input-type": "Of a QONNX file: an input that is not annotated as UINT8, so that the first layer would compute "
        "in floats",
    },
    "Weights and biases": {
        "not-finite": "Weights or statistics that are NaN or infinite, or a variance below zero",
        "zero-weights": "A layer whose quantized weights are all zero",
        "not-quantized": "A network without any quantizer",
        "float-weights": "A convolution or linear layer of torch among quantized ones",
        "weights-clamped": "One-bit weights whose scale is computed from the float weights while the quantizer clamps "
        "those in place",
        "integer-1-bit": "An integer quantizer of one bit; one bit needs a binary quantizer",
        "bias-quantizer": "A convolution whose bias is quantized",
        "quantizer-rounding": "A quantizer that rounds down, up or to zero, for weights or activations",
        "zero-point": "A quantizer with a zero point, for weights or activations",
    },
    "Activations": {
        "float-activation": "A ReLU without a quantizer behind it",
        "relu-quantizer": "A ReLU's quantizer that is signed or narrow",
        "unsigned-identity": "An unsigned quantizer that does not stand behind a ReLU",
        "sign-scale": "A sign (one-bit activation) whose scale is not 1",
        "wide-activation": "An activation of more than 8 bits",
        "activation-scale": "An activation with a scale for each channel",
        "thresholds": "Activations of 5 to 8 bits: they are taken, but thresholds double with each bit",
    },
    "Convolutions": {
        "groups": "Grouped convolutions, except depthwise ones with one filter a channel",
        "padding": "Padding by a layer of its own, or with other values than zero",
        "thin-image": "A kernel of more than one pixel, or padding, along an axis where the image has one pixel",
        "axes": "Convolutions and pools of another number of axes than two",
        "auto-pad": "Of a QONNX file: pads left to `auto_pad` where FINN cannot tell them",
        "left-out": "Of a QONNX file: attributes left to ONNX's defaults that FINN reads",
    },
    "Pools": {
        "average-pool": "An average pool over windows, or `nn.AvgPool2d` over the whole image",
        "trunc-rounding": "Brevitas' truncating average pool with another rounding than FLOOR; its default is another",
        "trunc-pool": "A truncation that does not stand behind an average pool",
        "trunc-compilers": "A truncating average pool that rounds down: official FINN main computes it wrong",
        "average-quantizer": "A quantizer behind the average over the whole image",
        "pool-ceil": "A max-pool whose `ceil_mode` makes windows that reach beyond the image",
        "pool-dilation": "A max-pool with dilation",
        "pool-stride": "A max-pool whose stride is larger than its kernel",
        "pool-signed": "A padded max-pool of values below zero that another layer reads too",
        "pool-padding": "Of a QONNX file: a max-pool that is padded on one side more than on the other",
        "odd-pool": "A max-pool over a size that its stride does not divide",
    },
    "Branches": {
        "residual-quantizers": "The two branches of an addition have two quantizers",
        "residual-float": "A branch of an addition is not quantized",
        "forked-flatten": "Two layers that read one flattened image",
    },
    "The last layer": {
        "head": "A bias, a norm, a softmax or a scale for each class behind or in the last layer",
        "no-top1": "Of a QONNX file: no TopK behind the logits",
        "output": "A network that does not return one row of logits for an image",
    },
    "The whole graph": {
        "random": "Random numbers that are drawn in evaluation mode: dropout, noise, a module left in train mode",
        "batch-statistics": "A norm that takes the statistics of the batch in evaluation mode",
        "moving-state": "A network that gives the same images other answers at the next call",
        "transpose": "Axes of an image that are turned inside the network",
        "pixel-constant": "A constant that differs from pixel to pixel and does not follow a convolution",
        "gemm-factors": "Of a QONNX file: a Gemm with alpha or beta",
        "renamed": "Of a QONNX file: operators by the newer name that qonnx gave them",
        "operator": "An operator that FINN has no hardware for",
        "frozen-branch": "Python in `forward` that reads numbers of the image: the export keeps what one image decided",
        "export": "A network that torch cannot export",
        "graph": "A file whose graph cannot be read",
        "custom-steps": "Layers that FINN's default steps leave in software and the folder's own steps take",
    },
}
