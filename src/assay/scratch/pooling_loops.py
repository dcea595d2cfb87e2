"""Max-pooling as it is defined: a loop over images, channels, rows and columns.

Shape key: B images, C channels, H height, W width; U×V windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.scratch.convolution_loops import cropped, padded, places
from assay.scratch.layer import Array
from assay.scratch.pooling import MaxPool, pooling_windows
from assay.scratch.windows import Pair


@dataclass(frozen=True, kw_only=True)
class MaxPoolByLoops:
    """y[b, c, u, v] = the greatest pixel of the window at (u, v); see `assay.scratch.pooling.MaxPool`."""

    kernel: Pair = (2, 2)
    stride: Pair | None = None
    """As the kernel, if None: windows side by side."""
    padding: Pair = (0, 0)

    def forward(self, x_BCHW: Array) -> tuple[Array, Array]:
        """Return (y_BCUV, cache).

        Raises:
            ShapeError: the kernel does not fit into the padded images, or is padded by more than half of it.
        """
        windows = pooling_windows(MaxPool(kernel=self.kernel, stride=self.stride, padding=self.padding), x_BCHW)
        padded_BCHW = padded(x_BCHW, self.padding, -np.inf)
        y_BCUV = np.empty((*x_BCHW.shape[:2], *windows.count), dtype=x_BCHW.dtype)
        for b in range(x_BCHW.shape[0]):
            for c in range(x_BCHW.shape[1]):
                for (u, v), window in places(windows.count, self.kernel, windows.stride):
                    y_BCUV[b, c, u, v] = np.max(padded_BCHW[b, c, *window])
        return y_BCUV, x_BCHW

    def backward(self, dy_BCUV: Array, cache: Array) -> tuple[Array]:
        """Return (dx_BCHW,): the first of the greatest pixels of each window gets its gradient."""
        x_BCHW = cache
        padded_BCHW = padded(x_BCHW, self.padding, -np.inf)
        dpadded_BCHW = np.zeros_like(padded_BCHW)
        count = dy_BCUV.shape[2], dy_BCUV.shape[3]
        for b in range(x_BCHW.shape[0]):
            for c in range(x_BCHW.shape[1]):
                for (u, v), window in places(count, self.kernel, self.stride or self.kernel):
                    first = np.unravel_index(np.argmax(padded_BCHW[b, c, *window]), self.kernel)
                    dpadded_BCHW[b, c, *window][first] += dy_BCUV[b, c, u, v]
        return (cropped(dpadded_BCHW, self.padding),)
