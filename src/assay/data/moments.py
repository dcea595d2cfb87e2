"""Mean, deviation, range and covariance of any number of images in one pass, in float64, with bounded memory.

Moments of two parts are merged by the updating formula of Chan, Golub and LeVeque (1983, doi:10.1080/00031305.1983.
10483115): with δ the difference of their means,

    mean = mean_a + δ·n_b/n        M2 = M2_a + M2_b + δ²·n_a·n_b/n,

in a balanced tree, so that rounding grows with the logarithm of the number of parts. A mean is kept as a sum of two
floats: of data around 10⁹ with deviation 1, one float64 would lose the ninth digit of δ. Pixels of 8 bits are summed in
whole numbers instead, which round nowhere: their moments are the same in whatever parts and order they come.

Shape key: n examples of a part, C channels (or features, or pixels), D features, H height, W width; a part is
(n, C, …), and everything but C is averaged over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from assay.errors import ShapeError
from assay.records import Array

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_PART_VALUES = 2**19
"""Values looked at at once: their squares stay in a processor's cache."""
_SUMMED_AT_ONCE = 2**16
"""Squares of 8 bits that surely fit in an unsigned sum of 32 bits: 65,536 · 255² < 2³²."""


class _Mergeable(Protocol):
    def merged(self, other: Self) -> Self: ...


Part = TypeVar("Part", bound=_Mergeable)


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """What is known of each channel after any number of values.

    Attributes:
        count: values per channel.
        mean_C: their mean.
        residue_C: what rounding took from the mean; added to it, the mean has twice the digits.
        squares_C: the sum of squared deviations from the mean, M2.
        low_C: the least value.
        high_C: the greatest.
    """

    count: int
    mean_C: Floats
    residue_C: Floats
    squares_C: Floats
    low_C: Floats
    high_C: Floats

    @classmethod
    def of(cls, part: Array) -> Moments:
        """Moments of one part, (n, C, …), of any real type. Computed in two passes, corrected for the mean's rounding.

        Raises:
            ShapeError: it has no channels or no values.
        """
        _check_part(part)
        if part.dtype == np.uint8:
            return PixelSums.of(part).moments()
        axes = (0, *range(2, part.ndim))
        values = part.astype(np.float64)
        count = values.size // values.shape[1]
        mean = values.mean(axis=axes, keepdims=True)
        low_C, high_C = values.min(axis=axes), values.max(axis=axes)
        values -= mean
        off_C = values.mean(axis=axes)
        squares_C = np.square(values, out=values).sum(axis=axes) - count * np.square(off_C)
        mean_C, residue_C = _two_sum(mean.ravel(), off_C)
        return cls(
            count=count,
            mean_C=mean_C,
            residue_C=residue_C,
            squares_C=np.maximum(squares_C, 0.0),
            low_C=low_C,
            high_C=high_C,
        )

    def merged(self, other: Moments) -> Moments:
        """Moments of the values of both."""
        count, mean_C, residue_C, difference_C = _merged_means(self, other)
        shared = self.count / count * other.count
        return Moments(
            count=count,
            mean_C=mean_C,
            residue_C=residue_C,
            squares_C=self.squares_C + other.squares_C + np.square(difference_C) * shared,
            low_C=np.minimum(self.low_C, other.low_C),
            high_C=np.maximum(self.high_C, other.high_C),
        )

    @property
    def deviation_C(self) -> Floats:
        """Population standard deviation: it divides by the count."""
        deviation_C: Floats = np.sqrt(self.squares_C / self.count)
        return deviation_C

    @property
    def constant_C(self) -> NDArray[np.bool_]:
        """Whether every value of a channel is the same."""
        constant_C: NDArray[np.bool_] = self.low_C == self.high_C
        return constant_C


@dataclass(frozen=True, kw_only=True, eq=False)
class Covariance:
    """Second moments of features, all by all.

    Attributes:
        count: examples.
        mean_C: mean of each feature.
        residue_C: what rounding took from it.
        products_CC: the sum over examples of (x − mean)(x − mean)ᵀ.
    """

    count: int
    mean_C: Floats
    residue_C: Floats
    products_CC: Floats

    @classmethod
    def of(cls, part_nC: Array) -> Covariance:
        """Second moments of one part.

        Raises:
            ShapeError: it is not (n, C), or empty.
        """
        if part_nC.ndim != 2:
            raise ShapeError(f"A covariance is of examples of shape (n, C), got {part_nC.shape}.")
        _check_part(part_nC)
        values_nC = part_nC.astype(np.float64)
        mean_C = values_nC.mean(axis=0)
        values_nC -= mean_C
        off_C = values_nC.mean(axis=0)
        products_CC = values_nC.T @ values_nC
        products_CC -= len(values_nC) * np.outer(off_C, off_C)
        mean_C, residue_C = _two_sum(mean_C, off_C)
        return cls(count=len(values_nC), mean_C=mean_C, residue_C=residue_C, products_CC=products_CC)

    def merged(self, other: Covariance) -> Covariance:
        """Second moments of the examples of both."""
        count, mean_C, residue_C, difference_C = _merged_means(self, other)
        products_CC = np.outer(difference_C, difference_C)
        products_CC *= self.count / count * other.count
        products_CC += self.products_CC
        products_CC += other.products_CC
        return Covariance(count=count, mean_C=mean_C, residue_C=residue_C, products_CC=products_CC)

    @property
    def matrix_CC(self) -> Floats:
        """The population covariance: it divides by the count."""
        return self.products_CC / self.count


def channel_moments(parts: Iterable[Array]) -> Moments:
    """Moments per channel, pixel-weighted.

    Args:
        parts: arrays (n, C, …); those of 8 bits may differ in n, height and width. Each is let go before the next is
            asked for.

    Raises:
        ShapeError: there is no part, or they differ in their channels.
    """
    sums: list[PixelSums] = []

    def of_floats() -> Iterator[Moments]:
        for part in parts:
            _check_part(part)
            if part.dtype != np.uint8:
                yield Moments.of(part)
            else:
                sums[:] = [sums[0].merged(PixelSums.of(part))] if sums else [PixelSums.of(part)]

    floats = merge_all(of_floats())
    found = [moments for moments in (floats, sums[0].moments() if sums else None) if moments is not None]
    if not found:
        raise ShapeError("Statistics need at least one value, got no data at all.")
    return found[0].merged(found[1]) if len(found) == 2 else found[0]


def pixel_moments(parts: Iterable[Array]) -> Moments:
    """Moments of each pixel of each channel: the mean image, flattened, with its deviations.

    Args:
        parts: arrays (n, C, H, W) of one height and width.
    """
    return channel_moments(part.reshape(len(part), -1) for part in parts)


def covariance(parts: Iterable[Array]) -> Covariance:
    """Second moments of all features (all pixels of all channels, for images) of arrays (n, …).

    A tree of p parts keeps about log₂ p matrices of D × D at once.
    """
    found = merge_all(Covariance.of(part.reshape(len(part), -1)) for part in parts)
    if found is None:
        raise ShapeError("Statistics need at least one value, got no data at all.")
    return found


def channel_covariance(parts: Iterable[Array]) -> Covariance:
    """Second moments of channels, every pixel of (n, C, H, W) being one example."""
    return covariance(np.moveaxis(part, 1, -1).reshape(-1, part.shape[1]) for part in parts)


def merge_all(parts: Iterable[Part]) -> Part | None:
    """Merge in a balanced tree as the parts come, keeping about log₂ of their number; None when there are none."""
    waiting: list[tuple[int, Part]] = []  # trees still to be merged, each taller than the next
    for part in parts:
        height, tree = 0, part
        while waiting and waiting[-1][0] == height:
            tree = waiting.pop()[1].merged(tree)
            height += 1
        waiting.append((height, tree))
    if not waiting:
        return None
    _, whole = waiting.pop()
    while waiting:
        whole = waiting.pop()[1].merged(whole)
    return whole


def parts_of(inputs: Array, positions_N: Integers, values: int = _PART_VALUES) -> Iterator[Array]:
    """Copies of the examples at these positions, some at a time, so that a memory-mapped array is never read whole.

    Args:
        inputs: all examples, (N, …).
        positions_N: which to take.
        values: about how many values a part has; at least one example.
    """
    rows = max(1, values // max(1, inputs[0].size))
    for start in range(0, len(positions_N), rows):
        yield inputs[positions_N[start : start + rows]]


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelSums:
    """Exact sums of values of 8 bits. They hold up to 2⁴⁶ values per channel."""

    count: int
    sum_C: Integers
    squares_C: Integers
    low_C: NDArray[np.uint8]
    high_C: NDArray[np.uint8]

    @classmethod
    def of(cls, part: Array) -> PixelSums:
        _check_part(part)
        channels = part.shape[1]
        # Decoded images have their channels side by side; summed as they lie, they would take ten times as long.
        part_nCP = np.ascontiguousarray(part).reshape(len(part), channels, -1)
        width = min(part_nCP.shape[2], _SUMMED_AT_ONCE)
        rows = max(1, min(_SUMMED_AT_ONCE // width, _PART_VALUES // (channels * width)))
        sum_C, squares_C = np.zeros(channels, dtype=np.int64), np.zeros(channels, dtype=np.int64)
        for row in range(0, len(part), rows):
            for left in range(0, part_nCP.shape[2], width):
                block_nCP = part_nCP[row : row + rows, :, left : left + width]
                sum_C += block_nCP.sum(axis=(0, 2), dtype=np.uint32)
                squares_C += np.multiply(block_nCP, block_nCP, dtype=np.uint16).sum(axis=(0, 2), dtype=np.uint32)
        return cls(
            count=part.size // channels,
            sum_C=sum_C,
            squares_C=squares_C,
            low_C=part_nCP.min(axis=(0, 2)),
            high_C=part_nCP.max(axis=(0, 2)),
        )

    def merged(self, other: PixelSums) -> PixelSums:
        _check_channels(self.sum_C, other.sum_C)
        return PixelSums(
            count=self.count + other.count,
            sum_C=self.sum_C + other.sum_C,
            squares_C=self.squares_C + other.squares_C,
            low_C=np.minimum(self.low_C, other.low_C),
            high_C=np.maximum(self.high_C, other.high_C),
        )

    def moments(self) -> Moments:
        """Correctly rounded: Python's whole numbers have no end, and its division of them rounds once."""
        n = self.count
        sums, squares = self.sum_C.tolist(), self.squares_C.tolist()
        return Moments(
            count=n,
            mean_C=np.array([total / n for total in sums]),
            residue_C=np.zeros(len(sums)),
            squares_C=np.array([(n * square - total * total) / n for total, square in zip(sums, squares, strict=True)]),
            low_C=self.low_C.astype(np.float64),
            high_C=self.high_C.astype(np.float64),
        )


def _merged_means(left: Moments | Covariance, right: Moments | Covariance) -> tuple[int, Floats, Floats, Floats]:
    """Count, mean and its residue of both together, and the difference of their means."""
    _check_channels(left.mean_C, right.mean_C)
    count = left.count + right.count
    difference_C = (right.mean_C - left.mean_C) + (right.residue_C - left.residue_C)
    mean_C, residue_C = _two_sum(left.mean_C, left.residue_C + difference_C * (right.count / count))
    return count, mean_C, residue_C, difference_C


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The rounded sum and what rounding took from it, exactly (Knuth 1969, The Art of Computer Programming, 4.2.2)."""
    rounded = a + b
    of_b = rounded - a
    return rounded, (a - (rounded - of_b)) + (b - of_b)


def _check_part(part: Array) -> None:
    if part.ndim < 2 or part.size == 0:
        raise ShapeError(f"Statistics need parts of shape (n, C, …) with at least one value, got {part.shape}.")


def _check_channels(left_C: Array, right_C: Array) -> None:
    if len(left_C) != len(right_C):
        raise ShapeError(f"Statistics are of one number of channels, got parts of {len(left_C)} and of {len(right_C)}.")
