"""Random streams: reproducible, independent, named."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.recipe.streams import stream, stream_key


@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["split", "init", "order", "augment", "dropout"]), st.text(max_size=8)
)
def test_equal_names_give_equal_draws(seed, name, part):
    assert np.array_equal(stream(seed, name, part).random(4), stream(seed, name, part).random(4))


def test_no_two_streams_share_a_key():
    names = ["split", "init", "order", "augment", "dropout"]
    keys = {
        stream_key(seed, name, *parts) for seed in range(50) for name in names for parts in [(), (0,), (1,), (0, 1)]
    }
    assert len(keys) == 50 * len(names) * 4


def test_neighbouring_seeds_are_uncorrelated():
    draws = np.array([stream(seed, "init").standard_normal(2000) for seed in range(20)])
    correlations = np.corrcoef(draws)[np.triu_indices(20, k=1)]
    assert np.abs(correlations).max() < 0.1  # 4.5 standard errors of a correlation of 2,000 independent pairs


def test_the_draws_are_pinned():
    # A change here would silently give every recipe other numbers: raise NUMERICS if it is meant.
    assert stream(0, "init", "layers.0.weight").integers(0, 1000, 5).tolist() == [523, 924, 448, 651, 973]
