"""Trials in this very process, one at a time: for the debugger, and where processes cannot be started."""

from __future__ import annotations

from concurrent.futures import Future

from assay.errors import InputError
from assay.recipe.schema import Recipe
from assay.records import Run
from assay.studies.executors.contract import Executor, RunTrial
from assay.studies.executors.failures import raised


class InlineExecutor(Executor):
    """Runs a trial on `submit`, which returns when it has ended. Ctrl-C goes to whoever submits.

    Args:
        run_trial: what to run; need not be picklable.
        time_limit: must be None, since nobody is left to stop a trial that is running here.

    Raises:
        InputError: a time limit was given.
    """

    def __init__(self, run_trial: RunTrial, *, time_limit: float | None = None) -> None:
        if time_limit is not None:
            raise InputError(
                f"A time limit needs worker processes, got {time_limit:g} s with the inline executor. "
                "Use --executor processes, or leave --time-limit out."
            )
        self._run_trial = run_trial
        self._open = True

    @property
    def jobs(self) -> int:
        return 1

    def submit(self, recipe: Recipe) -> Future[Run]:
        if not self._open:
            raise RuntimeError("A trial was submitted to an executor that has been shut down.")
        future: Future[Run] = Future()
        future.set_running_or_notify_cancel()
        try:
            run = self._run_trial(recipe)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a trial may raise anything; it goes into the future
            failure = raised(error)
            failure.__cause__ = error
            future.set_exception(failure)
        else:
            future.set_result(run)
        return future

    def shut_down(self, *, now: bool) -> None:
        self._open = False
