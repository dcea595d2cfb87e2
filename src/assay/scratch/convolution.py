"""Convolution, fast: products of matrices over views of a few shifted copies of the images (see `windows`).

As all of the field does, "convolution" means cross-correlation: the kernel is not mirrored (Goodfellow, Bengio and
Courville 2016, Deep Learning, section 9.1). `convolution_loops` writes the same out as it is defined. That products of
matrices make it fast is due to Chellapilla, Puri and Simard 2006, "High performance convolutional neural networks for
document processing"; copying kw times instead of kh·kw times is Cho and Brand's memory-efficient convolution (2017,
arXiv:1706.06873).

Shape key: B images, C channels, H height, W width; F filters of kh×kw; P = Ho·Wo places of the output.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from assay.errors import ShapeError
from assay.scratch.in_parallel import in_shares
from assay.scratch.layer import Array, demand_floats
from assay.scratch.windows import Pair, ShiftedCopies, Windows

ConvolutionCache = tuple[Array, Array]
"""x and the weights themselves, not copies."""


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """y[b, f, h, w] = bias[f] + Σ_c Σ_i Σ_j weight[f, c, i, j] · padded x[b, c, h·sh + i, w·sw + j].

    Beside x and y it needs memory, per thread, for the copies of a band of windows (`windows.ShiftedCopies`) and for a
    product over them: y of the band forward, as much again as the copies for the input's gradient. Neither grows with
    the batch or with the height of the images.
    """

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def forward(self, x_BCHW: Array, weight_FCkk: Array, bias_F: Array) -> tuple[Array, ConvolutionCache]:
        """Return (y_BFHW, cache).

        Raises:
            ShapeError: the arguments do not fit together, or the kernel does not fit into the padded images.
        """
        windows = convolution_windows(self.stride, self.padding, x_BCHW, weight_FCkk, bias_F)
        weight_kFK = _weight_of_rows(weight_FCkk)
        y_BFP = np.empty((len(x_BCHW), len(weight_FCkk), windows.count[0] * windows.count[1]), dtype=x_BCHW.dtype)

        def work(start: int, stop: int) -> None:
            copies = ShiftedCopies(windows, x_BCHW.shape[1], stop - start, x_BCHW.dtype)
            room = _Room(copies.images * len(weight_FCkk) * copies.rows * windows.count[1], x_BCHW.dtype)
            for band in copies.bands(start, stop):
                copies.take(x_BCHW, band)
                sum_BFP = y_BFP[band.images, :, copies.places(band)]
                for i, rows_BKP in enumerate(copies.of_kernel_rows(band)):
                    if i == 0:
                        np.matmul(weight_kFK[0], rows_BKP, out=sum_BFP)
                    else:
                        sum_BFP += np.matmul(weight_kFK[i], rows_BKP, out=room.shaped(sum_BFP.shape))
                sum_BFP += bias_F[:, None]

        in_shares(len(x_BCHW), work)
        return y_BFP.reshape(*y_BFP.shape[:2], *windows.count), (x_BCHW, weight_FCkk)

    def backward(self, dy_BFHW: Array, cache: ConvolutionCache) -> tuple[Array, Array, Array]:
        """Return gradients in the order of forward's arguments."""
        return self.input_gradient(dy_BFHW, cache), *self.parameter_gradients(dy_BFHW, cache)

    def input_gradient(self, dy_BFHW: Array, cache: ConvolutionCache) -> Array:
        """dx: every pixel collects dy · weight from all windows it is in. A network's first layer can do without."""
        x_BCHW, weight_FCkk = cache
        windows = _windows(self.stride, self.padding, x_BCHW, weight_FCkk)
        weight_kKF = np.ascontiguousarray(_weight_of_rows(weight_FCkk).transpose(0, 2, 1))
        dy_BFP = _places_in_a_row(dy_BFHW)
        dx_BCHW = np.zeros(x_BCHW.shape, dtype=x_BCHW.dtype)

        def work(start: int, stop: int) -> None:
            copies = ShiftedCopies(windows, x_BCHW.shape[1], stop - start, x_BCHW.dtype)
            room = _Room(copies.images * weight_kKF.shape[1] * copies.rows * windows.count[1], x_BCHW.dtype)
            for band in copies.bands(start, stop):
                copies.clear()
                for i, rows_BKP in enumerate(copies.of_kernel_rows(band)):
                    dband_BFP = dy_BFP[band.images, :, copies.places(band)]
                    rows_BKP += np.matmul(weight_kKF[i], dband_BFP, out=room.shaped(rows_BKP.shape))
                copies.add_to(dx_BCHW, band)

        in_shares(len(x_BCHW), work)
        return dx_BCHW

    def parameter_gradients(self, dy_BFHW: Array, cache: ConvolutionCache) -> tuple[Array, Array]:
        """(dweight, dbias): each weight collects dy · pixel from all windows."""
        x_BCHW, weight_FCkk = cache
        windows = _windows(self.stride, self.padding, x_BCHW, weight_FCkk)
        filters, channels, kernel_height, kernel_width = weight_FCkk.shape
        dy_BFP = _places_in_a_row(dy_BFHW)

        def work(start: int, stop: int) -> Array:
            copies = ShiftedCopies(windows, channels, stop - start, x_BCHW.dtype)
            dweight_kFK = np.zeros((kernel_height, filters, channels * kernel_width), dtype=x_BCHW.dtype)
            for band in copies.bands(start, stop):
                copies.take(x_BCHW, band)
                for i, rows_BKP in enumerate(copies.of_kernel_rows(band)):
                    dband_BFP = dy_BFP[band.images, :, copies.places(band)]
                    dweight_kFK[i] += np.matmul(dband_BFP, rows_BKP.transpose(0, 2, 1)).sum(axis=0)
            return dweight_kFK

        dweight_kFK = functools.reduce(np.add, in_shares(len(x_BCHW), work))
        dweight_kFCk = dweight_kFK.reshape(kernel_height, filters, channels, kernel_width)
        return np.ascontiguousarray(dweight_kFCk.transpose(1, 2, 0, 3)), dy_BFP.sum(axis=(0, 2))


def convolution_windows(stride: Pair, padding: Pair, x_BCHW: Array, weight_FCkk: Array, bias_F: Array) -> Windows:
    """The windows of a convolution whose arguments have been found to fit together.

    Raises:
        ShapeError: they do not.
        InputError: the images are not floats.
    """
    demand_floats("Convolution", x_BCHW)
    if x_BCHW.ndim != 4 or weight_FCkk.ndim != 4 or x_BCHW.shape[1] != weight_FCkk.shape[1]:
        raise ShapeError(
            "Convolution needs images (B, C, H, W) and weights (F, C, kh, kw) of as many channels, got "
            f"{x_BCHW.shape} and {weight_FCkk.shape}."
        )
    if bias_F.shape != weight_FCkk.shape[:1]:
        raise ShapeError(f"Convolution of {len(weight_FCkk)} filters needs as many biases, got {bias_F.shape}.")
    return _windows(stride, padding, x_BCHW, weight_FCkk)


def _windows(stride: Pair, padding: Pair, x_BCHW: Array, weight_FCkk: Array) -> Windows:
    height, width = x_BCHW.shape[2:]
    kernel_height, kernel_width = weight_FCkk.shape[2:]
    return Windows(image=(height, width), kernel=(kernel_height, kernel_width), stride=stride, padding=padding)


def _weight_of_rows(weight_FCkk: Array) -> Array:
    """The weights of each row of the kernel, as a matrix: (kh, F, C·kw)."""
    filters, channels, kernel_height, kernel_width = weight_FCkk.shape
    rows_first_kFCk = np.ascontiguousarray(weight_FCkk.transpose(2, 0, 1, 3))
    return rows_first_kFCk.reshape(kernel_height, filters, channels * kernel_width)


class _Room:
    """Memory for products that are added up at once, used again for each."""

    def __init__(self, values: int, dtype: DTypeLike) -> None:
        self._values = np.empty(values, dtype=dtype)

    def shaped(self, shape: tuple[int, ...]) -> Array:
        return self._values[: math.prod(shape)].reshape(shape)


def _places_in_a_row(dy_BFHW: Array) -> Array:
    """(B, F, Ho·Wo), also where B or F is 0 and the size does not tell Ho·Wo."""
    return dy_BFHW.reshape(*dy_BFHW.shape[:2], math.prod(dy_BFHW.shape[2:]))
