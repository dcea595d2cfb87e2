"""Shows one long piece of work: a bar with time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import click

if TYPE_CHECKING:
    from rich.progress import TaskID

    from assay.data.survey import Step

Value = TypeVar("Value")

_LINE_EVERY = 10.0
"""Seconds between lines in a log."""


class Steps:
    """Follows pieces of work one after the other, each with a name; may be told of bytes, too."""

    def __init__(self, *, quiet: bool, in_bytes: bool = False) -> None:
        self._bar = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._quiet = quiet
        self._in_bytes = in_bytes
        self._doing = ""
        self._since = self._last_line = time.monotonic()
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._bar:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            amounts = (DownloadColumn(), TransferSpeedColumn()) if self._in_bytes else (TaskProgressColumn(),)
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), *amounts, TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._progress.stop()

    def tell(self, doing: str, done: float, total: float) -> None:
        """So much of the present piece of work is done."""
        if self._quiet:
            return
        if doing != self._doing:
            self._doing, self._since = doing, time.monotonic()
            if self._bar:
                if self._task is not None:
                    self._progress.remove_task(self._task)
                self._task = self._progress.add_task(doing, total=total)
        if self._bar and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._last_line >= _LINE_EVERY and done:
            from assay.cli.progress import duration

            self._last_line = time.monotonic()
            left = (time.monotonic() - self._since) * (total - done) / done
            click.echo(f"{doing}: {done / max(total, 1e-9):.0%}, about {duration(left)} left", err=True)

    def show(self, done: int, total: int) -> None:
        """So many bytes of so many are there."""
        self.tell("fetching", done, total)


def followed(work: Generator[Step, None, Value], steps: Steps) -> Value:
    """Run the work to its end, showing how far it is, and return what it returns."""
    while True:
        try:
            step = next(work)
        except StopIteration as end:
            value: Value = end.value
            return value
        steps.tell(step.doing, step.done, step.total)
