"""When two runs are equal: in everything but times."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from assay.metrics.catalogue import CATALOGUE
from assay.records import Array, EpochRecord, Predictions, Run, RunRecord
from assay.studies.store.contract import StoredRun


def differences(left: Run | StoredRun, right: Run | StoredRun) -> list[str]:
    """Where two runs differ, but for times; empty when they are equal. Arrays must agree in every bit."""
    found = [f"record.{key}" for key in _differing(_timeless_record(left.record), _timeless_record(right.record))]
    if _timeless_history(_history(left)) != _timeless_history(_history(right)):
        found.append("history")
    found += [f"weights.{key}" for key in _differing(_bits(_weights(left)), _bits(_weights(right)))]
    found += [f"last_weights.{key}" for key in _differing(_bits(_last_weights(left)), _bits(_last_weights(right)))]
    found += [
        f"predictions.{key}" for key in _differing(_split_bits(_predictions(left)), _split_bits(_predictions(right)))
    ]
    (left_facts, left_arrays), (right_facts, right_arrays) = _preprocessing(left), _preprocessing(right)
    found += [f"preprocessing.{key}" for key in _differing(left_facts, right_facts)]
    found += [f"preprocessing_arrays.{key}" for key in _differing(_bits(left_arrays), _bits(right_arrays))]
    found += [f"artefacts.{name}" for name in _differing(_artefacts(left), _artefacts(right))]
    return found


def _history(run: Run | StoredRun) -> tuple[EpochRecord, ...]:
    return run.history if isinstance(run, Run) else run.history()


def _weights(run: Run | StoredRun) -> Mapping[str, Array]:
    return run.weights if isinstance(run, Run) else run.weights()


def _last_weights(run: Run | StoredRun) -> Mapping[str, Array]:
    return run.last_weights if isinstance(run, Run) else run.last_weights()


def _predictions(run: Run | StoredRun) -> Mapping[str, Predictions]:
    return run.predictions if isinstance(run, Run) else run.predictions()


def _preprocessing(run: Run | StoredRun) -> tuple[Mapping[str, Any], Mapping[str, Array]]:
    return (run.preprocessing, run.preprocessing_arrays) if isinstance(run, Run) else run.preprocessing()


def _artefacts(run: Run | StoredRun) -> Mapping[str, bytes | None]:
    return run.artefacts if isinstance(run, Run) else {name: run.artefact(name) for name in run.artefacts()}


def _timeless_record(record: RunRecord) -> dict[str, Any]:
    timeless = {
        name: value for name, value in record.metrics.items() if name not in CATALOGUE or not CATALOGUE[name].timing
    }
    return dataclasses.replace(record, metrics=timeless, seconds=0.0, started_at="").to_json()


def _timeless_history(history: Iterable[EpochRecord]) -> list[EpochRecord]:
    return [dataclasses.replace(epoch, seconds=0.0) for epoch in history]


def _bits(arrays: Mapping[str, Array]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (str(array.dtype), np.shape(array), np.asarray(array).tobytes()) for name, array in arrays.items()}


def _split_bits(predictions: Mapping[str, Predictions]) -> dict[str, Any]:
    return {
        split: _bits({"probabilities": of.probabilities_NC, "labels": of.labels_N, "indices": of.indices_N})
        for split, of in predictions.items()
    }


def _differing(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    missing = object()
    return sorted(key for key in {*left, *right} if left.get(key, missing) != right.get(key, missing))
