"""What an executor promises. `assay.testing.ExecutorContract` holds any implementation to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from assay.errors import AssayError
from assay.recipe.schema import Recipe
from assay.records import FailureKind, Run

RunTrial = Callable[[Recipe], Run]


class TrialFailedError(AssayError):
    """A trial raised, was killed, or ran out of time; the exception of its future."""

    def __init__(self, kind: FailureKind, message: str, traceback: str = "") -> None:
        self.kind = kind
        self.message = message
        self.traceback = traceback
        super().__init__(kind, message, traceback)

    def __str__(self) -> str:
        return self.message


class Executor(ABC):
    """Runs trials, as `concurrent.futures` does. A trial that fails never takes another one down.

    Use it in a ``with`` block. Leaving the block normally waits for what was submitted; leaving it by an exception
    (Ctrl-C among them) stops what is under way at once.
    """

    @property
    @abstractmethod
    def jobs(self) -> int:
        """How many trials run at the same time."""

    @abstractmethod
    def submit(self, recipe: Recipe) -> Future[Run]:
        """Start a trial, or queue it. The future ends with the `Run`, or with a `TrialFailedError`."""

    @abstractmethod
    def shut_down(self, *, now: bool) -> None:
        """Release workers: after waiting for what was submitted, or, with ``now``, stopping it. Twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut_down(now=kind is not None)
