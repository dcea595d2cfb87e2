"""Where the windows of convolutions and poolings lie, and how to reach them without copying each.

The windows of an image overlap, so an array that holds them all (im2col) is kh·kw times the image. Here an image is
copied kw times only: once for each column of the kernel, shifted by it. In that array the pixels that row i of the
kernel meets, over all windows, are then one contiguous stretch per channel and column, for windows one below the other
start where others go on. So they are a matrix, as BLAS takes it, in place:

    copies[b, c, j, φ, q, w] = padded image[b, c, q·sh + φ, w·sw + j]     (phase φ of the rows: i = φ + sh·i')
    row i, as a (C·kw, Ho·Wo) matrix of image b  =  copies[b, :, :, φ, i' : i' + Ho, :]

What is made of the copies backward (the gradient of each) is added up into the image by the same slices, reversed.

Shape key: B images, C channels, H height, W width; kh×kw kernel, sh×sw stride, ph×pw padding, Ho×Wo windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from assay.errors import ShapeError
from assay.scratch.layer import Array

Pair = tuple[int, int]
"""Of rows and of columns."""

PART_BYTES = 2**20
"""Of copies at a time: about a core's second cache, so that the product that reads them finds most of them there."""

_ROWS_OF_KERNELS = 4
"""Rows of windows in a band, at least, as a multiple of the kernel's height: a quarter more is copied at most."""


def output_side(side: int, kernel: int, stride: int, padding: int) -> int:
    """How many windows fit along a side: ⌊(side + 2·padding − kernel) / stride⌋ + 1."""
    return (side + 2 * padding - kernel) // stride + 1


def span(side: int, windows: int, offset: int, stride: int) -> tuple[slice, slice]:
    """The windows that meet the image at ``offset`` from their start, and the pixels they meet there.

    Args:
        side: pixels along this side.
        windows: how many lie along it.
        offset: of a pixel of the kernel from the start of the unpadded image, for the first window; may be negative.
        stride: from window to window.

    Returns:
        A slice of windows, and as long a slice of pixels; both empty if all of them meet padding.
    """
    first = max(0, -(offset // stride))
    last = min(windows, (side - 1 - offset) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last), slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of one kernel over images of one size."""

    image: Pair
    kernel: Pair
    stride: Pair
    padding: Pair

    def __post_init__(self) -> None:
        if min(self.kernel) < 1 or min(self.stride) < 1 or min(self.padding) < 0:
            raise ShapeError(
                "A kernel and its stride must be at least 1 and the padding at least 0 in each direction, got kernel "
                f"{self.kernel}, stride {self.stride} and padding {self.padding}."
            )
        if min(self.count) < 1:
            raise ShapeError(
                f"A kernel of {self.kernel[0]}×{self.kernel[1]} must fit into the padded image; got an image of "
                f"{self.image[0]}×{self.image[1]} with padding {self.padding}."
            )

    @property
    def count(self) -> Pair:
        """Windows per column and per row of them: the size of the output."""
        height, width = (output_side(*of_side) for of_side in zip(*self._sides(), strict=True))
        return height, width

    def _sides(self) -> tuple[Pair, Pair, Pair, Pair]:
        return self.image, self.kernel, self.stride, self.padding

    def rows(self, i: int) -> tuple[slice, slice]:
        """The rows of windows whose kernel row i meets the image, and the rows of pixels they meet."""
        return span(self.image[0], self.count[0], i - self.padding[0], self.stride[0])

    def columns(self, j: int) -> tuple[slice, slice]:
        """The same for column j of the kernel."""
        return span(self.image[1], self.count[1], j - self.padding[1], self.stride[1])


@dataclass(frozen=True, kw_only=True)
class Band:
    """Some images of a batch, and some neighbouring rows of their windows."""

    images: slice
    rows: slice


class ShiftedCopies:
    """The copies described above, for one band of windows at a time; margins are zero, as padding is.

    They take about `PART_BYTES`: of several images, or of some rows of the windows of one; but never fewer than
    `_ROWS_OF_KERNELS` times as many as the kernel has, since bands share kernel rows, which each copies again.

    Args:
        windows: of the images.
        channels: of the images.
        images: how many there are in all.
        dtype: of the copies.

    Attributes:
        images: how many there is room for at a time.
        rows: of windows, likewise.
    """

    def __init__(self, windows: Windows, channels: int, images: int, dtype: DTypeLike) -> None:
        self._windows = windows
        (kernel_height, kernel_width), (stride, _) = windows.kernel, windows.stride
        height, width = windows.count
        shared, phases = (kernel_height - 1) // stride, min(stride, kernel_height)
        row_bytes = max(1, channels * kernel_width * phases * width * np.dtype(dtype).itemsize)
        self.images = max(1, min(images, PART_BYTES // (row_bytes * (shared + height))))
        self.rows = min(height, max(_ROWS_OF_KERNELS * kernel_height, PART_BYTES // row_bytes - shared))
        depth = shared + self.rows
        self._copies = np.zeros((self.images, channels, kernel_width, phases, depth, width), dtype=dtype)
        self._flat = self._copies.reshape(self.images, channels * kernel_width, phases * depth * width)
        self._starts = [((i % stride) * depth + i // stride) * width for i in range(kernel_height)]

    def bands(self, start: int, stop: int) -> Iterator[Band]:
        """All windows of the images from ``start`` to ``stop``, as many at a time as there is room for."""
        height, _ = self._windows.count
        for first in range(start, stop, self.images):
            for top in range(0, height, self.rows):
                yield Band(
                    images=slice(first, min(first + self.images, stop)),
                    rows=slice(top, min(top + self.rows, height)),
                )

    def of_kernel_rows(self, band: Band) -> list[Array]:
        """For each row of the kernel its view of the copies: (images, C·kw, places of the band)."""
        images = band.images.stop - band.images.start
        places = self.places(band).stop - self.places(band).start
        return [self._flat[:images, :, start : start + places] for start in self._starts]

    def places(self, band: Band) -> slice:
        """The band's rows among the Ho·Wo places of an output, which lie one after the other."""
        _, width = self._windows.count
        return slice(band.rows.start * width, band.rows.stop * width)

    def take(self, x_BCHW: Array, band: Band) -> None:
        """Fill the copies with what the band's windows meet."""
        for copy, pixels, above, below in self._pairs(x_BCHW, band):
            copy[...] = pixels
            above[...] = below[...] = 0  # another band may have had pixels there

    def clear(self) -> None:
        self._copies.fill(0)

    def add_to(self, dx_BCHW: Array, band: Band) -> None:
        """Add every copy of a pixel to that pixel: the reverse of `take`."""
        for copy, pixels, _, _ in self._pairs(dx_BCHW, band):
            pixels += copy

    def _pairs(self, x_BCHW: Array, band: Band) -> Iterator[tuple[Array, Array, Array, Array]]:
        """Each copy's part inside the image, the pixels it is of, and its parts above and below the image."""
        windows, (phases, depth) = self._windows, self._copies.shape[3:5]
        images = band.images.stop - band.images.start
        for j in range(windows.kernel[1]):
            to_columns, from_columns = windows.columns(j)
            for phase in range(phases):
                offset = band.rows.start * windows.stride[0] + phase - windows.padding[0]
                to_rows, from_rows = span(windows.image[0], depth, offset, windows.stride[0])
                copy = self._copies[:images, :, j, phase]
                yield (
                    copy[:, :, to_rows, to_columns],
                    x_BCHW[band.images, :, from_rows, from_columns],
                    copy[:, :, : to_rows.start],
                    copy[:, :, to_rows.stop :],
                )
