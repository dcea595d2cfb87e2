"""Stored runs made up for the tests of verdicts."""

import numpy as np

from assay.metrics.catalogue import metric_named
from assay.records import Predictions, RunRecord
from assay.studies.claims import Comparison
from assay.studies.store.contract import StoredRun
from assay.studies.verdicts import judge

EXAMPLES = 360


class FakeRun(StoredRun):
    """A stored run that tells what was read of it."""

    def __init__(self, metrics, *, status="completed", environment=None, history=(), predictions=None, data="d"):
        self._record = RunRecord(
            fingerprint="f",
            status=status,
            recipe={},
            metrics=metrics,
            examples={"train": 1000, "val": EXAMPLES, "test": EXAMPLES},
            classes=(),
            parameters=1,
            trainable_parameters=1,
            environment=environment or {"torch": "2.11", "device": "cpu"},
            started_at="2026-01-01T00:00:00Z",
            seconds=1.0,
            data={"identity": data},
        )
        self._history, self._predictions = history, predictions or {}
        self.read = []

    @property
    def record(self):
        return self._record

    def history(self):
        self.read.append("history")
        return self._history

    def predictions(self):
        self.read.append("predictions")
        return self._predictions

    def weights(self):
        raise AssertionError("verdicts need no weights")

    def last_weights(self):
        raise AssertionError("verdicts need no weights")

    def preprocessing(self):
        raise AssertionError("verdicts need no preprocessing")

    def log(self):
        raise AssertionError("verdicts need no log")

    def artefacts(self):
        raise AssertionError("verdicts need no artefacts")

    def artefact(self, name):
        raise AssertionError("verdicts need no artefacts")

    @property
    def location(self):
        return "memory"


def runs_of(values, metric="val_accuracy", first=0):
    return {first + i: FakeRun({metric: value}) for i, value in enumerate(values)}


def claim(kind="beats", metric="val_accuracy", margin=None, **weights):
    weights = weights or {"a": 1.0, "b": -1.0}
    return Comparison(
        weights=weights, arm="a", than="b", kind=kind, metric=metric_named(metric), margin=margin
    )  # fmt: skip


def judge_pair(a, b, comparison=None, *, metric="val_accuracy", at_least=3, at_most=20, failed=None):
    runs = {"a": runs_of(a, metric), "b": runs_of(b, metric)}
    for arm, seeds in (failed or {}).items():
        for seed in seeds:
            del runs[arm][seed]
    comparison = comparison or claim(metric=metric)
    (result,) = judge(
        [comparison], runs, failed or {}, first_seeds={"a": 0, "b": 0}, at_least=at_least, at_most=at_most
    )
    return result


WOBBLE = np.array([0.001, -0.001, 0.0, 0.002, -0.002, 0.001, 0.0, -0.001] * 3)
"""Multiples of about a third of an example."""


def predictions(rng, right, indices=None):
    labels_N = np.arange(EXAMPLES) % 3
    probabilities_NC = np.full((EXAMPLES, 3), 0.1, dtype=np.float32)
    said_N = np.where(rng.random(EXAMPLES) < right, labels_N, (labels_N + 1) % 3)
    probabilities_NC[np.arange(EXAMPLES), said_N] = 0.8
    return Predictions(
        probabilities_NC=probabilities_NC,
        labels_N=labels_N.astype(np.int64),
        indices_N=np.arange(EXAMPLES) if indices is None else indices,
    )


def with_predictions(right, seed=0, indices=None, data="d"):
    rng, runs = np.random.default_rng(seed), {}
    for s in range(5):
        p = predictions(rng, right, indices)
        loss = -np.log(p.probabilities_NC[np.arange(EXAMPLES), p.labels_N].astype(np.float64)).mean()
        metrics = {"test_accuracy": p.correct_N().mean(), "test_loss": loss}
        runs[s] = FakeRun(metrics, predictions={"test": p}, data=data)
    return runs
