"""Examples that are shown as pictures: where each comes from, and what a model said of it.

The pictures lie in a sheet, a PNG without any writing, from left to right and from top to bottom; words are set beside
them by whoever shows it.

Shape key: N examples of a split, B of them shown, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from assay.metrics.kept_json import Count, Share
from assay.records import Predictions

Pixels = Annotated[int, Field(ge=1, le=512)]


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How a sheet is divided: every tile has this size in pixels, and there are so many beside each other."""

    columns: Annotated[int, Field(ge=1, le=100)]
    width: Pixels
    height: Pixels


@dataclass(frozen=True, kw_only=True)
class ShownExample:
    """One example, by its position in the data source.

    ``predicted`` is None where a score is not a number. Both probabilities are None there too, and of a model that
    decides without any.
    """

    position: Count
    label: Count
    predicted: Count | None
    probability: Share | None
    """Of its class."""
    confidence: Share | None
    """Of the class it was taken for."""


def shown_examples(
    predictions: Predictions, places_B: Sequence[int] | NDArray[np.int64], *, probabilistic: bool
) -> tuple[ShownExample, ...]:
    """What a model says of the examples at these places of a split."""
    predicted_N = predictions.predicted_N()
    found = []
    for place in map(int, places_B):
        predicted, label = int(predicted_N[place]), int(predictions.labels_N[place])
        known = probabilistic and predicted >= 0
        p_C = predictions.probabilities_NC[place]
        found.append(
            ShownExample(
                position=int(predictions.indices_N[place]),
                label=label,
                predicted=predicted if predicted >= 0 else None,
                probability=_share(p_C[label]) if known else None,
                confidence=_share(p_C[predicted]) if known else None,
            )
        )
    return tuple(found)


def _share(probability: np.float32) -> float:
    """Float32 probabilities may exceed 1 by rounding; more digits than these are not shown."""
    return round(min(max(float(probability), 0.0), 1.0), 5)
