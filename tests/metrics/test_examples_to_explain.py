"""Of which test images class-activation maps are drawn, and the file that says so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import StoreError
from assay.metrics.class_activation import (
    MOST_CLASSES,
    MOST_IMAGES,
    ClassActivation,
    class_activation_read,
    class_activation_written,
    examples_to_explain,
)
from assay.metrics.shown_examples import Tiles, shown_examples
from assay.records import Predictions


def drawn(seed: int, examples: int, classes: int, broken: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    probabilities_NC = rng.dirichlet(np.full(classes, 0.4), size=examples).astype(np.float32)
    probabilities_NC[:broken] = np.nan
    return Predictions(
        probabilities_NC=probabilities_NC,
        labels_N=rng.integers(classes, size=examples),
        indices_N=rng.permutation(examples) + 1000,
    )


@given(seed=st.integers(0, 500), examples=st.integers(1, 200), classes=st.integers(2, 15), broken=st.integers(0, 5))
def test_each_class_gives_its_first_right_and_its_first_wrong_one(
    seed: int, examples: int, classes: int, broken: int
) -> None:
    predictions = drawn(seed, examples, classes, min(broken, examples))
    predicted_N = predictions.predicted_N()
    expected = []
    for label in range(min(classes, MOST_CLASSES)):
        for right in (True, False):
            for place in range(examples):
                known = predictions.labels_N[place] == label and predicted_N[place] >= 0
                if known and (predicted_N[place] == label) == right:
                    expected.append(place)
                    break
    assert list(examples_to_explain(predictions)) == expected[:MOST_IMAGES]


def test_what_is_written_is_read() -> None:
    predictions = drawn(3, 50, 4)
    shown = shown_examples(predictions, examples_to_explain(predictions), probabilistic=True)
    kept = ClassActivation(layer="conv2", examples=shown, tiles=Tiles(columns=6, width=64, height=64))
    assert class_activation_read(class_activation_written(kept), classes=4) == kept
    with pytest.raises(StoreError, match="classes that are not there"):
        class_activation_read(class_activation_written(kept), classes=3)
    with pytest.raises(StoreError, match="is damaged"):
        class_activation_read(class_activation_written(kept)[:-5], classes=4)


def test_probabilities_beyond_one_by_rounding_are_one() -> None:
    over = np.nextafter(np.float32(1), np.float32(2))
    predictions = Predictions(
        probabilities_NC=np.array([[over, 0.0]], dtype=np.float32),
        labels_N=np.zeros(1, dtype=np.int64),
        indices_N=np.zeros(1, dtype=np.int64),
    )
    (shown,) = shown_examples(predictions, [0], probabilistic=True)
    assert shown.probability == shown.confidence == 1.0
