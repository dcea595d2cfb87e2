"""What is watched while a network trains: it is right, it is complete, and it changes nothing."""

import dataclasses

import numpy as np
import pytest
import torch

from assay.errors import StoreError
from assay.metrics.vitals import VITALS, Vitals, vitals_read
from assay.recipe.schema import Recipe
from assay.records import Run
from assay.testing.comparing import differences
from assay.training import fit
from assay.training.run import run_recipe


def recipe_of(**sections) -> Recipe:
    sections = {
        "data": {"source": "digits"},
        "model": {"name": "mlp", "widths": [16, 12]},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "train": {"epochs": 5, "batch_size": 32},
    } | sections
    return Recipe.model_validate(sections)


def vitals_of(run: Run) -> Vitals:
    return vitals_read(run.artefacts[VITALS])


class Nobody:
    """Watches nothing."""

    def __init__(self, *_, **__) -> None: ...
    def before_step(self, step: int) -> None: ...
    def after_step(self, record) -> None: ...
    def after_epoch(self, epoch: int, *, last: bool) -> None: ...
    def artefacts(self):
        return {}

    def state(self):
        from assay.training.state import State

        return State()

    def restore(self, state) -> None: ...


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"name": "mlp", "widths": [16], "dropout": 0.3, "norm": "batch"}},
        {"averaging": {"name": "ema", "decay": 0.9}},
        {"model": {"name": "own_models:Restless"}},
    ],
    ids=["plain", "dropout and batch norm", "averaged", "a class that draws from every generator"],
)
def test_being_watched_changes_nothing(sections, monkeypatch) -> None:
    recipe = recipe_of(**sections)
    watched = run_recipe(recipe, fingerprint="a")
    monkeypatch.setattr(fit, "Watch", Nobody)
    unwatched = run_recipe(recipe, fingerprint="a")
    kept = {name: content for name, content in watched.artefacts.items() if name != VITALS}
    assert differences(dataclasses.replace(watched, artefacts=kept), unwatched) == []


def test_every_step_is_in_one_stretch() -> None:
    run = run_recipe(recipe_of(train={"epochs": 40, "batch_size": 32}), fingerprint="a")
    vitals = vitals_of(run)
    steps = 40 * vitals.steps_per_epoch
    assert len(vitals.stretches) <= 500
    assert [one.step for one in vitals.stretches] == list(np.cumsum([0, *(one.steps for one in vitals.stretches)])[:-1])
    assert sum(one.steps for one in vitals.stretches) == steps
    weighted = sum(one.loss * one.steps for one in vitals.stretches)
    of_epochs = sum(epoch.running_train_loss for epoch in run.history) * vitals.steps_per_epoch
    assert weighted == pytest.approx(of_epochs, rel=0.02)  # batches differ a little in size
    assert all(one.highest_loss >= one.loss for one in vitals.stretches)


def test_updates_are_what_plain_descent_makes_of_gradients() -> None:
    vitals = vitals_of(run_recipe(recipe_of(), fingerprint="a"))
    assert vitals.weights == ("linear1.weight", "linear2.weight", "output.weight")
    assert [one.step for one in vitals.samples][:3] == [0, 32, 64]
    for sample in vitals.samples:
        np.testing.assert_allclose(sample.update_L, 0.05 * np.array(sample.gradient_L), rtol=1e-3)
        assert all(size > 0 for size in sample.weight_L)


def test_layers_are_looked_at_before_and_after_training_and_ever_less_often() -> None:
    vitals = vitals_of(run_recipe(recipe_of(train={"epochs": 11, "batch_size": 64}), fingerprint="a"))
    assert [one.epoch for one in vitals.activity] == [0, 1, 4, 11]
    assert vitals.activity[0].examples < vitals.activity[-1].examples == 256
    assert [layer.operation for layer in vitals.activity[-1].layers] == ["relu", "relu"]


def test_a_diverged_training_says_until_when() -> None:
    run = run_recipe(recipe_of(optimizer={"name": "sgd", "lr": 1000.0, "momentum": 0.99}), fingerprint="a")
    assert run.record.status == "diverged"
    vitals = vitals_of(run)
    assert sum(one.steps for one in vitals.stretches) == run.record.diverged_at["step"] + 1
    assert vitals.stretches[-1].loss is None
    assert vitals.activity[-1].epoch == run.record.diverged_at["epoch"]


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_frozen_and_foreign_engines_have_what_there_is(engine) -> None:
    sections = {"train": {"epochs": 1, "engine": engine}}
    if engine == "torch":
        sections["freeze"] = {"layers": ["linear1"]}
    vitals = vitals_of(run_recipe(recipe_of(**sections), fingerprint="a"))
    assert vitals.weights == (() if engine == "numpy" else ("linear2.weight", "output.weight"))
    assert bool(vitals.activity) == (engine == "torch")
    assert vitals.stretches


def test_a_model_that_is_not_trained_has_nothing_to_watch() -> None:
    assert VITALS not in run_recipe(recipe_of(train={"epochs": 0}), fingerprint="a").artefacts


def test_a_damaged_file_is_refused() -> None:
    content = run_recipe(recipe_of(train={"epochs": 1}), fingerprint="a").artefacts[VITALS]
    for damaged in (b"", content[:-9], content.replace(b'"step":0', b'"step":-1')):
        with pytest.raises(StoreError, match="is damaged"):
            vitals_read(damaged)


def test_the_graph_of_a_step_is_not_kept() -> None:
    torch.manual_seed(0)
    vitals = vitals_of(run_recipe(recipe_of(train={"epochs": 2, "batch_size": 512}), fingerprint="a"))
    assert len(vitals.samples) == 1
