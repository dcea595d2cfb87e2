"""Disjoint, stratified splits. The test split is fixed per data set; validation is drawn anew for each seed.

Shape key: N examples of the data set, M examples that may be chosen, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.data.source import Examples
from assay.errors import DataError
from assay.recipe.streams import stream
from assay.records import Split

TEST_SHARE = 0.2
"""Share of a data set without official test split that is set aside for testing."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Positions of each split's examples in the data source, ascending. No example is in two of them."""

    train_N: Indices
    val_N: Indices
    test_N: Indices

    def sizes(self) -> dict[Split, int]:
        return {"train": len(self.train_N), "val": len(self.val_N), "test": len(self.test_N)}


def make_splits(examples: Examples, *, validation: float, seed: int, fraction: float = 1.0) -> Splits:
    """Split a data set.

    The test split is the official one, or else a fifth drawn from a constant stream. The validation split is the
    official one too, or else the share ``validation`` of the rest, drawn from the seed's split stream. With
    ``fraction`` below 1, that share of each of these two is used at all. At one seed a smaller validation split, or
    fraction, is a part of every larger one, but for single examples of classes whose shares are rounded otherwise.

    Raises:
        DataError: an official test split leaves a class without an example in some split.
    """
    labels_N = np.asarray(examples.labels_N, dtype=np.int64)
    everything_N = np.arange(len(labels_N))
    classes = examples.classes
    if examples.test_indices is None:
        test_N = stratified(labels_N, TEST_SHARE, stream(0, "split", "test"), left_over=2)
    else:
        test_N = np.sort(examples.test_indices).astype(np.int64)
    rest_N = np.setdiff1d(everything_N, test_N, assume_unique=True)
    for name, part_N, least in (("the official test split", test_N, 1), ("the rest of the data", rest_N, 2)):
        count_K = np.bincount(labels_N[part_N], minlength=len(classes))
        if (count_K < least).any():
            poorest = int(count_K.argmin())
            raise DataError(
                f"Every class needs at least 1 example in each split, so at least {least} in {name}; "
                f"class {classes[poorest]!r} has {count_K[poorest]} there. Add examples or leave the class out."
            )
    if examples.val_indices is None:
        val_N = rest_N[stratified(labels_N[rest_N], validation, stream(seed, "split"), left_over=1)]
    else:
        val_N = np.sort(examples.val_indices).astype(np.int64)
    train_N = np.setdiff1d(rest_N, val_N, assume_unique=True)
    for name, part_N in (("validation", val_N), ("training", train_N)):
        count_K = np.bincount(labels_N[part_N], minlength=len(classes))
        if (count_K == 0).any():
            poorest = int(count_K.argmin())
            raise DataError(
                f"Every class needs at least 1 example in each split; class {classes[poorest]!r} has none in the "
                f"official {name} split. Add examples or leave the class out."
            )
    if fraction < 1.0:
        train_N, val_N = (
            part_N[stratified(labels_N[part_N], fraction, stream(seed, "split", "fraction", name), left_over=0)]
            for name, part_N in (("train", train_N), ("val", val_N))
        )
    return Splits(train_N=train_N, val_N=val_N, test_N=test_N)


def stratified(labels_M: Indices, share: float, generator: np.random.Generator, *, left_over: int) -> Indices:
    """Choose about ``share`` of the examples, in each class as nearly that share as whole numbers allow.

    Every class that occurs gives at least one example and keeps at least ``left_over``. It needs more than
    ``left_over`` examples for that.

    Returns:
        Ascending positions in ``labels_M``.
    """
    present_K, count_K = np.unique(labels_M, return_counts=True)
    taken_K = allocate(count_K, share, left_over=left_over)
    chosen = [
        generator.permutation(np.flatnonzero(labels_M == label))[:taken]
        for label, taken in zip(present_K, taken_K, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def allocate(count_K: Indices, share: float, *, left_over: int) -> Indices:
    """How many to take of each class: largest remainders (Hamilton's method), within 1 and ``count - left_over``.

    The total is ``share`` of all, rounded, or the nearest to it that these bounds allow. Ties go to the earlier class.
    """
    low_K, high_K = np.ones_like(count_K), count_K - left_over
    quota_K = share * count_K
    taken_K: Indices = np.clip(np.floor(quota_K).astype(np.int64), low_K, high_K)
    total = int(np.clip(round(share * int(count_K.sum())), low_K.sum(), high_K.sum()))
    while (missing := total - int(taken_K.sum())) != 0:
        sign = 1 if missing > 0 else -1
        owed_K = sign * (quota_K - taken_K)
        movable_K = taken_K < high_K if sign > 0 else taken_K > low_K
        order_K = np.argsort(np.where(movable_K, -owed_K, np.inf), kind="stable")
        taken_K[order_K[: min(abs(missing), int(movable_K.sum()))]] += sign
    return taken_K
