"""Convolution as it is defined: a loop over images, filters, rows and columns, with one product inside.

To be read, and to check `convolution` by: the same numbers, hundreds of times slower.

Shape key: B images, C channels, H height, W width; F filters of kh×kw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from assay.scratch.convolution import ConvolutionCache, convolution_windows
from assay.scratch.layer import Array
from assay.scratch.windows import Pair


@dataclass(frozen=True, kw_only=True)
class ConvolutionByLoops:
    """y[b, f, h, w] = bias[f] + Σ_c Σ_i Σ_j weight[f, c, i, j] · padded x[b, c, h·sh + i, w·sw + j]."""

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def forward(self, x_BCHW: Array, weight_FCkk: Array, bias_F: Array) -> tuple[Array, ConvolutionCache]:
        """Return (y_BFHW, cache).

        Raises:
            ShapeError: the arguments do not fit together, or the kernel does not fit into the padded images.
        """
        windows = convolution_windows(self.stride, self.padding, x_BCHW, weight_FCkk, bias_F)
        padded_BCHW = padded(x_BCHW, self.padding)
        y_BFHW = np.empty((len(x_BCHW), len(weight_FCkk), *windows.count), dtype=x_BCHW.dtype)
        for b in range(len(x_BCHW)):
            for f in range(len(weight_FCkk)):
                for (h, w), window in places(windows.count, windows.kernel, self.stride):
                    y_BFHW[b, f, h, w] = np.sum(padded_BCHW[b, :, *window] * weight_FCkk[f]) + bias_F[f]
        return y_BFHW, (x_BCHW, weight_FCkk)

    def backward(self, dy_BFHW: Array, cache: ConvolutionCache) -> tuple[Array, Array, Array]:
        """Return gradients in the order of forward's arguments: what each place of y adds to them, place by place."""
        x_BCHW, weight_FCkk = cache
        padded_BCHW = padded(x_BCHW, self.padding)
        dpadded_BCHW = np.zeros_like(padded_BCHW)
        dweight_FCkk = np.zeros(weight_FCkk.shape, dtype=x_BCHW.dtype)
        kernel_height, kernel_width = weight_FCkk.shape[2:]
        count = dy_BFHW.shape[2], dy_BFHW.shape[3]
        for b in range(len(x_BCHW)):
            for f in range(len(weight_FCkk)):
                for (h, w), window in places(count, (kernel_height, kernel_width), self.stride):
                    dweight_FCkk[f] += dy_BFHW[b, f, h, w] * padded_BCHW[b, :, *window]
                    dpadded_BCHW[b, :, *window] += dy_BFHW[b, f, h, w] * weight_FCkk[f]
        return cropped(dpadded_BCHW, self.padding), dweight_FCkk, dy_BFHW.sum(axis=(0, 2, 3))


def padded(x_BCHW: Array, padding: Pair, value: float = 0.0) -> Array:
    """A copy of the images with so many rows and columns of ``value`` on either side."""
    rows, columns = padding
    return np.pad(x_BCHW, ((0, 0), (0, 0), (rows, rows), (columns, columns)), constant_values=value)


def cropped(x_BCHW: Array, padding: Pair) -> Array:
    """The images inside that padding; a view."""
    rows, columns = padding
    return x_BCHW[:, :, rows : x_BCHW.shape[2] - rows, columns : x_BCHW.shape[3] - columns]


def places(count: Pair, kernel: Pair, stride: Pair) -> Iterator[tuple[Pair, tuple[slice, slice]]]:
    """Every place of the output, with the rows and columns of its window."""
    for h in range(count[0]):
        for w in range(count[1]):
            top, left = h * stride[0], w * stride[1]
            yield (h, w), (slice(top, top + kernel[0]), slice(left, left + kernel[1]))
