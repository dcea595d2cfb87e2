"""Trials in warm worker processes, each with a pipe and a keeper thread of its own."""

from __future__ import annotations

import atexit
import pickle
import queue
import signal
import tempfile
import threading
from concurrent.futures import Future
from multiprocessing import resource_tracker
from pathlib import Path

from assay.errors import InputError
from assay.recipe.schema import Recipe
from assay.records import Run
from assay.studies.executors.contract import Executor, RunTrial, TrialFailedError
from assay.studies.executors.failures import raised
from assay.studies.executors.worker import SetUp, Worker

_Task = tuple[Recipe, "Future[Run]"]


class ProcessExecutor(Executor):
    """Runs trials in spawned processes, which are started when first needed and kept for the next trial.

    A worker that dies takes its own trial with it, no other one, and is replaced. Workers ignore Ctrl-C and die with
    this process however it dies. What they print is kept aside, and is part of the failure when one is killed.

    Args:
        run_trial: what to run; picklable, such as a module's function or a `functools.partial` of one.
        jobs: how many processes. With trials of t threads each, at most cores / t of them keep off each other.
        time_limit: seconds after which a trial is killed; None lets it run for ever.
        set_up: called once in each new worker before its first trial, such as to import what trials need; its time
            does not count against the limit.

    Raises:
        InputError: ``jobs`` or ``time_limit`` is out of range, or ``run_trial`` cannot be sent to another process.
    """

    def __init__(
        self, run_trial: RunTrial, *, jobs: int, time_limit: float | None = None, set_up: SetUp | None = None
    ) -> None:
        if jobs < 1:
            raise InputError(f"jobs must be at least 1, got {jobs}.")
        if time_limit is not None and not 0.0 < time_limit <= threading.TIMEOUT_MAX:
            raise InputError(f"The time limit must be above 0 seconds, got {time_limit:g}.")
        try:
            self._payload = pickle.dumps((run_trial, set_up))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"Worker processes cannot be given {run_trial!r}: {error}. Use a function of a module, or the inline "
                "executor."
            ) from error
        self._jobs = jobs
        self._time_limit = time_limit
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._keepers: list[threading.Thread] = []
        self._workers: set[Worker] = set()
        self._lock = threading.Lock()
        self._open = True
        self._stopped = False
        self._folder = tempfile.TemporaryDirectory(prefix="assay-workers-", ignore_cleanup_errors=True)
        self._started = 0
        # Registered after multiprocessing's own exit function, so called before it, which would wait for the workers.
        atexit.register(self._stop)

    @property
    def jobs(self) -> int:
        return self._jobs

    def submit(self, recipe: Recipe) -> Future[Run]:
        future: Future[Run] = Future()
        with self._lock:
            if not self._open:
                raise RuntimeError("A trial was submitted to an executor that has been shut down.")
            self._tasks.put((recipe, future))
            if not self._idle.acquire(blocking=False) and len(self._keepers) < self._jobs:
                keeper = threading.Thread(target=self._keep_worker, name="assay keeper", daemon=True)
                self._keepers.append(keeper)
                keeper.start()
        return future

    def shut_down(self, *, now: bool) -> None:
        with self._lock:
            if self._open:
                self._open = False
                for _ in self._keepers:
                    self._tasks.put(None)
        try:
            if now:
                self._stop()
            for keeper in self._keepers:
                keeper.join()
        except BaseException:  # Ctrl-C while waiting
            self._stop()
            raise
        finally:
            atexit.unregister(self._stop)
            self._folder.cleanup()

    def _stop(self) -> None:
        """Kill every worker; what is queued or under way fails."""
        with self._lock:
            self._stopped = True
            for worker in self._workers:
                worker.interrupt()

    def _keep_worker(self) -> None:
        """Give trials to one worker, and replace it when it dies. The body of a keeper thread."""
        if hasattr(signal, "pthread_sigmask"):  # inherited by the worker, which so ignores Ctrl-C from its birth
            # Python starts this with its first process, and then lets Ctrl-C through to the thread that started it.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        worker: Worker | None = None
        while (task := self._tasks.get()) is not None:
            recipe, future = task
            if future.set_running_or_notify_cancel():
                try:
                    worker = self._living(worker)
                    future.set_result(self._run(worker, recipe))
                except TrialFailedError as failure:
                    future.set_exception(failure)
                except BaseException as error:  # noqa: BLE001 - else whoever waits for the trial would wait for ever
                    future.set_exception(raised(error))
            self._idle.release()
        if worker is not None:
            worker.dismiss()
            with self._lock:
                self._workers.discard(worker)

    def _run(self, worker: Worker, recipe: Recipe) -> Run:
        try:
            return worker.run(recipe)
        except TrialFailedError as failure:
            if self._stopped and failure.kind == "killed":
                raise TrialFailedError("killed", "was stopped with the study.") from failure
            raise

    def _living(self, worker: Worker | None) -> Worker:
        """This worker, or a new one in its place when it is dead."""
        if worker is not None and worker.alive:
            return worker
        with self._lock:
            if worker is not None:
                self._workers.discard(worker)
            if self._stopped:
                raise TrialFailedError("killed", "was stopped with the study before it began.")
            self._started += 1
            output = Path(self._folder.name) / f"{self._started}.txt"
            # Under the lock, so that a stop finds every worker that was started.
            worker = Worker(self._payload, output, self._time_limit)
            self._workers.add(worker)
        return worker
