"""Random rectangles of an image, whole pixels: what is cut out and enlarged, erased, or pasted in.

Shape key: N training images, B images in a batch, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from assay.data.augment.draws import Draws, Flags, Numbers, Places

_TRIES = 10
"""Shapes drawn for an image before it is left at that; torchvision's number."""

Bounds = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Rectangles:
    """One rectangle per image, in pixels."""

    top_B: Places
    left_B: Places
    height_B: Places
    width_B: Places

    def __getitem__(self, chosen_B: Places) -> Self:
        """Those of the images at these places."""
        return type(self)(
            top_B=self.top_B[chosen_B],
            left_B=self.left_B[chosen_B],
            height_B=self.height_B[chosen_B],
            width_B=self.width_B[chosen_B],
        )

    def inside(self, like_BCHW: Tensor) -> Tensor:
        """1 in the rectangle and 0 outside, (B, 1, H, W), of the type and on the device of these images."""
        height, width = like_BCHW.shape[2:]
        rows_BH = _between(np.arange(height), self.top_B, self.height_B)
        columns_BW = _between(np.arange(width), self.left_B, self.width_B)
        rows, columns = (
            torch.from_numpy(flags).to(like_BCHW.device, like_BCHW.dtype) for flags in (rows_BH, columns_BW)
        )
        return rows[:, None, :, None] * columns[:, None, None, :]


def _between(positions: Places, start_B: Places, size_B: Places) -> Flags:
    inside: Flags = (positions >= start_B[:, None]) & (positions < (start_B + size_B)[:, None])
    return inside


def crops(draws: Draws, height: int, width: int, area: Bounds, ratio: Bounds) -> Rectangles:
    """Windows of random area and shape (Szegedy et al. 2014, arXiv:1409.4842), as torchvision's RandomResizedCrop draws
    them: up to ten shapes until one fits into the image, then the largest central window whose ratio is allowed.

    Args:
        draws: the epoch's.
        height: of the images.
        width: of the images.
        area: least and greatest share of the image's area; uniform.
        ratio: least and greatest width over height; log-uniform.
    """
    height_N, width_N = _central(draws.examples, height, width, ratio)
    open_N = np.ones(draws.examples, dtype=bool)
    for attempt in range(_TRIES):
        area_N = height * width * draws.between(area, "resized_crop_area", attempt)
        ratio_N = draws.log_between(ratio, "resized_crop_ratio", attempt)
        tall_N, wide_N = _pixels(area_N / ratio_N), _pixels(area_N * ratio_N)
        fits_N = open_N & (tall_N > 0) & (tall_N <= height) & (wide_N > 0) & (wide_N <= width)
        height_N[fits_N], width_N[fits_N] = tall_N[fits_N], wide_N[fits_N]
        open_N &= ~fits_N
        if not open_N.any():
            break
    top_N = _offsets(draws.uniform("resized_crop_top"), height - height_N)
    left_N = _offsets(draws.uniform("resized_crop_left"), width - width_N)
    top_N[open_N], left_N[open_N] = (height - height_N[open_N]) // 2, (width - width_N[open_N]) // 2
    return Rectangles(top_B=top_N, left_B=left_N, height_B=height_N, width_B=width_N)


def erasures(draws: Draws, height: int, width: int, probability: float, area: Bounds, ratio: Bounds) -> Rectangles:
    """Rectangles to erase (Zhong et al. 2017, arXiv:1708.04896), as torchvision's RandomErasing draws them: up to ten
    shapes until one is smaller than the image both ways; an image that is left as it is has an empty one.

    Args:
        draws: the epoch's.
        height: of the images.
        width: of the images.
        probability: that an image is erased at all.
        area: least and greatest share of the image's area; uniform.
        ratio: least and greatest height over width; log-uniform.
    """
    height_N, width_N = np.zeros((2, draws.examples), dtype=np.int64)
    open_N = draws.uniform("erasing") < probability
    for attempt in range(_TRIES):
        if not open_N.any():
            break
        area_N = height * width * draws.between(area, "erasing_area", attempt)
        ratio_N = draws.log_between(ratio, "erasing_ratio", attempt)
        tall_N, wide_N = _pixels(area_N * ratio_N), _pixels(area_N / ratio_N)
        fits_N = open_N & (tall_N < height) & (wide_N < width)
        height_N[fits_N], width_N[fits_N] = tall_N[fits_N], wide_N[fits_N]
        open_N &= ~fits_N
    top_N = _offsets(draws.uniform("erasing_top"), height - height_N)
    left_N = _offsets(draws.uniform("erasing_left"), width - width_N)
    return Rectangles(top_B=top_N, left_B=left_N, height_B=height_N, width_B=width_N)


def patches(share_B: Numbers, y_B: Numbers, x_B: Numbers, height: int, width: int) -> Rectangles:
    """Rectangles of the image's shape about random centres, cut at its edges (Yun et al. 2019, arXiv:1905.04899).

    Args:
        share_B: share of the image's area before cutting.
        y_B: height of the centre, 0 to 1.
        x_B: its place from left to right, 0 to 1.
        height: of the images.
        width: of the images.
    """
    top_B, height_B = _span(y_B, share_B, height)
    left_B, width_B = _span(x_B, share_B, width)
    return Rectangles(top_B=top_B, left_B=left_B, height_B=height_B, width_B=width_B)


def erase(x_BCHW: Tensor, rectangles: Rectangles) -> Tensor:
    """Set each image's rectangle to 0, in place."""
    return x_BCHW.mul_(1.0 - rectangles.inside(x_BCHW))  # a third of the time of filling under a mask


def _span(centre_B: Numbers, share_B: Numbers, size: int) -> tuple[Places, Places]:
    """Start and length of a patch along one side of the image."""
    middle_B = (centre_B * size).astype(np.int64)
    reach_B = (np.sqrt(share_B) / 2 * size).astype(np.int64)
    start_B = np.maximum(middle_B - reach_B, 0)
    return start_B, np.minimum(middle_B + reach_B, size) - start_B


def _pixels(squares_N: Numbers) -> Places:
    return np.rint(np.sqrt(squares_N)).astype(np.int64)


def _offsets(uniform_N: Numbers, room_N: Places) -> Places:
    return (uniform_N * (room_N + 1)).astype(np.int64)


def _central(examples: int, height: int, width: int, ratio: Bounds) -> tuple[Places, Places]:
    """Height and width of the largest window whose ratio is allowed."""
    least, greatest = ratio
    tall, wide = height, width
    if width / height < least:
        tall = round(width / least)
    elif width / height > greatest:
        wide = round(height * greatest)
    return np.full(examples, tall), np.full(examples, wide)
