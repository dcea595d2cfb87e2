import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.optim import lr_scheduler

from assay.errors import InvalidValueError
from assay.recipe.schema import Schedule
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


def test_a_warm_up_as_long_as_training_is_refused():
    with pytest.raises(InvalidValueError) as caught:
        build_schedule(parse({"name": "cosine", "warmup_epochs": 5.0}), lr=0.1, epochs=5, steps_per_epoch=7)
    assert str(caught.value) == (
        "schedule.warmup_epochs must leave part of train.epochs (5) to the schedule itself, got 5."
    )
