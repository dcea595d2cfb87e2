"""Images read at other positions: windows enlarged, and images turned; bilinear, on floating-point images.

Shape key: B images in a batch, C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from assay.data.augment.draws import Numbers, Places
from assay.data.augment.rectangles import Rectangles


def resized_crop(x_BCHW: Tensor, windows: Rectangles) -> Tensor:
    """Enlarge a window of each image to the image's own size; a pixel beyond the window's edge is the one at its edge.

    Windows are no larger than the image, so nothing is shrunk and there is nothing to smooth first.
    """
    height, width = x_BCHW.shape[2:]
    rows_BH = _enlarged(windows.top_B, windows.height_B, height)
    columns_BW = _enlarged(windows.left_B, windows.width_B, width)
    grid = x_BCHW.new_empty(len(x_BCHW), height, width, 2)
    grid[..., 0] = torch.from_numpy(columns_BW).to(grid)[:, None, :]
    grid[..., 1] = torch.from_numpy(rows_BH).to(grid)[:, :, None]
    return functional.grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _enlarged(start_B: Places, size_B: Places, full: int) -> Numbers:
    """Where each row (or column) of the result lies in the image, −1 at its first edge and 1 at its last one."""
    scale_B1 = (size_B / full)[:, None]
    inside = np.clip((np.arange(full) + 0.5) * scale_B1, 0.5, size_B[:, None] - 0.5)  # centres of the outermost pixels
    positions: Numbers = (start_B[:, None] + inside) * (2.0 / full) - 1.0
    return positions


def rotated(x_BCHW: Tensor, degrees_B: Numbers) -> Tensor:
    """Turn each image about its centre, counter-clockwise; outside of it is black."""
    grid = affine_grid(x_BCHW, rotation_matrices(degrees_B))
    return functional.grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def rotation_matrices(degrees_B: Numbers) -> Numbers:
    """(B, 2, 3): from pixels of the turned image to those of the image, the origin at the centre."""
    turn_B = np.radians(-(degrees_B % 360.0))
    cosine_B, sine_B, zero_B = np.cos(turn_B), np.sin(turn_B), np.zeros_like(turn_B)
    return np.stack([cosine_B, sine_B, zero_B, -sine_B, cosine_B, zero_B], axis=1).reshape(-1, 2, 3)


def affine_grid(x_BCHW: Tensor, matrix_B23: Numbers) -> Tensor:
    """Positions for ``grid_sample``, (B, H, W, 2): where the matrix leads from each pixel's centre.

    The order of the operations is torchvision's, so that a position half-way between two pixels falls to the same one.

    Args:
        x_BCHW: images to be read, of a floating type.
        matrix_B23: in pixels, the origin at the centre.
    """
    height, width = x_BCHW.shape[2:]
    theta = torch.from_numpy(matrix_B23).to(x_BCHW) / x_BCHW.new_tensor([[0.5 * width], [0.5 * height]])
    across_W = torch.arange(width, dtype=x_BCHW.dtype, device=x_BCHW.device) - (width - 1) * 0.5
    down_H = torch.arange(height, dtype=x_BCHW.dtype, device=x_BCHW.device) - (height - 1) * 0.5
    grid = x_BCHW.new_empty(len(x_BCHW), height, width, 2)
    for axis in (0, 1):
        along, upright, shift = theta[:, axis, :, None, None].unbind(1)
        torch.add(along * across_W, upright * down_H[:, None], out=grid[..., axis])
        if matrix_B23[:, axis, 2].any():
            grid[..., axis] += shift
    return grid
