"""ResNets for small images (He et al. 2015, arXiv:1512.03385, section 4.2), with shortcuts of option A.

With three channels and ten classes ResNet-20 has 269,722 parameters, ResNet-56 853,018 and ResNet-110 1,727,962; the
size of the images does not matter. Layers and weights have the names of the checkpoints that Idelbayev 2018 ("Proper
ResNet implementation for CIFAR10/CIFAR100 in PyTorch") publishes, without their ``module.``.

Like every network of assay's own it starts as the recipe's ``init`` says; the paper's is ``kaiming``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from assay.models.stack import demand_images
from assay.recipe.schema import CifarResNetModel

_STAGES = 3


class CifarResNet(nn.Module):
    """Images (B, C, H, W) to logits (B, K), for B examples and K classes.

    A 3×3 convolution, three stages of n blocks, the mean of each map, and a linear layer: 6n + 2 layers with weights.
    Each stage but the first halves the size and doubles the channels.
    """

    def __init__(self, section: CifarResNetModel, *, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        demand_images(section.name, input_shape)
        blocks = (section.depth - 2) // (2 * _STAGES)
        channels = section.width
        self.conv1 = _convolution(input_shape[0], channels, stride=1)
        self.bn1 = nn.BatchNorm2d(channels)
        for stage in range(_STAGES):
            maps = section.width * 2**stage
            made: list[nn.Module] = []
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                made.append(Block(channels, maps, stride=stride, shortcut=section.shortcuts == "identity"))
                channels = maps
            self.add_module(f"layer{stage + 1}", nn.Sequential(*made))
        self.linear = nn.Linear(channels, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = functional.relu(self.bn1(self.conv1(x_BCHW)))
        for stage in range(_STAGES):
            x_BCHW = self.get_submodule(f"layer{stage + 1}")(x_BCHW)
        logits_BK: Tensor = self.linear(x_BCHW.mean(dim=(2, 3)))
        return logits_BK


class Block(nn.Module):
    """Two 3×3 convolutions, each with batch normalisation, and ReLU after the first and after adding the shortcut."""

    def __init__(self, channels: int, maps: int, *, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, maps, stride=stride)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = _convolution(maps, maps, stride=1)
        self.bn2 = nn.BatchNorm2d(maps)
        self.shortcut = Shortcut(maps - channels, stride=stride) if shortcut else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x_BCHW)))))
        if self.shortcut is not None:
            y_BCHW = y_BCHW + self.shortcut(x_BCHW)
        return functional.relu(y_BCHW)


class Shortcut(nn.Module):
    """Option A: the input as it is, or, where the size changes, its first pixel of each window and channels of zeros.

    The paper leaves open where those lie; as in the published checkpoints, half of them come before the input's, half
    after.
    """

    def __init__(self, added: int, *, stride: int) -> None:
        super().__init__()
        self.added = added
        self.stride = stride

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.stride == 1 and self.added == 0:
            return x_BCHW
        before = self.added // 2
        seen_BCHW = x_BCHW[:, :, :: self.stride, :: self.stride]
        return functional.pad(seen_BCHW, (0, 0, 0, 0, before, self.added - before))

    def extra_repr(self) -> str:
        return f"added={self.added}, stride={self.stride}"


def _convolution(channels: int, maps: int, *, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, maps, 3, stride=stride, padding=1, bias=False)
