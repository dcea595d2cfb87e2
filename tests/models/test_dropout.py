import numpy as np
import pytest
import torch

from assay.models.layers import Dropout


def masks(p: float, *, seed: int = 0, layer: str = "dropout1", shape=(400, 250), steps: int = 1) -> torch.Tensor:
    dropout = Dropout(p, seed=seed, layer=layer)
    return torch.stack([dropout(torch.ones(shape)) for _ in range(steps)])


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.95])
def test_each_unit_is_dropped_independently_with_probability_p(p):
    mask_BF = masks(p)[0].numpy()
    kept_BF = mask_BF > 0
    n = kept_BF.size
    assert kept_BF.mean() == pytest.approx(1 - p, abs=4 * np.sqrt(p * (1 - p) / n))
    np.testing.assert_allclose(mask_BF[kept_BF], 1 / (1 - p), rtol=1e-6)  # so that the expectation stays
    centred = kept_BF - kept_BF.mean()
    for shifted in (np.roll(centred, 1, axis=0), np.roll(centred, 1, axis=1)):
        assert abs((centred * shifted).mean()) < 4 * p * (1 - p) / np.sqrt(n)
    counts_F = kept_BF.sum(axis=0)
    assert counts_F.var() == pytest.approx(400 * p * (1 - p), rel=4 * np.sqrt(2 / 250))


def test_masks_change_at_every_step_and_repeat_with_the_seed():
    first = masks(0.5, steps=2)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, masks(0.5, steps=2))
    assert not torch.equal(first, masks(0.5, seed=1, steps=2))
    assert not torch.equal(first, masks(0.5, layer="dropout2", steps=2))


def test_masks_of_two_rates_share_their_draws():
    low, high = masks(0.25)[0] > 0, masks(0.75)[0] > 0
    assert torch.equal(high & low, high)  # whatever the higher rate keeps, the lower keeps too


def test_evaluation_passes_inputs_and_draws_nothing():
    dropout = Dropout(0.5, seed=0, layer="dropout1")
    x = torch.randn(3, 4)
    assert dropout.eval()(x) is x
    dropout.train()
    assert torch.equal(dropout(torch.ones(400, 250)), masks(0.5)[0])


def test_the_gradient_goes_through_what_was_kept():
    x = torch.ones(10, 7, dtype=torch.float64, requires_grad=True)
    y = Dropout(0.4, seed=0, layer="dropout1")(x)
    y.sum().backward()
    assert y.dtype == torch.float64
    assert torch.equal(x.grad, y.detach())


def test_an_odd_number_of_values_and_a_rate_near_one_are_fine():
    assert masks(0.5, shape=(3, 5)).shape == (1, 3, 5)
    assert torch.isfinite(masks(1.0 - 2**-40)).all()
