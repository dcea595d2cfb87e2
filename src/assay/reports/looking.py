"""A closer look at the models of a study: what they get wrong, their filters, weights and activations, and where they
look.

Of each arm the first run is shown. What it kept is described in `assay.metrics.mistakes`,
`assay.metrics.class_activation` and `assay.metrics.weight_statistics`. It is read with distrust, as stores are copied
and merged: a file that breaks a rule is not shown, and said so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from assay.errors import StoreError
from assay.metrics.class_activation import CLASS_ACTIVATION, ClassActivation, class_activation_read
from assay.metrics.mistakes import MISTAKES, Mistakes, mistakes_read
from assay.metrics.shown_examples import ShownExample, Tiles
from assay.reports.activations import Activations
from assay.reports.activations import activations as activations_of
from assay.reports.evidence import ArmEvidence, Evidence, WrongCounts
from assay.reports.pictures import Picture, picture_of
from assay.reports.weights import Weights, weights

MISTAKES_SHEET = "mistakes.png"
CLASS_ACTIVATION_SHEET = "class_activation.png"
FILTERS = "filters.png"
"""The pictures that a run keeps."""

MOST_ARMS = 12
MOST_BYTES = 80_000
"""Of a picture."""
MOST_ON_THE_PAGE = 2_000_000
"""Bytes of all pictures together, as the page holds them; arms beyond it are left out."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A picture divided into tiles of one size."""

    picture: Picture
    tiles: Tiles


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An example whose picture is tile ``place`` of a sheet; see `assay.metrics.shown_examples.ShownExample`."""

    place: int
    position: int
    actual: str
    predicted: str | None
    right: bool
    probability: float | None
    confidence: float | None
    wrong: int | None
    """In how many of the arm's seeds it is classified wrongly."""


@dataclass(frozen=True, kw_only=True)
class SeenPair:
    """Examples of a class taken for another; there are ``count`` of them."""

    actual: str
    predicted: str
    count: int
    examples: tuple[Seen, ...]


@dataclass(frozen=True, kw_only=True)
class ArmMistakes:
    arm: str
    position: int
    seed: int
    seeds: int
    sheet: Sheet
    worst: tuple[Seen, ...]
    pairs: tuple[SeenPair, ...]


@dataclass(frozen=True, kw_only=True)
class ArmActivation:
    """Tile 2·i is the image of the i-th example, tile 2·i + 1 the same with its map."""

    arm: str
    position: int
    seed: int
    layer: str
    sheet: Sheet
    examples: tuple[Seen, ...]


@dataclass(frozen=True, kw_only=True)
class ArmFilters:
    arm: str
    position: int
    seed: int
    picture: Picture


@dataclass(frozen=True, kw_only=True)
class Looking:
    mistakes: tuple[ArmMistakes, ...]
    activations: tuple[ArmActivation, ...]
    filters: tuple[ArmFilters, ...]
    weights: Weights
    outputs: Activations
    remarks: tuple[str, ...]

    @property
    def pictured(self) -> bool:
        """Whether there is a picture among it."""
        return bool(self.mistakes or self.activations or self.filters)

    @property
    def empty(self) -> bool:
        tables = self.weights.rows or self.weights.remarks or self.outputs.rows or self.outputs.remarks
        return not (self.pictured or tables or self.remarks)


def looking(evidence: Evidence) -> Looking:
    """Whatever the first runs of the first arms kept, arms in the order declared.

    Raises:
        StoreError: a stored file cannot be read.
    """
    numbered = [(arm, position) for position, arm in enumerate(evidence.arms) if arm.runs]
    damaged: dict[str, list[str]] = {}
    mistakes: list[ArmMistakes] = []
    activations: list[ArmActivation] = []
    filters: list[ArmFilters] = []
    looked_at, room = 0, MOST_ON_THE_PAGE
    for arm, position in numbered[:MOST_ARMS]:
        first = _FirstRun(evidence, arm, position, damaged)
        wrong, where, pattern = first.mistakes(), first.activation(), first.filters()
        room -= sum(len(one.sheet.picture.uri) for one in (wrong, where) if one is not None)
        room -= 0 if pattern is None else len(pattern.picture.uri)
        if room < 0:
            break
        looked_at += 1
        mistakes += [] if wrong is None else [wrong]
        activations += [] if where is None else [where]
        filters += [] if pattern is None else [pattern]
    remarks = [
        f"What was kept is damaged, and not shown, of {', '.join(names[:5])}"
        f"{f' and {len(names) - 5} more' if len(names) > 5 else ''}: {file}."
        for file, names in damaged.items()
    ]
    if looked_at < len(numbered) and (mistakes or activations or filters):
        remarks.append(f"Pictures are shown of the first {looked_at} of {len(numbered)} arms; each run keeps its own.")
    return Looking(
        mistakes=tuple(mistakes),
        activations=tuple(activations),
        filters=tuple(filters),
        weights=weights(evidence),
        outputs=activations_of(evidence),
        remarks=tuple(remarks),
    )


class _FirstRun:
    """What the first run of an arm kept."""

    def __init__(self, evidence: Evidence, arm: ArmEvidence, position: int, damaged: dict[str, list[str]]) -> None:
        self._arm, self._position, self._damaged = arm, position, damaged
        self._seed = arm.runs[0].seed
        self._run = evidence.results.runs[arm.name][self._seed]

    def mistakes(self) -> ArmMistakes | None:
        kept = self._described(MISTAKES, lambda content: mistakes_read(content, classes=len(self._arm.classes)))
        sheet = None if kept is None else self._sheet(MISTAKES_SHEET, kept.tiles, len(kept.examples))
        if kept is None or sheet is None:
            return None
        seen = _all_seen(kept.examples, self._arm.classes, self._arm.wrong)
        return ArmMistakes(
            arm=self._arm.name,
            position=self._position,
            seed=self._seed,
            seeds=len(self._arm.runs),
            sheet=sheet,
            worst=tuple(seen[place] for place in kept.worst),
            pairs=_pairs(kept, seen, self._arm.classes),
        )

    def activation(self) -> ArmActivation | None:
        kept: ClassActivation | None = self._described(
            CLASS_ACTIVATION, lambda content: class_activation_read(content, classes=len(self._arm.classes))
        )
        sheet = None if kept is None else self._sheet(CLASS_ACTIVATION_SHEET, kept.tiles, 2 * len(kept.examples))
        if kept is None or sheet is None:
            return None
        return ArmActivation(
            arm=self._arm.name,
            position=self._position,
            seed=self._seed,
            layer=kept.layer,
            sheet=sheet,
            examples=_all_seen(kept.examples, self._arm.classes, self._arm.wrong),
        )

    def filters(self) -> ArmFilters | None:
        content = self._run.artefact(FILTERS)
        if content is None:
            return None
        picture = picture_of(content, most_bytes=MOST_BYTES)
        if picture is None:
            self._not_shown(FILTERS)
            return None
        return ArmFilters(arm=self._arm.name, position=self._position, seed=self._seed, picture=picture)

    def _described(self, name: str, read: Callable[[bytes], T]) -> T | None:
        content = self._run.artefact(name)
        if content is None:
            return None
        try:
            return read(content)
        except StoreError:
            self._not_shown(name)
            return None

    def _sheet(self, name: str, tiles: Tiles, count: int) -> Sheet | None:
        """The picture, if it is one, with as many tiles as are spoken of."""
        content = self._run.artefact(name)
        picture = None if content is None else picture_of(content, most_bytes=MOST_BYTES)
        size = (tiles.columns * tiles.width, math.ceil(count / tiles.columns) * tiles.height)
        if picture is None or (picture.width, picture.height) != size:
            self._not_shown(name)
            return None
        return Sheet(picture=picture, tiles=tiles)

    def _not_shown(self, name: str) -> None:
        self._damaged.setdefault(name, []).append(self._arm.name)


def _all_seen(examples: Sequence[ShownExample], classes: Sequence[str], wrong: WrongCounts | None) -> tuple[Seen, ...]:
    return tuple(
        Seen(
            place=place,
            position=one.position,
            actual=classes[one.label],
            predicted=None if one.predicted is None else classes[one.predicted],
            right=one.predicted == one.label,
            probability=one.probability,
            confidence=one.confidence,
            wrong=None if wrong is None else wrong.of(one.position),
        )
        for place, one in enumerate(examples)
    )


def _pairs(kept: Mistakes, seen: Sequence[Seen], classes: Sequence[str]) -> tuple[SeenPair, ...]:
    return tuple(
        SeenPair(
            actual=classes[pair.label],
            predicted=classes[pair.predicted],
            count=pair.count,
            examples=tuple(seen[place] for place in pair.shown),
        )
        for pair in kept.pairs
    )
