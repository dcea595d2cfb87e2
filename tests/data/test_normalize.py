import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from assay.data import normalize
from assay.errors import ShapeError

images = arrays.arrays(
    np.uint8, st.tuples(st.integers(2, 9), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)), unique=False
)


@given(images_NCHW=images)
@settings(max_examples=100, deadline=None)
def test_standard_gives_every_channel_mean_0_and_deviation_1_or_0_if_constant(images_NCHW):
    preprocessing = normalize.fit(images_NCHW, "standard")
    x_NCHW = normalize.apply(preprocessing, images_NCHW, np.float64)
    for channel in range(images_NCHW.shape[1]):
        raw, x = images_NCHW[:, channel], x_NCHW[:, channel]
        assert x.mean() == pytest.approx(0.0, abs=1e-9)
        assert x.std() == pytest.approx(0.0 if raw.min() == raw.max() else 1.0, abs=1e-9)
        assert (channel in preprocessing["constant"]) == (raw.min() == raw.max())


def test_the_equation_with_known_numbers():
    images_NCHW = np.array([0, 51, 102, 255], dtype=np.uint8).reshape(2, 2, 1, 1)  # channels: (0, 102) and (51, 255)
    preprocessing = normalize.fit(images_NCHW, "standard")
    np.testing.assert_allclose(preprocessing["mean"], [0.2, 0.6])
    np.testing.assert_allclose(preprocessing["deviation"], [0.2, 0.4])
    grey = np.full((1, 2, 1, 1), 153, dtype=np.uint8)
    np.testing.assert_allclose(normalize.apply(preprocessing, grey).ravel(), [2.0, 0.0], atol=1e-7)


def test_points_are_normalised_by_feature_and_a_far_mean_does_not_cancel():
    points_ND = np.array([[4e6, 7.0], [4e6 + 1, 7.0], [4e6 + 2, 7.0]], dtype=np.float32)
    preprocessing = normalize.fit(points_ND, "standard")
    assert preprocessing["deviation"] == pytest.approx([np.sqrt(2 / 3), 1.0], rel=1e-12)
    assert preprocessing["constant"] == [1]
    assert normalize.apply(preprocessing, points_ND)[:, 1].tolist() == [0.0, 0.0, 0.0]


def test_unit_divides_pixels_and_leaves_points():
    images_NCHW = np.array([[[[0, 255]]]], dtype=np.uint8)
    assert normalize.apply(normalize.fit(images_NCHW, "unit"), images_NCHW).ravel().tolist() == [0.0, 1.0]
    points_ND = np.array([[3.5, -2.0]], dtype=np.float32)
    np.testing.assert_array_equal(normalize.apply(normalize.fit(points_ND, "unit"), points_ND), points_ND)


def test_it_survives_json_bit_for_bit():
    images_NCHW = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4)).astype(np.uint8)
    preprocessing = normalize.fit(images_NCHW, "standard")
    restored = json.loads(json.dumps(preprocessing))
    np.testing.assert_array_equal(normalize.apply(restored, images_NCHW), normalize.apply(preprocessing, images_NCHW))


def test_large_data_is_worked_through_in_parts_with_the_same_result(monkeypatch):
    images_NCHW = np.random.default_rng(0).integers(0, 256, (50, 2, 5, 5)).astype(np.uint8)
    whole = normalize.fit(images_NCHW, "standard")
    expected = normalize.apply(whole, images_NCHW)
    monkeypatch.setattr(normalize, "_CHUNK_VALUES", 170)  # three examples at a time, the last part shorter
    np.testing.assert_allclose(normalize.fit(images_NCHW, "standard")["deviation"], whole["deviation"], rtol=1e-13)
    np.testing.assert_array_equal(normalize.apply(whole, images_NCHW), expected)


def test_inputs_of_another_shape_are_refused():
    preprocessing = normalize.fit(np.zeros((2, 1, 8, 8), dtype=np.uint8), "standard")
    with pytest.raises(ShapeError, match=r"Inputs must have shape \(N, 1, 8, 8\), got \(2, 3, 8, 8\)\."):
        normalize.apply(preprocessing, np.zeros((2, 3, 8, 8), dtype=np.uint8))
