import math

import numpy as np
import pytest
import torch
from splits_of_arrays import split_of
from torch import nn

from assay.records import Predictions
from assay.training import evaluate as module
from assay.training.evaluate import evaluate, seconds_per_example


def data(examples=50):
    generator = torch.Generator().manual_seed(3)
    inputs_ND = torch.randn(examples, 4, generator=generator)
    return inputs_ND, torch.randint(0, 3, (examples,), generator=generator)


def test_loss_accuracy_and_probabilities_are_their_definitions():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9))  # would show if evaluation were in training mode
    inputs_ND, labels_N = data()
    result = evaluate(model, split_of(inputs_ND, labels_N))
    with torch.no_grad():
        p_NK = torch.softmax(model[0](inputs_ND).double(), dim=1).numpy()
    y_N = labels_N.numpy()
    np.testing.assert_allclose(result.probabilities_NK.numpy(), p_NK, atol=1e-6)
    assert result.loss == pytest.approx(-np.log(p_NK[np.arange(50), y_N]).mean(), rel=1e-6)
    assert result.accuracy == (p_NK.argmax(axis=1) == y_N).mean()
    assert not model.training


def test_the_batches_do_not_show(monkeypatch):
    model = nn.Linear(4, 3)
    whole = evaluate(model, split_of(*data()))
    monkeypatch.setattr(module, "EVALUATION_BATCH", 7)
    parts = evaluate(model, split_of(*data()))
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    torch.testing.assert_close(parts.probabilities_NK, whole.probabilities_NK)
    assert parts.correct == whole.correct


def test_what_is_not_a_number_counts_as_wrong_as_it_does_when_read_back():
    model = nn.Linear(4, 3)
    inputs_ND, labels_N = data()
    inputs_ND[5:15] = math.nan
    inputs_ND[20] = 3e38  # logits overflow to infinities
    result = evaluate(model, split_of(inputs_ND, labels_N))
    kept = Predictions(
        probabilities_NC=result.probabilities_NK.numpy(), labels_N=labels_N.numpy(), indices_N=np.arange(50)
    )
    assert result.correct == kept.correct_N().sum() < 50
    assert (kept.predicted_N()[5:15] == -1).all()
    assert result.finite_loss is None


def test_probabilities_are_float32_whatever_the_model_computes_in():
    inputs_ND, labels_N = data()
    split = split_of(inputs_ND, labels_N, dtype=torch.float64)
    assert evaluate(nn.Linear(4, 3).double(), split).probabilities_NK.dtype == torch.float32


def test_timing_is_per_example(monkeypatch):
    ticks = iter([0.0, 0.010, 1.0, 1.005, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5])
    monkeypatch.setattr(module, "perf_counter", lambda: next(ticks))
    assert seconds_per_example(nn.Linear(4, 3), split_of(*data())) == pytest.approx(0.005 / 50)
