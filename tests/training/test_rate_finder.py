"""Sweeps of the learning rate: what a step of one is, where it ends, and whether what it suggests is any good."""

import json
import warnings

import numpy as np
import pytest
import torch

from assay.data.batches import training_batches
from assay.errors import InputError, InvalidValueError
from assay.recipe.schema import Recipe
from assay.training.prepare import prepare_data
from assay.training.rate_finder import RateSweep, smoothed, sweeping
from assay.training.run import run_recipe

SGD = {"name": "sgd", "momentum": 0.9}
ADAM = {"name": "adam"}


def recipe(**sections) -> Recipe:
    base = {
        "data": {"source": "digits"},
        "model": {"name": "mlp", "widths": [64]},
        "optimizer": SGD,
        "train": {"batch_size": 64},
    }
    return Recipe.model_validate({**base, **sections})


def find_rate(*args, **options) -> RateSweep:
    """What sweeping comes to."""
    work = sweeping(*args, **options)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def made_up(losses_ST, rates_T=None, **keys) -> RateSweep:
    losses_ST = np.array(losses_ST, dtype=float)
    if rates_T is None:
        rates_T = np.geomspace(1e-4, 1.0, losses_ST.shape[1])
    return RateSweep(
        rates_T=rates_T, losses_ST=losses_ST, seeds=tuple(range(len(losses_ST))), overrides_per_rate={}, **keys
    )


# --- what is made of losses ------------------------------------------------------------------------------------------


def test_smoothing_is_a_weighted_mean_of_what_came_before():
    losses_T = np.random.default_rng(1).normal(size=20)
    for step, found in enumerate(smoothed(losses_T)):
        weights = 0.8 ** np.arange(step, -1, -1)
        assert found == pytest.approx((weights * losses_T[: step + 1]).sum() / weights.sum())


def valley(rates_T, steepest: float, lowest: float, *, width: float = 0.15) -> np.ndarray:
    """A loss that falls from 2.3 to 0.3, most steeply at one rate, and explodes beyond another."""
    log_T = np.log10(rates_T)
    fall_T = 1 / (1 + np.exp(-(log_T - np.log10(steepest)) / width))
    return 2.3 - 2.0 * fall_T + 10 * np.maximum(0.0, log_T - np.log10(lowest)) ** 2


RATES_T = np.geomspace(1e-6, 10.0, 100)
DECADE = 99 / 7
"""Steps in a decade of it."""


def test_a_tenth_of_the_rate_at_the_lowest_loss_is_suggested_and_the_steepest_descent_told():
    sweep = made_up([valley(RATES_T, 0.01, 0.3), valley(RATES_T, 0.01, 0.5)], RATES_T)
    lowest = [float(RATES_T[np.nanargmin(smoothed_T)]) for smoothed_T in sweep.smoothed_ST]
    assert sweep.suggestions == (lowest[0] / 10, lowest[1] / 10)
    assert lowest[0] / 10 <= sweep.suggestion <= lowest[1] / 10
    late = 10 ** (5 / DECADE)  # smoothing trails
    assert 0.01 < sweep.steepest < 0.01 * late
    assert 0.8 < sweep.fall < 0.9
    assert sweep.bounded


def test_the_mean_is_over_all_seeds_and_ends_where_the_first_explodes():
    early, late = valley(RATES_T, 0.01, 0.03), valley(RATES_T, 0.01, 0.3)
    sweep = made_up([early, late], RATES_T)
    ends = [int(np.isnan(smoothed_T).argmax()) for smoothed_T in sweep.smoothed_ST]
    assert ends[0] < ends[1]
    assert int(np.isnan(sweep.mean_T).argmax()) == ends[0]
    np.testing.assert_allclose(sweep.mean_T[: ends[0]], (smoothed(early) + smoothed(late))[: ends[0]] / 2)
    for losses_T, end in zip((early, late), ends, strict=True):
        known_T = smoothed(losses_T)
        assert known_T[end] > 4 * known_T[:end].min()
        assert all(known_T[step] <= 4 * known_T[: step + 1].min() for step in range(end))


def test_a_loss_that_is_not_finite_ends_a_sweep():
    losses_T = valley(RATES_T, 0.01, 10.0)
    losses_T[80:] = np.nan
    sweep = made_up([losses_T], RATES_T)
    assert np.isnan(sweep.smoothed_ST[0]).argmax() == 80
    assert sweep.suggestion is not None


@pytest.mark.parametrize(
    "losses_T",
    [
        np.full(100, 2.3),
        2.3 + 0.2 * np.random.default_rng(0).normal(size=100),
        np.linspace(2.3, 9.0, 100),
        np.concatenate([[2.3], np.full(99, np.nan)]),
    ],
    ids=["level", "noise", "rising", "gone at once"],
)
def test_where_the_loss_does_not_fall_nothing_is_suggested(losses_T):
    sweep = made_up([losses_T], RATES_T)
    assert sweep.suggestion is sweep.steepest is None
    assert sweep.suggestions == (None,)
    assert json.loads(json.dumps(sweep.to_json(), allow_nan=False))["suggestion"] is None


def test_noise_hides_no_fall_that_is_greater_and_a_fall_may_be_small():
    noise_ST = 0.01 * np.random.default_rng(0).normal(size=(3, 100))
    small_T = 2.3 + (valley(RATES_T, 0.1, 0.3) - 2.3) / 20
    sweep = made_up(small_T + noise_ST, RATES_T)
    assert 0.01 < sweep.suggestion < 0.1
    assert 0.02 < sweep.fall < 0.06


def test_a_loss_that_is_lowest_near_the_highest_rate_might_be_lower_beyond():
    assert made_up([valley(RATES_T, 0.01, 0.3)], RATES_T).bounded
    assert not made_up([valley(RATES_T, 1.0, 100.0)], RATES_T).bounded
    for lowest, bounded in ((1.0, True), (2.5, False)):  # twice that once smoothed, of rates up to 10
        assert made_up([2.0 + np.log(RATES_T / lowest) ** 2 / 100], RATES_T).bounded == bounded
    plateau_T = np.where(RATES_T > 0.5, 2.3, valley(RATES_T, 0.01, 0.3))  # some networks go dead, and no loss explodes
    assert made_up([plateau_T], RATES_T).bounded


# --- sweeps ----------------------------------------------------------------------------------------------------------


def test_a_step_is_one_of_training_at_the_rate_of_the_sweep():
    """Against a loop of its own: the recipe's batches, plain gradient descent, growing rates."""
    one = recipe(model={"name": "mlp", "widths": []}, optimizer={"name": "sgd"}, loss={"l2": 0.1}, seed=4)
    sweep = find_rate(one, 1, steps=25, lowest=1e-3, highest=0.5)
    data = prepare_data(one, torch.device("cpu"))
    model = torch.nn.Linear(64, 10)
    start = run_recipe(one.model_copy(update={"train": one.train.model_copy(update={"epochs": 0})}), fingerprint="f")
    with torch.no_grad():
        for parameter, (_, value) in zip(model.parameters(), start.weights.items(), strict=True):
            parameter.copy_(torch.from_numpy(value))
    batches = training_batches(data.splits["train"], one.augment, classes=10, batch_size=64, epochs=2, seed=4)
    for step, (x_B, y_B) in zip(range(25), batches, strict=False):
        loss = torch.nn.functional.cross_entropy(model(x_B.flatten(1)), y_B)
        assert sweep.losses_ST[0, step] == pytest.approx(loss.item(), rel=1e-5)
        (loss + 0.05 * model.weight.square().sum()).backward()
        for parameter in model.parameters():
            parameter.data -= 1e-3 * 500 ** (step / 24) * parameter.grad
            parameter.grad = None
    assert sweep.rates_T == pytest.approx([1e-3 * 500 ** (step / 24) for step in range(25)])


def test_each_seed_sweeps_its_own_batches_and_the_same_again():
    sweep, again = find_rate(recipe(seed=7), 2, steps=30), find_rate(recipe(seed=7), 2, steps=30)
    assert sweep.seeds == (7, 8)
    np.testing.assert_array_equal(sweep.losses_ST, again.losses_ST)
    assert sweep.losses_ST[0, 0] != sweep.losses_ST[1, 0]
    np.testing.assert_array_equal(find_rate(recipe(seed=8), 1, steps=30).losses_ST[0], sweep.losses_ST[1])


@pytest.mark.parametrize("sections", [
    {"schedule": {"name": "cosine", "warmup_epochs": 3.0}},
    {"train": {"batch_size": 64, "epochs": 0}},
    {"train": {"batch_size": 64, "smaller_first": [{"epochs": 1, "side": 4}]}},
    {"optimizer": {**SGD, "lr": 5.0}},
], ids=str)  # fmt: skip
def test_what_a_sweep_is_not_about_changes_nothing(sections):
    np.testing.assert_array_equal(
        find_rate(recipe(**sections), 1, steps=20).losses_ST, find_rate(recipe(), 1, steps=20).losses_ST
    )


def test_rates_are_those_of_the_recipe_before_they_are_scaled_to_the_batch():
    scaled = recipe(optimizer={**SGD, "lr_scaling": "linear", "lr_batch_size": 32})
    there = find_rate(scaled, 1, steps=20, lowest=1e-3, highest=0.1).losses_ST
    assert there == pytest.approx(find_rate(recipe(), 1, steps=20, lowest=2e-3, highest=0.2).losses_ST)


def test_muon_carries_the_rate_of_its_other_parameters_along():
    muon = recipe(model={"name": "mlp", "widths": [32, 32]}, optimizer={"name": "muon", "lr": 0.02, "sgd_lr": 0.1})
    assert find_rate(muon, 1, steps=10).overrides_per_rate == {"sgd_lr": pytest.approx(5.0)}
    assert find_rate(recipe(), 1, steps=10).overrides_per_rate == {}


def test_by_hand_it_finds_the_same():
    numpy = find_rate(recipe(train={"batch_size": 64, "engine": "numpy"}), 1, steps=60, lowest=1e-4)
    np.testing.assert_allclose(
        numpy.losses_ST[0, :40], find_rate(recipe(), 1, steps=60, lowest=1e-4).losses_ST[0, :40], rtol=1e-3
    )


@pytest.mark.parametrize(("optimizer", "decade"), [(SGD, 0.1), (ADAM, 0.01)], ids=["sgd", "adam"])
def test_what_is_suggested_trains_well_and_a_hundred_times_less_or_more_does_not(optimizer, decade):
    sweep = find_rate(recipe(optimizer=optimizer))
    assert decade / 10 < sweep.suggestion < sweep.steepest < decade * 3.2
    assert max(sweep.suggestions) / min(sweep.suggestions) < 4

    def accuracy(rate: float) -> float:
        trained = recipe(optimizer={**optimizer, "lr": rate}, train={"batch_size": 64, "epochs": 4})
        return run_recipe(trained, fingerprint="f00d").record.metrics["val_accuracy"]

    assert min(accuracy(rate) for rate in (sweep.suggestion, sweep.steepest)) > 0.93
    assert accuracy(sweep.suggestion / 100) < 0.9
    assert accuracy(min(1000.0, sweep.suggestion * 100)) < 0.5


def test_progress_is_told_and_leaving_a_sweep_leaves_the_process_as_it_was():
    torch.manual_seed(5)
    before, threads, filters = torch.get_rng_state(), torch.get_num_threads(), list(warnings.filters)
    work = sweeping(recipe(train={"batch_size": 64, "threads": 1}), 2, steps=10)
    steps = [next(work) for _ in range(12)]
    assert [(step.done, step.total) for step in steps] == [(done, 20) for done in range(1, 13)]
    work.close()
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.get_num_threads(), warnings.filters) == (threads, filters)


def test_models_without_a_rate_and_bounds_without_a_range_are_refused():
    with pytest.raises(InvalidValueError) as caught:
        find_rate(recipe(model={"name": "svm", "kernel": "linear"}))
    assert str(caught.value) == "model.name svm is fitted at once, and so has no learning rate to look for."
    for keys in ({"lowest": 1.0, "highest": 1.0}, {"lowest": 0.0}, {"steps": 9}, {"seeds": 0}, {"highest": np.inf}):
        with pytest.raises(InputError, match="A sweep needs rates with 0 < lowest < highest, at least 10 steps and"):
            find_rate(recipe(), **keys)
