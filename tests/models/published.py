"""Networks as others publish them, written out from their descriptions: oracles of ours."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Basic(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != width:
            one = nn.Conv2d(before, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(one, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Bottleneck(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != 4 * width:
            one = nn.Conv2d(before, 4 * width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(one, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """The names and the order of pytorch-cifar."""

    def __init__(self, block: type[Basic | Bottleneck], counts: list[int], classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        before = 64
        for stage, count in enumerate(counts):
            width, blocks = 64 * 2**stage, []
            for index in range(count):
                blocks.append(block(before, width, 2 if stage and index == 0 else 1))
                before = width if block is Basic else 4 * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.linear(F.avg_pool2d(x, 4).flatten(1))


class CifarVGG(nn.Module):
    """The names and the order of pytorch-cifar."""

    def __init__(self, plan: list[int], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in plan:
            if width == 0:
                layers.append(nn.MaxPool2d(2, 2))
            else:
                convolution = nn.Conv2d(before, width, 3, padding=1)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                before = width
        self.features = nn.Sequential(*layers, nn.AvgPool2d(1, 1))
        self.classifier = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class DMBlock(nn.Module):
    """With SiLU, and a convolution of stride 2 that is padded on the right and below alone."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.batchnorm_0, self.batchnorm_1 = nn.BatchNorm2d(before), nn.BatchNorm2d(width)
        self.conv_0 = nn.Conv2d(before, width, 3, stride, bias=False)
        self.conv_1 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.pad = nn.ZeroPad2d(1) if stride == 1 else nn.ZeroPad2d((0, 1, 0, 1))
        if before != width:
            self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a = self.batchnorm_0(x)
        a = a * a.sigmoid()
        y = self.batchnorm_1(self.conv_0(self.pad(a)))
        y = self.conv_1(y * y.sigmoid())
        return y + (self.shortcut(a) if hasattr(self, "shortcut") else x)


class DMGroup(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class DMWideResNet(nn.Module):
    """WRN-16-2 with the names of Gowal et al."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.init_conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        pairs = [(16, 32, 1), (32, 64, 2), (64, 128, 2)]
        self.layer = nn.Sequential(
            *(DMGroup(DMBlock(b, w, s), DMBlock(w, w, 1)) for b, w, s in pairs)
        )
        self.batchnorm, self.logits = nn.BatchNorm2d(128), nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.batchnorm(self.layer(self.init_conv(x)))
        return self.logits(F.avg_pool2d(x * x.sigmoid(), 8).flatten(1))
