import math

import numpy as np
import pytest
import torch

from assay.models.layers import Dropout


def masks(
    p: float, *, seed: int = 0, layer: str = "dropout1", shape=(400, 250), steps: int = 1, form="inverted"
) -> torch.Tensor:
    dropout = Dropout(p, seed=seed, layer=layer, form=form)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_forms_drop_the_same_values_and_vanilla_scales_in_evaluation_instead(dtype):
    x = torch.randn(30, 20, dtype=dtype, generator=torch.Generator().manual_seed(0))
    vanilla, inverted = (Dropout(0.4, seed=0, layer="dropout1", form=form) for form in ("vanilla", "inverted"))
    for _ in range(2):
        left = vanilla(x)
        assert torch.equal(left[left != 0], x[left != 0])
        torch.testing.assert_close(inverted(x), left / 0.6)
    torch.testing.assert_close(vanilla.eval()(x), 0.6 * x)
    assert vanilla(x).dtype == dtype


@pytest.mark.parametrize("form", ["vanilla", "inverted"])
def test_either_form_expects_in_training_what_it_gives_in_evaluation(form):
    steps, p = 4000, 0.75
    x = torch.tensor([1.0, -2.0, 0.5])
    dropout = Dropout(p, seed=0, layer="dropout1", form=form)
    mean = torch.stack([dropout(x) for _ in range(steps)]).mean(dim=0)
    in_evaluation = dropout.eval()(x)
    error = torch.abs(in_evaluation) * math.sqrt(p / (1 - p) / steps)  # of a mean of Bernoulli masks
    assert (torch.abs(mean - in_evaluation) < 4 * error).all()


def test_vanilla_without_a_rate_passes_everything():
    x = torch.randn(3, 4)
    dropout = Dropout(0.0, seed=0, layer="dropout1", form="vanilla")
    assert dropout(x) is x
    assert dropout.eval()(x) is x
