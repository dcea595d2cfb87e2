"""One pass gives what two passes give, in whatever parts and order the values come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.moments import (
    Covariance,
    Moments,
    channel_covariance,
    channel_moments,
    covariance,
    merge_all,
    parts_of,
    pixel_moments,
)
from assay.errors import ShapeError

OFFSETS = (0.0, 1.0, -3e4, 1e9)
seeds = st.integers(0, 2**32 - 1)


def cut(array, draws, parts):
    """The array in so many parts of any sizes, none empty."""
    at = np.sort(draws.choice(np.arange(1, len(array)), size=min(parts, len(array)) - 1, replace=False))
    return np.split(array, at)


def two_pass(values_nC, offset):
    """Mean without the offset, and squared deviations, computed where they lose nothing: the offset goes first."""
    plain_nC = values_nC - offset  # exact: the values were rounded to the offset's grid before
    mean_C = plain_nC.mean(axis=0)
    return mean_C, np.square(plain_nC - mean_C).sum(axis=0)


def merged_in_any_order(parts, draws):
    parts = list(parts)
    while len(parts) > 1:
        left = parts.pop(draws.integers(len(parts)))
        parts.append(left.merged(parts.pop(draws.integers(len(parts)))))
    return parts[0]


@given(seeds, st.integers(2, 200), st.integers(1, 4), st.integers(1, 20), st.sampled_from(OFFSETS), st.booleans())
@settings(max_examples=200, deadline=None)
def test_moments_equal_those_of_two_passes(seed, rows, channels, parts, offset, sort):
    draws = np.random.default_rng(seed)
    values_nC = draws.normal(size=(rows, channels)) * draws.choice([0.01, 1.0, 100.0], size=channels) + offset
    if sort:  # parts whose means lie far apart
        values_nC = np.sort(values_nC, axis=0)
    mean_C, squares_C = two_pass(values_nC, offset)
    cuts = cut(values_nC, draws, parts)
    for moments in (channel_moments(cuts), merged_in_any_order(map(Moments.of, cuts), draws)):
        assert moments.count == rows
        np.testing.assert_allclose(moments.squares_C, squares_C, rtol=1e-9)
        np.testing.assert_allclose(moments.deviation_C, np.sqrt(squares_C / rows), rtol=1e-9)
        np.testing.assert_allclose(moments.mean_C, mean_C + offset, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose((moments.mean_C - offset) + moments.residue_C, mean_C, rtol=1e-7, atol=1e-12)
        np.testing.assert_array_equal(moments.low_C, values_nC.min(axis=0))
        np.testing.assert_array_equal(moments.high_C, values_nC.max(axis=0))


@given(seeds, st.integers(2, 60), st.integers(1, 5), st.integers(1, 12), st.sampled_from(OFFSETS))
@settings(max_examples=100, deadline=None)
def test_covariance_equals_that_of_two_passes(seed, rows, features, parts, offset):
    draws = np.random.default_rng(seed)
    values_nD = np.sort(draws.normal(size=(rows, features)) @ draws.normal(size=(features, features)) + offset, axis=0)
    plain_nD = values_nD - offset
    centred_nD = plain_nD - plain_nD.mean(axis=0)
    scale_DD = np.sqrt(np.outer(np.square(centred_nD).sum(axis=0), np.square(centred_nD).sum(axis=0)))
    cuts = cut(values_nD, draws, parts)
    for found in (covariance(cuts), merged_in_any_order(map(Covariance.of, cuts), draws)):
        assert found.count == rows
        np.testing.assert_allclose(found.products_CC / scale_DD, centred_nD.T @ centred_nD / scale_DD, atol=1e-9)
        np.testing.assert_allclose(found.mean_C, plain_nD.mean(axis=0) + offset, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(found.products_CC, found.products_CC.T)
        np.testing.assert_allclose(found.matrix_CC * rows, found.products_CC)


@given(seeds, st.integers(1, 40), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_pixels_are_counted_exactly_in_any_parts_and_order(seed, images, channels, height, width, parts):
    draws = np.random.default_rng(seed)
    images_NCHW = draws.integers(0, 256, (images, channels, height, width)).astype(np.uint8)
    whole = channel_moments([images_NCHW])
    pixels_NC = np.moveaxis(images_NCHW, 1, -1).reshape(-1, channels).astype(np.int64)
    assert whole.mean_C.tolist() == [int(total) / len(pixels_NC) for total in pixels_NC.sum(axis=0)]
    np.testing.assert_allclose(whole.deviation_C, pixels_NC.std(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(whole.constant_C, pixels_NC.min(axis=0) == pixels_NC.max(axis=0))
    cuts = cut(images_NCHW, draws, parts)
    draws.shuffle(cuts)
    again = channel_moments(np.asfortranarray(part) for part in cuts)
    for name in ("mean_C", "squares_C", "low_C", "high_C"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def test_known_numbers():
    moments = channel_moments([np.array([[1.0], [2.0]]), np.array([[3.0], [6.0]])])
    assert (moments.count, moments.mean_C[0], moments.squares_C[0]) == (4, 3.0, 14.0)
    assert moments.deviation_C[0] == pytest.approx(np.sqrt(3.5), rel=1e-15)
    both = covariance([np.array([[0.0, 1.0], [2.0, 5.0]]), np.array([[4.0, 0.0]])])
    np.testing.assert_allclose(both.matrix_CC, [[8 / 3, -2 / 3], [-2 / 3, 14 / 3]])


def test_images_of_different_sizes_are_weighted_by_their_pixels():
    small, large = np.full((1, 1, 1, 1), 250, np.uint8), np.full((1, 1, 3, 3), 50, np.uint8)
    assert channel_moments([small, large]).mean_C.tolist() == [70.0]
    mixed = channel_moments([small, large.astype(np.float32)])
    assert mixed.mean_C.tolist() == [70.0]
    assert mixed.deviation_C[0] == pytest.approx(60.0)


def test_bright_images_larger_than_what_32_bits_can_sum_are_counted_exactly():
    image_1CHW = np.full((1, 2, 300, 700), 255, np.uint8)
    image_1CHW[0, 1, -1, -1] = 0
    moments = channel_moments([image_1CHW])
    assert moments.mean_C.tolist() == [255.0, 255.0 * 209_999 / 210_000]
    assert moments.constant_C.tolist() == [True, False]
    many = pixel_moments([np.full((70_000, 1, 1, 2), 255, np.uint8)])
    assert (many.mean_C.tolist(), many.squares_C.tolist()) == ([255.0, 255.0], [0.0, 0.0])


def test_the_mean_image_has_a_deviation_for_each_pixel():
    images_NCHW = np.random.default_rng(3).integers(0, 256, (20, 3, 4, 5)).astype(np.uint8)
    moments = pixel_moments([images_NCHW[:7], images_NCHW[7:]])
    assert moments.count == 20
    np.testing.assert_allclose(moments.mean_C.reshape(3, 4, 5), images_NCHW.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.deviation_C.reshape(3, 4, 5), images_NCHW.std(axis=0), rtol=1e-12)


def test_channel_covariance_takes_each_pixel_for_an_example():
    images_NCHW = np.random.default_rng(4).integers(0, 256, (9, 3, 4, 5)).astype(np.uint8)
    pixels_NC = np.moveaxis(images_NCHW, 1, -1).reshape(-1, 3)
    found = channel_covariance([images_NCHW[:4], images_NCHW[4:]])
    np.testing.assert_allclose(found.matrix_CC, np.cov(pixels_NC.T, bias=True), rtol=1e-9)


class Tree:
    """Remembers how it was merged."""

    def __init__(self, leaves, height=0):
        self.leaves, self.height = leaves, height

    def merged(self, other):
        return Tree(self.leaves + other.leaves, 1 + max(self.height, other.height))


@given(st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_the_tree_keeps_the_order_and_is_as_low_as_can_be(parts):
    tree = merge_all(Tree([n]) for n in range(parts))
    assert tree.leaves == list(range(parts))
    assert tree.height == (parts - 1).bit_length()


def test_each_part_is_let_go_before_the_next_is_asked_for():
    living = []

    def parts():
        for _ in range(50):
            array = np.zeros((2, 1, 3, 3), np.uint8).view(Watched)
            living.append(1)
            yield array
            del array
            assert sum(living) <= 2

    class Watched(np.ndarray):
        def __del__(self):
            if self.base is not None and self.shape == (2, 1, 3, 3):
                living.append(-1)

    channel_moments(parts())


def test_parts_of_positions_cover_them_in_order():
    inputs = np.arange(60, dtype=np.float32).reshape(20, 3)
    positions_N = np.array([3, 19, 4, 0, 11])
    parts = list(parts_of(inputs, positions_N, values=7))
    assert [len(part) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(parts), inputs[positions_N])
    assert [len(part) for part in parts_of(inputs, positions_N, values=1)] == [1] * 5


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "Statistics need at least one value, got no data at all."),
        ([np.zeros((0, 3))], r"Statistics need parts of shape \(n, C, …\) with at least one value, got \(0, 3\)."),
        ([np.zeros(3)], r"with at least one value, got \(3,\)."),
        ([np.zeros((1, 3, 2, 2), np.uint8), np.zeros((1, 1, 2, 2), np.uint8)], "got parts of 3 and of 1."),
        ([np.zeros((1, 3)), np.zeros((1, 2))], "got parts of 3 and of 2."),
    ],
)
def test_what_has_no_statistics_is_said(parts, message):
    with pytest.raises(ShapeError, match=message):
        channel_moments(parts)
    if not parts:
        with pytest.raises(ShapeError, match=message):
            covariance(parts)


def test_a_covariance_is_of_examples():
    with pytest.raises(ShapeError, match=r"A covariance is of examples of shape \(n, C\), got \(1, 3, 2, 2\)."):
        Covariance.of(np.zeros((1, 3, 2, 2)))
