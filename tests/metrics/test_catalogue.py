"""The catalogue of metrics: names, epochs, and what a run without them gives."""

from __future__ import annotations

import pytest

from assay.errors import InputError
from assay.metrics.catalogue import CATALOGUE, metric_named
from assay.recipe.schema import Recipe
from assay.records import EpochRecord


def epoch(number: int, **values: float | None) -> EpochRecord:
    blank = dict.fromkeys(EpochRecord.__dataclass_fields__)
    return EpochRecord(**{**blank, "epoch": number, "step": number, "lr": 0.1, "seconds": 1.0, **values})


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_metric_is_found_by_its_name(name):
    assert metric_named(name) is CATALOGUE[name]
    assert CATALOGUE[name].name == name


@pytest.mark.parametrize("name", [name for name, metric in CATALOGUE.items() if metric.per_epoch])
def test_metrics_kept_per_epoch_are_fields_of_the_history(name):
    metric = metric_named(f"{name}@2")
    assert (metric.name, metric.epoch, metric.better) == (f"{name}@2", 2, CATALOGUE[name].better)
    assert metric.value({name: 9.0}, [epoch(1, **{name: 0.1}), epoch(2, **{name: 0.2}), epoch(3, **{name: 0.3})]) == 0.2
    assert metric.meaning.endswith(", epoch 2")
    assert "last epoch" not in metric.meaning
    assert "trained model" not in metric.meaning


def recipe(**sections) -> Recipe:
    return Recipe.model_validate({"data": {"source": "digits"}, "model": {"name": "mlp"}, **sections})


TURNED = {  # what turns each metric on, or off, that not every run has
    "shifted_test_accuracy": {"evaluate": {"shift": 1}},
    "shift_consistency": {"evaluate": {"shift": 2}},
    "one_view_test_accuracy": {"evaluate": {"views": "mirrored"}},
    "train_accuracy": {"evaluate": {"train_split": False}},
    "train_loss": {"evaluate": {"train_split": False}},
    "accuracy_gap": {"evaluate": {"train_split": False}},
    "initial_loss": {"evaluate": {"train_split": False}},
    "running_train_accuracy": {"train": {"epochs": 0}},
    "running_train_loss": {"train": {"epochs": 0}},
    "gradient_norm": {"train": {"epochs": 0}},
}


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda m: m.name)
def test_a_metric_that_needs_a_key_is_missing_in_runs_that_have_it_off(metric):
    usual = metric.recorded_with(recipe())
    assert usual == (metric.needs not in ("evaluate.shift", "evaluate.views"))
    assert usual or metric.needs in metric.meaning
    if metric.needs is None:
        assert metric.name not in TURNED
    else:
        assert metric.recorded_with(recipe(**TURNED[metric.name])) != usual
    assert metric.value({"kept": 0.5}, []) is None
    assert metric.value({metric.name: 0.5}, []) == 0.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("val_acuracy", "names no recorded metric, got 'val_acuracy'. Did you mean \"val_accuracy\"?"),
        ("", "names no recorded metric, got ''."),
        ("test_loss@3", "only metrics kept per epoch have one. Valid: val_accuracy, val_loss"),
        ("val_loss@0", "after @ stands an epoch from 1 on"),
        ("val_loss@-1", "after @ stands an epoch from 1 on"),
        ("val_loss@", "after @ stands an epoch from 1 on"),
        ("val_loss@01", "after @ stands an epoch from 1 on"),
        ("val_loss@1e3", "after @ stands an epoch from 1 on"),
    ],
)
def test_other_names_are_refused(name, message):
    with pytest.raises(InputError) as caught:
        metric_named(name)
    assert message in str(caught.value)


def test_a_run_that_diverged_earlier_counts_with_its_last_accuracy_and_has_no_loss():
    history = [epoch(1, val_accuracy=0.5, val_loss=1.0), epoch(2, val_accuracy=0.1, val_loss=None)]
    assert metric_named("val_accuracy@5").value({}, history) == 0.1
    assert metric_named("val_loss@5").value({}, history) is None
    assert metric_named("val_loss@2").value({}, history) is None
    assert metric_named("val_accuracy@5").value({}, []) is None


def test_a_run_that_stopped_earlier_counts_with_what_was_measured_then():
    history = [epoch(1, val_accuracy=0.5, val_loss=1.0, weight_norm=2.0), epoch(2, val_accuracy=0.6, val_loss=0.9)]
    assert metric_named("val_accuracy@5").value({}, history) == 0.6
    assert metric_named("val_loss@5").value({}, history) == 0.9
    assert metric_named("weight_norm@5").value({}, history) is None


def test_an_epoch_that_was_not_measured_has_no_value():
    history = [epoch(1), epoch(2, val_accuracy=0.6), epoch(3)]
    assert metric_named("val_accuracy@1").value({}, history) is None
    assert metric_named("val_accuracy@2").value({}, history) == 0.6
