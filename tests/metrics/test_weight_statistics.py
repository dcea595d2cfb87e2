"""How weights are distributed: the same as NumPy says at once, and whatever they are, a file that can be read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from assay.errors import StoreError
from assay.metrics import weight_statistics as room
from assay.metrics.weight_statistics import (
    BINS,
    MOST_TENSORS,
    near_zero_share,
    weight_statistics,
    weights_read,
    weights_written,
)

FLOATS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=6),
    elements=st.floats(-8.0, 8.0, width=32),
)


@given(FLOATS)
def test_figures_are_those_of_numpy(weights: np.ndarray) -> None:
    (found,) = weight_statistics({"w": weights})
    assert (found.name, found.shape, found.size) == ("w", weights.shape, weights.size)
    assert found.near_zero == np.count_nonzero(np.abs(weights.astype(np.float64)) < 1e-3)
    assert (found.low, found.high, found.not_finite) == (weights.min(), weights.max(), 0)
    assert found.deviation == pytest.approx(weights.astype(np.float64).std(), rel=1e-9, abs=1e-12)
    assert (sum(found.counts), len(found.counts)) == (weights.size, BINS)
    if weights.min() == weights.max():
        assert found.counts[BINS // 2] == weights.size
    assert near_zero_share([found]) == found.near_zero / weights.size


@given(FLOATS.filter(lambda w: np.ptp(w) > 1e-6))
def test_bins_are_those_of_numpy_but_for_rounding_at_their_edges(weights: np.ndarray) -> None:
    (found,) = weight_statistics({"w": weights})
    expected, edges = np.histogram(weights.astype(np.float64), bins=BINS)
    near = sum(np.count_nonzero(np.abs(weights.astype(np.float64) - edge) < 1e-9) for edge in edges)
    assert np.abs(np.array(found.counts) - expected).sum() <= 2 * near


def test_large_tensors_are_gone_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    (at_once,) = weight_statistics({"w": weights})
    monkeypatch.setattr(room, "_AT_ONCE", 7)
    (in_blocks,) = weight_statistics({"w": weights})
    assert in_blocks.counts == at_once.counts
    assert in_blocks.deviation == pytest.approx(at_once.deviation)


@given(
    hnp.arrays(np.float64, (3, 4), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_whatever_the_weights_are_the_file_can_be_read(weights: np.ndarray, kind: type[np.floating]) -> None:
    with np.errstate(over="ignore"):
        weights = weights.astype(kind)
    statistics = weight_statistics({"w": weights})
    assert weights_read(weights_written(statistics)) == statistics
    (found,) = statistics
    assert found.not_finite == np.count_nonzero(~np.isfinite(weights))
    assert (found.deviation is None) == (found.low is None) == (not found.counts)
    assert found.deviation is None or math.isfinite(found.deviation)


def test_whole_numbers_are_no_weights_and_without_any_there_is_no_share() -> None:
    assert weight_statistics({"ids": np.zeros((2, 2), dtype=np.int64)}) == ()
    assert near_zero_share([]) is None


def test_the_share_counts_weights_and_not_tensors() -> None:
    found = weight_statistics({"a": np.zeros((3, 1)), "b": np.ones((1, 9))})
    assert near_zero_share(found) == 0.25


def test_the_file_holds_so_many_tensors_and_no_more_are_read() -> None:
    many = weight_statistics({f"w{at}": np.ones((1, 1)) for at in range(MOST_TENSORS + 5)})
    content = weights_written(many)
    assert len(weights_read(content)) == MOST_TENSORS
    longer = json.dumps([*json.loads(content), json.loads(content)[0]]).encode()
    with pytest.raises(StoreError, match="is damaged"):
        weights_read(longer)
    for content in (b"", b"[]x", b'[{"name": "w"}]', b"[" * 5000, b" " * 500_000):
        with pytest.raises(StoreError):
            weights_read(content)
