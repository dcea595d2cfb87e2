"""Decision boundaries of models of two features, drawn epoch by epoch from what their runs kept.

What a run kept is described in `assay.training.boundary`, which writes it. A file is read with distrust, as stores are
copied and merged: one that breaks a rule is not drawn, and said so.

Shape key: F frames, Y rows and X columns of the grid, K classes, N points.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.reports.contours import Chain, contours, path, region, simplified
from assay.reports.evidence import ArmEvidence, Evidence
from assay.reports.page import Boundaries, Boundary, BoundaryFrame

DECISION_BOUNDARY = "decision_boundary.json"
"""The artefact a run keeps."""

SIZE = 600
"""Units of a drawing, each way; y runs downward."""
LEVELS = (0.5, 0.65, 0.8, 0.9, 0.97)
"""Probabilities of the leading class against the next one from which a shade begins."""

MOST_PANELS = 8
MOST_NAMES = 20
MOST_PATHS = 120_000
"""Characters of one panel's paths. A page must stay small enough to be sent by mail."""
_MOST_BYTES = 200_000
_MOST_GRID, _MOST_FRAMES, _MOST_POINTS = 64, 32, 1_000
_LARGEST_EPOCH = 10**9
_LARGEST_LEAD = 8.0
_NO_NUMBER = 255
_TOLERANCE = 0.5
"""Units by which a drawn line may leave out a bend."""


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What a run kept, checked."""

    decides: bool
    extent: tuple[float, float, float, float]
    epochs: tuple[int, ...]
    train_accuracy: tuple[float | None, ...]
    val_accuracy: tuple[float | None, ...]
    points: tuple[tuple[float, float, int], ...]
    points_in_all: int
    winner_FYX: NDArray[np.uint8]
    lead_FYX: NDArray[np.float64]


def boundaries(evidence: Evidence) -> Boundaries:
    """The panels of a study, arms with claims first; none for data of other than two features.

    Raises:
        StoreError: a stored file cannot be read.
    """
    panels: dict[str, Boundary] = {}
    thinned, sampled, damaged, without, beyond = [], [], [], [], []
    for arm, position in _arms_in_turn(evidence):
        if len(panels) == MOST_PANELS:
            beyond.append(arm.name)
            continue
        content = evidence.results.runs[arm.name][arm.runs[0].seed].artefact(DECISION_BOUNDARY)
        if content is None:
            without.append(arm.name)
            continue
        kept = _read(content, classes=len(arm.classes))
        if kept is None:
            damaged.append(arm.name)
            continue
        panels[arm.name] = panel = _panel(arm, position, kept)
        if len(panel.frames) < len(kept.epochs):
            thinned.append(arm.name)
        if len(kept.points) < kept.points_in_all:
            sampled.append(f"{len(kept.points):,} of {kept.points_in_all:,} training points are drawn of {arm.name}")
    if not panels and not damaged:
        return Boundaries(panels=(), epochs=(), remarks=())
    remarks = [
        *_named("Not drawn for want of room, but kept with each run as decision_boundary.json:", beyond),
        *_named("No boundary was kept of:", without),
        *_named("What was kept is damaged, and not drawn, of:", damaged),
        *_named("Fewer epochs are drawn than were kept, because their lines are long, of:", thinned),
        *(f"{sentence}." for sentence in dict.fromkeys(sampled)),
    ]
    in_order = tuple(sorted(panels.values(), key=lambda panel: panel.position))
    epochs = sorted({frame.epoch for panel in in_order if not panel.at_once for frame in panel.frames})
    return Boundaries(panels=in_order, epochs=tuple(epochs), remarks=tuple(remarks))


def _arms_in_turn(evidence: Evidence) -> Iterator[tuple[ArmEvidence, int]]:
    """Arms of two features with their positions, those with claims first."""
    claimed = {name for claim in evidence.results.claims for name in claim.comparison.weights}
    arms = [(arm, position) for position, arm in enumerate(evidence.arms) if arm.runs and _is_plane(arm)]
    return iter(sorted(arms, key=lambda found: found[0].name not in claimed))


def _is_plane(arm: ArmEvidence) -> bool:
    return arm.runs[0].record.data.get("shape") in ([2], (2,))


def _named(beginning: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return [f"{beginning} {', '.join(names[:MOST_NAMES])}{more}."]


# --- drawing ---------------------------------------------------------------------------------------------------------


def _panel(arm: ArmEvidence, position: int, kept: _Kept) -> Boundary:
    points: list[list[tuple[int, int]]] = [[] for _ in arm.classes]
    x_low, x_high, y_low, y_high = kept.extent
    for x, y, label in kept.points:
        across, up = (x - x_low) / (x_high - x_low), (y - y_low) / (y_high - y_low)
        if 0 <= across <= 1 and 0 <= up <= 1:
            points[label].append((round(across * SIZE), round((1 - up) * SIZE)))
    return Boundary(
        arm=arm.name,
        position=position,
        seed=arm.runs[0].seed,
        diverged=arm.runs[0].record.status == "diverged",
        decides=kept.decides,
        at_once=len(kept.epochs) == 1,
        classes=arm.classes,
        extent=kept.extent,
        points=tuple(map(tuple, points)),
        lost=bool((kept.winner_FYX == _NO_NUMBER).any()),
        frames=_frames(kept, len(arm.classes)),
    )


def _frames(kept: _Kept, classes: int) -> tuple[BoundaryFrame, ...]:
    """As many frames as there is room for: the last, the first, then ever closer ones between."""
    found: dict[int, BoundaryFrame] = {}
    length = 0
    for at in _by_halves(len(kept.epochs)):
        frame = _frame(kept, at, classes)
        length += len(frame.line) + sum(len(shade) for of_class in frame.shades for shade in of_class)
        if found and length > MOST_PATHS:
            break
        found[at] = frame
    return tuple(found[at] for at in sorted(found))


def _by_halves(count: int) -> list[int]:
    """The last place, the first, the middle, the middles of what is left, …"""
    places = [count - 1, 0]
    step = count - 1
    while step > 1:
        step = math.ceil(step / 2)
        places += range(0, count, step)
    return list(dict.fromkeys(places))


def _frame(kept: _Kept, at: int, classes: int) -> BoundaryFrame:
    winner_YX, lead_YX = kept.winner_FYX[at], kept.lead_FYX[at]
    levels = [math.log(p / (1 - p)) for p in (LEVELS[:1] if kept.decides else LEVELS)]
    present = set(np.unique(winner_YX).tolist())
    scale = SIZE / (len(winner_YX) - 1)
    shades, line = [], ""
    for label in range(classes):
        if label not in present:
            shades.append(("",) * len(levels))
            continue
        # A class is as far behind where another leads as that one is ahead; where nothing leads, it is nowhere near.
        behind_YX = np.where(winner_YX == _NO_NUMBER, -_LARGEST_LEAD, -np.maximum(lead_YX, 1e-6))
        field_YX = np.where(winner_YX == label, lead_YX, behind_YX)
        shades.append(tuple(_drawn(region(field_YX, level), scale) for level in levels))
        if label != min(present):  # the others' lines are all there is
            line += _drawn(contours(field_YX, 0.0), scale)
    return BoundaryFrame(
        epoch=kept.epochs[at],
        train_accuracy=kept.train_accuracy[at],
        val_accuracy=kept.val_accuracy[at],
        shades=tuple(shades),
        line=line,
    )


def _drawn(chains: list[Chain], scale: float) -> str:
    return path(simplified(chain * (scale, -scale) + (0.0, SIZE), _TOLERANCE) for chain in chains)


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(content: bytes, *, classes: int) -> _Kept | None:
    """What a run kept; None if it breaks a rule."""
    if len(content) > _MOST_BYTES or not 2 <= classes < _NO_NUMBER:
        return None
    try:
        return _checked(json.loads(content), classes)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, binascii.Error, zlib.error):
        return None


def _checked(facts: Any, classes: int) -> _Kept:
    """The facts in their types.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: a rule is broken.
    """
    if facts["version"] != 1 or facts["kind"] not in ("probabilities", "decisions"):
        raise ValueError("of another version or kind")
    grid = _whole(facts["grid"], 2, _MOST_GRID)
    epochs = tuple(_whole(epoch, 0, _LARGEST_EPOCH) for epoch in _list(facts["epochs"], _MOST_FRAMES))
    if not epochs or list(epochs) != sorted(set(epochs)):
        raise ValueError("epochs do not ascend")
    x_low, x_high, y_low, y_high = map(_finite, _list(facts["extent"], 4))
    for low, high in ((x_low, x_high), (y_low, y_high)):
        # Beyond these, places and round numbers along the axes can no longer be computed.
        if not 1e-30 < high - low < 1e39 or high - low < 1e-9 * max(abs(low), abs(high)):
            raise ValueError("the extent is none")
    points = []
    for x, y, label in _list(facts["points"], _MOST_POINTS):
        points.append((_finite(x), _finite(y), _whole(label, 0, classes - 1)))
    winner_FYX, share_FYX = _unpacked(facts["frames"], len(epochs), grid, classes)
    largest_F = np.array([_finite(largest) for largest in _list(facts["largest_leads"], len(epochs))])
    if len(largest_F) != len(epochs) or (largest_F < 0).any() or (largest_F > _LARGEST_LEAD).any():
        raise ValueError("not a largest lead for each epoch")
    return _Kept(
        decides=facts["kind"] == "decisions",
        extent=(x_low, x_high, y_low, y_high),
        epochs=epochs,
        train_accuracy=_accuracies(facts["train_accuracy"], len(epochs)),
        val_accuracy=_accuracies(facts["val_accuracy"], len(epochs)),
        points=tuple(points),
        points_in_all=_whole(facts["points_in_all"], len(points), 10**15),
        winner_FYX=winner_FYX,
        lead_FYX=largest_F[:, None, None] * share_FYX,
    )


def _unpacked(text: Any, frames: int, grid: int, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    size = 2 * frames * grid * grid
    unpacking = zlib.decompressobj()
    # Not a byte more is unpacked than is needed, however much a file holds.
    blocks = unpacking.decompress(base64.b64decode(text, validate=True), size + 1)
    if len(blocks) != size:
        raise ValueError("frames of another size")
    winner_FYX, change_FYX = np.frombuffer(blocks, dtype=np.uint8).reshape(2, frames, grid, grid)
    if not ((winner_FYX < classes) | (winner_FYX == _NO_NUMBER)).all():
        raise ValueError("classes that there are not")
    byte_FYX = change_FYX.cumsum(axis=1, dtype=np.uint8).cumsum(axis=2, dtype=np.uint8)
    share_FYX: NDArray[np.float64] = (byte_FYX / 255.0) ** 2
    return winner_FYX, share_FYX


def _list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise TypeError("not a list of that length")
    return value


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError("not such a whole number")
    return value


def _finite(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def _accuracies(values: Any, count: int) -> tuple[float | None, ...]:
    found = tuple(None if value is None else _finite(value) for value in _list(values, count))
    if len(found) != count or any(value is not None and not 0 <= value <= 1 for value in found):
        raise ValueError("not an accuracy for each epoch")
    return found
