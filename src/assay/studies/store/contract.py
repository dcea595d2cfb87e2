"""What a run store promises. `assay.testing.StoreContract` holds any implementation to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from assay.records import Array, EpochRecord, FailedRun, Predictions, Run, RunProgress, RunRecord


class StoredRun(ABC):
    """A run in a store. Its record is at hand; the larger parts are read when asked for.

    Raises:
        StoreError: from any reading method, when the file is damaged; the message names the file and what to do.
    """

    @property
    @abstractmethod
    def record(self) -> RunRecord: ...

    @abstractmethod
    def history(self) -> tuple[EpochRecord, ...]: ...

    @abstractmethod
    def predictions(self) -> Mapping[str, Predictions]: ...

    @abstractmethod
    def weights(self) -> Mapping[str, Array]: ...

    @abstractmethod
    def last_weights(self) -> Mapping[str, Array]:
        """Those after the last epoch, where `weights` are better ones of an earlier epoch; else empty."""

    @abstractmethod
    def preprocessing(self) -> tuple[Mapping[str, Any], Mapping[str, Array]]:
        """What turns a raw input into the network's: its facts, and the arrays that were too large for them."""

    @abstractmethod
    def log(self) -> str: ...

    @abstractmethod
    def artefacts(self) -> tuple[str, ...]:
        """The file names of the run's pictures and tables, sorted."""

    @abstractmethod
    def artefact(self, name: str) -> bytes | None:
        """The content of one of them, or None when the run has none of that name.

        Raises:
            InputError: no artefact may have such a name.
        """

    @property
    @abstractmethod
    def location(self) -> str:
        """Where a person finds the run: for a folder store its path."""

    @property
    def fingerprint(self) -> str:
        return self.record.fingerprint


class Lease(ABC):
    """The right to compute one run. Ends with the ``with`` block, or with the process however it dies."""

    @abstractmethod
    def release(self) -> None:
        """Give the lease back. Releasing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Store(ABC):
    """Keeps runs by fingerprint. A run exists whole or not at all, and is never changed or lost once it exists."""

    @abstractmethod
    def get(self, fingerprint: str) -> StoredRun | None:
        """The run of that fingerprint, or None."""

    @abstractmethod
    def add(self, run: Run) -> StoredRun:
        """Keep a run. If one of that fingerprint exists already, it stays and is returned. Clears an earlier failure.

        Raises:
            InputError: an artefact's name is not one of lower-case letters, digits, ``_`` and ``-`` before ``.png``,
                ``.json``, ``.csv`` or ``.npz``; nothing was kept.
            StoreError: nothing was kept, as when the disk is full.
        """

    @abstractmethod
    def failure(self, fingerprint: str) -> FailedRun | None:
        """The latest failure of that fingerprint, or None."""

    @abstractmethod
    def add_failure(self, failure: FailedRun) -> None:
        """Keep a failure, in place of an earlier one."""

    @abstractmethod
    def try_lease(self, fingerprint: str) -> Lease | None:
        """The right to compute this run, or None while another process (or this one) holds it."""

    def progress(self, fingerprint: str) -> RunProgress | None:
        """How far whoever holds this run's lease has come, if that can be known."""
        return None

    @abstractmethod
    def fingerprints(self) -> Iterator[str]:
        """Every run's fingerprint, sorted."""

    @abstractmethod
    def save_study(self, name: str, files: Mapping[str, str]) -> None:
        """Keep a study's own files (file name to text), each replaced as a whole; other files of the study stay."""

    @abstractmethod
    def study_file(self, name: str, file: str) -> str | None:
        """The text of one of a study's files, or None."""

    @abstractmethod
    def studies(self) -> tuple[str, ...]:
        """The names of all studies, sorted."""
