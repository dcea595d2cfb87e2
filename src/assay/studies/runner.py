"""Conducts a study: computes the runs it lacks, judges the claims at the fixed counts, stops when all are decided.

`conduct` is a generator of events. Whoever iterates shows or records them, and stops the study by leaving the loop.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar

from assay.recipe.schema import Recipe
from assay.records import FailedRun, Run, RunProgress
from assay.studies.claims import ClaimResult
from assay.studies.design import Study
from assay.studies.events import (
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
    Trial,
)
from assay.studies.executors.contract import Executor, TrialFailedError
from assay.studies.looks import looks
from assay.studies.results import StudyResults
from assay.studies.store.contract import Lease, Store, StoredRun
from assay.studies.verdicts import all_closed, judge

__all__ = [
    "Event",
    "LookStarted",
    "LookTaken",
    "RunAwaited",
    "RunCached",
    "RunFailed",
    "RunFinished",
    "RunProgressed",
    "RunStarted",
    "StudyEnded",
    "Trial",
    "conduct",
]

Fingerprint = Callable[[Recipe], str]
Value = TypeVar("Value")

_ASK_EVERY = 1.0
"""Seconds between two looks at how far a run has come."""

_POLL = 0.2
"""Seconds between looks at runs that other processes compute; also bounds the wait for Ctrl-C where locks ignore it."""


def conduct(
    study: Study,
    *,
    fingerprint: Fingerprint,
    store: Store,
    executor: Executor | Callable[[], Executor],
    fail_fast: bool = False,
) -> Generator[Event, None, None]:
    """Conduct a study, yielding what happens; the last event is `StudyEnded`.

    Every arm is brought to the first look's number of seeds, seed by seed, then the claims are judged, and so on until
    all are decided or ``at_most`` is reached. A study without claims ends at ``at_least``. A run that fails is tried
    again only when the study is conducted again. Any number of processes may conduct studies on one store: each run is
    computed by one of them.

    Closing the generator, or an exception in it such as Ctrl-C, stops the trials under way at once and keeps every
    finished run.

    Args:
        study: what to conduct.
        fingerprint: names the run of a recipe.
        store: where runs are kept.
        executor: an executor, left open for the caller unless the study is left early; or a function that makes one,
            called when the first run has to be computed, and shut down in the end.
        fail_fast: stop what is under way and end the study at the first failure.

    Raises:
        StoreError: the store cannot be read or written.
    """
    with _Workers(executor) as workers:
        conductor = _Conductor(study, fingerprint, store, workers, fail_fast)
        try:
            yield from conductor.events()
        except BaseException:
            workers.stop()  # before the leases are given back, so that no other process computes the same meanwhile
            raise
        finally:
            conductor.release_leases()
    yield conductor.ended()


class _Workers:
    """An executor that starts when first needed."""

    def __init__(self, executor: Executor | Callable[[], Executor]) -> None:
        self._borrowed = isinstance(executor, Executor)
        self._executor = executor

    def executor(self) -> Executor:
        if not isinstance(self._executor, Executor):
            self._executor = self._executor()
        return self._executor

    def stop(self) -> None:
        if isinstance(self._executor, Executor):
            self._executor.shut_down(now=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or not self._borrowed:
            self.stop()  # at a normal end nothing is under way, and workers need no farewell


@dataclass(kw_only=True)
class _Underway:
    trial: Trial
    since: float
    """When it was submitted, on the monotonic clock."""
    asked: float
    """When it was last asked how far it has come."""
    progress: RunProgress | None = None


class _Conductor:
    def __init__(
        self, study: Study, fingerprint: Fingerprint, store: Store, workers: _Workers, fail_fast: bool
    ) -> None:
        self._study = study
        self._fingerprint = fingerprint
        self._store = store
        self._workers = workers
        self._fail_fast = fail_fast
        self._asked: dict[str, dict[int, str]] = {arm.name: {} for arm in study.arms}
        self._runs: dict[str, StoredRun] = {}
        self._failures: dict[str, FailedRun] = {}
        self._cached: set[str] = set()
        self._leases: dict[str, Lease] = {}
        self._underway: dict[Future[Run], _Underway] = {}
        self._claims: tuple[ClaimResult, ...] = ()

    def events(self) -> Iterator[Event]:
        for seeds in self._counts():
            missing: deque[Trial] = deque()
            for trial in self._ask(seeds):
                found = self._store.get(trial.fingerprint)
                if found is None:
                    missing.append(trial)
                else:
                    yield self._found(trial, found)
            yield LookStarted(seeds=seeds, missing=len(missing))
            yield from self._compute(missing)
            self._claims = self._judge()
            if self._stopped():
                return
            if self._claims:
                yield LookTaken(seeds=seeds, claims=self._claims)
                if all_closed(self._claims):
                    return
            if not self._runs:
                return  # whatever makes every run fail is mended sooner than waited for

    def ended(self) -> StudyEnded:
        results = StudyResults(
            study=self._study,
            runs=self._by_arm(self._runs),
            failures=self._by_arm(self._failures),
            claims=self._claims,
            fingerprints=self._asked,
        )
        cached = len(self._cached)
        return StudyEnded(results=results, done=len(self._runs) - cached, cached=cached, failed=len(self._failures))

    def release_leases(self) -> None:
        for lease in self._leases.values():
            lease.release()
        self._leases.clear()

    def _counts(self) -> tuple[int, ...]:
        """Runs per arm to compute before each judgement."""
        seeds = self._study.seeds
        if not self._study.comparisons:
            return (seeds.at_least,)
        return looks(seeds.at_least, seeds.at_most) or (seeds.at_most,)

    def _ask(self, seeds: int) -> Iterator[Trial]:
        """Every run not asked for yet, of the first ``seeds`` seeds of each arm, seed by seed; shared ones once."""
        known = {name for by_seed in self._asked.values() for name in by_seed.values()}
        for index in range(seeds):
            for arm in self._study.arms:
                recipe = arm.recipe_at(index)
                if recipe.seed in self._asked[arm.name]:
                    continue
                name = self._fingerprint(recipe)
                self._asked[arm.name][recipe.seed] = name
                if name not in known:
                    known.add(name)
                    yield Trial(arm=arm.name, seed=recipe.seed, fingerprint=name, recipe=recipe)

    def _compute(self, missing: deque[Trial]) -> Iterator[Event]:
        """Bring these runs into the store, or have them fail."""
        awaited: deque[Trial] = deque()  # other processes hold their leases
        while missing or awaited or self._underway:
            while missing and self._has_room():
                trial = missing.popleft()
                if not (yield from self._begin(trial)):
                    awaited.append(trial)
                    yield RunAwaited(trial=trial)
            if self._underway:
                yield from self._harvest()
            elif awaited:
                time.sleep(_POLL)
            if self._stopped():
                self._workers.stop()
                return
            for _ in range(0 if missing else len(awaited)):
                trial = awaited.popleft()
                if not (self._has_room() and (yield from self._begin(trial))):
                    awaited.append(trial)

    def _has_room(self) -> bool:
        return len(self._underway) < self._workers.executor().jobs

    def _stopped(self) -> bool:
        return self._fail_fast and bool(self._failures)

    def _begin(self, trial: Trial) -> Generator[Event, None, bool]:
        """Start a run, or find it in the store; False while another process has its lease."""
        lease = self._store.try_lease(trial.fingerprint)
        if lease is not None:
            self._leases[trial.fingerprint] = lease
        found = self._store.get(trial.fingerprint)  # after the lease, whose last holder may just have added the run
        if found is not None:
            self._release(trial)
            yield self._found(trial, found)
            return True
        if lease is None:
            return False
        yield RunStarted(trial=trial)
        since = time.monotonic()
        future = self._workers.executor().submit(trial.recipe)
        self._underway[future] = _Underway(trial=trial, since=since, asked=since)
        return True

    def _harvest(self) -> Iterator[Event]:
        """Wait a little for trials to end, and keep what became of them."""
        ended, _ = wait(self._underway, timeout=_POLL, return_when=FIRST_COMPLETED)
        for future in ended:
            underway = self._underway.pop(future)
            if underway.progress is None:  # a quick one; but that it was taken up has to be told
                yield from self._ask_how_far(underway)
            try:
                run = _checked(future.result(), underway.trial)
            except TrialFailedError as error:
                event: Event = self._keep_failure(underway, error)
            else:
                event = self._keep(underway.trial, run)
            self._release(underway.trial)
            yield event
        for underway in list(self._underway.values()):
            if time.monotonic() - underway.asked >= _ASK_EVERY:
                yield from self._ask_how_far(underway)

    def _ask_how_far(self, underway: _Underway) -> Iterator[Event]:
        underway.asked = time.monotonic()
        progress = self._store.progress(underway.trial.fingerprint)
        if progress is not None and progress != underway.progress:
            first = underway.progress is None
            underway.progress = progress
            yield RunProgressed(trial=underway.trial, progress=progress, first=first)

    def _found(self, trial: Trial, run: StoredRun) -> RunCached:
        self._runs[trial.fingerprint] = run
        self._cached.add(trial.fingerprint)
        return RunCached(trial=trial, run=run)

    def _keep(self, trial: Trial, run: Run) -> RunFinished:
        stored = self._store.add(run)
        self._runs[trial.fingerprint] = stored
        return RunFinished(trial=trial, run=stored)

    def _keep_failure(self, underway: _Underway, error: TrialFailedError) -> RunFailed:
        trial = underway.trial
        failure = FailedRun(
            fingerprint=trial.fingerprint,
            recipe=trial.recipe.resolved(),
            kind=error.kind,
            message=error.message,
            traceback=error.traceback,
            failed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=time.monotonic() - underway.since,
        )
        self._store.add_failure(failure)
        self._failures[trial.fingerprint] = failure
        return RunFailed(trial=trial, failure=failure)

    def _release(self, trial: Trial) -> None:
        lease = self._leases.pop(trial.fingerprint, None)
        if lease is not None:
            lease.release()

    def _judge(self) -> tuple[ClaimResult, ...]:
        return judge(
            self._study.comparisons,
            self._by_arm(self._runs),
            {arm: frozenset(by_seed) for arm, by_seed in self._by_arm(self._failures).items()},
            first_seeds={arm.name: arm.first_seed for arm in self._study.arms},
            at_least=self._study.seeds.at_least,
            at_most=self._study.seeds.at_most,
        )

    def _by_arm(self, values: Mapping[str, Value]) -> dict[str, dict[int, Value]]:
        """Values by fingerprint, spread over the arms and seeds that ask for them."""
        return {
            arm: {seed: values[name] for seed, name in by_seed.items() if name in values}
            for arm, by_seed in self._asked.items()
        }


def _checked(run: Run, trial: Trial) -> Run:
    if run.fingerprint != trial.fingerprint:
        raise TrialFailedError(
            "raised",
            f"returned run {run.fingerprint}, where run {trial.fingerprint} was asked for; nothing was kept. If its "
            "data have changed since the study began, run it again.",
        )
    return run
