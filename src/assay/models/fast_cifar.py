"""A network made to be trained quickly on 32×32 images (Page 2018, "How to train your ResNet"; Jordan 2024,
arXiv:2404.00498).

A whitening layer of 2×2 patches, three groups of two 3×3 convolutions, the greatest value of each map, and a linear
layer. With widths 64, 256, 256, three channels and ten classes it has 1,972,792 parameters.

Shape key: N images, C channels, H height, W width, P patches, D values of a patch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from assay.errors import InvalidValueError
from assay.models.layers import activation_layer
from assay.models.pooling import pooling_layer
from assay.recipe.schema import FastCifarModel

SMALLEST_SIDE = 9
"""Each group halves what is left of it after the patches, and the last must see a pixel."""

WHITENED_IMAGES = 5000
"""Training images whose patches the first layer is fitted to: enough for a covariance of 12 values."""

_PATCH = 2
_WHITENING_EPSILON = 5e-4
"""Added to each variance before its root divides, as Jordan has it, for inputs of unit deviation."""
_NORM_EPSILON = 1e-12


class FastCifar(nn.Sequential):
    """Images (B, C, H, W) to logits (B, K), for B examples and K classes; of any size from 9×9 on."""

    def __init__(self, section: FastCifarModel, *, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < SMALLEST_SIDE:
            raise InvalidValueError(
                ("model", "name"),
                f"fast_cifar needs images of at least {SMALLEST_SIDE}×{SMALLEST_SIDE} pixels, got inputs of shape "
                f"{input_shape}.",
                "Choose model.name: mlp, or another data.source.",
            )
        channels = 2 * input_shape[0] * _PATCH**2
        self.whiten = nn.Conv2d(input_shape[0], channels, _PATCH)
        self.whiten_activation = activation_layer(section.activation)
        for number, width in enumerate(section.widths, start=1):
            self.add_module(f"group{number}", ConvolutionGroup(section, channels, width))
            channels = width
        self.greatest = GreatestOfMap()
        self.output = nn.Linear(channels, classes, bias=False)
        self.scale = Scale(section.score_scale)
        self._identity = section.identity

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Let each 3×3 convolution pass its input on, in as many of its outputs as it has inputs."""
        if not self._identity:
            return
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer is not self.whiten:
                passed = layer.weight[: layer.in_channels]
                nn.init.dirac_(passed)

    @torch.no_grad()
    def whiten_patches_of(self, x_NCHW: Tensor) -> None:
        """Set the first layer's filters to the directions that whiten these images' patches, and to their negatives.

        Its outputs so have unit variance and no correlation. The filters are then left alone by training.
        """
        filters_DCHW = whitening_filters(x_NCHW)
        self.whiten.weight.copy_(torch.cat([filters_DCHW, -filters_DCHW]))
        self.whiten.weight.requires_grad = False
        if self.whiten.bias is not None:
            self.whiten.bias.zero_()


class ConvolutionGroup(nn.Sequential):
    """A convolution, max-pooling 2×2, and another convolution, each with batch normalisation and activation."""

    def __init__(self, section: FastCifarModel, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.pool = pooling_layer("max")
        self.norm1 = _norm(section, width)
        self.activation1 = activation_layer(section.activation)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = _norm(section, width)
        self.activation2 = activation_layer(section.activation)


class GreatestOfMap(nn.Module):
    """The greatest value of each map: (B, C, H, W) to (B, C)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.amax(dim=(2, 3))


class Scale(nn.Module):
    """Multiplication by a fixed factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return f"factor={self.factor:g}"


def whitening_filters(x_NCHW: Tensor) -> Tensor:
    """Filters (D, C, 2, 2) whose outputs on these images' 2×2 patches are uncorrelated and of unit variance.

    D is 4·C; the direction of greatest variance comes first. LAPACK leaves a direction's sign open: the component of
    largest size is made positive.
    """
    channels = x_NCHW.shape[1]
    patches_NDP = nn.functional.unfold(x_NCHW.double(), _PATCH)
    patches_PD = patches_NDP.transpose(1, 2).flatten(0, 1).cpu().numpy()
    variance_D, directions_DD = np.linalg.eigh(patches_PD.T @ patches_PD / len(patches_PD))
    variance_D, directions_DD = variance_D[::-1], directions_DD[:, ::-1]
    largest_D = np.abs(directions_DD).argmax(axis=0)
    directions_DD = directions_DD * np.sign(np.take_along_axis(directions_DD, largest_D[None], axis=0))
    filters_DD = (directions_DD / np.sqrt(np.maximum(variance_D, 0.0) + _WHITENING_EPSILON)).T
    return torch.from_numpy(np.ascontiguousarray(filters_DD)).view(-1, channels, _PATCH, _PATCH).to(x_NCHW)


def _norm(section: FastCifarModel, width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width, eps=_NORM_EPSILON, momentum=section.norm_momentum)
    norm.weight.requires_grad = section.norm_scale == "trained"
    return norm
