"""How long a lab report of 1,000 stored runs takes, and how large it is.

    python benchmarks/report.py            # 1,000 runs of 40 epochs: 20 arms × 50 seeds, 10 classes
    python benchmarks/report.py --repeats 3 --store FOLDER

Writes made-up runs into a real folder store, then reads them back and reports, as `assay report` does. Two studies: an
ordinary one, and one made to be large (100 arms × 10 seeds, 200 epochs, 100 classes, a claim for every arm).
Expected: at most 10 s and 6 MB each.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from assay.records import EpochRecord, Predictions, Run, RunRecord
from assay.reports import build_page, render, write
from assay.studies.design import Study
from assay.studies.results import StudyResults
from assay.studies.store.contract import StoredRun
from assay.studies.store.folder import FolderStore
from assay.studies.verdicts import judge

LIMIT_SECONDS, LIMIT_BYTES = 10.0, 6_000_000


@dataclass(frozen=True)
class Case:
    name: str
    arms: int
    seeds: int
    epochs: int
    classes: int
    examples: int
    claims: int

    def study(self) -> Study:
        names = [f"dropout {number / (self.arms + 1):.4f}" for number in range(self.arms)]
        return Study(
            question=f"How does dropout act on the {self.name} study?",
            name=self.name,
            base={
                "data": {"source": "digits"},
                "model": {"name": "mlp", "widths": [256, 256]},
                "train": {"epochs": self.epochs},
            },
            arms={name: {"model.dropout": number / (self.arms + 1)} for number, name in enumerate(names)},
            seeds={"at_least": 3, "at_most": max(12, self.seeds)},
            margin={"val_accuracy": 0.01},
            claims=[{"arm": name, "beats": names[0], "metric": "val_accuracy"} for name in names[1 : self.claims + 1]],
        )


CASES = (
    Case(name="ordinary", arms=20, seeds=50, epochs=40, classes=10, examples=360, claims=19),
    Case(name="large", arms=100, seeds=10, epochs=200, classes=100, examples=2000, claims=99),
)


def made_up_run(case: Case, arm: int, seed: int) -> Run:
    rng = np.random.default_rng([arm, seed])
    accuracy = 0.95 - 0.1 * arm / case.arms + rng.normal(0, 0.005)
    history = tuple(
        EpochRecord(
            epoch=epoch,
            step=epoch * 20,
            lr=1e-3,
            running_train_loss=float(2.3 * np.exp(-epoch / 6) + abs(rng.normal(0, 0.01))),
            running_train_accuracy=float(accuracy * (1 - np.exp(-epoch / 5))),
            train_loss=float(2.2 * np.exp(-epoch / 6) + abs(rng.normal(0, 0.01))),
            train_accuracy=float(accuracy * (1 - np.exp(-epoch / 4))),
            val_loss=float(2.3 * np.exp(-epoch / 6) + 0.1 + rng.normal(0, 0.01)),
            val_accuracy=float(accuracy * (1 - np.exp(-epoch / 5)) + rng.normal(0, 0.004)),
            gradient_norm=float(rng.gamma(4.0)),
            weight_norm=14.0 + 0.1 * epoch,
            seconds=0.05,
        )
        for epoch in range(1, case.epochs + 1)
    )
    labels_N = np.arange(case.examples) % case.classes
    predicted_N = np.where(
        rng.random(case.examples) < accuracy, labels_N, rng.integers(case.classes, size=case.examples)
    )
    probabilities_NC = np.full((case.examples, case.classes), 0.1 / case.classes, dtype=np.float32)
    probabilities_NC[np.arange(case.examples), predicted_N] = 0.9
    predictions = Predictions(
        probabilities_NC=probabilities_NC, labels_N=labels_N.astype(np.int64), indices_N=np.arange(case.examples)
    )
    measured = float((predicted_N == labels_N).mean())
    record = RunRecord(
        fingerprint=f"{arm:08x}{seed:08x}" + "0" * 48,
        status="completed",
        recipe={},
        metrics={
            "val_accuracy": measured,
            "test_accuracy": measured,
            "val_loss": history[-1].val_loss,
            "train_accuracy": history[-1].train_accuracy,
            "train_loss": history[-1].train_loss,
            "seconds": float(rng.gamma(20.0) / 10),
            "inference_seconds": float(rng.gamma(20.0) * 1e-6),
            "parameters": 85_002.0,
        },
        examples={"train": 1149, "val": case.examples, "test": case.examples},
        classes=tuple(f"class {number}" for number in range(case.classes)),
        parameters=85_002,
        trainable_parameters=85_002,
        environment={"python": platform.python_version(), "device": "cpu"},
        started_at="2026-03-01T10:00:00Z",
        seconds=2.0,
    )
    return Run(record=record, history=history, predictions={"val": predictions, "test": predictions})


def stored(case: Case, store: FolderStore) -> Iterator[tuple[int, int, StoredRun]]:
    for arm in range(case.arms):
        for seed in range(case.seeds):
            yield arm, seed, store.add(made_up_run(case, arm, seed))


def results_of(case: Case, store: FolderStore) -> StudyResults:
    study = case.study()
    runs: dict[str, dict[int, StoredRun]] = {arm.name: {} for arm in study.arms}
    names = list(runs)
    for arm, seed, run in stored(case, store):
        runs[names[arm]][seed] = run
    claims = judge(
        study.comparisons,
        runs,
        {},
        first_seeds={arm.name: arm.first_seed for arm in study.arms},
        at_least=study.seeds.at_least,
        at_most=study.seeds.at_most,
    )
    fingerprints = {arm: {seed: run.fingerprint for seed, run in by_seed.items()} for arm, by_seed in runs.items()}
    return StudyResults(study=study, runs=runs, failures={}, claims=claims, fingerprints=fingerprints)


def median_and_spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--store", type=Path, help="keep the made-up runs in this folder instead of a temporary one")
    arguments = parser.parse_args()
    versions = " ".join(f"{name} {version(name)}" for name in ("numpy", "jinja2"))
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print(
        f"median of n = {arguments.repeats} (fastest to slowest), limits {LIMIT_SECONDS:g} s, {LIMIT_BYTES / 1e6:g} MB"
    )
    print(f"{'study':<10}{'runs':>6}{'page, tables, files':>28}{'page alone':>28}{'page':>10}{'all files':>12}  within")
    for case in CASES:
        with tempfile.TemporaryDirectory() as temporary:
            root = arguments.store or Path(temporary)
            print(
                measured(case, FolderStore(root / case.name), Path(temporary) / "report", arguments.repeats), flush=True
            )


def measured(case: Case, store: FolderStore, folder: Path, repeats: int) -> str:
    results = results_of(case, store)
    whole, alone = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        page = write(results, folder)
        whole.append(time.perf_counter() - started)
        started = time.perf_counter()
        render(build_page(results))
        alone.append(time.perf_counter() - started)
    size = page.stat().st_size
    files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    within = max(whole) <= LIMIT_SECONDS and size <= LIMIT_BYTES
    return (
        f"{case.name:<10}{case.arms * case.seeds:>6}{median_and_spread(whole):>28}{median_and_spread(alone):>28}"
        f"{size / 1e6:>7.2f} MB{files / 1e6:>9.1f} MB  {'yes' if within else 'NO'}"
    )


if __name__ == "__main__":
    main()
