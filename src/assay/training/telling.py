"""Telling others how far a run under way has come: now and then, and never at the cost of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import accumulate

from assay.records import RunProgress

Tell = Callable[[RunProgress], None]

_EVERY = 1.0
"""Seconds between two tellings; a run that takes less never tells anything."""


class Telling:
    """Tells of one run.

    Args:
        tell: whom; None tells nobody.
    """

    def __init__(self, tell: Tell | None = None) -> None:
        self._tell = tell
        self._epochs = self._steps = self._done_before = 0
        self._work: Sequence[float] = ()
        self._began = self._last = time.monotonic()

    def begin(self, *, work: Sequence[float], steps: int, done: int) -> None:
        """Start counting.

        Args:
            work: of a step in each epoch of the whole run, in any unit.
            steps: of the whole run.
            done: steps of an interrupted run that is taken up; it is told at once.
        """
        self._epochs, self._steps, self._done_before = len(work), steps, done
        self._work = tuple(accumulate(work, initial=0.0))
        self._began = self._last = time.monotonic()
        if done:
            self._say(done, None)

    def after(self, done: int, val_accuracy: float | None) -> None:
        """So many steps are done, and that was last measured; told if it is time to."""
        if self._tell is not None and time.monotonic() - self._last >= _EVERY:
            self._say(done, val_accuracy)

    def _say(self, done: int, val_accuracy: float | None) -> None:
        if self._tell is None:
            return
        self._last = time.monotonic()
        self._tell(
            RunProgress(
                epoch=min(self._epochs, done * self._epochs // self._steps + 1),
                epochs=self._epochs,
                step=done,
                steps=self._steps,
                val_accuracy=val_accuracy,
                seconds_left=self._seconds_left(done) if done > self._done_before else None,
                continued_after=self._done_before or None,
            )
        )

    def _seconds_left(self, done: int) -> float:
        before, now, end = (self._work_until(step) for step in (self._done_before, done, self._steps))
        return (self._last - self._began) / (now - before) * (end - now)

    def _work_until(self, step: int) -> float:
        epoch, begun = divmod(step * self._epochs, self._steps)
        if epoch == self._epochs:
            return self._work[-1]
        return self._work[epoch] + begun / self._steps * (self._work[epoch + 1] - self._work[epoch])
