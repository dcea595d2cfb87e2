"""Smaller images in the first part of training, which cost less (Howard 2018; Touvron et al. 2019, arXiv:1906.06423).

Shape key: B images in a batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from assay.recipe.schema import SmallerImages


def side_at(parts: Sequence[SmallerImages], epoch: int) -> int | None:
    """The shorter side of training images in an epoch, counted from 1; None where they keep their size."""
    until = 0
    for part in parts:
        until += part.epochs
        if epoch <= until:
            return part.side
    return None


def share_of_pixels(parts: Sequence[SmallerImages], epoch: int, shape: tuple[int, ...]) -> float:
    """What share of an image's pixels training sees in an epoch, counted from 1; ``shape`` is that of an example."""
    side = side_at(parts, epoch)
    if side is None:
        return 1.0
    height, width = shape[1:]
    return math.prod(scaled_size(height, width, side)) / (height * width)


def scaled_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of an image whose shorter side is made ``side``, the proportions kept; never a larger one."""
    shorter = min(height, width)
    if shorter <= side:
        return height, width
    return round(height * side / shorter), round(width * side / shorter)


def scaled_down(x_BCHW: Tensor, side: int) -> Tensor:
    """Images whose shorter side is ``side``, by antialiased bilinear interpolation; smaller ones stay as they are."""
    height, width = x_BCHW.shape[2:]
    size = scaled_size(height, width, side)
    if size == (height, width):
        return x_BCHW
    return functional.interpolate(x_BCHW, size=size, mode="bilinear", antialias=True, align_corners=False)
