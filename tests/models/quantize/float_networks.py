"""Plain float modules as people write them, without a thought of FINN."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainCnn(nn.Sequential):
    """Numbered layers, biases before norms, dropout."""

    def __init__(self, classes: int = 10):
        super().__init__(
            nn.Sequential(
                *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
                *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.MaxPool2d(2), nn.ReLU()),
                *(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(), nn.MaxPool2d(2)),
            ),
            nn.Flatten(),
            nn.Sequential(nn.Dropout(0.5), nn.Linear(256, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, classes)),
        )


class BasicBlock(nn.Module):
    """torchvision's: one ReLU, used twice."""

    def __init__(self, inputs: int, planes: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inputs != planes:
            conv = nn.Conv2d(inputs, planes, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """torchvision's: one ReLU, used three times."""

    def __init__(self, inputs: int, planes: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 2 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * planes)
        self.relu = nn.ReLU(inplace=True)
        conv = nn.Conv2d(inputs, 2 * planes, 1, stride, bias=False)
        self.downsample = nn.Sequential(conv, nn.BatchNorm2d(2 * planes))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out)) + self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    """torchvision's names; a small stem."""

    def __init__(self, classes: int = 10, width: int = 8):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width))
        self.layer3 = nn.Sequential(Bottleneck(2 * width, 2 * width, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)]
    layers += [nn.BatchNorm2d(outputs), *([nn.ReLU6(inplace=True)] if act else [])]
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """MobileNetV2's: its end has no activation, its branches are added as they are."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        hidden = 2 * inputs
        depthwise = conv_bn(hidden, hidden, 3, stride, groups=hidden)
        self.conv = nn.Sequential(conv_bn(inputs, hidden, 1), depthwise, *conv_bn(hidden, outputs, 1, act=False))
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.skip else self.conv(x)


class MobileNet(nn.Module):
    """Depthwise convolutions and linear bottlenecks, two additions in a row."""

    def __init__(self, classes: int = 10):
        super().__init__()
        blocks = [InvertedResidual(8, 16, 2), InvertedResidual(16, 16, 1), InvertedResidual(16, 16, 1)]
        self.features = nn.Sequential(conv_bn(3, 8, 3, 2), *blocks, conv_bn(16, 32, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class Functional(nn.Module):
    """Functional forms, a view, a normalisation of its own, a softmax at the end."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.5])[:, None, None])
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3, padding="same")
        self.bn = nn.BatchNorm2d(16)
        self.fc1 = nn.Linear(16 * 5 * 5, 32)
        self.logits = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / 0.25
        x = F.max_pool2d(F.relu(self.conv1(x)), 3)
        y = F.relu(self.bn(self.conv2(x)))
        z = F.max_pool2d(y, 2)
        z = z.view(z.size(0), -1)
        z = F.dropout(F.relu(self.fc1(z)), training=self.training)
        return F.log_softmax(self.logits(z), dim=1)


class Mlp(nn.Module):
    """Rows of pixels, norms over features, hidden layers of its own name."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.flat = nn.Flatten()
        self.hidden = nn.Sequential(
            *(nn.Linear(3 * 16 * 16, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU()),
            *(nn.Linear(32, 32), nn.Hardtanh(), nn.Linear(32, 16), nn.ReLU()),
        )
        self.out = nn.Linear(16, classes, bias=False)
        self.norm = nn.BatchNorm1d(classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.out(self.hidden(self.flat(x))))


NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, int, int]]] = {
    "plain": (PlainCnn, (3, 32, 32)),
    "resnet": (ResNet, (3, 16, 16)),
    "mobilenet": (MobileNet, (3, 16, 16)),
    "functional": (Functional, (3, 32, 32)),
    "mlp": (Mlp, (3, 16, 16)),
}


def warmed(kind: type[nn.Module], shape: tuple[int, int, int]) -> nn.Module:
    """Build a network and move its statistics, as training would."""
    torch.manual_seed(0)
    model = kind()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        for _ in range(10):
            model(torch.rand(32, *shape))
    return model.eval()
