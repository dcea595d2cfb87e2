"""The promises of an executor, as tests.

Subclass `ExecutorContract`, name the class ``Test…``, and give it your executor. Where trials run in the caller's own
process, say ``isolated = False``: such an executor promises nothing about trials that end their process or never end.
"""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import functools
import time
from abc import ABC, abstractmethod
from concurrent.futures import CancelledError
from typing import ClassVar

import numpy as np
import pytest

from assay.errors import InputError
from assay.studies.executors.contract import Executor, RunTrial, TrialFailedError
from assay.testing.comparing import differences
from assay.testing.trials import (
    Misfortune,
    huge_trial,
    made_up_recipe,
    made_up_run,
    noisy_trial,
    unlucky_trial,
    unsendable_trial,
)


class ExecutorContract(ABC):
    """Promises of `assay.studies.executors.contract.Executor`."""

    isolated: ClassVar[bool] = True
    """Whether trials run in processes of their own."""

    @abstractmethod
    def make_executor(self, run_trial: RunTrial, *, jobs: int = 2, time_limit: float | None = None) -> Executor:
        """A fresh executor; one that is not isolated leaves ``jobs`` out."""

    def test_a_trial_gives_the_run_it_would_give_here(self) -> None:
        recipes = [made_up_recipe(seed) for seed in range(6)]
        with self.make_executor(made_up_run) as executor:
            futures = [executor.submit(recipe) for recipe in recipes]
        for recipe, future in zip(recipes, futures, strict=True):
            assert differences(future.result(timeout=0), made_up_run(recipe)) == []

    def test_it_says_how_many_trials_run_at_a_time(self) -> None:
        with self.make_executor(made_up_run, jobs=2) as executor:
            assert executor.jobs == (2 if self.isolated else 1)

    def test_a_trial_that_raises_fails_with_its_traceback_and_alone(self) -> None:
        with self._unlucky({1: "raise"}) as executor:
            futures = [executor.submit(made_up_recipe(seed)) for seed in range(3)]
        failure = _failure_of(futures[1].exception(timeout=0))
        assert failure.kind == "raised"
        assert str(failure) == "ValueError: seed 1 is unlucky"
        assert "in unlucky_trial" in failure.traceback
        assert "raise ValueError" in failure.traceback
        assert [future.exception(timeout=0) for future in (futures[0], futures[2])] == [None, None]

    def test_an_exception_that_cannot_be_pickled_arrives_as_text(self) -> None:
        with self._unlucky({0: "raise unpicklable"}) as executor:
            failure = _failure_of(executor.submit(made_up_recipe(0)).exception())
        assert failure.kind == "raised"
        assert "UnpicklableError: this exception holds a function" in str(failure)

    def test_assays_own_errors_keep_their_words(self) -> None:
        with self._unlucky({0: "raise input error"}) as executor:
            assert str(_failure_of(executor.submit(made_up_recipe(0)).exception())) == "pixels.csv has no rows."

    def test_a_trial_that_exits_fails_and_ends_nothing_else(self) -> None:
        with self._unlucky({0: "exit"}) as executor:
            failure = _failure_of(executor.submit(made_up_recipe(0)).exception())
            assert executor.submit(made_up_recipe(1)).exception() is None
        assert failure.kind == "raised"
        assert str(failure) == "SystemExit: enough"

    def test_a_huge_run_arrives_whole(self) -> None:
        with self.make_executor(functools.partial(huge_trial, megabytes=64)) as executor:
            run = executor.submit(made_up_recipe(5)).result()
        assert run.weights["huge"].nbytes == 64 * 1_048_576
        assert np.all(run.weights["huge"] == 5.0)

    def test_what_trials_print_does_not_reach_our_streams(self, capfd: pytest.CaptureFixture[str]) -> None:
        if not self.isolated:
            pytest.skip("trials share this process and its streams")
        with self.make_executor(noisy_trial) as executor:
            executor.submit(made_up_recipe()).result()
        assert capfd.readouterr() == ("", "")

    def test_a_run_that_cannot_be_sent_fails_alone(self) -> None:
        if not self.isolated:
            pytest.skip("runs are not sent anywhere")
        with self.make_executor(unsendable_trial) as executor:
            failure = _failure_of(executor.submit(made_up_recipe()).exception())
        assert failure.kind == "raised"
        assert "pickle" in str(failure)

    def test_a_trial_that_kills_its_process_takes_no_other_with_it(self) -> None:
        if not self.isolated:
            pytest.skip("a trial here is this process")
        with self._unlucky({3: "killed", 4: "exit hard", 50: "killed"}) as executor:
            futures = [executor.submit(made_up_recipe(seed)) for seed in range(100)]
        failures = {seed: future.exception(timeout=0) for seed, future in enumerate(futures)}
        assert {seed for seed, failure in failures.items() if failure is not None} == {3, 4, 50}
        assert {_failure_of(failures[seed]).kind for seed in (3, 4, 50)} == {"killed"}
        assert "ended by itself with exit code 3" in str(failures[4])

    def test_a_trial_past_its_time_limit_is_killed_and_no_other(self) -> None:
        if not self.isolated:
            with pytest.raises(InputError, match=r"A time limit needs worker processes, got 0\.5 s"):
                self._unlucky({}, time_limit=0.5)
            return
        with self._unlucky({1: "hang"}, time_limit=0.5) as executor:
            futures = [executor.submit(made_up_recipe(seed)) for seed in range(10)]
        failure = _failure_of(futures.pop(1).exception(timeout=0))
        assert failure.kind == "timeout"
        assert "longer than the time limit of 0.5 s" in str(failure)
        assert [future.exception(timeout=0) for future in futures] == [None] * 9

    def test_leaving_by_an_exception_stops_what_hangs_and_what_waits(self) -> None:
        if not self.isolated:
            pytest.skip("submitting returns when the trial has ended")
        hang: dict[int, Misfortune] = dict.fromkeys(range(4), "hang")
        with pytest.raises(KeyboardInterrupt), self._unlucky(hang) as executor:  # noqa: PT012 - the block is tested
            futures = [executor.submit(made_up_recipe(seed)) for seed in range(4)]
            time.sleep(0.5)
            left = time.monotonic()
            raise KeyboardInterrupt
        assert time.monotonic() - left < 5.0
        for future in futures:
            with pytest.raises((TrialFailedError, CancelledError)):
                future.result(timeout=0)

    def test_a_shut_down_executor_takes_no_more_trials(self) -> None:
        executor = self.make_executor(made_up_run)
        executor.shut_down(now=False)
        executor.shut_down(now=True)
        with pytest.raises(RuntimeError, match="shut down"):
            executor.submit(made_up_recipe())

    def _unlucky(self, misfortunes: dict[int, Misfortune], *, time_limit: float | None = None) -> Executor:
        return self.make_executor(functools.partial(unlucky_trial, misfortunes=misfortunes), time_limit=time_limit)


def _failure_of(error: BaseException | None) -> TrialFailedError:
    assert isinstance(error, TrialFailedError)
    return error
