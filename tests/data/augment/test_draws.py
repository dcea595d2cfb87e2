import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from assay.data.augment.draws import Draws

DRAWS = Draws(seed=7, epoch=3, examples=20_000)


def test_numbers_are_uniform_or_log_uniform_between_their_bounds():
    assert stats.kstest(DRAWS.uniform("a"), "uniform").pvalue > 1e-3
    assert stats.kstest(DRAWS.between((-2.0, 3.0), "b"), stats.uniform(-2, 5).cdf).pvalue > 1e-3
    logs = np.log(DRAWS.log_between((0.75, 4 / 3), "c"))
    assert stats.kstest(logs, stats.uniform(np.log(0.75), np.log(16 / 9)).cdf).pvalue > 1e-3


def test_whole_numbers_are_equally_likely():
    for choices in (1, 2, 9, 31):
        counts = np.bincount(DRAWS.below(choices, "d"), minlength=choices)
        assert len(counts) == choices
        assert stats.chisquare(counts).pvalue > 1e-3 or choices == 1


def test_weights_are_of_the_beta_distribution_for_any_alpha():
    for alpha in (0.2, 1.0, 8.0):
        assert stats.kstest(DRAWS.beta(alpha, "e"), stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    for alpha in (5e-324, 1e-3, 100.0):
        weights = DRAWS.beta(alpha, "f")
        assert np.isfinite(weights).all()
        assert weights.min() >= 0.0
        assert weights.max() <= 1.0


def test_keys_have_64_random_bits():
    keys = DRAWS.keys("g")
    ones = [int(((keys >> bit) & 1).sum()) for bit in range(64)]
    assert min(stats.binomtest(count, len(keys)).pvalue for count in ones) > 1e-4
    assert len(np.unique(keys)) == len(keys)


def test_names_parts_epochs_and_seeds_draw_for_themselves():
    others = [
        DRAWS.uniform("b"),
        DRAWS.uniform("a", 0),
        DRAWS.uniform("a", 1),
        Draws(seed=7, epoch=4, examples=20_000).uniform("a"),
        Draws(seed=8, epoch=3, examples=20_000).uniform("a"),
    ]
    correlations = np.corrcoef([DRAWS.uniform("a"), *others])[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < 4.5 / np.sqrt(20_000)


@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(1, 50), examples=st.integers(1, 50))
@settings(max_examples=50)
def test_every_image_alternates_between_two_epochs(seed, epoch, examples):
    one, other = (Draws(seed=seed, epoch=e, examples=examples).alternating("flip") for e in (epoch, epoch + 1))
    assert (one != other).all()


def test_half_of_the_images_come_first_and_another_half_for_another_seed():
    first = DRAWS.alternating("flip")
    assert stats.binomtest(int(first.sum()), len(first)).pvalue > 1e-3
    other = Draws(seed=8, epoch=3, examples=20_000).alternating("flip")
    assert abs(np.corrcoef(first, other)[0, 1]) < 4.5 / np.sqrt(20_000)
