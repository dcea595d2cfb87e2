import numpy as np
import pytest
import scipy.stats

from assay.studies.intervals import student_interval
from assay.studies.new_data import new_data_interval


def effects(of_seed, of_example, residual, shape=(6, 50), seed=3):
    rng = np.random.default_rng(seed)
    return (
        0.2
        + of_seed * rng.normal(size=(shape[0], 1))
        + of_example * rng.normal(size=(1, shape[1]))
        + residual * rng.normal(size=shape)
    )


def test_it_follows_the_mean_squares_of_the_crossed_layout():
    effects_SN = effects(0.2, 2.0, 1.5)
    S, N = effects_SN.shape
    rows, columns = effects_SN.mean(axis=1, keepdims=True), effects_SN.mean(axis=0, keepdims=True)
    ms_seeds = N * rows.var(ddof=1)
    ms_examples = S * columns.var(ddof=1)
    ms_residual = ((effects_SN - rows - columns + effects_SN.mean()) ** 2).sum() / ((S - 1) * (N - 1))
    variance = (ms_seeds + ms_examples - ms_residual) / (S * N)
    degrees = (ms_seeds + ms_examples - ms_residual) ** 2 / (
        ms_seeds**2 / (S - 1) + ms_examples**2 / (N - 1) + ms_residual**2 / ((S - 1) * (N - 1))
    )
    half = scipy.stats.t.isf(0.005, degrees) * np.sqrt(variance)
    expected = effects_SN.mean() - half, effects_SN.mean() + half
    assert new_data_interval(effects_SN, 0.01) == pytest.approx(expected)


@pytest.mark.parametrize("parts", [(1.0, 1.0, 1.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_shorter_than_the_interval_over_seeds(parts, seed):
    effects_SN = effects(*parts, seed=seed)
    over_seeds = student_interval(effects_SN.mean(axis=1), 0.01, floor=1 / 50)
    low, high = new_data_interval(effects_SN, 0.01, floor=1 / 50)
    assert low <= over_seeds.low + 1e-12
    assert high >= over_seeds.high - 1e-12


def test_examples_that_differ_widen_it_though_seeds_agree():
    effects_SN = np.tile(np.array([1.0] * 10 + [0.0] * 90), (5, 1))
    low, high = new_data_interval(effects_SN, 0.05, floor=1 / 100)
    half = scipy.stats.t.isf(0.025, 99) * effects_SN[0].std(ddof=1) / 10
    assert (low, high) == pytest.approx((0.1 - half, 0.1 + half))


def test_full_agreement_still_leaves_room_for_one_example():
    low, high = new_data_interval(np.zeros((50, 360)), 0.05, floor=1 / 360)
    assert high == pytest.approx(scipy.stats.t.isf(0.025, 359) / 360)
    assert low == -high


@pytest.mark.parametrize("shape", [(1, 50), (0, 50), (5, 1), (5, 0)])
def test_one_seed_or_one_example_tells_nothing(shape):
    assert new_data_interval(np.zeros(shape), 0.05) is None
