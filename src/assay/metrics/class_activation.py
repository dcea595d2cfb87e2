"""Which test examples a model's class-activation maps are drawn of, and the file that says what it made of them:
``class_activation.json``.

Shape key: N examples of a split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter

from assay.errors import StoreError
from assay.metrics.kept_json import read_json
from assay.metrics.shown_examples import ShownExample, Tiles
from assay.records import Predictions

CLASS_ACTIVATION = "class_activation.json"
"""The artefact that a run keeps, beside the sheet of its images and maps."""

MOST_IMAGES = 12
MOST_CLASSES = 10

_MOST_BYTES = 20_000


@dataclass(frozen=True, kw_only=True)
class ClassActivation:
    """The sheet holds two tiles for each example: its image, and the same with the map over it."""

    layer: Annotated[str, Field(max_length=200)]
    """The name of the convolution at which the maps were taken."""
    examples: Annotated[tuple[ShownExample, ...], Field(max_length=MOST_IMAGES)]
    tiles: Tiles


def examples_to_explain(predictions: Predictions) -> tuple[int, ...]:
    """Places of at most 12 examples: of each class in turn, up to the tenth, the first one that is classified rightly
    and the first one that is not. Those without a prediction are left out."""
    labels_N, predicted_N = predictions.labels_N, predictions.predicted_N()
    found: list[int] = []
    for label in range(min(MOST_CLASSES, predictions.probabilities_NC.shape[1])):
        of_class_N = (labels_N == label) & (predicted_N >= 0)
        for chosen_N in (of_class_N & (predicted_N == label), of_class_N & (predicted_N != label)):
            if chosen_N.any():
                found.append(int(np.argmax(chosen_N)))
    return tuple(found[:MOST_IMAGES])


_CLASS_ACTIVATION: TypeAdapter[ClassActivation] = TypeAdapter(ClassActivation)


def class_activation_written(found: ClassActivation) -> bytes:
    """The file."""
    return _CLASS_ACTIVATION.dump_json(found)


def class_activation_read(content: bytes, *, classes: int) -> ClassActivation:
    """What `class_activation_written` gave, of a model of so many classes.

    Raises:
        StoreError: the file is damaged; the message begins with a verb, for the caller to name the file.
    """
    found = read_json(_CLASS_ACTIVATION, content, most_bytes=_MOST_BYTES)
    if any(label >= classes for one in found.examples for label in (one.label, one.predicted or 0)):
        raise StoreError("is damaged: it speaks of classes that are not there.")
    return found
