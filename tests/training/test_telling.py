"""How far a run has come is told about once a second, and changes nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from assay.recipe.schema import Recipe
from assay.records import RunProgress
from assay.testing.comparing import differences
from assay.training import telling
from assay.training.checkpoint import Checkpoints
from assay.training.every import Every
from assay.training.run import run_recipe
from assay.training.telling import Telling


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(telling, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_once_a_second_with_an_estimate(clock: SimpleNamespace) -> None:
    told: list[RunProgress] = []
    teller = Telling(told.append)
    teller.begin(work=[1.0] * 4, steps=20, done=0)
    for step in range(1, 21):
        clock.seconds += 0.4
        teller.after(step, 0.5 if step > 5 else None)
    assert [one.step for one in told] == [3, 6, 9, 12, 15, 18]
    assert [one.epoch for one in told] == [1, 2, 2, 3, 4, 4]
    assert [one.val_accuracy for one in told] == [None, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert told[1].seconds_left == pytest.approx(14 * 0.4)
    assert told[1] == RunProgress(
        epoch=2, epochs=4, step=6, steps=20, val_accuracy=0.5, seconds_left=told[1].seconds_left
    )


def test_a_run_that_is_taken_up_says_so_at_once_and_is_judged_by_its_own_pace(clock: SimpleNamespace) -> None:
    told: list[RunProgress] = []
    teller = Telling(told.append)
    teller.begin(work=[1.0] * 4, steps=20, done=12)
    assert told == [RunProgress(epoch=3, epochs=4, step=12, steps=20, continued_after=12)]
    clock.seconds += 6.0
    teller.after(14, None)
    assert told[1].seconds_left == pytest.approx(6 * 3.0)
    assert told[1].continued_after == 12


def test_epochs_of_little_work_say_how_long_the_others_will_take(clock: SimpleNamespace) -> None:
    told: list[RunProgress] = []
    teller = Telling(told.append)
    teller.begin(work=[0.25, 0.25, 1.0, 1.0], steps=20, done=0)
    clock.seconds += 2.0
    teller.after(4, None)  # 0.2 of 2.5 units of work
    clock.seconds += 5.0
    teller.after(11, None)
    clock.seconds += 18.0
    teller.after(20, None)
    assert [one.seconds_left for one in told] == [pytest.approx(23.0), pytest.approx(18.0), 0.0]


def test_the_last_step_is_of_the_last_epoch(clock: SimpleNamespace) -> None:
    told: list[RunProgress] = []
    teller = Telling(told.append)
    teller.begin(work=[1.0] * 4, steps=20, done=0)
    clock.seconds += 2
    teller.after(20, None)
    assert (told[0].epoch, told[0].seconds_left) == (4, 0.0)


def test_runs_tell_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.model_validate(
        {
            "data": {"source": "digits", "fraction": 0.2},
            "model": {"name": "mlp", "dropout": 0.3},
            "train": {"epochs": 2},
        }
    )
    quiet = run_recipe(recipe, fingerprint="f00d")
    monkeypatch.setattr(telling, "_EVERY", 0.0)
    told: list[RunProgress] = []
    assert differences(run_recipe(recipe, fingerprint="f00d", tell=told.append), quiet) == []
    steps = quiet.history[-1].step + 1
    assert [one.step for one in told] == list(range(1, steps + 1))
    assert told[-1].val_accuracy == quiet.history[0].val_accuracy
    assert {one.steps for one in told} == {steps}


def test_nobody_is_told_of_epochs_that_are_not_there() -> None:
    told: list[RunProgress] = []
    untrained = {"data": {"source": "digits"}, "model": {"name": "mlp"}, "train": {"epochs": 0}}
    run_recipe(
        Recipe.model_validate(untrained),
        fingerprint="f00d",
        checkpoints=Checkpoints(None, Every(steps=1)),
        tell=told.append,
    )
    assert told == []
