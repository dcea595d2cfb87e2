"""What a data source is, and what is checked of it.

Shape key: N examples, R of them in a part, C channels, H height, W width, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from assay.errors import DataError, shown
from assay.records import Array

_NAMES_SHOWN = 5
_VALUES_AT_ONCE = 2**19
"""Features looked at together, as there may be more than memory holds."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """All examples of a data set, in a fixed order.

    Attributes:
        inputs: images, uint8 of shape (N, C, H, W), or points, float32 of shape (N, D). May be memory-mapped, and is
            then never read as a whole.
        labels_N: the class of each example as a whole number from 0 to ``len(classes) - 1``.
        classes: the name of each class, at least two, all different.
        test_indices: positions of the official test split, if the data set has one; otherwise a fifth is set aside.
        val_indices: positions of the official validation split, if the data set has one; otherwise each seed draws its
            own.
        skipped: each example left out as unreadable, with the reason.
        remarks: what else a reader of a run should know of the data.
        identity: tells these examples from others, in whatever form they are: scenes at 32 and at 64 pixels are the
            same examples. Left empty, the source's fingerprint takes its place.
    """

    inputs: Array
    labels_N: NDArray[np.integer[Any]]
    classes: Sequence[str]
    test_indices: NDArray[np.integer[Any]] | None = None
    val_indices: NDArray[np.integer[Any]] | None = None
    skipped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    identity: str = ""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (C, H, W) or (D,)."""
        return tuple(int(size) for size in self.inputs.shape[1:])


@runtime_checkable
class DataSource(Protocol):
    """What a class of your own must offer to be named as ``data.source``; it need not inherit from anything.

    It is called with the keyword arguments of ``data.options``. `load` must give the same examples in the same order
    each time. `fingerprint` must be cheap, must change whenever what `load` gives changes, and is asked for before
    every run, so a file's hash, or its size and date, or a version you raise by hand, all serve.
    """

    def load(self) -> Examples: ...

    def fingerprint(self) -> str: ...


def checked(examples: Examples, source: str) -> Examples:
    """The same examples with int64 labels and indices, or an error saying what is unfit.

    Raises:
        DataError: a shape, type, label, class name or index breaks a rule of `Examples`.
    """
    if not isinstance(examples, Examples):
        kind = type(examples).__name__
        raise DataError(f"Data source {source}: load() must return an assay.data.source.Examples, got {kind}.")
    inputs = _checked_inputs(examples.inputs, source)
    classes = _checked_classes(examples.classes, source)
    labels_N = _checked_labels(examples.labels_N, len(inputs), classes, source)
    official = {"test_indices": examples.test_indices, "val_indices": examples.val_indices}
    indices = {
        name: _checked_indices(chosen, len(inputs), name, source)
        for name, chosen in official.items()
        if chosen is not None
    }
    if len(indices) == 2 and (shared := np.intersect1d(indices["test_indices"], indices["val_indices"])).size:
        raise DataError(
            f"Data source {source}: test_indices and val_indices must have nothing in common, got {len(shared)} "
            f"shared, such as {int(shared[0])}."
        )
    examples = replace(examples, inputs=inputs, labels_N=labels_N, classes=classes)
    return replace(examples, test_indices=indices.get("test_indices"), val_indices=indices.get("val_indices"))


def _checked_inputs(inputs: Array, source: str) -> Array:
    rule = "must be images, uint8 of shape (N, C, H, W), or points, float32 of shape (N, D)"
    if not isinstance(inputs, np.ndarray):
        raise DataError(f"Data source {source}: inputs {rule}, got {type(inputs).__name__}.")
    if (inputs.ndim, inputs.dtype) not in ((4, np.dtype(np.uint8)), (2, np.dtype(np.float32))):
        raise DataError(f"Data source {source}: inputs {rule}, got {inputs.dtype} of shape {inputs.shape}.")
    if 0 in inputs.shape:
        raise DataError(f"Data source {source}: inputs must not be empty, got shape {inputs.shape}.")
    if inputs.ndim == 2:
        _check_finite(inputs, source)
    # What is memory-mapped in another order is taken in that order, batch by batch: a copy may not fit into memory.
    return np.asarray(inputs) if isinstance(inputs, np.memmap) else np.ascontiguousarray(inputs)


def _check_finite(inputs_ND: Array, source: str) -> None:
    first: tuple[int, int] | None = None
    bad = 0
    rows = max(1, _VALUES_AT_ONCE // inputs_ND.shape[1])
    for start in range(0, len(inputs_ND), rows):
        bad_RD = ~np.isfinite(inputs_ND[start : start + rows])
        if first is None and bad_RD.any():
            row, first_column = np.argwhere(bad_RD)[0]
            first = start + int(row), int(first_column)
        bad += int(bad_RD.sum())
    if first is not None:
        raise DataError(
            f"Data source {source}: features must be finite, got {inputs_ND[first]} in example {first[0]}, feature "
            f"{first[1]}, and {bad - 1} more. Fill in or drop such examples first."
        )


def _checked_classes(classes: Sequence[str], source: str) -> tuple[str, ...]:
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise DataError(f"Data source {source}: classes must be a sequence of names, got {shown(classes)}.")
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise DataError(
            f"Data source {source}: classes must be at least 2 different names, got {list(classes)!r:.200}."
        )
    return tuple(classes)


def _checked_labels(labels_N: Array, examples: int, classes: tuple[str, ...], source: str) -> NDArray[np.int64]:
    if not isinstance(labels_N, np.ndarray) or labels_N.dtype.kind not in "iu":
        kind = labels_N.dtype if isinstance(labels_N, np.ndarray) else type(labels_N).__name__
        raise DataError(f"Data source {source}: labels must be a NumPy array of whole numbers, got {kind}.")
    if labels_N.shape != (examples,):
        raise DataError(
            f"Data source {source}: there must be one label for each of {examples} inputs, got shape {labels_N.shape}."
        )
    low, high = int(labels_N.min()), int(labels_N.max())
    if low < 0 or high >= len(classes):
        position = int(np.argmax((labels_N < 0) | (labels_N >= len(classes))))
        raise DataError(
            f"Data source {source}: labels must be from 0 to {len(classes) - 1}, one for each class name, "
            f"got {int(labels_N[position])} at example {position}."
        )
    count_K = np.bincount(labels_N.astype(np.int64), minlength=len(classes))
    few = [f"{classes[k]!r} has {count_K[k]}" for k in np.flatnonzero(count_K < 3)]
    if few:
        more = f" and {len(few) - _NAMES_SHOWN} more" if len(few) > _NAMES_SHOWN else ""
        raise DataError(
            f"Data source {source}: every class needs at least 3 examples, one each to train, validate and test on; "
            f"class {', '.join(few[:_NAMES_SHOWN])}{more}. Add examples, or leave such classes out."
        )
    return labels_N.astype(np.int64)


def _checked_indices(indices: Array, examples: int, name: str, source: str) -> NDArray[np.int64]:
    if not isinstance(indices, np.ndarray) or indices.dtype.kind not in "iu" or indices.ndim != 1 or not indices.size:
        got = f"{indices.dtype} of shape {indices.shape}" if isinstance(indices, np.ndarray) else repr(indices)[:80]
        raise DataError(f"Data source {source}: {name} must be a non-empty list of whole numbers, got {got}.")
    if int(indices.min()) < 0 or int(indices.max()) >= examples:
        raise DataError(
            f"Data source {source}: {name} must be from 0 to {examples - 1}, "
            f"got {int(indices.min())} to {int(indices.max())}."
        )
    unique = np.unique(indices).astype(np.int64)
    if len(unique) < len(indices):
        raise DataError(f"Data source {source}: {name} must differ, got {len(indices) - len(unique)} of them repeated.")
    return unique
