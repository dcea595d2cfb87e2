import numpy as np
import pytest
import torch
from torch import nn

from assay.recipe.schema import CrossEntropyLoss, Recipe, SquaredErrorLoss
from assay.training.losses import build_loss, cross_entropy
from assay.training.penalties import Penalty, penalised_weights
from assay.training.run import run_recipe


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


# --- squared error ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("mixed", [False, True], ids=["classes", "mixed"])
def test_squared_error_is_its_formula_and_the_reported_loss_is_the_cross_entropy(smoothing, mixed):
    rng = np.random.default_rng(5)
    z_BK, y_B = rng.normal(size=(7, 5)) * 2, rng.integers(0, 5, 7)
    label_BK = np.eye(5)[y_B]
    if mixed:
        label_BK = 0.7 * label_BK + 0.3 * np.eye(5)[y_B[::-1]]
    target_BK = (1 - smoothing) * label_BK + smoothing / 5
    by_hand = np.mean(
        [0.5 * sum((z - t) ** 2 for z, t in zip(*rows, strict=True)) for rows in zip(z_BK, target_BK, strict=True)]
    )
    logits_BK = torch.from_numpy(z_BK).requires_grad_()
    section = SquaredErrorLoss(name="squared_error", label_smoothing=smoothing)
    labels = torch.from_numpy(label_BK if mixed else y_B)
    minimised, reported = build_loss(section)(logits_BK, labels)
    assert minimised.item() == pytest.approx(by_hand, rel=1e-12)
    assert reported.item() == pytest.approx(-(label_BK * log_softmax(z_BK)).sum(axis=1).mean(), rel=1e-12)
    assert not reported.requires_grad
    minimised.backward()
    np.testing.assert_allclose(logits_BK.grad.numpy(), (z_BK - target_BK) / 7, atol=1e-12)


def test_with_squared_error_a_linear_model_descends_to_least_squares():
    """Full-batch descent on half the squared distance ends where numpy's least squares are."""
    rng = np.random.default_rng(6)
    x_ND, y_N = rng.normal(size=(40, 3)), rng.integers(0, 4, 40)
    model = nn.Linear(3, 4, bias=False).double()
    loss_of = build_loss(SquaredErrorLoss(name="squared_error"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(400):
        optimizer.zero_grad()
        loss_of(model(torch.from_numpy(x_ND)), torch.from_numpy(y_N))[0].backward()
        optimizer.step()
    best_DK = np.linalg.lstsq(x_ND, np.eye(4)[y_N], rcond=None)[0]
    np.testing.assert_allclose(model.weight.detach().numpy(), best_DK.T, atol=1e-8)


def test_squared_error_trains_a_run_that_records_nats_and_probabilities():
    recipe = Recipe.model_validate(
        {
            "data": {"source": "digits"},
            "model": {"name": "mlp", "widths": [32]},
            "loss": {"name": "squared_error", "label_smoothing": 0.1},
            "optimizer": {"name": "adam", "lr": 0.003},
            "augment": {"mixup": 0.2},
            "train": {"epochs": 4, "batch_size": 50},
        }
    )
    run = run_recipe(recipe, fingerprint="f00d")
    assert run.record.metrics["initial_loss"] == pytest.approx(np.log(10), rel=0.1)
    assert run.record.metrics["val_accuracy"] > 0.85
    test = run.predictions["test"]
    np.testing.assert_allclose(test.probabilities_NC.sum(axis=1), 1.0, atol=1e-5)
    p_N = test.probabilities_NC[np.arange(len(test.labels_N)), test.labels_N]
    assert run.record.metrics["test_loss"] == pytest.approx(-np.log(p_N).mean(), rel=1e-4)
