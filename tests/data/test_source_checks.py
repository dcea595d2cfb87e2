import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.data.on_device import RawExamples
from assay.data.source import DataSource, Examples, checked
from assay.errors import DataError

POINTS = Examples(
    inputs=np.arange(12, dtype=np.float32).reshape(6, 2),
    labels_N=np.array([0, 1, 0, 1, 0, 1]),
    classes=("no", "yes"),
)


def with_nan() -> np.ndarray:
    points = POINTS.inputs.copy()
    points[4, 1] = np.nan
    return points


def test_what_is_fit_comes_back_in_one_shape():
    given = replace(
        POINTS,
        labels_N=POINTS.labels_N.astype(np.uint8),
        classes=["no", "yes"],
        test_indices=np.array([3, 0], dtype=np.int32),
        val_indices=np.array([5, 4], dtype=np.uint8),
    )
    examples = checked(given, "mine:Points")
    assert examples.labels_N.dtype == np.int64
    assert examples.classes == ("no", "yes")
    assert examples.test_indices is not None
    assert examples.test_indices.tolist() == [0, 3]
    assert examples.val_indices is not None
    assert examples.val_indices.tolist() == [4, 5]
    assert examples.input_shape == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": POINTS.inputs.astype(np.float64)}, r"float32 of shape \(N, D\), got float64 of shape \(6, 2\)\."),
        ({"inputs": np.zeros((6, 1, 2, 2), dtype=np.float32)}, r"got float32 of shape \(6, 1, 2, 2\)\."),
        ({"inputs": np.zeros((6, 2), dtype=np.uint8)}, r"got uint8 of shape \(6, 2\)\."),
        ({"inputs": [[1.0]]}, r"uint8 of shape \(N, C, H, W\), or points, .* got list\."),
        ({"inputs": np.zeros((6, 0), dtype=np.float32)}, r"inputs must not be empty, got shape \(6, 0\)\."),
        ({"inputs": with_nan()}, r"must be finite, got nan in example 4, feature 1, and 0 more\. Fill in or drop"),
        ({"labels_N": np.array([0, 1, 0, 1, 0])}, r"one label for each of 6 inputs, got shape \(5,\)\."),
        ({"labels_N": np.array([0.0, 1, 0, 1, 0, 1])}, r"NumPy array of whole numbers, got float64\."),
        ({"labels_N": [0, 1, 0, 1, 0, 1]}, r"NumPy array of whole numbers, got list\."),
        ({"labels_N": np.array([0, 1, 0, 2, 0, 1])}, r"from 0 to 1, one for each class name, got 2 at example 3\."),
        ({"labels_N": np.array([0, 1, -1, 1, 0, 1])}, r"got -1 at example 2\."),
        ({"labels_N": np.array([0, 1, 0, 0, 0, 1])}, r"every class needs at least 3 examples, .* class 'yes' has 2\."),
        ({"classes": ("no", "yes", "never")}, r"class 'never' has 0\."),
        ({"classes": ("no", "no")}, r"at least 2 different names, got \['no', 'no'\]\."),
        ({"classes": ("no",)}, r"at least 2 different names, got \['no'\]\."),
        ({"classes": "ny"}, r"must be a sequence of names, got 'ny'\."),
        ({"test_indices": np.array([0, 6])}, r"test_indices must be from 0 to 5, got 0 to 6\."),
        ({"test_indices": np.array([1, 1, 2])}, r"test_indices must differ, got 1 of them repeated\."),
        ({"test_indices": np.array([], dtype=int)}, r"non-empty list of whole numbers, got int64 of shape \(0,\)\."),
        ({"val_indices": np.array([0, 6])}, r"val_indices must be from 0 to 5, got 0 to 6\."),
        ({"val_indices": np.array([-1, 2])}, r"val_indices must be from 0 to 5, got -1 to 2\."),
        ({"val_indices": np.array([2, 2])}, r"val_indices must differ, got 1 of them repeated\."),
        ({"val_indices": np.array([])}, r"val_indices must be a non-empty list .*, got float64 of shape \(0,\)\."),
        (
            {"test_indices": np.array([5, 1, 3]), "val_indices": np.array([0, 3, 5])},
            r"test_indices and val_indices must have nothing in common, got 2 shared, such as 3\.",
        ),
        ({"test_indices": np.array([True] * 6)}, r"non-empty list of whole numbers, got bool of shape \(6,\)\."),
    ],
)
def test_what_is_unfit_is_refused_with_the_rule_and_the_value(change, message):
    with pytest.raises(DataError, match=r"^Data source mine:Points: .*" + message):
        checked(replace(POINTS, **change), "mine:Points")


def test_only_examples_are_examples():
    with pytest.raises(DataError, match=r"load\(\) must return an assay\.data\.source\.Examples, got tuple\."):
        checked((POINTS.inputs, POINTS.labels_N), "mine:Points")


def test_a_class_need_not_inherit_to_be_a_data_source():
    class Own:
        def load(self) -> Examples:
            return POINTS

        def fingerprint(self) -> str:
            return "1"

    assert isinstance(Own(), DataSource)
    assert not isinstance(object(), DataSource)


@pytest.mark.parametrize(
    ("shape", "axes", "dtype"),
    [
        ((2**12, 2**10), (0, 1), np.float32),
        ((2**12, 2**10), (1, 0), np.float32),
        ((2**12, 16, 32, 4), (0, 3, 1, 2), np.uint8),
    ],
    ids=["points", "points by feature", "images with colours last"],
)
def test_memory_mapped_inputs_are_checked_and_taken_without_reading_all_of_them(tmp_path, shape, axes, dtype):
    kept = np.lib.format.open_memmap(tmp_path / "kept.npy", mode="w+", dtype=dtype, shape=shape)
    inputs = kept.transpose(axes)
    inputs[3] = 7
    examples = Examples(inputs=inputs, labels_N=np.arange(len(inputs)) % 2, classes=("no", "yes"))
    tracemalloc.start()
    raw = RawExamples(checked(examples, "mine:Points").inputs, torch.device("cpu"))
    taken = raw.take(np.array([3, 1]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken.is_contiguous()
    assert [float(part.mean()) for part in taken.float()] == [7.0, 0.0]
    assert peak < 3 * 2**20  # the inputs are 16 MiB of features, or 8 MiB of pixels


def test_points_that_are_not_finite_are_found_wherever_they_are(monkeypatch):
    monkeypatch.setattr("assay.data.source._VALUES_AT_ONCE", 4)
    points = np.ones((6, 2), dtype=np.float32)
    points[3, 1] = points[5, 0] = np.inf
    with pytest.raises(DataError, match="got inf in example 3, feature 1, and 1 more"):
        checked(replace(POINTS, inputs=points), "mine:Points")
