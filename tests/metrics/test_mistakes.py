"""Which mistakes are worth a look, and the file that says so."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import StoreError
from assay.metrics.mistakes import (
    OF_EACH_PAIR,
    PAIRS,
    WORST,
    choose_mistakes,
    mistakes_of,
    mistakes_read,
    mistakes_written,
)
from assay.metrics.shown_examples import Tiles
from assay.records import Predictions

TILES = Tiles(columns=6, width=8, height=8)


def predictions(rows: Any, labels: Any) -> Predictions:
    count = len(labels)
    return Predictions(
        probabilities_NC=np.array(rows, dtype=np.float32),
        labels_N=np.array(labels, dtype=np.int64),
        indices_N=100 + np.arange(count),
    )


def drawn(seed: int, examples: int, classes: int, *, broken: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    probabilities_NC = rng.dirichlet(np.full(classes, 0.5), size=examples)
    probabilities_NC[:broken] = np.nan
    return predictions(probabilities_NC, rng.integers(classes, size=examples))


def test_the_worst_come_first_and_a_score_that_is_no_number_before_all() -> None:
    nan = np.nan
    found = choose_mistakes(
        predictions([[0.9, 0.1], [0.2, 0.8], [nan, nan], [0.0, 1.0], [0.4, 0.6]], [0, 0, 1, 0, 1]), probabilistic=True
    )
    assert found.worst == (2, 3, 1, 4, 0)
    assert found.pairs == ((0, 1, 2, (3, 1)),)
    assert found.places == (2, 3, 1, 4, 0)


def test_of_decisions_only_wrong_ones_are_shown_and_no_probability() -> None:
    decided = predictions([[1, 0], [0, 1], [0, 1], [1, 0]], [0, 0, 1, 1])
    chosen = choose_mistakes(decided, probabilistic=False)
    assert chosen.worst == (1, 3)
    kept = mistakes_of(decided, chosen, TILES, probabilistic=False)
    assert [(one.position, one.label, one.predicted) for one in kept.examples] == [(101, 0, 1), (103, 1, 0)]
    assert {one.probability for one in kept.examples} == {one.confidence for one in kept.examples} == {None}


@given(seed=st.integers(0, 1000), examples=st.integers(1, 120), classes=st.integers(2, 7), broken=st.integers(0, 3))
def test_what_is_chosen_is_what_it_is_said_to_be(seed: int, examples: int, classes: int, broken: int) -> None:
    given_ = drawn(seed, examples, classes, broken=min(broken, examples))
    chosen = choose_mistakes(given_, probabilistic=True)
    predicted_N = given_.predicted_N()
    p_N = given_.probabilities_NC[np.arange(examples), given_.labels_N]
    shown = [0.0 if np.isnan(p_N[place]) else p_N[place] for place in chosen.worst]
    assert len(chosen.worst) == min(WORST, examples)
    assert shown == sorted(shown)
    left = set(range(examples)) - set(chosen.worst)
    assert all(p_N[place] >= shown[-1] for place in left)
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (given_.labels_N[predicted_N >= 0], predicted_N[predicted_N >= 0]), 1)
    np.fill_diagonal(confusion, 0)
    expected = sorted(confusion[confusion > 0].tolist(), reverse=True)[:PAIRS]
    assert [count for _, _, count, _ in chosen.pairs] == expected
    for label, predicted, count, places in chosen.pairs:
        assert len(places) == min(OF_EACH_PAIR, count) == len(set(places))
        assert all((given_.labels_N[place], predicted_N[place]) == (label, predicted) for place in places)
    assert len(set(chosen.places)) == len(chosen.places) <= WORST + PAIRS * OF_EACH_PAIR
    kept = mistakes_of(given_, chosen, TILES, probabilistic=True)
    assert mistakes_read(mistakes_written(kept), classes=classes) == kept
    for pair, (*_, places) in zip(kept.pairs, chosen.pairs, strict=True):
        assert [kept.examples[at].position - 100 for at in pair.shown] == list(places)


def kept_of(seed: int = 0) -> dict[str, Any]:
    given_ = drawn(seed, 60, 3)
    content: dict[str, Any] = json.loads(
        mistakes_written(mistakes_of(given_, choose_mistakes(given_, probabilistic=True), TILES, probabilistic=True))
    )
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"worst": [0, 199]}, "is damaged: it speaks of examples or classes that are not there."),
        ({"worst": [-1]}, "is damaged at worst.0: Input should be greater than or equal to 0."),
        ({"tiles": {"columns": 6, "width": 10**6, "height": 8}}, "is damaged at tiles.width: "),
        ({"pairs": [{"label": 3, "predicted": 0, "count": 1, "shown": []}]}, "is damaged: it speaks of examples or"),
        ({"examples": 3}, "is damaged at examples: "),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError) as told:
        mistakes_read(json.dumps({**kept_of(), **change}).encode(), classes=3)
    assert str(told.value).startswith(message)


def test_a_label_that_is_no_class_and_a_huge_file_are_refused() -> None:
    content = json.dumps(kept_of()).encode()
    mistakes_read(content, classes=3)
    with pytest.raises(StoreError, match="classes that are not there"):
        mistakes_read(content, classes=2)
    with pytest.raises(StoreError, match=r"has 1,000,0\d\d bytes, and no such file has more than 50,000"):
        mistakes_read(b" " * 1_000_000 + b"{}", classes=3)
