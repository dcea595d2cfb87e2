"""What the folder store costs: asking whether a study's runs are there, and keeping a new one.

    python benchmarks/store.py [--rounds 5] [--folder FOLDER]

Times `FolderStore.get` with the run's record for 1,000 stored runs (goal: at most 1 s), and `add` under a lease for
runs the size of a small digits MLP's: 40 epochs, 2 × 360 predictions, 86,000 parameters. Beside each, in the same
round, the least that any store could do: reading the same files raw, and writing the same bytes as one file with one
wait for the disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hardware import describe

from assay.records import Run
from assay.studies.store.files import run_files
from assay.studies.store.folder import FolderStore
from assay.testing.trials import made_up_recipe, made_up_run

RUNS = 1000
ADDED_PER_ROUND = 50
GOAL_SECONDS = 1.0


def sized_run(seed: int) -> Run:
    run = made_up_run(made_up_recipe(seed))
    epochs = tuple(dataclasses.replace(run.history[0], epoch=epoch) for epoch in range(1, 41))
    weights = {
        "hidden": np.ones((256, 64), dtype=np.float32),
        "hidden2": np.ones((256, 256), dtype=np.float32),
        "out": np.ones((10, 256), dtype=np.float32),
    }
    return dataclasses.replace(run, history=epochs, weights=weights)


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def check_all(store: FolderStore, names: list[str]) -> None:
    for name in names:
        run = store.get(name)
        assert run is not None
        assert run.record.status == "completed"


def read_all(paths: list[Path]) -> None:
    for path in paths:
        path.read_bytes()


def add_all(store: FolderStore, runs: list[Run]) -> None:
    for run in runs:
        lease = store.try_lease(run.fingerprint)
        assert lease is not None
        with lease:
            store.add(run)


def write_all(folder: Path, blobs: list[bytes]) -> None:
    for number, blob in enumerate(blobs):
        with (folder / f"{number}.bin").open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())


def row(what: str, times: list[float], count: int, peer: list[float]) -> None:
    median = statistics.median(times)
    each, least, most = (1e3 * value / count for value in (median, min(times), max(times)))
    ratio = median / statistics.median(peer)
    print(f"{what:28}{count:>6}{median:>9.3f} s{each:>9.3f} ms ({least:.3f} to {most:.3f}){ratio:>8.1f}×")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=None, help="on the disk to measure; by default the temporary one"
    )
    asked = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        root = Path(place)
        store = FolderStore(root / "checked")
        names = [store.add(made_up_run(made_up_recipe(seed))).fingerprint for seed in range(RUNS)]
        paths = [root / "checked" / "runs" / name / "record.json" for name in names]
        check: list[float] = []
        read: list[float] = []
        add: list[float] = []
        write: list[float] = []
        for number in range(asked.rounds):
            check.append(seconds(lambda: check_all(store, names)))
            read.append(seconds(lambda: read_all(paths)))
            runs = [sized_run(seed) for seed in range(number * ADDED_PER_ROUND, (number + 1) * ADDED_PER_ROUND)]
            blobs = [b"".join(run_files(run).values()) for run in runs]
            add.append(seconds(lambda runs=runs: add_all(FolderStore(root / "added"), runs)))
            write.append(seconds(lambda blobs=blobs: write_all(root, blobs)))
    print(f"{asked.rounds} rounds; goal: {RUNS} runs checked in {GOAL_SECONDS:g} s")
    print(f"{'':28}{'runs':>6}{'median':>11}{'each (fastest to slowest)':>32}{'ratio':>7}")
    row("check: get and record", check, RUNS, read)
    row("  peer: read the files", read, RUNS, read)
    row("keep: lease and add", add, ADDED_PER_ROUND, write)
    row("  peer: one file, one fsync", write, ADDED_PER_ROUND, write)


if __name__ == "__main__":
    main()
