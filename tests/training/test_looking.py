"""The closer look at a run's model: which weights count, and that no number of the run depends on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from assay.metrics.weight_statistics import WEIGHTS, weights_read
from assay.recipe.schema import Recipe
from assay.records import Run
from assay.testing import comparing
from assay.training.looking import Look, weight_tensors
from assay.training.run import run_recipe

DIGITS = {"data": {"source": "digits"}, "train": {"epochs": 1, "batch_size": 256}}
LOOKS = {
    "mistakes.png",
    "mistakes.json",
    "weights.json",
    "filters.png",
    "class_activation.png",
    "class_activation.json",
}


def run(model: dict[str, Any], **sections: Any) -> Run:
    return run_recipe(Recipe.model_validate({**DIGITS, "model": model, **sections}), fingerprint="f00d")


def share_of(weights: list[np.ndarray]) -> float:
    flat = np.concatenate([np.abs(weight.astype(np.float64)).ravel() for weight in weights])
    return float((flat < 1e-3).mean())


@pytest.mark.parametrize("engine", ["torch", "numpy", "autograd", "modules"])
def test_every_engine_records_the_share_of_weights_near_zero(engine: str) -> None:
    widths = {"name": "mlp", "widths": [16], "activation": "tanh"}
    plain: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 0.1}}
    found = run(widths, train={"epochs": 1, "batch_size": 256, "engine": engine}, **plain)
    weights = [weight for weight in found.weights.values() if weight.ndim >= 2]
    assert len(weights) == 2
    assert found.record.metrics["near_zero_weights"] == pytest.approx(share_of(weights))
    statistics = weights_read(found.artefacts[WEIGHTS])
    assert [one.shape for one in statistics] == [weight.shape for weight in weights]


def test_linear_models_have_their_coefficients_and_others_none() -> None:
    linear = run({"name": "logistic_regression"})
    assert linear.record.metrics["near_zero_weights"] == share_of([linear.weights["coefficients"]])
    assert [one.name for one in weights_read(linear.artefacts[WEIGHTS])] == ["coefficients"]
    kernel = run({"name": "svm", "kernel": "rbf"})
    assert kernel.record.metrics["near_zero_weights"] is None
    assert WEIGHTS not in kernel.artefacts


def test_biases_and_normalisation_are_left_out_and_frozen_weights_are_not() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LayerNorm((2, 6, 6)), nn.Flatten(), nn.Linear(72, 3))
    model[0].requires_grad_(False)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert list(weight_tensors(model, weights)) == ["0.weight", "3.weight"]


def test_weights_that_two_layers_share_count_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert len(weight_tensors(model, weights)) == 1


def test_the_kept_weights_count_where_they_are_an_average() -> None:
    found = run({"name": "mlp", "widths": [8]}, averaging={"name": "ema"})
    weights = [weight for weight in found.weights.values() if weight.ndim >= 2]
    assert found.record.metrics["near_zero_weights"] == pytest.approx(share_of(weights))


@pytest.mark.parametrize(
    "model", [{"name": "lenet5", "dropout": 0.5}, {"name": "own_models:AnySize"}], ids=["ours", "own"]
)
def test_no_number_of_the_run_depends_on_it(model: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    looked = run(model)
    assert looked.artefacts.keys() >= LOOKS
    state = torch.get_rng_state()
    nothing = Look(files={}, near_zero_weights=looked.record.metrics["near_zero_weights"])
    monkeypatch.setattr("assay.training.run.closer_look", lambda *_, **__: nothing)
    without = run(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert without.artefacts.keys().isdisjoint(LOOKS)
    assert set(comparing.differences(looked, without)) == {f"artefacts.{name}" for name in LOOKS}


def test_a_diverged_run_is_looked_at_as_far_as_it_goes() -> None:
    found = run({"name": "lenet5"}, optimizer={"name": "sgd", "lr": 1000.0}, train={"epochs": 2, "batch_size": 256})
    assert found.record.status == "diverged"
    assert {"mistakes.png", "weights.json", "filters.png"} <= found.artefacts.keys()
    weights_read(found.artefacts[WEIGHTS])


def test_all_of_it_is_small() -> None:
    found = run({"name": "lenet5"})
    assert sum(len(found.artefacts[name]) for name in LOOKS) < 150_000
