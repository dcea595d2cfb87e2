"""What a model gets most wrong: which examples are worth a look, and the file that says so: ``mistakes.json``.

Shape key: N examples of a split, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from assay.errors import StoreError
from assay.metrics.kept_json import Count, read_json
from assay.metrics.shown_examples import ShownExample, Tiles, shown_examples
from assay.records import Predictions

MISTAKES = "mistakes.json"
"""The artefact that a run keeps, beside the sheet of its images."""

WORST = 18
PAIRS = 5
OF_EACH_PAIR = 4

_MOST_BYTES = 50_000
_MOST_EXAMPLES = 200

Place = Annotated[int, Field(ge=0, lt=_MOST_EXAMPLES)]


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """Examples of one class taken for another: how many there are, and some of them, as places in the sheet."""

    label: Count
    predicted: Count
    count: Count
    shown: Annotated[tuple[Place, ...], Field(max_length=_MOST_EXAMPLES)]


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """``examples`` in the order of the sheet, each once; ``worst`` are places in it, the worst loss first."""

    examples: Annotated[tuple[ShownExample, ...], Field(max_length=_MOST_EXAMPLES)]
    worst: Annotated[tuple[Place, ...], Field(max_length=_MOST_EXAMPLES)]
    pairs: Annotated[tuple[ConfusedPair, ...], Field(max_length=_MOST_EXAMPLES)]
    tiles: Tiles


@dataclass(frozen=True, kw_only=True)
class ChosenMistakes:
    """Places in the split of the worst examples, and of those of each pair (class, taken for, how many)."""

    worst: tuple[int, ...]
    pairs: tuple[tuple[int, int, int, tuple[int, ...]], ...]

    @property
    def places(self) -> tuple[int, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys([*self.worst, *(place for *_, shown in self.pairs for place in shown)]))


def choose_mistakes(predictions: Predictions, *, probabilistic: bool) -> ChosenMistakes:
    """The examples of worst loss, right or wrong, and for the most frequent confusions those of worst loss among them.

    A score that is not a number is the worst. A model that decides without probabilities has no losses: the first
    examples it gets wrong stand for the worst. Ties keep the order of the split.
    """
    labels_N, predicted_N = predictions.labels_N, predictions.predicted_N()
    loss_N = _losses(predictions)
    wrong_N = predicted_N != labels_N
    order = np.argsort(-loss_N, kind="stable")
    worst = order if probabilistic else order[wrong_N[order]]
    classes = predictions.probabilities_NC.shape[1]
    confused_N = wrong_N & (predicted_N >= 0)
    joint_N = labels_N * classes + predicted_N
    found, counts = np.unique(joint_N[confused_N], return_counts=True)
    pairs = []
    for at in np.argsort(-counts, kind="stable")[:PAIRS]:
        label, predicted = divmod(int(found[at]), classes)
        among = order[confused_N[order] & (joint_N[order] == found[at])][:OF_EACH_PAIR]
        pairs.append((label, predicted, int(counts[at]), tuple(among.tolist())))
    return ChosenMistakes(worst=tuple(worst[:WORST].tolist()), pairs=tuple(pairs))


def _losses(predictions: Predictions) -> NDArray[np.float64]:
    """Cross-entropy of each example; infinite where it is not a number."""
    p_N = np.take_along_axis(predictions.probabilities_NC, predictions.labels_N[:, None], axis=1)[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        loss_N = -np.log(p_N.astype(np.float64))
    return np.where(predictions.predicted_N() < 0, np.inf, loss_N)


def mistakes_of(predictions: Predictions, chosen: ChosenMistakes, tiles: Tiles, *, probabilistic: bool) -> Mistakes:
    """What is kept of the chosen examples, whose images lie in a sheet in the order of ``chosen.places``."""
    at = {place: position for position, place in enumerate(chosen.places)}
    return Mistakes(
        examples=shown_examples(predictions, chosen.places, probabilistic=probabilistic),
        worst=tuple(at[place] for place in chosen.worst),
        pairs=tuple(
            ConfusedPair(label=label, predicted=predicted, count=count, shown=tuple(at[place] for place in shown))
            for label, predicted, count, shown in chosen.pairs
        ),
        tiles=tiles,
    )


_MISTAKES: TypeAdapter[Mistakes] = TypeAdapter(Mistakes)


def mistakes_written(mistakes: Mistakes) -> bytes:
    """The file."""
    return _MISTAKES.dump_json(mistakes)


def mistakes_read(content: bytes, *, classes: int) -> Mistakes:
    """What `mistakes_written` gave, of a model of so many classes.

    Raises:
        StoreError: the file is damaged; the message begins with a verb, for the caller to name the file.
    """
    mistakes = read_json(_MISTAKES, content, most_bytes=_MOST_BYTES)
    places = [*mistakes.worst, *(place for pair in mistakes.pairs for place in pair.shown)]
    labels = [label for pair in mistakes.pairs for label in (pair.label, pair.predicted)]
    labels += [label for one in mistakes.examples for label in (one.label, one.predicted or 0)]
    if any(place >= len(mistakes.examples) for place in places) or any(label >= classes for label in labels):
        raise StoreError("is damaged: it speaks of examples or classes that are not there.")
    return mistakes
