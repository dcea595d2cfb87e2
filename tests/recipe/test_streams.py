"""Random streams: reproducible, independent, named."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.recipe.streams import keep_mask, stream, stream_key


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


def test_dropout_masks_are_pinned():
    bits = stream(0, "dropout", "dropout1").bit_generator
    assert keep_mask(bits, (2, 4), 0.5).astype(int).tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]
    assert keep_mask(bits, (3,), 0.25).astype(int).tolist() == [1, 1, 1]


def test_a_dropout_mask_takes_half_a_draw_per_value_and_fits_any_shape():
    bits, counted = stream(0, "dropout").bit_generator, stream(0, "dropout").bit_generator
    assert keep_mask(bits, (3, 1, 5), 0.5).shape == (3, 1, 5)
    assert keep_mask(bits, (0, 4), 0.5).shape == (0, 4)
    counted.random_raw(8)
    assert bits.random_raw() == counted.random_raw()
    assert keep_mask(bits, (50, 50), 0.0).all()
