import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from assay.data.augment import noise
from assay.data.augment.draws import Draws
from assay.data.augment.noise import add_noise, split_mix, standard_normal

KEYS = torch.from_numpy(Draws(seed=11, epoch=1, examples=400).keys("noise"))
IMAGES, VALUES = 400, 3 * 32 * 32
NOISE_BV = standard_normal(KEYS, VALUES).double().numpy()


def reference(key, count):
    """SplitMix64 as its authors give it, in Python's unbounded whole numbers."""
    mask, state, numbers = 2**64 - 1, key % 2**64, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        numbers.append(z ^ (z >> 31))
    return numbers


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_the_bits_are_those_of_split_mix_64(keys, count):
    bits = split_mix(torch.tensor(keys, dtype=torch.int64), count).tolist()
    assert [[number % 2**64 for number in row] for row in bits] == [reference(key, count) for key in keys]


def test_noise_has_mean_0_and_deviation_1_and_is_normal():
    """Of 1.2 million values; each check would fail in one of a thousand sets of keys, and these keys are fixed."""
    count = NOISE_BV.size
    assert abs(NOISE_BV.mean()) < 3.3 / np.sqrt(count)
    assert abs(NOISE_BV.var() - 1) < 3.3 * np.sqrt(2 / count)
    assert stats.kstest(NOISE_BV.ravel(), "norm").pvalue > 1e-3
    assert abs(stats.skew(NOISE_BV, axis=None)) < 3.3 * np.sqrt(6 / count)
    assert abs(stats.kurtosis(NOISE_BV, axis=None)) < 3.3 * np.sqrt(24 / count)
    assert 4.5 < np.abs(NOISE_BV).max() < 5.8


def test_both_halves_of_the_pairs_and_all_places_in_an_image_are_normal():
    half = VALUES // 2
    for part in (NOISE_BV[:, :half], NOISE_BV[:, half:], NOISE_BV[:, 0], NOISE_BV[:, half], NOISE_BV[:, -1]):
        assert stats.kstest(part.ravel(), "norm").pvalue > 1e-3
    squares_V = (NOISE_BV**2).sum(axis=0)  # of 400 normal values each: chi-square
    assert stats.kstest(squares_V, stats.chi2(IMAGES).cdf).pvalue > 1e-3


@pytest.mark.parametrize("power", [1, 2], ids=["values", "their squares"])
def test_pixels_and_images_are_independent(power):
    """Correlations of neighbours, of the two values of a pair, and of neighbouring images, at lags that images have."""
    noise_BV = NOISE_BV**power
    noise_BV = (noise_BV - noise_BV.mean()) / noise_BV.std()
    within = [(noise_BV[:, lag:] * noise_BV[:, :-lag]).mean() for lag in (1, 2, 32, 1024, VALUES // 2)]
    between = [(noise_BV[lag:] * noise_BV[:-lag]).mean() for lag in (1, 2, 64)]
    assert np.abs(within + between).max() < 4.5 / np.sqrt(VALUES / 2 * IMAGES)


def test_correlations_of_all_pairs_of_images_spread_as_chance_does():
    upper = np.corrcoef(NOISE_BV)[np.triu_indices(IMAGES, 1)]
    assert stats.kstest(upper * np.sqrt(VALUES), "norm").pvalue > 1e-3


def test_keys_that_differ_in_one_bit_give_unrelated_noise():
    keys = torch.tensor([1234, *(1234 ^ (1 << bit) for bit in range(63))])
    correlations = np.corrcoef(standard_normal(keys, VALUES).numpy())[0, 1:] * np.sqrt(VALUES)
    assert np.abs(correlations).max() < 4.5


def test_epochs_and_seeds_have_noise_of_their_own():
    keys = [
        Draws(seed=seed, epoch=epoch, examples=50).keys("noise") for seed, epoch in ((0, 1), (0, 2), (1, 1), (1, 2))
    ]
    assert len(np.unique(np.concatenate(keys))) == 200
    noises = [standard_normal(torch.from_numpy(one), 600).numpy().ravel() for one in keys]
    assert np.abs(np.corrcoef(noises)[np.triu_indices(4, 1)]).max() < 4.5 / np.sqrt(30_000)


@given(
    st.integers(1, 5),
    st.sampled_from([(1, 1, 1), (3, 5, 7), (1, 28, 28)]),
    st.floats(0, 10),
    st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=40, deadline=None)
def test_noise_of_the_wished_deviation_is_added_to_images_of_any_shape_and_type(count, shape, deviation, dtype):
    x_BCHW = torch.rand(count, *shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    keys_B = KEYS[:count].numpy()
    expected = x_BCHW + deviation * standard_normal(KEYS[:count], x_BCHW[0].numel()).view(x_BCHW.shape)
    torch.testing.assert_close(add_noise(x_BCHW, keys_B, deviation), expected.to(dtype), rtol=1e-6, atol=1e-6)


def test_making_noise_in_parts_changes_none_of_it(monkeypatch):
    whole = add_noise(torch.zeros(7, 3, 5, 5), KEYS[:7].numpy(), 1.0)
    monkeypatch.setitem(noise._PAIRS_AT_A_TIME, "cpu", 100)
    assert torch.equal(add_noise(torch.zeros(7, 3, 5, 5), KEYS[:7].numpy(), 1.0), whole)
