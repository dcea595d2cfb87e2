import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

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


def test_the_rate_is_the_factor_times_that_of_the_optimizer():
    schedule = build_schedule(parse({"name": "linear"}), lr=0.4, epochs=2, steps_per_epoch=5)
    assert [schedule(step) for step in (0, 5)] == pytest.approx([0.4, 0.2])


def test_a_warm_up_as_long_as_training_is_refused():
    with pytest.raises(InvalidValueError) as caught:
        build_schedule(parse({"name": "cosine", "warmup_epochs": 5.0}), lr=0.1, epochs=5, steps_per_epoch=7)
    assert str(caught.value) == (
        "schedule.warmup_epochs must leave part of train.epochs (5) to the schedule itself, got 5."
    )
