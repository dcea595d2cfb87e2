"""Test-time augmentation: a class is decided by several views of an image (Krizhevsky et al. 2012; Jordan 2024,
arXiv:2404.00498).

Shape key: B images in a batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from assay.training.evaluate import Scores

Views = Literal["one", "mirrored", "mirrored_and_shifted"]


def seen_from(views: Views, scores: Scores) -> Scores:
    """Scores of images as the mean over their views.

    ``mirrored``: the image and its mirror image. ``mirrored_and_shifted``: half of the weight is theirs, the other half
    that of both shifted by one pixel up and left, and down and right, the edge mirrored.
    """
    if views == "one":
        return scores

    def both(x_BCHW: Tensor) -> Tensor:
        return (scores(x_BCHW) + scores(x_BCHW.flip(3))) / 2.0

    if views == "mirrored":
        return both
    return _also_shifted(both)


def _also_shifted(both: Callable[[Tensor], Tensor]) -> Scores:
    def all_views(x_BCHW: Tensor) -> Tensor:
        height, width = x_BCHW.shape[2:]
        with torch.inference_mode():
            padded = functional.pad(x_BCHW, (1, 1, 1, 1), mode="reflect")
            shifted = [padded[:, :, start : start + height, start : start + width].contiguous() for start in (0, 2)]
            return both(x_BCHW) / 2.0 + (both(shifted[0]) + both(shifted[1])) / 4.0

    return all_views
