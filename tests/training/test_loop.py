import math
from functools import partial
from itertools import islice

import pytest
import torch
from splits_of_arrays import split_of
from torch import nn
from torch.nn import functional

from assay.recipe.schema import CrossEntropyLoss, Train
from assay.training.arithmetic import Arithmetic
from assay.training.engines.with_torch import scores_of
from assay.training.evaluate import evaluate
from assay.training.loop import count_correct, global_norm, train
from assay.training.losses import cross_entropy
from assay.training.penalties import Penalty

LOSS = cross_entropy(CrossEntropyLoss(name="cross_entropy"))
ARITHMETIC = Arithmetic(Train(), torch.device("cpu"))


def linear_model() -> nn.Linear:
    model = nn.Linear(2, 3).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5, -1.0], [0.25, 2.0], [-0.75, 0.1]]))
        model.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    return model


def batch(scale: float = 1.0):
    return torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64) * scale, torch.tensor([1, 0])


def steps(model, batches, *, schedule=lambda step: 0.1 / (step + 1), l2=0.0, clip_norm=None):
    optimizer = torch.optim.SGD(model.parameters(), lr=123.0)
    penalty = Penalty(model, l1=0.0, l2=l2)
    return train(model, batches, optimizer, schedule, LOSS, penalty, ARITHMETIC, clip_norm=clip_norm)


def test_a_step_moves_the_weights_down_the_gradient_at_the_schedules_rate():
    model, reference = linear_model(), linear_model()
    x_BD, y_B = batch()
    loss = functional.cross_entropy(reference(x_BD), y_B)
    loss.backward()
    record = next(steps(model, [batch()]))
    torch.testing.assert_close(model.weight.data, reference.weight.data - 0.1 * reference.weight.grad)
    torch.testing.assert_close(model.bias.data, reference.bias.data - 0.1 * reference.bias.grad)
    assert (record.step, record.lr, record.examples) == (0, 0.1, 2)
    assert record.loss == pytest.approx(loss.item())
    assert record.correct == int((reference(x_BD).argmax(1) == y_B).sum())
    norm = torch.cat([reference.weight.grad.flatten(), reference.bias.grad]).norm().item()
    assert record.gradient_norm == pytest.approx(norm)


def test_the_gradient_norm_includes_the_penalty_and_the_loss_does_not():
    plain = next(steps(linear_model(), [batch()]))
    penalised = next(steps(linear_model(), [batch()], l2=100.0))
    assert penalised.loss == plain.loss
    assert penalised.gradient_norm > 10 * plain.gradient_norm


def test_leaving_the_loop_stops_training_where_it_is():
    model = linear_model()
    taken = list(islice(steps(model, [batch()] * 10), 3))
    assert [record.step for record in taken] == [0, 1, 2]
    assert [record.lr for record in taken] == pytest.approx([0.1, 0.05, 0.1 / 3])
    other = linear_model()
    list(steps(other, [batch()] * 3))
    assert torch.equal(model.weight, other.weight)


def test_training_goes_on_in_training_mode_after_an_evaluation_in_between():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    x_BD, y_B = batch()
    loop = steps(model, [(x_BD.float(), y_B)] * 2)
    next(loop)
    evaluate(partial(scores_of, model, ARITHMETIC), split_of(x_BD.float(), y_B))
    assert not model.training
    next(loop)
    assert model.training
    assert model[1].num_batches_tracked == 2


def test_labels_may_be_probabilities_and_the_most_probable_class_is_the_right_one():
    model, (x_BD, y_B) = linear_model(), batch()
    mixed_BK = 0.7 * functional.one_hot(y_B, 3).double() + 0.3 * functional.one_hot(y_B.flip(0), 3).double()
    record = next(steps(model, [(x_BD, mixed_BK)]))
    logits_BK = linear_model()(x_BD).detach()
    log_p_BK = logits_BK.log_softmax(dim=1)
    assert record.loss == pytest.approx(float(-(mixed_BK * log_p_BK).sum(dim=1).mean()), rel=1e-12)
    assert record.correct == count_correct(logits_BK, y_B)
    assert record.examples == 2


def test_a_loss_that_is_not_finite_ends_the_loop_and_changes_no_weight():
    model = linear_model()
    records = list(steps(model, [batch(), batch(math.inf), batch()]))
    assert len(records) == 2
    assert math.isnan(records[1].loss)
    assert math.isnan(records[1].gradient_norm)
    assert records[1].correct == 0
    assert torch.isfinite(model.weight).all()


def test_scores_that_are_not_finite_count_as_wrong():
    scores_BK = torch.tensor([[0.0, 1.0], [math.nan, 0.0], [0.0, math.inf], [3.0, 1.0]])
    assert count_correct(scores_BK, torch.tensor([1, 0, 1, 0])) == 2


def test_the_global_norm_is_over_all_values_together():
    assert global_norm([torch.tensor([3.0]), torch.tensor([[4.0, 12.0]])]) == pytest.approx(13.0)
    assert global_norm([]) == 0.0


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 1.1, 1e3])
def test_a_gradient_longer_than_asked_is_scaled_down_to_that_length_penalties_included(share):
    model, reference = linear_model(), linear_model()
    x_BD, y_B = batch()
    penalised = functional.cross_entropy(reference(x_BD), y_B) + 0.7 / 2 * reference.weight.square().sum()
    gradients = torch.autograd.grad(penalised, list(reference.parameters()))
    length = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    scale = min(1.0, share)  # the first ones are clipped, the last two are not
    record = next(steps(model, [batch()], l2=0.7, clip_norm=share * length))
    assert record.gradient_norm == pytest.approx(length)  # as it was before
    for moved, start, gradient in zip(model.parameters(), reference.parameters(), gradients, strict=True):
        torch.testing.assert_close(moved.data, start.data - 0.1 * scale * gradient, rtol=1e-12, atol=1e-15)


def test_clipping_is_torchs_own():
    model, reference = linear_model(), linear_model()
    x_BD, y_B = batch(30.0)
    functional.cross_entropy(reference(x_BD), y_B).backward()
    norm = nn.utils.clip_grad_norm_(reference.parameters(), 0.3)
    torch.optim.SGD(reference.parameters(), lr=0.1).step()
    record = next(steps(model, [batch(30.0)], clip_norm=0.3))
    assert record.gradient_norm == pytest.approx(float(norm))
    torch.testing.assert_close(model.weight, reference.weight, rtol=1e-5, atol=0.0)


def test_layers_none_of_whose_parameters_is_trained_stay_in_evaluation_mode():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), nn.Dropout(0.5), nn.BatchNorm1d(3))
    model[0].requires_grad_(False)
    x_BD, y_B = batch()
    for _ in range(2):
        next(steps(model, [(x_BD.float(), y_B)]))
        assert [model.training, model[0].training, model[0][1].training] == [True, False, False]
        assert [model[1].training, model[2].training] == [True, True]
        model.eval()
    assert int(model[0][1].num_batches_tracked) == 0
    assert int(model[2].num_batches_tracked) == 2
