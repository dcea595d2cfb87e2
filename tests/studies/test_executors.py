"""Inline and process executors keep the contract, and the process executor what it promises beyond it."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from assay.errors import InputError
from assay.recipe.schema import Recipe
from assay.records import Run
from assay.studies.executors.contract import Executor, RunTrial, TrialFailedError
from assay.studies.executors.inline import InlineExecutor
from assay.studies.executors.processes import ProcessExecutor
from assay.testing.executors import ExecutorContract
from assay.testing.trials import huge_trial, made_up_recipe, made_up_run, noisy_trial, slow_trial, unlucky_trial

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


class TestInlineExecutor(ExecutorContract):
    isolated = False

    def make_executor(self, run_trial: RunTrial, *, jobs: int = 1, time_limit: float | None = None) -> Executor:
        return InlineExecutor(run_trial, time_limit=time_limit)

    def test_ctrl_c_goes_to_whoever_submits(self) -> None:
        def interrupted(recipe: Recipe) -> Run:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), InlineExecutor(interrupted) as executor:
            executor.submit(made_up_recipe())

    def test_the_debugger_can_reach_the_original_exception(self) -> None:
        with InlineExecutor(functools.partial(unlucky_trial, misfortunes={0: "raise"})) as executor:
            failure = executor.submit(made_up_recipe(0)).exception()
        assert isinstance(failure, TrialFailedError)
        assert isinstance(failure.__cause__, ValueError)


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """The worker processes among the children; multiprocessing has a tracker process besides."""
    return [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]


def pid_trial(recipe: Recipe, *, folder: Path) -> Run:
    (folder / f"{recipe.seed}.pid").write_text(str(os.getpid()))
    return made_up_run(recipe)


def crashing_trial(recipe: Recipe) -> Run:
    import ctypes

    print("about to read address 0", flush=True)
    ctypes.string_at(0)
    return made_up_run(recipe)


def broken_set_up() -> None:
    raise ImportError("no module named torch")


def deadly_set_up() -> None:
    os._exit(4)


class TestProcessExecutor(ExecutorContract):
    def make_executor(self, run_trial: RunTrial, *, jobs: int = 2, time_limit: float | None = None) -> Executor:
        return ProcessExecutor(run_trial, jobs=jobs, time_limit=time_limit)

    def test_it_starts_no_process_before_the_first_trial_and_leaves_none(self) -> None:
        here = psutil.Process()
        with ProcessExecutor(made_up_run, jobs=2) as executor:
            assert workers_of(here) == []
            executor.submit(made_up_recipe()).result()
            assert len(workers_of(here)) == 1
        assert workers_of(here) == []

    def test_warm_workers_take_trial_after_trial(self, tmp_path: Path) -> None:
        with ProcessExecutor(functools.partial(pid_trial, folder=tmp_path), jobs=2) as executor:
            for future in [executor.submit(made_up_recipe(seed)) for seed in range(20)]:
                future.result()
        assert 1 <= len({path.read_text() for path in tmp_path.iterdir()}) <= 2

    @posix
    def test_a_worker_killed_while_idle_costs_no_trial(self) -> None:
        with ProcessExecutor(made_up_run, jobs=1) as executor:
            executor.submit(made_up_recipe(0)).result()
            (worker,) = workers_of(psutil.Process())
            worker.kill()
            psutil.wait_procs([worker], timeout=10)
            assert executor.submit(made_up_recipe(1)).exception() is None

    @posix
    def test_workers_killed_at_any_byte_of_a_huge_answer_take_only_their_own_trial(self) -> None:
        with ProcessExecutor(functools.partial(huge_trial, megabytes=32), jobs=2) as executor:
            executor.submit(made_up_recipe()).result()
            for attempt in range(6):
                futures = [executor.submit(made_up_recipe(seed)) for seed in range(3)]
                time.sleep(0.02 * attempt)
                victims = workers_of(psutil.Process())[:1]
                for victim in victims:
                    victim.kill()
                failures = [future.exception(timeout=60) for future in futures]
                assert sum(failure is not None for failure in failures) <= len(victims)
                assert all(failure is None or failure.kind == "killed" for failure in failures)  # type: ignore[attr-defined]

    @posix
    def test_a_crash_below_python_leaves_its_stack_and_its_last_words(self) -> None:
        with ProcessExecutor(crashing_trial, jobs=1) as executor:
            failure = executor.submit(made_up_recipe()).exception()
        assert isinstance(failure, TrialFailedError)
        assert failure.kind == "killed"
        assert str(failure) == "its worker process was killed by SIGSEGV."
        assert "about to read address 0" in failure.traceback
        assert "in crashing_trial" in failure.traceback

    def test_a_trial_out_of_time_says_where_it_hung(self) -> None:
        trial = functools.partial(unlucky_trial, misfortunes={0: "hang"})
        with ProcessExecutor(trial, jobs=1, time_limit=0.3) as executor:
            failure = executor.submit(made_up_recipe(0)).exception()
        assert isinstance(failure, TrialFailedError)
        assert "in unlucky_trial" in failure.traceback

    def test_the_time_limit_leaves_out_the_start_of_the_worker(self) -> None:
        trial = functools.partial(slow_trial, seconds=0.02)
        with ProcessExecutor(trial, jobs=1, time_limit=0.1, set_up=slow_set_up) as executor:
            assert executor.submit(made_up_recipe(0)).exception() is None

    def test_a_set_up_that_raises_fails_the_trials_with_its_own_words(self) -> None:
        with ProcessExecutor(made_up_run, jobs=1, set_up=broken_set_up) as executor:
            failures = [executor.submit(made_up_recipe(seed)).exception() for seed in range(2)]
        assert [str(failure) for failure in failures] == ["ImportError: no module named torch"] * 2

    def test_a_worker_that_dies_at_its_start_fails_the_trial_and_is_not_started_for_ever(self) -> None:
        with ProcessExecutor(made_up_run, jobs=1, set_up=deadly_set_up) as executor:
            failure = executor.submit(made_up_recipe()).exception()
        assert str(failure) == "its worker process did not start: it ended by itself with exit code 4."

    @posix
    def test_workers_ignore_ctrl_c(self) -> None:
        with ProcessExecutor(functools.partial(slow_trial, seconds=0.5), jobs=1) as executor:
            future = executor.submit(made_up_recipe())
            while not workers_of(psutil.Process()):
                time.sleep(0.001)
            while not future.done():  # from its first instant on
                for worker in workers_of(psutil.Process()):
                    worker.send_signal(signal.SIGINT)
                time.sleep(0.05)
            assert future.exception() is None

    @posix
    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
    def test_workers_die_with_their_parent_however_it_dies(self, how: signal.Signals) -> None:
        script = (
            "import functools, time\n"
            "from assay.studies.executors.processes import ProcessExecutor\n"
            "from assay.testing.trials import made_up_recipe, slow_trial\n"
            "if __name__ == '__main__':\n"
            "    executor = ProcessExecutor(functools.partial(slow_trial, seconds=3600.0), jobs=2)\n"
            "    futures = [executor.submit(made_up_recipe(seed)) for seed in range(2)]\n"
            "    time.sleep(3600.0)\n"
        )
        parent = psutil.Popen([sys.executable, "-c", script])
        try:
            deadline = time.monotonic() + 30.0
            while len(workers := workers_of(parent)) < 2:
                assert time.monotonic() < deadline, "the workers did not start"
                time.sleep(0.02)
            time.sleep(0.5)
        finally:
            parent.send_signal(how)
            parent.wait()
        _, alive = psutil.wait_procs(workers, timeout=5.0)
        assert alive == []

    def test_a_program_that_forgets_to_shut_down_ends_all_the_same(self) -> None:
        script = (
            "import functools\n"
            "from assay.studies.executors.processes import ProcessExecutor\n"
            "from assay.testing.trials import made_up_recipe, slow_trial\n"
            "if __name__ == '__main__':\n"
            "    executor = ProcessExecutor(functools.partial(slow_trial, seconds=3600.0), jobs=1)\n"
            "    executor.submit(made_up_recipe())\n"
        )
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")

    def test_output_of_an_earlier_trial_is_not_blamed_on_a_later_one(self) -> None:
        with ProcessExecutor(noisy_then_killed, jobs=1) as executor:
            executor.submit(made_up_recipe(0)).result()
            failure = executor.submit(made_up_recipe(1)).exception()
        assert isinstance(failure, TrialFailedError)
        assert "noise" not in failure.traceback

    @pytest.mark.parametrize("jobs", [0, -1])
    def test_jobs_out_of_range_are_refused(self, jobs: int) -> None:
        with pytest.raises(InputError, match=f"jobs must be at least 1, got {jobs}"):
            ProcessExecutor(made_up_run, jobs=jobs)

    @pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_time_limit_out_of_range_is_refused(self, limit: float) -> None:
        with pytest.raises(InputError, match="The time limit must be above 0 seconds"):
            ProcessExecutor(made_up_run, jobs=1, time_limit=limit)

    def test_a_trial_no_process_can_import_is_refused_at_once(self) -> None:
        with pytest.raises(InputError, match="Use a function of a module, or the inline executor"):
            ProcessExecutor(lambda recipe: made_up_run(recipe), jobs=1)


def slow_set_up() -> None:
    time.sleep(0.5)


def noisy_then_killed(recipe: Recipe) -> Run:
    if recipe.seed == 0:
        return noisy_trial(recipe)
    os._exit(1)


@pytest.mark.parametrize("from_stdin", [False, True], ids=["a file", "standard input"])
def test_a_program_without_a_main_guard_is_not_begun_anew_in_its_workers(tmp_path: Path, from_stdin: bool) -> None:
    program = (
        "from assay.studies.executors.processes import ProcessExecutor\n"
        "from assay.testing.trials import made_up_recipe, made_up_run\n"
        "with ProcessExecutor(made_up_run, jobs=1) as executor:\n"
        "    print('seed', executor.submit(made_up_recipe(3)).result().record.recipe['seed'])\n"
    )
    file = tmp_path / "program.py"
    file.write_text(program)
    words = [sys.executable, "-" if from_stdin else str(file)]
    ended = subprocess.run(words, input=program, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("seed 3\n", "")


def test_a_trial_of_the_main_file_is_found_in_it(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(
        "from assay.studies.executors.processes import ProcessExecutor\n"
        "from assay.testing.trials import made_up_recipe, made_up_run\n"
        "def trial(recipe):\n"
        "    return made_up_run(recipe)\n"
        "if __name__ == '__main__':\n"
        "    with ProcessExecutor(trial, jobs=1) as executor:\n"
        "        print('seed', executor.submit(made_up_recipe(3)).result().record.recipe['seed'])\n"
    )
    ended = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "seed 3\n"
