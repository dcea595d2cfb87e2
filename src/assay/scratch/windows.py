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

PART_BYTES = 2**19
"""Of copies at a time: half a core's second cache, so that the product that reads them finds them there."""


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


class ShiftedCopies:
    """The copies described above, of a few images at a time; margins are zero, as padding is.

    Attributes:
        rows_BKP: for each row of the kernel, its view of the copies: (B, C·kw, Ho·Wo).
    """

    def __init__(self, windows: Windows, channels: int, images: int, dtype: DTypeLike) -> None:
        self._windows = windows
        (kernel_height, kernel_width), (stride, _) = windows.kernel, windows.stride
        height, width = windows.count
        phases, depth = min(stride, kernel_height), (kernel_height - 1) // stride + height
        self._copies = np.zeros((images, channels, kernel_width, phases, depth, width), dtype=dtype)
        flat = self._copies.reshape(images, channels * kernel_width, phases * depth * width)
        starts = [((i % stride) * depth + i // stride) * width for i in range(kernel_height)]
        self.rows_BKP = [flat[:, :, start : start + height * width] for start in starts]

    @staticmethod
    def images_at_once(windows: Windows, channels: int, itemsize: int) -> int:
        """How many images' copies stay below `PART_BYTES`, at least one: memory does not grow with the batch."""
        (height, _), (_, width) = windows.image, windows.count
        padded = height + 2 * windows.padding[0]
        return max(1, PART_BYTES // max(1, channels * windows.kernel[1] * padded * width * itemsize))

    def take(self, x_BCHW: Array) -> None:
        """Fill the copies with these images, no more than there is room for."""
        for copy, pixels in self._pairs(x_BCHW):
            copy[...] = pixels

    def clear(self) -> None:
        self._copies.fill(0)

    def add_to(self, dx_BCHW: Array) -> None:
        """Add every copy of a pixel to that pixel: the reverse of `take`."""
        for copy, pixels in self._pairs(dx_BCHW):
            pixels += copy

    def _pairs(self, x_BCHW: Array) -> Iterator[tuple[Array, Array]]:
        """Each copy's part inside the image, and the pixels it is of."""
        windows, (phases, depth) = self._windows, self._copies.shape[3:5]
        for j in range(windows.kernel[1]):
            to_columns, from_columns = windows.columns(j)
            for phase in range(phases):
                offset = phase - windows.padding[0]
                to_rows, from_rows = span(windows.image[0], depth, offset, windows.stride[0])
                yield (
                    self._copies[: len(x_BCHW), :, j, phase, to_rows, to_columns],
                    x_BCHW[:, :, from_rows, from_columns],
                )
