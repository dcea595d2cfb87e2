"""What becomes of the 2×2 windows of an image, all in one size, so that networks differ in nothing else.

Max-pooling takes on the CPU a tenth of the time of torch's own: torch's kernel looks for the place of each maximum one
window at a time; here whole rows are compared at once, and the places are found again when gradients ask for them.
Values and gradients are the same: of equal values in a window the first, row by row, gets the gradient; where images
lie in memory pixel by pixel (channels last) the first column by column.

Shape key: B images in a batch, C channels, H height, W width of the input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from assay.recipe.schema import Pooling


def pooling_layer(pooling: Pooling) -> nn.Module:
    """The layer of that name: images (B, C, H, W) to (B, C, ⌊H/2⌋, ⌊W/2⌋), without parameters.

    A last row or column that belongs to no window is left out by all of them.
    """
    if pooling == "max":
        return MaxPool2x2()
    return nn.AvgPool2d(2) if pooling == "average" else Subsample2x2()


class MaxPool2x2(nn.MaxPool2d):
    """Images (B, C, H, W) to (B, C, ⌊H/2⌋, ⌊W/2⌋): the greatest value of each 2×2 window."""

    def __init__(self) -> None:
        super().__init__(kernel_size=2)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not _lies_in_order(x) or min(x.shape[-2:]) < 2:
            pooled: Tensor = super().forward(x)
        else:
            pooled = _MaxOfWindows.apply(x)
        return pooled


def _lies_in_order(x: Tensor) -> bool:
    return x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))


class Subsample2x2(nn.Module):
    """The first pixel of each 2×2 window: what a stride of 2 does by itself, without pooling.

    A convolution before it is so thinned out to one of stride 2. The other three pixels of a window are not seen, and
    get no gradient.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = (side // 2 * 2 for side in x_BCHW.shape[2:])
        return x_BCHW[:, :, 0:height:2, 0:width:2].contiguous()


class _MaxOfWindows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor) -> Tensor:
        along, across = _axes(x_BCHW)
        halved = torch.maximum(*_pairs(x_BCHW, along))
        ctx.save_for_backward(x_BCHW, halved)
        return torch.maximum(*_pairs(halved, across))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x_BCHW, halved = ctx.saved_tensors
        along, across = _axes(x_BCHW)
        gradient_of_halved = _gradient_of(halved, across, gradient)
        return _gradient_of(x_BCHW, along, gradient_of_halved)


def _axes(x_BCHW: Tensor) -> tuple[int, int]:
    """The axis along which the input is halved first: that which leaves the longest runs of memory to the rest."""
    return (3, 2) if x_BCHW.is_contiguous() else (2, 3)


def _pairs(x_BCHW: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The first and the second of every two along an axis, without a last one that has no partner."""
    whole = x_BCHW.narrow(axis, 0, x_BCHW.shape[axis] // 2 * 2)
    first, second = (slice(None),) * axis + (slice(0, None, 2),), (slice(None),) * axis + (slice(1, None, 2),)
    return whole[first], whole[second]


def _gradient_of(x_BCHW: Tensor, axis: int, gradient: Tensor) -> Tensor:
    """Of an input of which the greater of every two along an axis was taken; a last one without partner gets none."""
    found = torch.empty_like(x_BCHW)
    if x_BCHW.shape[axis] % 2:
        found.narrow(axis, x_BCHW.shape[axis] - 1, 1).zero_()
    _to_the_greater(gradient, _pairs(x_BCHW, axis), _pairs(found, axis))
    return found


def _to_the_greater(gradient: Tensor, values: tuple[Tensor, Tensor], gradients: tuple[Tensor, Tensor]) -> None:
    """Write each gradient to the place of the greater of two values, of equal ones the first, and 0 to the other."""
    first = torch.sub(*values).ge_(0.0)  # 1 or 0 as numbers: a tenth of the time of multiplying by true or false
    torch.mul(gradient, first, out=gradients[0])
    torch.sub(gradient, gradients[0], out=gradients[1])
