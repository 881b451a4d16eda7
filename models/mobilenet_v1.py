"""MobileNetV1 (Howard et al., arXiv 1704.04861), in the structure of Brevitas' quantized ImageNet example."""

from torch import nn

from qtrain.models.factory import Layers, scaled
from qtrain.models.network import Network

STEM = 32
STAGES = ((64,), (128, 128), (256, 256), (512,) * 6, (1024, 1024))  # channels of each stage's blocks
WHOLE_STEM = 64  # pixels from which on the stem halves the image, as published for 224


class Separable(nn.Sequential):
    """A depthwise 3x3 convolution and a pointwise 1x1 one, a norm and a ReLU behind each.

    Args:
        layers: makes them.
        path: of the block in its network.
        inputs: channels.
        outputs: channels.
        stride: of the depthwise convolution.
    """

    def __init__(self, layers: Layers, path: str, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = layers.conv(f"{path}.conv1", inputs, inputs, 3, stride=stride, padding=1, groups=inputs)
        self.norm1 = nn.BatchNorm2d(inputs)
        self.act1 = layers.relu(f"{path}.act1")
        self.conv2 = layers.conv(f"{path}.conv2", inputs, outputs, 1)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.act2 = layers.relu(f"{path}.act2")


class MobileNetV1(Network):
    """A stem, thirteen separable blocks, the average over the image, one fully connected layer.

    Children are named ``input, conv1, norm1, act1, stage1.block1.conv1, ..., pool, flatten, fc, norm_out``.

    Images of 64 pixels and more meet the published stem, which halves them. Smaller ones keep their size there, as
    implementations for CIFAR have it (kuangliu/pytorch-cifar), so that 32 pixels leave 2 at the average.

    What differs from Brevitas' example so that FINN takes the whole network: the stem pads by one pixel, activations
    have one scale for the tensor, the average is not quantized, and the last layer has no bias, which only the float
    twin keeps. Weights have one scale for the tensor too, unless ``per_channel`` says otherwise.

    Args:
        layers: makes them.
        num_classes: logits an image.
        in_channels: image channels.
        image_size: height and width.
        width: multiplies all channel counts, the paper's alpha.
    """

    def __init__(self, layers: Layers, *, num_classes: int, in_channels: int, image_size: int, width: float):
        super().__init__()
        features = scaled(STEM, width)
        stride = 2 if image_size >= WHOLE_STEM else 1
        self.input = layers.input()
        self.conv1 = layers.conv("conv1", in_channels, features, 3, stride=stride, padding=1, role="first")
        self.norm1 = nn.BatchNorm2d(features)
        self.act1 = layers.relu("act1")
        for i, channels in enumerate(STAGES, 1):
            stage = nn.Sequential()
            for j, count in enumerate(channels, 1):
                outputs = scaled(count, width)
                halves = i > 1 and j == 1
                block = Separable(layers, f"stage{i}.block{j}", features, outputs, 2 if halves else 1)
                stage.add_module(f"block{j}", block)
                features = outputs
            self.add_module(f"stage{i}", stage)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc, self.norm_out = layers.classifier("fc", features, num_classes)
