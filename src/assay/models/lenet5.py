"""LeNet-5 (LeCun et al. 1998, doi:10.1109/5.726791), fitted to images of any size.

As it is mostly built today: max-pooling (or another that has no parameters) instead of trained subsampling, every map
of the second convolution connected to every map of the first, a linear output layer instead of radial basis functions,
and any activation. With one channel of 32×32, or 28×28, and ten classes it has 61,706 parameters.
"""

from __future__ import annotations

from torch import nn

from assay.models.pooling import pooling_layer
from assay.models.stack import Stack, demand_images
from assay.recipe.schema import LeNet5Model

SMALLEST_SIDE = 4
"""Two poolings by 2 must leave at least one pixel."""

_KERNEL = 5
_CONVOLUTIONS = ((6, 32), (16, 14))
"""Channels of each convolution, and the side its input has in the paper."""


class LeNet5(nn.Sequential):
    """Images (B, C, H, W) to logits (B, K), for B examples and K classes.

    Two convolutions 5×5, each followed by pooling 2×2, then layers of 120 and 84 units and the output.

    A convolution whose input is smaller than in the paper (32 for the first, 14 for the second; height and width each
    by itself) is padded with 2 zeros on either side, so that it keeps the size; otherwise it is not padded. 28×28 so
    becomes the well-known padded LeNet-5 of MNIST, and 8×8 shrinks to 4×4 and 2×2.
    """

    def __init__(self, section: LeNet5Model, *, input_shape: tuple[int, ...], classes: int, seed: int) -> None:
        demand_images(section.name, input_shape, smallest=SMALLEST_SIDE)
        stack = Stack(section, input_shape=input_shape, seed=seed)
        for maps, paper_side in _CONVOLUTIONS:
            _, height, width = stack.shape
            stack.convolve(maps, _KERNEL, padding=(_padding(height, paper_side), _padding(width, paper_side)))
            stack.normalise()
            stack.activate()
            stack.pool(pooling_layer(section.pooling), 2)
        stack.flatten()
        for units in (120, 84):
            stack.connect(units)
        stack.give_scores(classes)
        super().__init__(stack.layers)


def _padding(side: int, paper_side: int) -> int:
    return _KERNEL // 2 if side < paper_side else 0
