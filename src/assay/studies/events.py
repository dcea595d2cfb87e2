"""What happens while a study is conducted, one object per event, for whoever shows or records it."""

from __future__ import annotations

from dataclasses import dataclass

from assay.recipe.schema import Recipe
from assay.records import FailedRun, RunProgress
from assay.studies.claims import ClaimResult
from assay.studies.results import StudyResults
from assay.studies.store.contract import StoredRun


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run a study asks for. When several arms share a run, ``arm`` and ``seed`` are of the first."""

    arm: str
    seed: int
    fingerprint: str
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class LookStarted:
    """The study now brings every arm to ``seeds`` runs; ``missing`` of these are to be computed."""

    seeds: int
    missing: int


@dataclass(frozen=True, kw_only=True)
class DataRead:
    """Image files are being decoded into the cache, once for all runs: ``done`` of ``total`` of one source. With
    ``waiting``, another process is at it."""

    source: str
    done: int
    total: int
    waiting: bool = False


@dataclass(frozen=True, kw_only=True)
class RunCached:
    """The run was in the store already, or another process put it there meanwhile."""

    trial: Trial
    run: StoredRun


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """The run is about to be computed."""

    trial: Trial


@dataclass(frozen=True, kw_only=True)
class RunProgressed:
    """A run that takes its time has come further. The ``first`` such event of a run also says whether it was taken up
    where it had been interrupted."""

    trial: Trial
    progress: RunProgress
    first: bool = False


@dataclass(frozen=True, kw_only=True)
class RunAwaited:
    """Another process is computing this run; the study does what else there is first, then waits for it."""

    trial: Trial


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """The run was computed and is in the store."""

    trial: Trial
    run: StoredRun


@dataclass(frozen=True, kw_only=True)
class RunFailed:
    """The run raised, was killed or took too long. The same study conducted again retries it."""

    trial: Trial
    failure: FailedRun


@dataclass(frozen=True, kw_only=True)
class LookTaken:
    """Every arm has been brought to ``seeds`` runs, and every claim judged."""

    seeds: int
    claims: tuple[ClaimResult, ...]


@dataclass(frozen=True, kw_only=True)
class StudyEnded:
    """The last event. Runs are counted once, however many arms share them."""

    results: StudyResults
    done: int
    """Runs computed now."""
    cached: int
    """Runs that were in the store, or that another process put there."""
    failed: int


Event = (
    LookStarted
    | DataRead
    | RunCached
    | RunStarted
    | RunProgressed
    | RunAwaited
    | RunFinished
    | RunFailed
    | LookTaken
    | StudyEnded
)
