import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from assay.data.augment.draws import Draws
from assay.data.augment.mixing import Mixtures, mix, mixed_labels

DRAWS = Draws(seed=3, epoch=2, examples=20_000)
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


def one_colour_per_class(classes_B, classes, height, width, dtype=torch.float64):
    """Images whose every pixel says of which class it is: channel k is 1 at pixels of class k, and 0 elsewhere."""
    one_hot_BK = torch.nn.functional.one_hot(classes_B, classes).to(dtype)
    return one_hot_BK[:, :, None, None].expand(-1, -1, height, width).clone()


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
@given(
    count=st.integers(1, 20),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    dtype=st.sampled_from(list(TOLERANCE)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_labels_are_the_shares_of_the_classes_in_the_pixels(mixup, cutmix, count, height, width, dtype, seed):
    y_B = torch.from_numpy(np.random.default_rng(seed).integers(0, 5, count))
    mixtures = Mixtures.drawn(mixup, cutmix, Draws(seed=seed, epoch=1, examples=count))
    x_BCHW, y_BK = mix(one_colour_per_class(y_B, 5, height, width, dtype), y_B, mixtures, 5)
    assert x_BCHW.dtype == y_BK.dtype == dtype
    torch.testing.assert_close(x_BCHW.mean(dim=(2, 3)), y_BK, rtol=0, atol=TOLERANCE[dtype])
    torch.testing.assert_close(y_BK.sum(dim=1), torch.ones(count, dtype=dtype), rtol=0, atol=TOLERANCE[dtype])
    assert y_BK.min() >= 0


def test_mixup_averages_each_image_with_the_next_by_its_own_weight():
    x_BCHW = torch.rand(6, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y_B = torch.tensor([0, 1, 2, 3, 4, 4])
    draws = Draws(seed=1, epoch=1, examples=6)
    own_B = draws.beta(0.7, "mixup")
    mixed, y_BK = mix(x_BCHW.clone(), y_B, Mixtures.drawn(0.7, 0.0, draws), 5)
    for place in range(6):
        after = (place + 1) % 6
        expected = own_B[place] * x_BCHW[place] + (1 - own_B[place]) * x_BCHW[after]
        torch.testing.assert_close(mixed[place], expected)
    np.testing.assert_allclose(y_BK[1], [0, own_B[1], 1 - own_B[1], 0, 0])
    np.testing.assert_allclose(y_BK[5], [1 - own_B[5], 0, 0, 0, own_B[5]])
    np.testing.assert_allclose(y_BK[4], [0, 0, 0, 0, 1])


def test_cutmix_pastes_one_rectangle_of_the_next_image_and_leaves_every_other_value_as_it_is():
    count, size = 200, 24
    x_BCHW = torch.randn(count, 2, size, size, generator=torch.Generator().manual_seed(0))
    mixtures = Mixtures.drawn(0.0, 1.0, Draws(seed=4, epoch=1, examples=count))
    mixed, y_BK = mix(x_BCHW.clone(), torch.arange(count), mixtures, count)
    own, partners = (mixed == x_BCHW).all(dim=1), (mixed == x_BCHW.roll(-1, 0)).all(dim=1)
    assert (own | partners).all()
    for place in range(count):
        rows, columns = partners[place].any(dim=1), partners[place].any(dim=0)
        assert torch.equal(partners[place], rows[:, None] & columns)
        assert y_BK[place, (place + 1) % count] == pytest.approx(partners[place].double().mean())


def test_the_shares_pasted_are_those_of_the_distribution_where_nothing_is_cut():
    mixtures = Mixtures.drawn(0.0, 0.6, DRAWS)
    assert stats.kstest(mixtures.pasted_B, stats.beta(0.6, 0.6).cdf).pvalue > 1e-3
    assert stats.kstest(mixtures.down_B, "uniform").pvalue > 1e-3
    assert stats.kstest(mixtures.right_B, "uniform").pvalue > 1e-3
    assert not mixtures.blended_B.any()


def test_with_both_each_image_gets_one_at_even_odds_and_as_it_would_alone():
    both = Mixtures.drawn(0.3, 1.5, DRAWS)
    blended = both.blended_B > 0
    assert not (blended & (both.pasted_B > 0)).any()
    assert stats.binomtest(int(blended.sum()), 20_000).pvalue > 1e-3
    np.testing.assert_array_equal(both.blended_B[blended], Mixtures.drawn(0.3, 0.0, DRAWS).blended_B[blended])
    np.testing.assert_array_equal(both.pasted_B[~blended], Mixtures.drawn(0.0, 1.5, DRAWS).pasted_B[~blended])


def test_nothing_is_drawn_where_nothing_is_mixed():
    assert Mixtures.drawn(0.0, 0.0, DRAWS) is None


def test_a_batch_of_one_is_mixed_with_itself():
    x_BCHW = torch.rand(1, 1, 3, 3)
    mixed, y_BK = mix(
        x_BCHW.clone(), torch.tensor([1]), Mixtures.drawn(1.0, 0.0, Draws(seed=0, epoch=1, examples=1)), 3
    )
    torch.testing.assert_close(mixed, x_BCHW)
    torch.testing.assert_close(y_BK, torch.tensor([[0.0, 1.0, 0.0]]))


def test_labels_of_equal_neighbours_add_up():
    y_BK = mixed_labels(torch.tensor([2, 2]), np.array([0.25, 0.5]), 3, torch.float64)
    assert y_BK.tolist() == [[0, 0, 1], [0, 0, 1]]
