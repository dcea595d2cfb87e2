"""Telling others how far a run under way has come: now and then, and never at the cost of the run."""

from __future__ import annotations

import time
from collections.abc import Callable

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
        self._began = self._last = time.monotonic()

    def begin(self, *, epochs: int, steps: int, done: int) -> None:
        """Start counting.

        Args:
            epochs: of the whole run.
            steps: likewise.
            done: steps of an interrupted run that is taken up; it is told at once.
        """
        self._epochs, self._steps, self._done_before = epochs, steps, done
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
        pace = (self._last - self._began) / max(1, done - self._done_before)
        self._tell(
            RunProgress(
                epoch=min(self._epochs, done * self._epochs // self._steps + 1),
                epochs=self._epochs,
                step=done,
                steps=self._steps,
                val_accuracy=val_accuracy,
                seconds_left=pace * (self._steps - done) if done > self._done_before else None,
                continued_after=self._done_before or None,
            )
        )
