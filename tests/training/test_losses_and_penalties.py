import numpy as np
import pytest
import torch
from torch import nn

from assay.recipe.schema import CrossEntropyLoss
from assay.training.losses import cross_entropy
from assay.training.penalties import Penalty, penalised_weights


def log_softmax(z_BK):
    shifted = z_BK - z_BK.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_label_smoothing_is_its_formula_and_the_reported_loss_is_without_it(smoothing):
    rng = np.random.default_rng(4)
    z_BK, y_B = rng.normal(size=(7, 5)) * 3, rng.integers(0, 5, 7)
    minus_log_p_BK = -log_softmax(z_BK)
    plain_B = minus_log_p_BK[np.arange(7), y_B]
    smoothed_B = (1 - smoothing) * plain_B + smoothing / 5 * minus_log_p_BK.sum(axis=1)
    section = CrossEntropyLoss(name="cross_entropy", label_smoothing=smoothing)
    logits_BK = torch.from_numpy(z_BK).requires_grad_()
    minimised, reported = cross_entropy(section)(logits_BK, torch.from_numpy(y_B))
    assert minimised.item() == pytest.approx(smoothed_B.mean(), rel=1e-12)
    assert reported.item() == pytest.approx(plain_B.mean(), rel=1e-12)
    assert not reported.requires_grad
    minimised.backward()
    target_BK = (1 - smoothing) * np.eye(5)[y_B] + smoothing / 5
    np.testing.assert_allclose(logits_BK.grad.numpy(), (np.exp(-minus_log_p_BK) - target_BK) / 7, atol=1e-12)


class Mixed(nn.Module):
    """Weights of every kind: linear, convolution, tied, frozen, unused, and the gain of a norm with two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.LayerNorm((2, 2))
        self.linear = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.linear.weight
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.unused = nn.Linear(2, 3)

    def forward(self, x):
        return self.tied(self.linear(self.norm(self.conv(x)[:, 0:1].expand(-1, 1, 2, 2)).flatten(1)))


def test_penalised_are_trainable_weights_each_once_and_no_bias_or_norm():
    model = Mixed()
    assert {id(w) for w in penalised_weights(model)} == {
        id(model.conv.weight),
        id(model.linear.weight),
        id(model.unused.weight),
    }
    assert len(penalised_weights(model)) == 3


@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
def test_the_gradient_is_that_of_the_penalised_sum(l1, l2):
    generator = torch.Generator().manual_seed(0)
    x_BCHW = torch.randn(2, 1, 4, 4, generator=generator, dtype=torch.float64)
    model = Mixed().double()
    model.linear.weight.data[0, 0] = 0.0  # where |w| has no slope
    weights = [model.conv.weight, model.linear.weight, model.unused.weight]
    total = model(x_BCHW).square().sum() + sum(l1 * w.abs().sum() + l2 / 2 * w.square().sum() for w in weights)
    trainable = [p for p in model.parameters() if p.requires_grad]
    expected = torch.autograd.grad(total, trainable, allow_unused=True)
    model(x_BCHW).square().sum().backward()
    Penalty(model, l1=l1, l2=l2).add_gradient()
    for parameter, gradient in zip(trainable, expected, strict=True):
        if gradient is None:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, gradient)


def test_no_penalty_touches_no_gradient():
    model = nn.Linear(2, 2)
    Penalty(model, l1=0.0, l2=0.0).add_gradient()
    assert model.weight.grad is None
