import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.optim import lr_scheduler

from assay.errors import InvalidValueError
from assay.recipe.schema import Recipe, Schedule
from assay.records import EpochRecord
from assay.training.run import run_recipe
from assay.training.schedules import build_schedule, factor, warmup_steps

parse = TypeAdapter(Schedule).validate_python

ends = st.floats(0.0, 1.0)
warmups = st.sampled_from([0.0, 0.5, 1.0, 2.0])
falling = st.one_of(
    st.builds(lambda w: {"name": "constant", "warmup_epochs": w}, warmups),
    st.builds(
        lambda w, every, f: {"name": "step", "warmup_epochs": w, "every": every, "factor": f},
        warmups, st.floats(0.1, 5.0), st.floats(0.01, 1.0),
    ),
    st.builds(lambda w, f: {"name": "exponential", "warmup_epochs": w, "factor": f}, warmups, st.floats(0.01, 1.0)),
    st.builds(lambda w, end: {"name": "cosine", "warmup_epochs": w, "end": end}, warmups, ends),
    st.builds(lambda w, end: {"name": "linear", "warmup_epochs": w, "end": end}, warmups, ends),
)  # fmt: skip


def factors(section, *, epochs: int, steps_per_epoch: int) -> list[float]:
    total = epochs * steps_per_epoch
    return [factor(section, step, total=total, steps_per_epoch=steps_per_epoch) for step in range(total)]


@given(section=falling, epochs=st.integers(3, 12), steps_per_epoch=st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_rates_rise_while_warming_up_then_start_at_the_full_rate_and_never_rise_again(section, epochs, steps_per_epoch):
    schedule = parse(section)
    values = factors(schedule, epochs=epochs, steps_per_epoch=steps_per_epoch)
    warmup = warmup_steps(schedule, steps_per_epoch)
    assert all(0.0 < value <= 1.0 for value in values)
    assert values[warmup] == 1.0
    rise, fall = values[: warmup + 1], values[warmup:]
    assert all(a < b for a, b in itertools.pairwise(rise))
    assert all(a >= b for a, b in itertools.pairwise(fall))
    gaps = {round(b - a, 12) for a, b in zip([0.0, *rise], rise, strict=False)}
    assert len(gaps) == 1  # a straight line from 0, one step before the first


@given(end=ends, epochs=st.integers(1, 12), steps=st.integers(1, 20), name=st.sampled_from(["cosine", "linear"]))
def test_cosine_and_linear_stay_above_their_end_and_would_reach_it_one_step_later(end, epochs, steps, name):
    schedule = parse({"name": name, "end": end})
    total = epochs * steps
    assert min(factors(schedule, epochs=epochs, steps_per_epoch=steps)) >= end - 1e-12
    assert factor(schedule, total, total=total, steps_per_epoch=steps) == pytest.approx(end, abs=1e-12)


def test_schedules_at_known_points():
    def at(section, step, total=100, steps_per_epoch=10):
        return factor(parse(section), step, total=total, steps_per_epoch=steps_per_epoch)

    assert at({"name": "cosine", "end": 0.2}, 50) == pytest.approx(0.6)
    assert at({"name": "cosine"}, 25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert at({"name": "linear", "end": 0.5}, 30) == pytest.approx(0.85)
    assert at({"name": "exponential", "factor": 0.5}, 15) == pytest.approx(0.5**1.5)
    assert [at({"name": "step", "every": 2, "factor": 0.1}, s) for s in (19, 20, 40)] == pytest.approx([1, 0.1, 0.01])
    assert 0.07 * 100 > 7  # and yet the rate drops at step 7
    often = {"name": "step", "every": 0.07, "factor": 0.5}
    assert [at(often, s, steps_per_epoch=100) for s in (6, 7, 14)] == pytest.approx([1, 0.5, 0.25])
    one_cycle = {"name": "one_cycle", "peak": 0.4, "start": 0.1, "end": 0.02}
    assert [at(one_cycle, s) for s in (0, 20, 40, 70)] == pytest.approx([0.1, 0.55, 1.0, 0.51])
    assert at({"name": "linear", "warmup_epochs": 2.0}, 4) == pytest.approx(5 / 21)
    assert at({"name": "linear", "warmup_epochs": 2.0}, 60) == pytest.approx(0.5)


@given(peak=st.floats(0.05, 0.95), start=ends, end=ends, total=st.integers(2, 300))
@settings(max_examples=200)
def test_one_cycle_rises_to_its_peak_and_falls_to_its_end(peak, start, end, total):
    section = parse({"name": "one_cycle", "peak": peak, "start": start, "end": end})
    values = factors(section, epochs=1, steps_per_epoch=total)
    top = math.ceil(peak * total)
    assert values[0] == pytest.approx(start)
    assert all(min(start, end) - 1e-12 <= value <= 1 + 1e-12 for value in values)
    rise, fall = values[: min(top, total)], values[min(top, total) :]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(rise))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(fall))
    assert factor(section, total, total=total, steps_per_epoch=total) == pytest.approx(end, abs=1e-12)


# --- torch's schedulers, where the definitions coincide --------------------------------------------------------------


def of_torch(make, steps, *, every=1):
    """The rates, over a base rate of 1, of a scheduler of torch's that is moved on after every so many steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for step in range(1, steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % every == 0:
            scheduler.step()
    return rates


def assert_same(section, make, *, epochs, steps_per_epoch, every=1):
    ours = factors(parse(section), epochs=epochs, steps_per_epoch=steps_per_epoch)
    theirs = of_torch(make, epochs * steps_per_epoch, every=every)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


lengths = {"epochs": st.integers(1, 12), "steps_per_epoch": st.integers(1, 20)}


@given(every=st.integers(1, 4), gamma=st.floats(0.01, 1.0), **lengths)
@settings(deadline=None)
def test_step_is_torchs_step_lr(every, gamma, epochs, steps_per_epoch):
    assert_same(
        {"name": "step", "every": every, "factor": gamma},
        lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=every, gamma=gamma),
        epochs=epochs, steps_per_epoch=steps_per_epoch, every=steps_per_epoch,
    )  # fmt: skip


@given(gamma=st.floats(0.01, 1.0), **lengths)
@settings(deadline=None)
def test_exponential_is_torchs_exponential_lr_wherever_an_epoch_starts(gamma, epochs, steps_per_epoch):
    section = parse({"name": "exponential", "factor": gamma})
    ours = factors(section, epochs=epochs, steps_per_epoch=steps_per_epoch)[::steps_per_epoch]
    theirs = of_torch(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=gamma), epochs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@given(end=ends, **lengths)
@settings(deadline=None)
def test_cosine_is_torchs_cosine_annealing_lr(end, epochs, steps_per_epoch):
    assert_same(
        {"name": "cosine", "end": end},
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * steps_per_epoch, eta_min=end),
        epochs=epochs, steps_per_epoch=steps_per_epoch,
    )  # fmt: skip


@given(end=ends, **lengths)
@settings(deadline=None)
def test_linear_is_torchs_linear_lr(end, epochs, steps_per_epoch):
    total = epochs * steps_per_epoch
    assert_same(
        {"name": "linear", "end": end},
        lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=end, total_iters=total),
        epochs=epochs, steps_per_epoch=steps_per_epoch,
    )  # fmt: skip


@given(warmup=st.integers(1, 3), end=ends, steps_per_epoch=st.integers(1, 20))
@settings(deadline=None)
def test_a_warm_up_is_torchs_linear_lr_before_the_rest(warmup, end, steps_per_epoch):
    steps, rest = warmup * steps_per_epoch, 4 * steps_per_epoch

    def warmed_up(optimizer):
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1.0 / (steps + 1), total_iters=steps)
        fall = lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=end, total_iters=rest)
        return lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[steps])

    assert_same(
        {"name": "linear", "end": end, "warmup_epochs": float(warmup)},
        warmed_up, epochs=warmup + 4, steps_per_epoch=steps_per_epoch,
    )  # fmt: skip


@given(
    peak=st.floats(0.05, 0.95), start=st.floats(0.01, 1.0), end=st.floats(0.0001, 1.0), total=st.integers(2, 200)
)  # fmt: skip
@settings(deadline=None)
def test_one_cycle_is_torchs_one_cycle_lr_that_ends_a_step_later(peak, start, end, total):
    """torch's last step is at its end value, and its peak one step before the share it is given; ours has the peak at
    its share of all steps, and would be at its end value one step after the last."""

    def one_step_longer(optimizer):
        return lr_scheduler.OneCycleLR(
            optimizer, max_lr=1.0, total_steps=total + 1, pct_start=(peak * total + 1) / (total + 1),
            div_factor=1.0 / start, final_div_factor=start / end, cycle_momentum=False,
        )  # fmt: skip

    section = {"name": "one_cycle", "peak": peak, "start": start, "end": end}
    assert_same(section, one_step_longer, epochs=1, steps_per_epoch=total)


def test_the_rate_is_the_factor_times_that_of_the_optimizer():
    schedule = build_schedule(parse({"name": "linear"}), lr=0.4, epochs=2, steps_per_epoch=5)
    assert [schedule(step) for step in (0, 5)] == pytest.approx([0.4, 0.2])


def test_without_epochs_there_is_no_warm_up_to_refuse():
    assert callable(build_schedule(parse({"name": "cosine"}), lr=0.1, epochs=0, steps_per_epoch=7))


def test_a_warm_up_as_long_as_training_is_refused():
    with pytest.raises(InvalidValueError) as caught:
        build_schedule(parse({"name": "cosine", "warmup_epochs": 5.0}), lr=0.1, epochs=5, steps_per_epoch=7)
    assert str(caught.value) == (
        "schedule.warmup_epochs must leave part of train.epochs (5) to the schedule itself, got 5."
    )


# --- the plateau -----------------------------------------------------------------------------------------------------


def measured(epoch: int, *, steps_per_epoch: int = 2, **values: float | None) -> EpochRecord:
    blank = dict.fromkeys(EpochRecord.__dataclass_fields__)
    return EpochRecord(**{**blank, "epoch": epoch, "step": epoch * steps_per_epoch - 1, **values})


def plateau(**section):
    return build_schedule(parse({"name": "plateau", **section}), lr=0.8, epochs=100, steps_per_epoch=2)


def rates_after(schedule, losses, *, first_epoch=1, name="val_loss"):
    """The rate of the epoch after each measurement."""
    found = []
    for epoch, loss in enumerate(losses, start=first_epoch):
        schedule.observe(measured(epoch, **{name: loss}))
        found.append(schedule(2 * epoch))
    return found


def test_the_rate_falls_each_time_nothing_has_improved_for_as_long_as_patience_says():
    schedule = plateau(factor=0.5, patience=2, min_improvement=0.1, lowest=0.2)
    assert schedule(0) == 0.8
    #         best  best  no    no: ½  no    best  None  no    no: ½ no    no: lowest
    losses = [1.00, 0.85, 0.80, 0.76, 0.86, 0.70, None, 0.65, 0.71, 0.90, 0.90, 0.90, 0.90]
    expected = [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.4, 0.2, 0.2, 0.16, 0.16, 0.16]
    assert rates_after(schedule, losses) == pytest.approx(expected)


def test_an_accuracy_that_is_watched_is_to_rise():
    schedule = plateau(watch="val_accuracy", factor=0.1, patience=1, min_improvement=0.0)
    accuracies = [0.5, 0.6, 0.6, 0.7]
    assert rates_after(schedule, accuracies, name="val_accuracy") == pytest.approx([0.8, 0.8, 0.08, 0.08])


def test_epochs_that_end_while_warming_up_do_not_count():
    schedule = plateau(factor=0.5, patience=1, warmup_epochs=2.0)
    assert [schedule(step) for step in range(5)] == pytest.approx([0.16, 0.32, 0.48, 0.64, 0.8])
    # The best of all, and a worse one, both within the warm-up; then the first that counts, and a worse one.
    assert rates_after(schedule, [0.1, 0.5, 0.4, 0.45]) == pytest.approx([0.48, 0.8, 0.8, 0.4])


@given(
    losses=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=40),
    section=st.fixed_dictionaries(
        {
            "factor": st.floats(0.05, 0.95),
            "patience": st.integers(1, 4),
            "min_improvement": st.sampled_from([0.0, 1e-4, 0.3]),
            "lowest": st.sampled_from([0.0, 0.01, 0.5]),
            "watch": st.sampled_from(["val_loss", "val_accuracy"]),
        }
    ),
)
@settings(deadline=None)
def test_a_plateau_is_torchs_reduce_lr_on_plateau_whose_patience_counts_one_less(losses, section):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min" if section["watch"] == "val_loss" else "max", factor=section["factor"],
        patience=section["patience"] - 1, threshold=section["min_improvement"], threshold_mode="abs",
        min_lr=0.8 * section["lowest"], eps=0.0,
    )  # fmt: skip
    expected = []
    for loss in losses:
        theirs.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates_after(plateau(**section), losses, name=section["watch"]), expected, rtol=1e-12)


@given(st.lists(st.one_of(st.none(), st.floats(0.0, 3.0)), min_size=2, max_size=20), st.data())
def test_a_restored_plateau_goes_on_as_if_it_had_never_stopped(losses, data):
    stop = data.draw(st.integers(0, len(losses) - 1))
    whole, first, second = (plateau(factor=0.5, patience=2) for _ in range(3))
    expected = rates_after(whole, losses)
    rates_after(first, losses[:stop])
    state = first.state()
    second.restore(type(state)(facts=json.loads(json.dumps(state.facts))))
    assert rates_after(second, losses[stop:], first_epoch=stop + 1) == expected[stop:]


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_a_run_lowers_its_rate_on_a_plateau(engine):
    recipe = Recipe.model_validate(
        {
            "data": {"source": "digits"},
            "model": {"name": "mlp", "widths": [16]},
            "optimizer": {"name": "sgd", "lr": 0.4},
            "schedule": {"name": "plateau", "patience": 1, "factor": 0.5, "min_improvement": 0.2},
            "train": {"epochs": 5, "batch_size": 100, "engine": engine},
        }
    )
    history = run_recipe(recipe, fingerprint="f00d").history
    expected, rate, best = [], 0.4, math.inf
    for record in history:
        expected.append(rate)
        if record.val_loss < best - 0.2:
            best = record.val_loss
        else:
            rate *= 0.5
    assert [record.lr for record in history] == pytest.approx(expected)
    assert history[-1].lr < 0.4
