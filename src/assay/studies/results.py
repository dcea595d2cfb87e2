"""A study with everything that is known of it: what the report draws and programs read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assay.records import FailedRun
from assay.studies.claims import ClaimResult
from assay.studies.design import Study
from assay.studies.store.contract import StoredRun


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """A study, its runs by arm and seed, and the verdict on each claim in the order declared."""

    study: Study
    runs: Mapping[str, Mapping[int, StoredRun]]
    failures: Mapping[str, Mapping[int, FailedRun]]
    claims: tuple[ClaimResult, ...]
    store: str | None = None
    """The folder of the store that holds the runs, where it is known."""
    fingerprints: Mapping[str, Mapping[int, str]]
    """Of every run the study asked for so far, by arm and seed; stored, failed or missing."""

    @property
    def failed(self) -> int:
        return sum(len(by_seed) for by_seed in self.failures.values())
