"""What the process executor costs per trial, and what it survives.

    python benchmarks/trials.py [--rounds 9] [--violence]

Times 100 trials that do nothing but hand a small run over, on warm workers, round by round beside loky's pool with the
same trials in the same round. Goal: at most 1 s.

``--violence`` kills a worker in the middle of a 32 MB answer, and counts what becomes of the other trials: in assay's
executor, Pebble's, loky's and the standard library's. A pool whose workers share one pipe may then hang; trials not
ended after 30 s count so.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait

import loky
import psutil
from hardware import describe
from pebble import ProcessPool

from assay.recipe.schema import Recipe
from assay.records import Run
from assay.studies.executors.processes import ProcessExecutor
from assay.testing.trials import huge_trial, made_up_recipe, made_up_run

JOBS = 2
TRIALS = 100
GOAL_SECONDS = 1.0
PATIENCE = 30.0

NO_OP_RUN = made_up_run(made_up_recipe())
Submit = Callable[[Recipe], "Future[Run]"]


def no_op(recipe: Recipe) -> Run:
    """Hand over a run that was there already."""
    return NO_OP_RUN


def seconds_for(submit: Submit, count: int) -> float:
    recipes = [made_up_recipe(seed) for seed in range(count)]
    start = time.perf_counter()
    for future in [submit(recipe) for recipe in recipes]:
        future.result()
    return time.perf_counter() - start


def time_no_ops(rounds: int) -> None:
    with (
        ProcessExecutor(no_op, jobs=JOBS) as executor,
        loky.ProcessPoolExecutor(JOBS, timeout=None) as pool,
    ):
        submits: dict[str, Submit] = {"assay": executor.submit, "loky": functools.partial(pool.submit, no_op)}
        for submit in submits.values():
            seconds_for(submit, 10)  # warm
        times: dict[str, list[float]] = {name: [] for name in submits}
        for _ in range(rounds):
            for name, submit in submits.items():
                times[name].append(seconds_for(submit, TRIALS))
    peer = statistics.median(times["loky"])
    print(f"{TRIALS} no-op trials on {JOBS} warm workers, {rounds} rounds; goal: {GOAL_SECONDS:g} s")
    print(f"{'pool':8}{'median':>10}{'fastest':>10}{'slowest':>10}{'of loky':>10}")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(
            f"{name:8}{1e3 * median:>7.1f} ms{1e3 * min(seconds):>7.1f} ms{1e3 * max(seconds):>7.1f} ms"
            f"{median / peer:>9.2f}×"
        )


def submit_of(pool: str) -> Submit:
    """A fresh pool's way of taking a trial with a huge answer."""
    trial = functools.partial(huge_trial, megabytes=32)
    spawn = multiprocessing.get_context("spawn")
    if pool == "assay":
        return ProcessExecutor(trial, jobs=JOBS).submit
    if pool == "Pebble":
        pebble = ProcessPool(max_workers=JOBS, context=spawn)
        return lambda recipe: pebble.schedule(trial, args=(recipe,))
    if pool == "loky":
        return functools.partial(loky.ProcessPoolExecutor(JOBS, timeout=None).submit, trial)
    return functools.partial(ProcessPoolExecutor(JOBS, mp_context=spawn).submit, trial)


def fates(futures: Sequence[Future[Run]]) -> tuple[int, int, int]:
    """How many trials gave a run, failed, and hung."""
    ended, hung = wait(futures, timeout=PATIENCE)
    failed = sum(future.exception() is not None for future in ended)
    return len(ended) - failed, failed, len(hung)


def do_violence(kills: int) -> None:
    print(f"\nA worker killed while it may be sending 32 MB, up to {kills} times; 4 trials each, {JOBS} workers")
    print(f"{'pool':10}{'kills':>8}{'done':>8}{'failed':>8}{'hung':>8}")
    for name in ("assay", "Pebble", "loky", "standard"):
        chance, before = random.Random(1), set(psutil.Process().children())
        submit = submit_of(name)
        killed, done, failed, hung = 0, 0, 0, 0
        while killed < kills and not hung:
            try:
                futures = [submit(made_up_recipe(seed)) for seed in range(4)]
            except Exception as error:  # noqa: BLE001 - each library has its own word for a broken pool
                print(f"{name} takes no more trials: {type(error).__name__}")
                break
            time.sleep(chance.uniform(0.02, 0.12))
            ours = set(psutil.Process().children()) - before
            workers = [process for process in ours if "resource_tracker" not in " ".join(process.cmdline())]
            if workers:
                workers[0].kill()
                killed += 1
            counted = fates(futures)
            done, failed, hung = done + counted[0], failed + counted[1], hung + counted[2]
        print(f"{name:10}{killed:>8}{done:>8}{failed:>8}{hung:>8}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--violence", action="store_true")
    asked = parser.parse_args()
    print(describe("loky", "pebble"))
    time_no_ops(asked.rounds)
    if asked.violence:
        do_violence(kills=20)
        os._exit(0)  # a hung pool would keep the interpreter from ending


if __name__ == "__main__":
    main()
