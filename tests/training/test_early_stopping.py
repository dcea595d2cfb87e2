"""When training stops, and whose weights are kept: with measurements made up, and in runs."""

import numpy as np
import pytest

from assay.recipe.schema import Recipe
from assay.records import EpochRecord
from assay.studies.store.folder import FolderStore
from assay.training import fit
from assay.training.progress import BestEpoch
from assay.training.run import run_recipe

BASE = {
    "data": {"source": "digits"},
    "model": {"name": "mlp", "widths": [16]},
    "optimizer": {"name": "sgd", "lr": 0.1},
}


def record(epoch: int, **values: float | None) -> EpochRecord:
    blank = dict.fromkeys(EpochRecord.__dataclass_fields__)
    return EpochRecord(**{**blank, "epoch": epoch, "step": epoch, **values})


def followed(values, watch="val_accuracy", **options):
    """After each epoch: whether it is the best so far, the best one, how long it has waited, and since when."""
    best = BestEpoch(watch, **options)
    return [
        (best.improved_by(record(epoch, **{watch: value})), best.epoch, best.waited, best.since)
        for epoch, value in enumerate(values, start=1)
    ]


def test_the_best_is_the_first_of_ties_and_epochs_without_a_measurement_do_not_count():
    assert followed([0.5, None, 0.7, 0.7, 0.6, 0.8]) == [
        (True, 1, 0, 1),
        (False, 1, 0, 1),
        (True, 3, 0, 3),
        (False, 3, 1, 3),
        (False, 3, 2, 3),
        (True, 6, 0, 6),
    ]


def test_a_loss_is_best_when_lowest():
    assert [found[1] for found in followed([2.0, 1.0, 1.5, 0.9], watch="val_loss")] == [1, 2, 2, 4]


def test_small_improvements_are_the_best_but_do_not_count_for_patience():
    assert followed([0.50, 0.55, 0.58, 0.61, 0.65], min_improvement=0.1) == [
        (True, 1, 0, 1),
        (True, 2, 1, 1),
        (True, 3, 2, 1),
        (True, 4, 0, 4),  # by 0.11 on what counted last, though by 0.03 on the best
        (True, 5, 1, 4),
    ]


# --- in a run whose validation measurements are made up ---------------------------------------------------------------


def run_measuring(monkeypatch, accuracies, *, losses=None, every=1, **train):
    """A run whose history says that validation accuracy, and loss, after each measured epoch were these; everything
    else is real."""
    values = iter(zip(accuracies, losses or [1.0] * len(accuracies), strict=True))

    def epoch_record(*arguments):
        made = real_record(*arguments)
        if made.val_accuracy is None:
            return made
        accuracy, loss = next(values)
        return type(made)(**{**vars(made), "val_accuracy": accuracy, "val_loss": loss})

    real_record = fit.epoch_record
    monkeypatch.setattr(fit, "epoch_record", epoch_record)
    recipe = Recipe.model_validate(
        {**BASE, "train": {"epochs": 8, "batch_size": 400, **train}, "evaluate": {"every": every}}
    )
    return run_recipe(recipe, fingerprint="f00d")


@pytest.fixture(scope="module")
def weights_after():
    """The weights after each epoch of the recipe that these runs train."""
    found = {}
    for epochs in range(1, 9):
        recipe = Recipe.model_validate({**BASE, "train": {"epochs": epochs, "batch_size": 400}})
        found[epochs] = run_recipe(recipe, fingerprint="f00d")
    return found


def same(weights, others) -> bool:
    return weights.keys() == others.keys() and all(np.array_equal(weights[name], others[name]) for name in weights)


def test_training_stops_once_patience_is_over_and_says_why(monkeypatch, weights_after):
    run = run_measuring(monkeypatch, [0.3, 0.6, 0.5, 0.6, 0.4, 0.9, 0.9, 0.9], patience=3)
    assert [epoch.epoch for epoch in run.history] == [1, 2, 3, 4, 5]
    assert run.record.notes == (
        "Training stopped after epoch 5: val_accuracy had not improved for 3 measurements since epoch 2.",
    )
    assert run.record.status == "completed"
    assert run.record.metrics["kept_epoch"] == 5.0
    assert same(run.weights, weights_after[5].weights)
    assert not run.last_weights


def test_patience_that_ends_with_the_last_epoch_stops_nothing(monkeypatch):
    run = run_measuring(monkeypatch, [0.3, 0.6, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8], patience=5)
    assert len(run.history) == 8
    assert run.record.notes == ()


def test_patience_counts_measurements_and_not_epochs(monkeypatch):
    run = run_measuring(monkeypatch, [0.6, 0.5, 0.4], patience=2, every=2)
    assert [epoch.val_accuracy for epoch in run.history] == [None, 0.6, None, 0.5, None, 0.4]
    assert run.record.notes == (
        "Training stopped after epoch 6: val_accuracy had not improved for 2 measurements since epoch 2.",
    )


def test_the_last_epoch_is_always_measured(monkeypatch):
    run = run_measuring(monkeypatch, [0.6, 0.5], every=3, epochs=4)
    assert [epoch.val_accuracy for epoch in run.history] == [None, None, 0.6, 0.5]
    assert [epoch.train_loss is None for epoch in run.history] == [True, True, False, False]


def test_an_improvement_that_is_too_small_does_not_keep_training_going(monkeypatch):
    run = run_measuring(monkeypatch, [0.30, 0.34, 0.38, 0.4], patience=1, min_improvement=0.05)
    assert len(run.history) == 2
    assert run.record.notes == (
        "Training stopped after epoch 2: val_accuracy had not improved by more than 0.05 for 1 measurement since "
        "epoch 1.",
    )


def test_the_loss_can_be_watched(monkeypatch):
    run = run_measuring(
        monkeypatch,
        [0.1 * n for n in range(1, 9)],
        losses=[2.0, 1.0, 1.1, 1.2, 1, 1, 1, 1],
        watch="val_loss",
        patience=2,
    )
    assert len(run.history) == 4


def test_the_best_weights_are_kept_and_measured_and_the_last_ones_lie_beside_them(monkeypatch, weights_after, tmp_path):
    run = run_measuring(monkeypatch, [0.3, 0.5, 0.9, 0.9, 0.4, 0.3, 0.2, 0.1], keep="best")
    best, last = weights_after[3], weights_after[8]
    assert len(run.history) == 8
    assert run.record.metrics["kept_epoch"] == run.record.metrics["best_epoch"] == 3.0
    assert same(run.weights, best.weights)
    assert same(run.last_weights, last.weights)
    for name in ("test_accuracy", "test_loss", "val_accuracy", "val_loss", "train_accuracy", "train_loss"):
        assert run.record.metrics[name] == best.record.metrics[name], name
    for split in ("val", "test"):
        np.testing.assert_array_equal(run.predictions[split].probabilities_NC, best.predictions[split].probabilities_NC)
    assert run.record.metrics["weight_norm"] == last.record.metrics["weight_norm"]  # after the last epoch, as it says
    stored = FolderStore(tmp_path).add(run)
    assert same(stored.weights(), best.weights)
    assert same(stored.last_weights(), last.weights)


def test_if_the_last_epoch_is_the_best_there_are_no_others_to_keep(monkeypatch, weights_after):
    run = run_measuring(monkeypatch, [0.1 * n for n in range(1, 9)], keep="best")
    assert run.record.metrics["kept_epoch"] == 8.0
    assert same(run.weights, weights_after[8].weights)
    assert not run.last_weights


def test_keeping_the_best_and_stopping_go_together(monkeypatch, weights_after):
    run = run_measuring(monkeypatch, [0.3, 0.9, 0.8, 0.7, 1.0, 1.0, 1.0, 1.0], keep="best", patience=2)
    assert len(run.history) == 4
    assert run.record.metrics["kept_epoch"] == 2.0
    assert same(run.weights, weights_after[2].weights)
    assert same(run.last_weights, weights_after[4].weights)


@pytest.mark.parametrize("averaging", ["ema", "lookahead"])
def test_the_best_average_can_be_kept(averaging):
    """With a rate this large accuracy falls again, so that the best epoch is not the last."""
    recipe = Recipe.model_validate(
        {
            **BASE,
            "optimizer": {"name": "sgd", "lr": 1.5},
            "averaging": {"name": averaging},
            "train": {"epochs": 6, "batch_size": 32, "keep": "best"},
        }
    )
    run = run_recipe(recipe, fingerprint="f00d")
    accuracies = [epoch.val_accuracy for epoch in run.history]
    kept = int(run.record.metrics["kept_epoch"])
    assert accuracies.index(max(accuracies)) + 1 == kept
    assert run.record.metrics["val_accuracy"] == max(accuracies)
    assert bool(run.last_weights) == (kept != 6)
