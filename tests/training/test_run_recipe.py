import math
import platform
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import torch

from assay.data.load import load_source
from assay.data.normalize import Preprocessing, apply
from assay.data.splits import make_splits
from assay.errors import InputError, InvalidValueError
from assay.metrics.catalogue import CATALOGUE
from assay.recipe.schema import LeNet5Model, Recipe
from assay.records import Run
from assay.training import loop, prepare
from assay.training.describe import model_anatomy
from assay.training.engines import with_torch
from assay.training.run import run_recipe

BASE = {
    "data": {"source": "digits"},
    "model": {"name": "mlp", "widths": [64]},
    "train": {"epochs": 3, "batch_size": 64},
}


def recipe(**sections) -> Recipe:
    return Recipe.model_validate({**BASE, **sections})


def run(device="cpu", **sections):
    return run_recipe(recipe(**sections), fingerprint="f00d", device=device)


@pytest.fixture(scope="module")
def plain():
    return run()


# --- it learns -------------------------------------------------------------------------------------------------------


def test_an_mlp_learns_the_digits():
    record = run(model={"name": "mlp", "widths": [128, 128]}, train={"epochs": 15, "batch_size": 64}).record
    assert record.status == "completed"
    assert record.metrics["test_accuracy"] > 0.95
    assert record.metrics["val_accuracy"] > 0.95
    assert record.notes == ()


def test_lenet5_learns_the_digits():
    record = run(
        model={"name": "lenet5", "norm": "batch", "dropout": 0.1},
        optimizer={"name": "adam", "lr": 0.003},
        train={"epochs": 12, "batch_size": 64},
    ).record
    assert record.metrics["test_accuracy"] > 0.95


def test_a_small_mlp_solves_the_circles_and_a_linear_model_cannot():
    circles = {"data": {"source": "circles"}, "train": {"epochs": 40, "batch_size": 16}}
    assert run(**circles, optimizer={"name": "adam", "lr": 0.01}).record.metrics["test_accuracy"] >= 0.9
    assert run(**circles, model={"name": "mlp", "widths": []}).record.metrics["test_accuracy"] < 0.7


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "lr": 0.1},
        {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"name": "rmsprop"},
        {"name": "adamw"},
    ],
    ids=["sgd", "nesterov", "rmsprop", "adamw"],
)
@pytest.mark.parametrize("activation", ["tanh", "swish"])
def test_every_optimizer_learns(optimizer, activation):
    record = run(
        model={"name": "mlp", "widths": [64], "activation": activation},
        optimizer=optimizer,
        schedule={"name": "cosine", "warmup_epochs": 0.5},
        train={"epochs": 10, "batch_size": 64},
    ).record
    assert record.metrics["val_accuracy"] > 0.85


def test_penalties_and_smoothing_shrink_the_weights():
    free = run().record.metrics["weight_norm"]
    for loss in ({"l2": 0.05}, {"l1": 0.005}):
        assert run(loss={"name": "cross_entropy", **loss}).record.metrics["weight_norm"] < 0.9 * free


# --- what a run keeps ------------------------------------------------------------------------------------------------


def test_every_metric_of_the_catalogue_that_needs_no_asking_is_there_and_none_else(plain):
    assert set(plain.record.metrics) == {name for name, metric in CATALOGUE.items() if metric.recorded_with(recipe())}
    assert all(math.isfinite(value) for value in plain.record.metrics.values())


def test_metrics_agree_with_history_and_predictions(plain):
    metrics, last = plain.record.metrics, plain.history[-1]
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "running_train_loss", "weight_norm"):
        assert metrics[name] == getattr(last, name)
    for split in ("val", "test"):
        predictions = plain.predictions[split]
        assert metrics[f"{split}_accuracy"] == predictions.correct_N().mean()
        p_N = predictions.probabilities_NC[np.arange(len(predictions.labels_N)), predictions.labels_N]
        assert metrics[f"{split}_loss"] == pytest.approx(-np.log(p_N).mean(), rel=1e-4)
        assert predictions.probabilities_NC.dtype == np.float32
        assert predictions.labels_N.dtype == predictions.indices_N.dtype == np.int64
    assert metrics["best_val_accuracy"] == max(record.val_accuracy for record in plain.history)
    accuracies = [record.val_accuracy for record in plain.history]
    assert metrics["best_epoch"] == 1 + accuracies.index(max(accuracies))
    assert metrics["accuracy_gap"] == metrics["train_accuracy"] - metrics["val_accuracy"]
    assert metrics["seconds"] == pytest.approx(sum(record.seconds for record in plain.history))
    assert metrics["initial_loss"] == pytest.approx(math.log(10), rel=0.05)
    assert 0 < metrics["inference_seconds"] < 0.01


def test_the_history_counts_epochs_from_1_and_steps_from_0(plain):
    assert [record.epoch for record in plain.history] == [1, 2, 3]
    assert [record.step for record in plain.history] == [17, 35, 53]
    assert all(record.lr == 0.001 for record in plain.history)
    assert plain.history[0].running_train_loss > plain.history[0].train_loss  # the weights moved meanwhile


def test_an_epoch_averages_its_steps_by_their_examples(monkeypatch):
    taken = []

    def recorded(*arguments, **keys):
        for record in loop.train(*arguments, **keys):
            taken.append(record)
            yield record

    monkeypatch.setattr(with_torch, "train", recorded)
    last = run(train={"epochs": 2, "batch_size": 700}).history[-1]
    steps = taken[2:]
    assert [step.examples for step in steps] == [700, 450]
    assert last.running_train_loss == pytest.approx((700 * steps[0].loss + 450 * steps[1].loss) / 1150)
    assert last.running_train_accuracy == (steps[0].correct + steps[1].correct) / 1150
    assert last.gradient_norm == pytest.approx((steps[0].gradient_norm + steps[1].gradient_norm) / 2)
    assert (last.step, last.lr) == (steps[1].step, steps[1].lr)


def test_the_record_says_what_was_run_on_what(plain):
    record = plain.record
    assert record.fingerprint == "f00d"
    assert record.recipe == recipe().resolved()
    assert record.examples == {"train": 1150, "val": 288, "test": 359}
    assert record.classes == tuple("0123456789")
    assert record.parameters == record.trainable_parameters == 64 * 64 + 64 + 640 + 10 == record.metrics["parameters"]
    assert record.environment["torch"] == torch.__version__
    assert record.environment["python"] == platform.python_version()
    assert record.environment["device"] == "cpu"
    assert record.environment["cpu"]
    assert datetime.fromisoformat(record.started_at).utcoffset().total_seconds() == 0
    assert record.seconds >= record.metrics["seconds"]
    assert record.diverged_at is None


def test_weights_and_preprocessing_reproduce_the_predictions(plain):
    examples = prepare.load_source(recipe().data)
    test = plain.predictions["test"]
    preprocessing = Preprocessing(facts=plain.preprocessing, arrays=plain.preprocessing_arrays)
    x_ND = apply(preprocessing, examples.inputs[test.indices_N]).reshape(-1, 64)
    w = plain.weights
    hidden = np.maximum(x_ND @ w["linear1.weight"].T + w["linear1.bias"], 0)
    logits = hidden @ w["output.weight"].T + w["output.bias"]
    p_NC = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(p_NC / p_NC.sum(axis=1, keepdims=True), test.probabilities_NC, atol=1e-5)
    assert all(array.dtype == np.float32 for array in w.values())
    np.testing.assert_array_equal(examples.labels_N[test.indices_N], test.labels_N)


def test_the_log_has_a_line_per_epoch(plain):
    lines = plain.log.splitlines()
    assert lines[1] == "1150 train, 288 val, 359 test examples; 4810 parameters"
    assert lines[4].startswith("epoch 3: lr 0.001, train loss 1.")
    assert lines[-1].startswith("completed in ")


def test_the_test_split_never_reaches_training(monkeypatch):
    """Pixels of the test examples changed beyond recognition leave weights, history and preprocessing as they were."""
    before = run(data={"source": "circles"})
    load = prepare.load_source

    def disturbed(data):
        examples = load(data)
        inputs = examples.inputs.copy()
        inputs[examples.test_indices] = 1e6
        return replace(examples, inputs=inputs)

    monkeypatch.setattr(prepare, "load_source", disturbed)
    after = run(data={"source": "circles"})
    assert after.preprocessing == before.preprocessing
    for name, weights in before.weights.items():
        np.testing.assert_array_equal(weights, after.weights[name])
    assert after.record.metrics["val_loss"] == before.record.metrics["val_loss"]
    assert after.record.metrics["test_loss"] != before.record.metrics["test_loss"]


def test_float64_computes_in_float64():
    run64 = run(train={"epochs": 1, "batch_size": 64, "precision": "float64"})
    assert {array.dtype for array in run64.weights.values()} == {np.dtype(np.float64)}
    assert run64.predictions["val"].probabilities_NC.dtype == np.float32
    run32 = run(train={"epochs": 1, "batch_size": 64})
    assert run64.record.metrics["val_loss"] == pytest.approx(run32.record.metrics["val_loss"], rel=1e-4)


# --- arms at one seed are paired -------------------------------------------------------------------------------------


def test_arms_at_one_seed_share_split_order_and_first_weights(plain):
    other = run(model={"name": "mlp", "widths": [64], "dropout": 0.3}, optimizer={"name": "sgd", "lr": 1e-12})
    for split in ("val", "test"):
        np.testing.assert_array_equal(plain.predictions[split].indices_N, other.predictions[split].indices_N)
    assert plain.record.metrics["initial_loss"] == other.record.metrics["initial_loss"]
    elsewhere = run(seed=1)
    assert not np.array_equal(plain.predictions["val"].indices_N, elsewhere.predictions["val"].indices_N)
    np.testing.assert_array_equal(plain.predictions["test"].indices_N, elsewhere.predictions["test"].indices_N)


# --- divergence is a result ------------------------------------------------------------------------------------------


def test_a_rate_far_too_high_diverges_and_is_recorded_so():
    diverged = run(model={"name": "mlp", "widths": [256, 256]}, optimizer={"name": "sgd", "lr": 1000.0})
    record = diverged.record
    assert record.status == "diverged"
    assert record.diverged_at["epoch"] == len(diverged.history) == 1
    assert record.diverged_at["step"] == diverged.history[-1].step
    for name in ("train_loss", "val_loss", "test_loss", "running_train_loss"):
        assert record.metrics[name] is None
    assert math.isfinite(record.metrics["initial_loss"])
    for split in ("val", "test"):
        assert record.metrics[f"{split}_accuracy"] == diverged.predictions[split].correct_N().mean() <= 0.3
    last = diverged.history[-1]
    assert (last.running_train_loss, last.train_loss, last.val_loss) == (None, None, None)
    assert "diverged in" in diverged.log


def test_weights_that_overflow_from_the_start_diverge_at_the_first_step():
    record = run(
        model={"name": "mlp", "widths": [64] * 30}, init={"name": "normal", "scale": 100.0}, train={"epochs": 2}
    ).record
    assert record.diverged_at == {"epoch": 1, "step": 0}
    assert record.metrics["initial_loss"] is None
    assert record.metrics["gradient_norm"] is None
    assert record.metrics["test_accuracy"] == 0.0


def spiked(split: str) -> Run:
    """A run on data with one point far out in that split."""
    data = {"source": "own_models:Spiked", "options": {"spike_tests": split == "test"}, "normalize": "none"}
    section = recipe(data=data).data
    for seed in range(30):
        splits = make_splits(load_source(section), validation=section.validation, seed=seed)
        if 7 in {"train": splits.train_N, "val": splits.val_N, "test": splits.test_N}[split]:
            return run(data=data, seed=seed, train={"epochs": 2, "batch_size": 8})
    raise LookupError(split)


@pytest.mark.parametrize("split", ["train", "val"])
def test_one_loss_that_is_not_finite_is_enough_and_leaves_no_final_loss(split):
    diverged = spiked(split)
    metrics = diverged.record.metrics
    assert diverged.record.status == "diverged"
    assert diverged.record.diverged_at["epoch"] == 1
    assert {metrics[name] for name in ("train_loss", "val_loss", "test_loss", "running_train_loss")} == {None}
    assert all(np.isfinite(array).all() for array in diverged.weights.values())
    assert metrics["test_accuracy"] > 0.3
    assert (diverged.predictions["val"].predicted_N() == -1).sum() == (1 if split == "val" else 0)


def test_a_step_whose_loss_is_not_finite_ends_the_run_though_measurements_are_sound():
    broken = run(model={"name": "own_models:BreaksInTraining"})
    assert broken.record.status == "diverged"
    assert broken.record.diverged_at == {"epoch": 1, "step": 3}
    assert len(broken.history) == 1
    assert broken.record.metrics["val_loss"] is None
    assert broken.record.metrics["val_accuracy"] > 0


def test_a_test_loss_that_is_not_finite_is_missing_and_spoils_nothing_else():
    record = spiked("test").record
    assert record.status == "completed"
    assert record.metrics["test_loss"] is None
    assert math.isfinite(record.metrics["val_loss"])


# --- models of one's own ---------------------------------------------------------------------------------------------


def test_a_models_own_state_comes_back_by_name_and_its_warnings_as_notes():
    tracked = run(model={"name": "own_models:PartlyUsed"}, loss={"name": "cross_entropy", "l2": 0.01})
    assert tracked.weights["scale"].dtype == np.float32  # NumPy has no bfloat16
    assert tracked.weights["calls"] == 54
    assert tracked.record.trainable_parameters == 9 * 10 + 12
    assert tracked.record.parameters == tracked.record.trainable_parameters + 65 * 8
    assert run(model={"name": "own_models:Restless"}).record.notes == ("UserWarning: restless as ever",)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"name": "own_models:Frozen"}}, r"^model\.name must have parameters to train; Frozen has none\.$"),
        (
            {"model": {"name": "own_models:BatchNormed"}, "train": {"batch_size": 1}},
            r"^train\.batch_size must be at least 2 for a model with batch normalisation, got 1\.\n"
            r"  Raise train\.batch_size, or choose another normalisation in model\.name \(own_models:BatchNormed\)\.$",
        ),
        ({"data": {"source": "circles"}, "model": {"name": "lenet5"}}, r"^model\.name lenet5 needs images"),
        (
            {"schedule": {"name": "cosine", "warmup_epochs": 2.99}},
            r"^schedule\.warmup_epochs must leave part of train\.epochs \(3\) to the schedule itself, got 2\.99\.$",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_by_its_keys(sections, message):
    with pytest.raises(InvalidValueError, match=message):
        run(**sections)


@pytest.mark.parametrize("device", ["cuda:7", "quantum", "meta"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(
        InputError, match=rf"^The device must be one torch can use here, such as cpu, got '{device}': \w"
    ):
        run(device=device)


def test_batches_larger_than_the_data_are_noted():
    record = run(train={"epochs": 1, "batch_size": 5000}).record
    assert record.notes == ("train.batch_size 5000 is more than the 1150 training examples.",)


def test_the_layer_table_of_a_recipe_is_that_of_its_data():
    rows = model_anatomy(recipe(model={"name": "lenet5"})).rows
    assert rows[0].output_shape == (6, 8, 8)
    assert rows[-1].output_shape == (10,)


def test_the_layer_table_takes_inputs_as_they_are_normalised():
    whitened = recipe(data={"source": "digits", "normalize": "pca"})
    unchecked = whitened.model_copy(update={"model": LeNet5Model(name="lenet5")})
    with pytest.raises(InputError, match=r"lenet5 needs images .* got inputs of shape \(64,\)"):
        model_anatomy(unchecked)
