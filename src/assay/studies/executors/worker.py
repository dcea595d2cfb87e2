"""The two ends of one worker process: `Worker` in the study's process, `serve` in its own.

Each worker has a pipe of its own, and no lock is shared. So a worker may die at any byte of a message, and all anyone
sees is that its pipe ends.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from assay.recipe.schema import Recipe
from assay.records import Run
from assay.studies.executors.contract import RunTrial, TrialFailedError
from assay.studies.executors.failures import raised

SetUp = Callable[[], None]

_CONTEXT = multiprocessing.get_context("spawn")
_LOOK_AGAIN = 1.0
"""Seconds between looks at whether the process lives. Its pipe tells at once, unless a child of its own holds that."""
_LAST_WORDS = 8192
"""Bytes of a dead worker's output that go into the failure."""
_STACK_GRACE = 0.1
"""Seconds past the time limit in which the worker writes down where it hangs."""


_MAIN = "__main__"
_main_lock = threading.Lock()


@contextmanager
def _main_left_out(payload: bytes) -> Iterator[None]:
    """Start a process in this block, and it does not run the program's main file again, as spawned ones do.

    Such a file would begin the whole study anew in each worker unless it were guarded by ``if __name__ ==
    "__main__"``, and a program read from standard input could not be found at all. A trial that is itself defined
    in the main file needs it, and gets it.
    """
    if _MAIN.encode() in payload:
        yield
        return
    with _main_lock:
        main = sys.modules[_MAIN]
        sys.modules[_MAIN] = types.ModuleType(_MAIN)
        try:
            yield
        finally:
            sys.modules[_MAIN] = main


class Worker:
    """A spawned process that runs one trial after another.

    Args:
        payload: pickled ``(run_trial, set_up)``.
        output: file that takes what the worker prints, so that it reaches neither the terminal nor a program's input.
        time_limit: seconds a trial may take, or None.
    """

    def __init__(self, payload: bytes, output: Path, time_limit: float | None) -> None:
        self._output = output
        self._time_limit = time_limit
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(
            target=serve, args=(theirs, payload, str(output), time_limit), name="assay worker"
        )
        try:
            with _main_left_out(payload):
                self._process.start()
        finally:
            theirs.close()  # ours alone stays open, so that the worker's death ends the pipe
        self._ready = False

    def run(self, recipe: Recipe) -> Run:
        """Run one trial here.

        Raises:
            TrialFailedError: it raised, was killed, or ran out of time; after the latter two this worker is dead.
        """
        if not self._ready:
            self._await_ready()
        try:
            self._connection.send_bytes(pickle.dumps(recipe))
        except OSError as error:
            raise self._death() from error
        message = self._receive(None if self._time_limit is None else self._time_limit + _STACK_GRACE)
        if message is None:
            self.kill()
            raise TrialFailedError(
                "timeout", f"ran longer than the time limit of {self._time_limit:g} s and was stopped.", self._said()
            )
        if isinstance(message, TrialFailedError):
            raise message
        run: Run = message
        return run

    @property
    def alive(self) -> bool:
        # Both signs: the sentinel misses a death while a child of the worker's own lives on; the process object misses
        # one whose exit code other code of this process has taken.
        return self._process.is_alive() and not wait([self._process.sentinel], timeout=0)

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def dismiss(self) -> None:
        """Let the process end by itself, for it is idle; kill it if it does not."""
        self._connection.close()
        self._process.join(timeout=5.0)
        if self._process.is_alive():
            self.kill()

    def interrupt(self) -> None:
        """End the process from another thread than the one that waits for it; that one sees it die."""
        self._process.kill()

    def _await_ready(self) -> None:
        message = self._receive(None)
        if isinstance(message, TrialFailedError):
            self.kill()
            raise message
        self._ready = True

    def _receive(self, time_limit: float | None) -> Any:
        """The next message, or None when time is up."""
        deadline = None if time_limit is None else time.monotonic() + time_limit
        while not wait([self._connection, self._process.sentinel], timeout=_patience(deadline)):
            if deadline is not None and time.monotonic() >= deadline:
                return None
            if not self._process.is_alive():
                break
        try:
            if self._connection.poll():
                return pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            pass  # it died while it wrote
        raise self._death()

    def _death(self) -> TrialFailedError:
        self._process.join()
        code = self._process.exitcode
        self._connection.close()
        subject = "its worker process" if self._ready else "its worker process did not start: it"
        return TrialFailedError("killed", f"{subject} {_ending(code)}", self._said())

    def _said(self) -> str:
        try:
            return self._output.read_bytes()[-_LAST_WORDS:].decode(errors="replace")
        except OSError:
            return ""


def _patience(deadline: float | None) -> float:
    return _LOOK_AGAIN if deadline is None else max(0.0, min(_LOOK_AGAIN, deadline - time.monotonic()))


def _ending(code: int | None) -> str:
    if code is None:
        return "ended with an exit code that could not be learnt."
    if code >= 0:
        return f"ended by itself with exit code {code}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " A common cause is that memory ran out." if name == "SIGKILL" else ""
    return f"was killed by {name}.{hint}"


def serve(connection: Connection, payload: bytes, output: str, time_limit: float | None) -> None:
    """Run trials until the pipe ends. The body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the study's to handle
    threading.Thread(target=_die_with_parent, daemon=True).start()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable(descriptor)
    try:
        run_trial, set_up = pickle.loads(payload)
        if set_up is not None:
            set_up()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the trial's failure
        connection.send_bytes(pickle.dumps(raised(error)))
        return
    connection.send_bytes(pickle.dumps("ready"))
    while True:
        try:
            request = connection.recv_bytes()
        except (EOFError, OSError):
            return
        os.ftruncate(descriptor, 0)
        if time_limit is not None:
            faulthandler.dump_traceback_later(time_limit, file=descriptor)
        answer = _answer(run_trial, request)
        faulthandler.cancel_dump_traceback_later()
        connection.send_bytes(answer)


def _answer(run_trial: RunTrial, request: bytes) -> bytes:
    try:
        return pickle.dumps(run_trial(pickle.loads(request)), protocol=pickle.HIGHEST_PROTOCOL)
    except BaseException as error:  # noqa: BLE001 - a trial may raise anything, SystemExit among them
        return pickle.dumps(raised(error))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
