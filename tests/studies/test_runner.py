"""Conducting a study: what is computed, in which order, and what is left behind when it goes wrong."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest

from assay.errors import StoreError
from assay.recipe.schema import Recipe
from assay.records import Run, RunProgress
from assay.studies.design import Study
from assay.studies.executors.contract import Executor, RunTrial, TrialFailedError
from assay.studies.executors.inline import InlineExecutor
from assay.studies.executors.processes import ProcessExecutor
from assay.studies.runner import (
    Event,
    LookStarted,
    LookTaken,
    RunAwaited,
    RunCached,
    RunFailed,
    RunFinished,
    RunProgressed,
    RunStarted,
    StudyEnded,
    conduct,
)
from assay.studies.store.folder import FolderStore
from assay.testing.comparing import differences
from assay.testing.trials import made_up_fingerprint, made_up_recipe, made_up_run, slow_trial, unlucky_trial

Kind = TypeVar("Kind")


def made_up_study(*, at_least: int = 3, at_most: int = 8, claims: bool = True, **more: Any) -> Study:
    recipe = made_up_recipe()
    return Study(
        question="Is anything different?",
        base={"data": recipe.data.model_dump(mode="json"), "model": recipe.model.model_dump(mode="json")},
        arms={"plain": {}, "wet": {"model.dropout": 0.25}},
        seeds={"at_least": at_least, "at_most": at_most},
        margin={"val_accuracy": 0.0001},
        claims=[{"arm": "wet", "beats": "plain", "metric": "val_accuracy"}] if claims else [],
        **more,
    )


def accuracy_trial(recipe: Recipe, *, advantage: float, swing: float) -> Run:
    """A run whose accuracy makes the wet arm better by ``advantage``, and by ``swing`` to and fro from seed to seed."""
    run = made_up_run(recipe)
    wet = recipe.model.model_dump()["dropout"] > 0.0
    value = 0.5 + (advantage + swing * (-1) ** recipe.seed if wet else 0.0)
    metrics = {**run.record.metrics, "val_accuracy": value}
    return dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=metrics))


UNDECIDED = functools.partial(accuracy_trial, advantage=0.0, swing=0.05)
DECIDED = functools.partial(accuracy_trial, advantage=0.4, swing=0.0)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "assay-runs")


def events_of(
    study: Study,
    store: FolderStore,
    executor: Executor | Callable[[], Executor] | None = None,
    *,
    trial: RunTrial = UNDECIDED,
    fail_fast: bool = False,
) -> list[Event]:
    return list(
        conduct(
            study,
            fingerprint=made_up_fingerprint,
            store=store,
            executor=executor or functools.partial(InlineExecutor, trial),
            fail_fast=fail_fast,
        )
    )


def of(kind: type[Kind], events: Iterable[Event]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]


def places(events: Iterable[RunStarted | RunCached | RunFinished | RunFailed | RunAwaited]) -> list[tuple[str, int]]:
    return [(event.trial.arm, event.trial.seed) for event in events]


def ended(events: list[Event]) -> StudyEnded:
    (last,) = of(StudyEnded, events)
    assert events[-1] is last
    return last


def counts(events: list[Event]) -> tuple[int, int, int]:
    last = ended(events)
    return last.done, last.cached, last.failed


def no_executor() -> Executor:
    raise AssertionError("the executor was asked for")


def assert_nothing_is_left_over(store: FolderStore) -> None:
    for path in (store.root / "work").rglob("*"):
        assert path.is_dir() or path.name == "lease", f"{path} was left over"
    for arm in made_up_study().arms:
        for index in range(8):
            lease = store.try_lease(made_up_fingerprint(arm.recipe_at(index)))
            assert lease is not None, "a lease was left held"
            lease.release()


# --- looks ------------------------------------------------------------------------------------------------------------


def test_an_undecided_study_goes_seed_by_seed_from_look_to_look(store: FolderStore) -> None:
    events = events_of(made_up_study(at_most=8), store)
    every = [(arm, seed) for seed in range(8) for arm in ("plain", "wet")]
    assert places(of(RunStarted, events)) == every
    assert places(of(RunFinished, events)) == every
    assert [(e.seeds, e.missing) for e in of(LookStarted, events)] == [(3, 6), (5, 4), (8, 6)]
    assert [e.seeds for e in of(LookTaken, events)] == [3, 5, 8]
    assert [claim.verdict for claim in ended(events).results.claims] == ["undecided"]
    assert counts(events) == (16, 0, 0)
    starts = [index for index, event in enumerate(events) if isinstance(event, RunStarted)]
    first_look = next(index for index, event in enumerate(events) if isinstance(event, LookTaken))
    assert len([index for index in starts if index < first_look]) == 6


def test_a_study_stops_when_every_claim_is_decided(store: FolderStore) -> None:
    events = events_of(made_up_study(at_most=20), store, trial=DECIDED)
    last_look = of(LookTaken, events)[-1]
    assert last_look.seeds < 20
    assert [claim.verdict for claim in last_look.claims] == ["helps"]
    assert ended(events).results.claims == last_look.claims
    assert counts(events) == (2 * last_look.seeds, 0, 0)


def test_a_study_without_claims_ends_at_its_fewest_seeds(store: FolderStore) -> None:
    events = events_of(made_up_study(claims=False, at_least=3, at_most=20), store)
    assert counts(events) == (6, 0, 0)
    assert of(LookTaken, events) == []
    assert ended(events).results.claims == ()


def test_a_study_whose_claims_are_stuck_spends_no_more_seeds_on_them(store: FolderStore) -> None:
    loss = [{"arm": "wet", "beats": "plain", "metric": "val_loss"}]  # which made-up runs lack, as diverged ones do
    study = Study.model_validate({**made_up_study(at_most=20).resolved(), "margin": {}, "claims": loss})
    events = events_of(study, store)
    assert counts(events) == (6, 0, 0)
    (claim,) = ended(events).results.claims
    assert (claim.verdict, claim.stuck) == ("undecided", True)


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_for_a_look_are_computed_and_leave_the_claim_open(store: FolderStore, seeds: int) -> None:
    events = events_of(made_up_study(at_least=1, at_most=seeds), store)
    assert counts(events) == (2 * seeds, 0, 0)
    assert [claim.verdict for claim in ended(events).results.claims] == ["undecided"]


def test_results_hold_every_run_by_arm_and_seed(store: FolderStore) -> None:
    study = made_up_study(at_most=3)
    results = ended(events_of(study, store)).results
    assert results.study is study
    for arm in study.arms:
        for index in range(3):
            name = made_up_fingerprint(arm.recipe_at(index))
            assert results.fingerprints[arm.name][arm.first_seed + index] == name
            assert results.runs[arm.name][arm.first_seed + index].fingerprint == name
    assert results.failures == {"plain": {}, "wet": {}}


# --- computing only what is missing -----------------------------------------------------------------------------------


def test_a_study_in_the_store_makes_no_executor(store: FolderStore) -> None:
    first = events_of(made_up_study(), store)
    again = events_of(made_up_study(), store, no_executor)
    assert counts(again) == (0, 16, 0)
    assert [e.missing for e in of(LookStarted, again)] == [0, 0, 0]
    assert ended(again).results.claims == ended(first).results.claims


def test_more_seeds_compute_only_the_new_ones(store: FolderStore) -> None:
    events_of(made_up_study(at_most=3), store)
    events = events_of(made_up_study(at_most=5), store)
    assert places(of(RunStarted, events)) == [("plain", 3), ("wet", 3), ("plain", 4), ("wet", 4)]
    assert counts(events) == (4, 6, 0)


def test_arms_that_share_runs_compute_them_once(store: FolderStore) -> None:
    recipe = made_up_recipe()
    study = Study(
        question="shared",
        base={"data": recipe.data.model_dump(mode="json"), "model": recipe.model.model_dump(mode="json")},
        arms={"a": {}, "b": {"model.dropout": 0.5}},
        seeds={"at_least": 3, "at_most": 3},
    )
    events = list(
        conduct(
            study,
            fingerprint=lambda recipe: made_up_fingerprint(made_up_recipe(recipe.seed)),  # tells no arm from another
            store=store,
            executor=InlineExecutor(lambda recipe: made_up_run(made_up_recipe(recipe.seed))),
        )
    )
    assert places(of(RunFinished, events)) == [("a", 0), ("a", 1), ("a", 2)]
    assert counts(events) == (3, 0, 0)
    assert [sorted(by_seed) for by_seed in ended(events).results.runs.values()] == [[0, 1, 2], [0, 1, 2]]


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_failed_run_is_kept_judged_around_and_retried_by_the_next_study(store: FolderStore) -> None:
    study = made_up_study(at_most=5)
    events = events_of(study, store, trial=functools.partial(unlucky_trial, misfortunes={1: "raise"}))
    assert places(of(RunFailed, events)) == [("plain", 1), ("wet", 1)]
    assert len(of(RunStarted, events)) == 10  # none was tried twice
    assert counts(events) == (8, 0, 2)
    (claim,) = ended(events).results.claims
    assert (claim.n, claim.dropped) == (4, 1)
    failure = ended(events).results.failures["wet"][1]
    assert (failure.kind, failure.message) == ("raised", "ValueError: seed 1 is unlucky")
    assert "in unlucky_trial" in failure.traceback
    assert failure.recipe == study.arms[1].recipe_at(1).resolved()
    assert store.failure(failure.fingerprint) == failure

    again = events_of(study, store, trial=made_up_run)
    assert places(of(RunFinished, again)) == [("plain", 1), ("wet", 1)]
    assert counts(again) == (2, 8, 0)
    assert store.failure(failure.fingerprint) is None


def test_a_study_whose_every_run_fails_ends_at_the_first_look(store: FolderStore) -> None:
    misfortunes = dict.fromkeys(range(20), "raise")
    events = events_of(
        made_up_study(at_most=20), store, trial=functools.partial(unlucky_trial, misfortunes=misfortunes)
    )
    assert counts(events) == (0, 0, 6)


def test_a_run_of_another_recipe_is_a_failure_and_is_not_kept(store: FolderStore) -> None:
    events = events_of(made_up_study(at_most=3), store, trial=lambda recipe: made_up_run(made_up_recipe(99)))
    assert counts(events) == (0, 0, 6)
    assert list(store.fingerprints()) == []
    assert "where run" in of(RunFailed, events)[0].failure.message


def test_fail_fast_ends_at_the_first_failure(store: FolderStore) -> None:
    trial = functools.partial(unlucky_trial, misfortunes={1: "raise"})
    events = events_of(made_up_study(), store, trial=trial, fail_fast=True)
    assert places(of(RunStarted, events)) == [("plain", 0), ("wet", 0), ("plain", 1)]
    assert counts(events) == (2, 0, 1)
    assert of(LookTaken, events) == []
    assert [claim.verdict for claim in ended(events).results.claims] == ["undecided"]
    assert_nothing_is_left_over(store)


def test_fail_fast_stops_what_is_under_way_at_once(store: FolderStore) -> None:
    trial = functools.partial(hang_unless_first, seconds=3600.0)
    began = time.monotonic()
    events = events_of(made_up_study(), store, functools.partial(ProcessExecutor, trial, jobs=2), fail_fast=True)
    assert time.monotonic() - began < 20.0
    assert counts(events) == (0, 0, 1)
    assert_nothing_is_left_over(store)


def hang_unless_first(recipe: Recipe, *, seconds: float) -> Run:
    if recipe.model.model_dump()["dropout"] == 0.0:
        time.sleep(0.3)
        raise ValueError("first")
    return slow_trial(recipe, seconds=seconds)


# --- what is under way ------------------------------------------------------------------------------------------------


class SlowExecutor(Executor):
    """Ends trials when told, newest first, and remembers how many it was given at a time."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self.underway: list[tuple[Future[Run], Recipe]] = []
        self.most = 0
        self.shut: bool | None = None

    @property
    def jobs(self) -> int:
        return self._jobs

    def submit(self, recipe: Recipe) -> Future[Run]:
        future: Future[Run] = Future()
        self.underway.append((future, recipe))
        self.most = max(self.most, len(self.underway))
        if len(self.underway) == self._jobs:
            threading.Timer(0.01, self.end_newest).start()
        return future

    def end_newest(self) -> None:
        for future, recipe in [self.underway.pop() for _ in range(len(self.underway))]:
            future.set_result(UNDECIDED(recipe))

    def shut_down(self, *, now: bool) -> None:
        self.shut = now


def test_no_more_trials_are_under_way_than_the_executor_has_jobs(store: FolderStore) -> None:
    executor = SlowExecutor(jobs=3)
    events = events_of(made_up_study(at_most=3), store, executor)
    assert executor.most == 3
    assert counts(events) == (6, 0, 0)
    assert executor.shut is None, "a borrowed executor is its owner's to shut down"


def test_how_far_a_run_has_come_is_asked_now_and_then_and_at_its_end(store: FolderStore) -> None:
    telling = functools.partial(telling_trial, root=store.root)
    study = made_up_study(at_least=1, at_most=1, claims=False)
    events = list(
        conduct(study, fingerprint=made_up_fingerprint, store=store, executor=ProcessExecutor(telling, jobs=2))
    )
    for arm, steps in (("plain", [1, 2]), ("wet", [1])):
        own = [event for event in events if isinstance(event, RunProgressed) and event.trial.arm == arm]
        assert [event.progress.step for event in own] == steps
        assert [event.first for event in own] == [True, False][: len(steps)]
        (finished,) = [event for event in events if isinstance(event, RunFinished) and event.trial.arm == arm]
        assert events.index(own[-1]) < events.index(finished)


def telling_trial(recipe: Recipe, *, root: Path) -> Run:
    """Tells how far it has come; the plain arm twice, with time between, the other one right before it ends."""
    name, store = made_up_fingerprint(recipe), FolderStore(root)
    if recipe.model.model_dump()["dropout"] == 0.0:
        store.tell(name, RunProgress(epoch=1, epochs=1, step=1, steps=2))
        time.sleep(1.5)
        store.tell(name, RunProgress(epoch=1, epochs=1, step=2, steps=2))
        time.sleep(1.5)
    else:
        store.tell(name, RunProgress(epoch=1, epochs=1, step=1, steps=2))
    return made_up_run(recipe)


def test_an_executor_made_for_the_study_is_shut_down_before_its_end(store: FolderStore) -> None:
    executor = SlowExecutor(jobs=2)
    for event in conduct(
        made_up_study(at_most=3), fingerprint=made_up_fingerprint, store=store, executor=lambda: executor
    ):
        assert isinstance(event, StudyEnded) == (executor.shut is not None)


@pytest.mark.parametrize("after", [0, 1, 2, 5, 8])
def test_closing_the_study_keeps_what_is_finished_and_leaves_no_lease(store: FolderStore, after: int) -> None:
    executor = SlowExecutor(jobs=2)
    study = conduct(made_up_study(), fingerprint=made_up_fingerprint, store=store, executor=executor)
    seen = list(itertools.islice(study, after + 1))
    study.close()
    assert executor.shut is True
    assert {event.trial.fingerprint for event in of(RunFinished, seen)} == set(store.fingerprints())
    assert_nothing_is_left_over(store)


def test_ctrl_c_in_a_trial_ends_the_study_and_the_next_one_goes_on(store: FolderStore) -> None:
    ran = itertools.count()

    def interrupted(recipe: Recipe) -> Run:
        if next(ran) == 4:
            raise KeyboardInterrupt
        return UNDECIDED(recipe)

    with pytest.raises(KeyboardInterrupt):
        events_of(made_up_study(), store, trial=interrupted)
    assert len(list(store.fingerprints())) == 4
    assert_nothing_is_left_over(store)
    assert counts(events_of(made_up_study(), store)) == (12, 4, 0)


def test_a_store_that_cannot_be_written_ends_the_study_and_gives_leases_back(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = store.add
    room = itertools.count()

    def full(run: Run) -> Any:
        if next(room) == 3:
            raise StoreError("The disk is full.")
        return add(run)

    with monkeypatch.context() as patched:
        patched.setattr(store, "add", full)
        with pytest.raises(StoreError, match="The disk is full"):
            events_of(made_up_study(), store, functools.partial(ProcessExecutor, UNDECIDED, jobs=2))
    assert_nothing_is_left_over(store)
    assert counts(events_of(made_up_study(), store)) == (13, 3, 0)


# --- other processes --------------------------------------------------------------------------------------------------


def test_a_run_computed_elsewhere_is_left_for_last_and_found(store: FolderStore) -> None:
    study = made_up_study(at_most=3)
    awaited = study.arms[0].recipe_at(0)
    lease = FolderStore(store.root).try_lease(made_up_fingerprint(awaited)) or pytest.fail("no lease")

    def finish_elsewhere() -> None:
        FolderStore(store.root).add(UNDECIDED(awaited))
        lease.release()

    seen: list[Event] = []
    for event in conduct(
        study, fingerprint=made_up_fingerprint, store=store, executor=functools.partial(InlineExecutor, UNDECIDED)
    ):
        seen.append(event)
        if len(of(RunFinished, seen)) == 5 and isinstance(event, RunFinished):
            threading.Timer(0.3, finish_elsewhere).start()
    assert places(of(RunAwaited, seen)) == [("plain", 0)]
    assert places(of(RunFinished, seen)) == [("wet", 0), ("plain", 1), ("wet", 1), ("plain", 2), ("wet", 2)]
    assert places(of(RunCached, seen)) == [("plain", 0)]
    assert counts(seen) == (5, 1, 0)


def test_a_run_given_up_elsewhere_is_computed_here(store: FolderStore) -> None:
    study = made_up_study(at_most=3)
    lease = FolderStore(store.root).try_lease(made_up_fingerprint(study.arms[1].recipe_at(2))) or pytest.fail("none")
    threading.Timer(0.5, lease.release).start()
    events = events_of(study, store)
    assert places(of(RunAwaited, events)) == [("wet", 2)]
    assert places(of(RunFinished, events))[-1] == ("wet", 2)
    assert counts(events) == (6, 0, 0)


def test_studies_at_once_on_one_store_compute_each_run_once(store: FolderStore) -> None:
    results: list[list[Event]] = []

    def work() -> None:
        own = FolderStore(store.root)
        trial = functools.partial(slow_trial, seconds=0.01)
        results.append(events_of(made_up_study(at_most=5), own, functools.partial(ProcessExecutor, trial, jobs=1)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [event.trial.fingerprint for events in results for event in of(RunFinished, events)]
    assert sorted(done) == list(store.fingerprints())
    assert [ended(events).done + ended(events).cached for events in results] == [10, 10, 10]
    assert ended(results[0]).results.claims == ended(results[1]).results.claims == ended(results[2]).results.claims


def test_inline_and_processes_give_the_same_study(tmp_path: Path) -> None:
    study = made_up_study(at_most=3)
    inline = ended(events_of(study, FolderStore(tmp_path / "a"), trial=made_up_run)).results
    processes = ended(
        events_of(study, FolderStore(tmp_path / "b"), functools.partial(ProcessExecutor, made_up_run, jobs=2))
    ).results
    for arm in study.arms:
        for seed, run in inline.runs[arm.name].items():
            assert differences(run, processes.runs[arm.name][seed]) == []
    assert inline.claims == processes.claims


def test_a_trial_failed_error_is_told_by_its_message() -> None:
    error = TrialFailedError("timeout", "too long", "trace")
    assert (str(error), error.kind, error.traceback) == ("too long", "timeout", "trace")
