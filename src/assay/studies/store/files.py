"""The files of one stored run: what each holds, to and from bytes. All open formats, none a pickle.

    recipe.yaml                the recipe with every field, to read or to run again
    record.json                `RunRecord`
    history.jsonl              one `EpochRecord` per line
    predictions.npz            <split>.probabilities, <split>.labels, <split>.indices
    weights.safetensors        one tensor per parameter or buffer
    last_weights.safetensors   those after the last epoch, if better ones of an earlier epoch were kept
    preprocessing.json         what turns a raw image into the network's input
    preprocessing.safetensors  what of that is too large for JSON, if anything is
    log.txt                    what the run said
    artefacts/<name>           pictures and tables for people, if there are any

Shape key: N examples of a split, C classes.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, get_args

import numpy as np

from assay.errors import InputError, shown
from assay.recipe.reading import dump
from assay.records import Array, EpochRecord, FailedRun, Predictions, Run, RunProgress, RunRecord, Status
from assay.studies.store.disk import is_device_name

RECIPE = "recipe.yaml"
RECORD = "record.json"
HISTORY = "history.jsonl"
PREDICTIONS = "predictions.npz"
WEIGHTS = "weights.safetensors"
LAST_WEIGHTS = "last_weights.safetensors"
PREPROCESSING = "preprocessing.json"
PREPROCESSING_ARRAYS = "preprocessing.safetensors"
LOG = "log.txt"
ARTEFACTS = "artefacts"
FAILURE = "failure.json"
TRACEBACK = "traceback.txt"

_ARTEFACT_NAME = re.compile(r"[a-z0-9_-]{1,100}\.(png|json|csv|npz)")
_EPOCH_FIELDS = frozenset(field.name for field in fields(EpochRecord))
_PROGRESS_FIELDS = frozenset(field.name for field in fields(RunProgress))
_FAILURE_FIELDS = frozenset(field.name for field in fields(FailedRun))


def run_files(run: Run) -> dict[str, bytes]:
    """Every file of a run, by its path in the run's folder.

    Raises:
        InputError: an artefact has a name that none may have.
        TypeError, ValueError: a part of the run is no plain data: a number in its JSON that is not finite, an array
            of Python objects.
    """
    files = {
        RECIPE: _recipe_yaml(run.record),
        RECORD: _json(run.record.to_json()),
        HISTORY: b"".join(_json(asdict(epoch), indent=None) for epoch in run.history),
        PREDICTIONS: _predictions_npz(run.predictions),
        WEIGHTS: _safetensors("weights", run.weights),
        PREPROCESSING: _json(run.preprocessing),
        LOG: _text(run.log),
    }
    if run.last_weights:
        files[LAST_WEIGHTS] = _safetensors("last_weights", run.last_weights)
    if run.preprocessing_arrays:
        files[PREPROCESSING_ARRAYS] = _safetensors("preprocessing", run.preprocessing_arrays)
    for name, content in run.artefacts.items():
        files[f"{ARTEFACTS}/{checked_artefact_name(name)}"] = _bytes(name, content)
    return files


def is_artefact_name(name: str) -> bool:
    """Whether a picture or table of a run may have this file name."""
    return _ARTEFACT_NAME.fullmatch(name) is not None and not is_device_name(name)


def checked_artefact_name(name: str) -> str:
    """The name itself, when an artefact may have it.

    Raises:
        InputError: it may not.
    """
    if not is_artefact_name(name):
        raise InputError(
            "an artefact's name must be 1 to 100 lower-case letters, digits, '_' or '-', then .png, .json, .csv or "
            f".npz, and no device name of Windows, got {shown(name)}."
        )
    return name


def failure_files(failure: FailedRun) -> dict[str, bytes]:
    """The files of a failed run. ``traceback.txt`` repeats what ``failure.json`` holds, for people to read."""
    return {FAILURE: _json(asdict(failure)), TRACEBACK: _text(failure.traceback)}


def progress_json(progress: RunProgress) -> bytes:
    """What ``progress.json`` holds of a run under way."""
    return _json(asdict(progress), indent=None)


def read_progress(data: bytes) -> RunProgress:
    return RunProgress(**_known(_object(data), _PROGRESS_FIELDS))


def read_record(data: bytes) -> RunRecord:
    record = RunRecord.from_json(_object(data))
    for name in ("recipe", "metrics", "examples", "environment", "data"):
        if not isinstance(getattr(record, name), dict):
            raise ValueError(f"{name} must be a mapping")
    for name, value in record.metrics.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0):
            raise ValueError(f"metric {name} must be a finite number or null, got {shown(value)}")
    if record.status not in get_args(Status):
        raise ValueError(f"status must be one of {', '.join(get_args(Status))}, got {shown(record.status)}")
    for name in ("parameters", "trainable_parameters", "seconds"):
        if not isinstance(getattr(record, name), int | float):
            raise ValueError(f"{name} must be a number, got {shown(getattr(record, name))}")
    return record


def read_history(data: bytes) -> tuple[EpochRecord, ...]:
    lines = data.decode().splitlines()
    return tuple(EpochRecord(**_known(json.loads(line), _EPOCH_FIELDS)) for line in lines)


def read_predictions(data: bytes) -> dict[str, Predictions]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        splits = dict.fromkeys(name.rpartition(".")[0] for name in arrays.files)
        return {
            split: Predictions(
                probabilities_NC=arrays[f"{split}.probabilities"],
                labels_N=arrays[f"{split}.labels"],
                indices_N=arrays[f"{split}.indices"],
            )
            for split in splits
        }


def read_arrays(data: bytes) -> dict[str, Array]:
    """The content of a safetensors file: weights, or the arrays of the preprocessing."""
    from safetensors import SafetensorError  # only whoever reads such a file waits for it
    from safetensors.numpy import load

    try:
        found: dict[str, Array] = load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    return found


def read_preprocessing(data: bytes) -> dict[str, Any]:
    return _object(data)


def read_log(data: bytes) -> str:
    return data.decode()


def read_failure(data: bytes) -> FailedRun:
    return FailedRun(**_known(_object(data), _FAILURE_FIELDS))


def _predictions_npz(predictions: Mapping[str, Predictions]) -> bytes:
    arrays: dict[str, Array] = {}
    for split, of_split in predictions.items():
        arrays[f"{split}.probabilities"] = of_split.probabilities_NC
        arrays[f"{split}.labels"] = of_split.labels_N
        arrays[f"{split}.indices"] = of_split.indices_N
    _refuse_objects("predictions", arrays)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _safetensors(what: str, arrays: Mapping[str, Array]) -> bytes:
    from safetensors.numpy import save

    _refuse_objects(what, arrays)
    data: bytes = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    return data


def _bytes(name: str, content: bytes) -> bytes:
    if not isinstance(content, bytes):
        raise TypeError(f"artefact {name} is {type(content).__name__}, and only bytes can be kept")
    return content


def _refuse_objects(what: str, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"{what}: {name!r} is an array of Python objects, and only numbers can be kept")


def _recipe_yaml(record: RunRecord) -> bytes:
    return _text(f"# The recipe of run {record.fingerprint}, every field with its value.\n{dump(record.recipe)}")


def _json(data: Any, *, indent: int | None = 1) -> bytes:
    return _text(json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def _text(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # a lone surrogate, as in an undecodable file name


def _object(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _known(values: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Drop fields of a later version, which may have added some."""
    return {key: value for key, value in values.items() if key in names}
