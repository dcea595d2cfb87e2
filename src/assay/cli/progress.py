"""Shows a study under way: a bar with time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import click

from assay.cli.words import counted, one_line
from assay.studies.events import (
    DataRead,
    Event,
    LookStarted,
    LookTaken,
    RunAwaited,
    RunFailed,
    RunFinished,
    RunProgressed,
    RunStarted,
)

if TYPE_CHECKING:
    from rich.progress import TaskID

HEADLINE_METRIC = "val_accuracy"
_LINE_EVERY = 10.0
"""Seconds between lines in a log, so that a long study stays readable."""
_PROGRESS_EVERY = 60.0
"""Seconds between lines in a log about runs under way."""


class Progress(Protocol):
    """Something that follows the events of a study."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None: ...


def progress_for(*, quiet: bool) -> Progress:
    """A bar when standard error is a terminal, lines when it is not, nothing when quiet."""
    if quiet:
        return Silence()
    if sys.stderr is not None and sys.stderr.isatty():
        return Bar()
    return Lines()


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, event: Event) -> None:
        """Do nothing."""


class Lines(Silence):
    """Plain lines on standard error, at most one every ten seconds beside failures and looks, and one a minute about
    runs under way."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._last_line = float("-inf")
        self._last_progress = time.monotonic()

    def show(self, event: Event) -> None:
        self._pace.take(event)
        now = time.monotonic()
        if isinstance(event, RunProgressed):
            self._show_progress(event, now)
            return
        text = describe(event)
        if text is None:
            return
        complete = event.done == event.total if isinstance(event, DataRead) else self._pace.complete
        if isinstance(event, RunFinished | DataRead) and now - self._last_line < _LINE_EVERY and not complete:
            return
        if isinstance(event, RunFinished | DataRead):
            self._last_line = now
            text = f"{self._pace.counts}  {text}{self._pace.time_left}"
        click.echo(text, err=True)

    def _show_progress(self, event: RunProgressed, now: float) -> None:
        continues = continuing(event)
        if continues is not None:
            click.echo(continues, err=True)
        if now - self._last_progress >= _PROGRESS_EVERY:
            self._last_progress = now
            click.echo(f"{how_far(event)}{run_time_left(event)}", err=True)


class Bar:
    """A progress bar on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._pace = Pace()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None
        self._reading: TaskID | None = None
        self._runs: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        self._pace.take(event)
        if isinstance(event, DataRead):
            self._show_reading(event)
            return
        if isinstance(event, RunProgressed):
            self._show_progress(event)
            return
        if isinstance(event, RunFinished | RunFailed) and event.trial.fingerprint in self._runs:
            self._progress.remove_task(self._runs.pop(event.trial.fingerprint))
        if isinstance(event, LookStarted) and event.missing:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(f"to {counted(event.seeds, 'seed')}", total=event.missing, left="")
        elif isinstance(event, RunFinished | RunFailed) and self._task is not None:
            self._progress.update(self._task, advance=1, left=self._pace.time_left)
        text = describe(event)
        if text is not None and not isinstance(event, RunFinished):
            self._progress.console.print(text, markup=False, highlight=False)

    def _show_progress(self, event: RunProgressed) -> None:
        """A bar of its own for a run that takes its time."""
        continues = continuing(event)
        if continues is not None:
            self._progress.console.print(continues, markup=False, highlight=False)
        name, progress = event.trial.fingerprint, event.progress
        if name not in self._runs:
            self._runs[name] = self._progress.add_task("", total=progress.steps, left="")
        self._progress.update(
            self._runs[name],
            total=progress.steps,
            completed=progress.step,
            description=f"  {how_far(event)}",
            left=run_time_left(event),
        )

    def _show_reading(self, event: DataRead) -> None:
        if self._reading is None:
            self._reading = self._progress.add_task("images", total=event.total, left="")
        left = "  another process is decoding them; waiting" if event.waiting else self._pace.time_left
        self._progress.update(self._reading, total=event.total, completed=event.done, left=left)
        if event.done == event.total:
            self._progress.remove_task(self._reading)
            self._reading = None


class Pace:
    """Counts runs towards the next look, or images decoded before it, and estimates the time left."""

    def __init__(self) -> None:
        self._total = 0
        self._ended = 0
        self._before = 0
        self._since: float | None = None
        self._goal = ""

    def take(self, event: Event) -> None:
        if isinstance(event, DataRead):
            if self._goal != event.source:
                self._goal, self._since, self._before = event.source, time.monotonic(), event.done
            self._total, self._ended = event.total, event.done
        if isinstance(event, LookStarted):
            self._total, self._ended, self._before, self._since, self._goal = event.missing, 0, 0, None, ""
        elif isinstance(event, RunStarted) and self._since is None:
            self._since = time.monotonic()
        elif isinstance(event, RunFinished | RunFailed):
            self._ended += 1

    @property
    def complete(self) -> bool:
        return self._ended >= self._total

    @property
    def counts(self) -> str:
        return f"[{self._ended}/{self._total}]"

    @property
    def time_left(self) -> str:
        counted_since = self._ended - self._before
        if self._since is None or not counted_since or self.complete:
            return ""
        seconds = (time.monotonic() - self._since) / counted_since * (self._total - self._ended)
        return f"  about {duration(seconds)} {'left' if self._goal else 'to the next look'}"


def duration(seconds: float) -> str:
    """A time as people say it: ``8 s``, ``3 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def how_far(event: RunProgressed) -> str:
    """``plain, seed 0: epoch 3/10, val 0.89``"""
    progress = event.progress
    measured = "" if progress.val_accuracy is None else f", val {progress.val_accuracy:.2f}"
    return f"{event.trial.arm}, seed {event.trial.seed}: epoch {progress.epoch}/{progress.epochs}{measured}"


def run_time_left(event: RunProgressed) -> str:
    left = event.progress.seconds_left
    return "" if left is None else f"  about {duration(left)} left"


def continuing(event: RunProgressed) -> str | None:
    """A line for a run that was taken up where it had been interrupted, the first time it is heard of."""
    progress = event.progress
    if not event.first or progress.continued_after is None:
        return None
    epoch = progress.continued_after * progress.epochs // progress.steps + 1
    return f"{event.trial.arm}, seed {event.trial.seed}: continues at epoch {epoch}, step {progress.continued_after}"


def describe(event: Event) -> str | None:
    """One line for an event worth telling; None for the rest."""
    if isinstance(event, LookStarted):
        if not event.missing:
            return None
        return f"{counted(event.missing, 'run')} to {counted(event.seeds, 'seed')} per arm"
    if isinstance(event, DataRead):
        doing = (
            "another process is decoding its images; waiting" if event.waiting else "images decoded, once for all runs"
        )
        return f"{event.source}: {doing}"
    if isinstance(event, RunAwaited):
        return f"{event.trial.arm}, seed {event.trial.seed}: another process is on it; waiting."
    if isinstance(event, RunFinished):
        record = event.run.record
        value = record.metrics.get(HEADLINE_METRIC)
        score = "" if value is None else f" {HEADLINE_METRIC} {value:.4f}"
        state = " diverged" if record.status == "diverged" else ""
        return f"{event.trial.arm}, seed {event.trial.seed}:{state}{score} in {duration(record.seconds)}"
    if isinstance(event, RunFailed):
        message = one_line(event.failure.message)
        return f"{event.trial.arm}, seed {event.trial.seed}: FAILED ({event.failure.kind}): {message}"
    if isinstance(event, LookTaken):
        decided = sum(claim.verdict != "undecided" for claim in event.claims)
        return f"Look at {counted(event.seeds, 'seed')}: {decided} of {counted(len(event.claims), 'claim')} decided."
    return None
