"""Pooling, fast: whole rows are combined at once, first along the columns of the kernel, then along its rows.

The maximum (or the sum) over a window is that over its rows of the maximum within each row, so a kernel of kh×kw takes
kh + kw passes and not kh·kw. `pooling_loops` writes the same out window by window. Max-pooling: Ranzato et al. 2007;
average pooling: LeCun et al. 1998.

Shape key: B images, C channels, H height, W width; V = Wo windows along a row, U = Ho along a column.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from assay.errors import ShapeError
from assay.scratch.in_parallel import in_shares, parts
from assay.scratch.layer import Array, demand_floats
from assay.scratch.windows import PART_BYTES, Pair, Windows

MaxPoolCache = tuple[Array, Array, Array]
"""x, the maxima within each row of pixels (B, C, H, V), and y."""


@dataclass(frozen=True, kw_only=True)
class MaxPool:
    """y[b, c, u, v] = the greatest pixel of the window at (u, v). Padding never is: it counts as −∞.

    Of equal pixels in a window the first, row by row, gets the gradient, as in torch.
    """

    kernel: Pair = (2, 2)
    stride: Pair | None = None
    """As the kernel, if None: windows side by side."""
    padding: Pair = (0, 0)

    def forward(self, x_BCHW: Array) -> tuple[Array, MaxPoolCache]:
        """Return (y_BCUV, cache).

        Raises:
            ShapeError: the kernel does not fit into the padded images, or is padded by more than half of it.
        """
        windows = pooling_windows(self, x_BCHW)
        wider_BCHV, y_BCUV = _room(windows, x_BCHW)

        def work(start: int, stop: int) -> None:
            for part in _parts(start, stop, x_BCHW):
                _combine(np.maximum, _columns(windows, x_BCHW[part], wider_BCHV[part]), wider_BCHV[part], -np.inf)
                _combine(np.maximum, _rows(windows, wider_BCHV[part], y_BCUV[part]), y_BCUV[part], -np.inf)

        in_shares(len(x_BCHW), work)
        return y_BCUV, (x_BCHW, wider_BCHV, y_BCUV)

    def backward(self, dy_BCUV: Array, cache: MaxPoolCache) -> tuple[Array]:
        """Return (dx_BCHW,): the gradient goes to the first row that has the maximum, and there to the first pixel."""
        x_BCHW, wider_BCHV, y_BCUV = cache
        windows = pooling_windows(self, x_BCHW)
        dx_BCHW = np.zeros(x_BCHW.shape, dtype=x_BCHW.dtype)

        def work(start: int, stop: int) -> None:
            for part in _parts(start, stop, x_BCHW):
                wider, y = wider_BCHV[part], y_BCUV[part]
                dwider = np.zeros(wider.shape, dtype=wider.dtype)
                rows, drows = _rows(windows, wider, y), _rows(windows, dwider, y)
                _to_the_first(dy_BCUV[part], y, rows, drows, disjoint=windows.kernel[0] <= windows.stride[0])
                x, dx = x_BCHW[part], dx_BCHW[part]
                columns, dcolumns = _columns(windows, x, wider), _columns(windows, dx, wider)
                _to_the_first(dwider, wider, columns, dcolumns, disjoint=windows.kernel[1] <= windows.stride[1])

        in_shares(len(x_BCHW), work)
        return (dx_BCHW,)


@dataclass(frozen=True, kw_only=True)
class AveragePool:
    """y[b, c, u, v] = the mean of the window at (u, v). Padding counts as pixels of value 0, as in torch."""

    kernel: Pair = (2, 2)
    stride: Pair | None = None
    """As the kernel, if None: windows side by side."""
    padding: Pair = (0, 0)

    def forward(self, x_BCHW: Array) -> tuple[Array, Array]:
        """Return (y_BCUV, cache).

        Raises:
            ShapeError: the kernel does not fit into the padded images, or is padded by more than half of it.
        """
        windows = pooling_windows(self, x_BCHW)
        wider_BCHV, y_BCUV = _room(windows, x_BCHW)
        share = 1.0 / math.prod(self.kernel)

        def work(start: int, stop: int) -> None:
            for part in _parts(start, stop, x_BCHW):
                _combine(np.add, _columns(windows, x_BCHW[part], wider_BCHV[part]), wider_BCHV[part], 0.0)
                _combine(np.add, _rows(windows, wider_BCHV[part], y_BCUV[part]), y_BCUV[part], 0.0)
                y_BCUV[part] *= share

        in_shares(len(x_BCHW), work)
        return y_BCUV, x_BCHW

    def backward(self, dy_BCUV: Array, cache: Array) -> tuple[Array]:
        """Return (dx_BCHW,): every pixel of a window gets an equal share."""
        x_BCHW = cache
        windows = pooling_windows(self, x_BCHW)
        dx_BCHW = np.zeros(x_BCHW.shape, dtype=x_BCHW.dtype)
        share = 1.0 / math.prod(self.kernel)

        def work(start: int, stop: int) -> None:
            for part in _parts(start, stop, x_BCHW):
                dy, dx = dy_BCUV[part] * share, dx_BCHW[part]
                dwider = np.zeros((*dx.shape[:3], dy.shape[3]), dtype=dx.dtype)
                for to, of in _rows(windows, dwider, dy):
                    of += dy[to]
                for to, of in _columns(windows, dx, dwider):
                    of += dwider[to]

        in_shares(len(x_BCHW), work)
        return (dx_BCHW,)


@dataclass(frozen=True, kw_only=True)
class Subsample:
    """y[b, c, u, v] = the first pixel of the window at (u, v), windows side by side: a stride and nothing else."""

    kernel: Pair = (2, 2)

    def forward(self, x_BCHW: Array) -> tuple[Array, Array]:
        """Return (y_BCUV, cache)."""
        return np.ascontiguousarray(self._seen(x_BCHW)), x_BCHW

    def backward(self, dy_BCUV: Array, cache: Array) -> tuple[Array]:
        """Return (dx_BCHW,): 0 for the pixels that were not seen."""
        x_BCHW = cache
        dx_BCHW = np.zeros(x_BCHW.shape, dtype=x_BCHW.dtype)
        self._seen(dx_BCHW)[...] = dy_BCUV
        return (dx_BCHW,)

    def _seen(self, x_BCHW: Array) -> Array:
        if x_BCHW.ndim != 4 or not all(1 <= by <= side for side, by in zip(x_BCHW.shape[2:], self.kernel, strict=True)):
            raise ShapeError(
                f"Subsample needs images of shape (B, C, H, W), of at least {self.kernel[0]}×{self.kernel[1]} pixels, "
                f"each at least 1, got {x_BCHW.shape}."
            )
        rows, columns = (side // by * by for side, by in zip(x_BCHW.shape[2:], self.kernel, strict=True))
        return x_BCHW[:, :, 0 : rows : self.kernel[0], 0 : columns : self.kernel[1]]


def pooling_windows(pool: MaxPool | AveragePool, x_BCHW: Array) -> Windows:
    """The windows of a pooling over these images.

    Raises:
        ShapeError: the kernel does not fit into the padded images, or is padded by more than half of it: some windows
            would hold no pixel.
        InputError: the images are not floats.
    """
    name = type(pool).__name__
    demand_floats(name, x_BCHW)
    if x_BCHW.ndim != 4 or not all(x_BCHW.shape[2:]):
        raise ShapeError(f"{name} needs images of shape (B, C, H, W), H and W at least 1, got {x_BCHW.shape}.")
    if any(2 * padding > kernel for padding, kernel in zip(pool.padding, pool.kernel, strict=True)):
        raise ShapeError(f"{name} can be padded by at most half its kernel {pool.kernel}, got padding {pool.padding}.")
    height, width = x_BCHW.shape[2:]
    return Windows(image=(height, width), kernel=pool.kernel, stride=pool.stride or pool.kernel, padding=pool.padding)


Index = tuple[slice, ...]
Pieces = Iterable[tuple[Index, Array]]
"""For each row or column of the kernel: the windows it is in, and a view of what those windows meet there."""


def _columns(windows: Windows, x_BCHW: Array, wider_BCHV: Array) -> Pieces:
    for j in range(windows.kernel[1]):
        to, of = windows.columns(j)
        yield (slice(None), slice(None), slice(None), to), x_BCHW[:, :, :, of]


def _rows(windows: Windows, wider_BCHV: Array, y_BCUV: Array) -> Pieces:
    for i in range(windows.kernel[0]):
        to, of = windows.rows(i)
        yield (slice(None), slice(None), to), wider_BCHV[:, :, of]


def _room(windows: Windows, x_BCHW: Array) -> tuple[Array, Array]:
    """Arrays, not yet filled, for the windows along rows alone and for all of them."""
    images, channels, height = x_BCHW.shape[:3]
    rows, columns = windows.count
    wider_BCHV = np.empty((images, channels, height, columns), dtype=x_BCHW.dtype)
    return wider_BCHV, np.empty((images, channels, rows, columns), dtype=x_BCHW.dtype)


def _combine(combine: np.ufunc, pieces: Pieces, out: Array, nothing: float) -> None:
    """out = what combining all pieces comes to; ``nothing`` where there is none."""
    found = list(pieces)
    whole = [(to, piece) for to, piece in found if piece.shape == out.shape]
    partial = [(to, piece) for to, piece in found if piece.shape != out.shape]
    if len(whole) > 1:  # the first two at once: a pass less
        combine(whole.pop()[1], whole.pop()[1], out=out)
    else:
        out.fill(nothing)
    for to, piece in whole + partial:
        combine(out[to], piece, out=out[to])


def _to_the_first(dy: Array, y: Array, pieces: Pieces, gradients: Pieces, *, disjoint: bool) -> None:
    """Add each gradient to that of the first piece whose value is ``y``; just write it, if no two windows share any.

    What no earlier piece has taken belongs to the last one, so that is not compared.
    """
    rest = dy.copy()
    of_gradients = list(gradients)
    for number, ((to, piece), (_, gradient)) in enumerate(zip(pieces, of_gradients, strict=True), start=1):
        if number == len(of_gradients):
            taken = rest[to]
        elif disjoint:
            taken = np.multiply(rest[to], piece == y[to], out=gradient)
            rest[to] -= taken
            continue
        else:
            taken = rest[to] * (piece == y[to])
            rest[to] -= taken
        if disjoint:
            gradient[...] = taken
        else:
            gradient += taken


def _parts(start: int, stop: int, x_BCHW: Array) -> Iterable[slice]:
    """A few images at a time, so that the second pass finds in the caches what the first one wrote."""
    images = max(1, PART_BYTES // max(1, x_BCHW[:1].nbytes))
    return parts(start, stop, images)
