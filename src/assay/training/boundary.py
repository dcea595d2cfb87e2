"""The decision boundary as it learns: what a model of two features says on a grid of points, at chosen epochs.

A run keeps it as ``decision_boundary.json``, for the report to draw. Taking frames changes none of the run's numbers.
The file is one object:

    version         1
    kind            ``probabilities``, or ``decisions`` of a model that gives none
    extent          [x low, x high, y low, y high], in the features as the source gives them
    grid            G points along each side, both ends included
    epochs          of each frame, ascending; 0 is before training. One frame alone: a model fitted at once
    train_accuracy  after each of these epochs
    val_accuracy    likewise
    points          training points [x, y, label], at most 400, evenly spaced in the order of the split
    points_in_all   how many there are
    largest_leads   L of each frame, at most 8
    frames          base64 of zlib of two blocks of F·G·G bytes, both by frame, then by y, then by x, ascending:
                    the most probable class, 255 where a score is not a number; and its lead

The lead is the log-odds of the most probable class over the next, ln p₁/p₂, which for two classes says the probability:
p₁ = 1 / (1 + exp(−lead)). A byte c stands for L·(c/255)², so that a lead near 0, which decides where the line runs, is
kept most finely, and L is the largest lead of the frame, but no more than 8 (p₁ = 0.9997). What is stored is by how
much each byte differs from the one before it in its row, and that by how much it differs from the row before, modulo
256, because small numbers compress better. Interpolated log-odds place a line more truly than probabilities, which
saturate.

Shape key: N training points, P = G·G points of the grid (Y by X), K classes, F frames, B examples in a batch.
"""

from __future__ import annotations

import base64
import json
import math
import warnings
import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from assay.data.batches import SplitData
from assay.data.on_device import Normalizer
from assay.recipe.schema import Recipe, UserModel
from assay.records import Split
from assay.training.evaluate import Evaluation, Scores, evaluate
from assay.training.isolation import generators_untouched
from assay.training.prepare import PreparedData
from assay.training.state import State

DECISION_BOUNDARY = "decision_boundary.json"

GRID = 48
MOST_FRAMES = 22
MOST_POINTS = 400
MOST_BYTES = 60_000
LARGEST_LEAD = 8.0
NO_NUMBER = 255
"""In place of a class."""

_VERSION = 1
_QUICK = 3
"""The level of compression: a twelfth larger than by level 6 in a third of the time."""
_ROOM = 0.08
"""Of the points' extent, added at each end."""
_EQUAL_SCALES = 2.5
"""Up to this ratio of their extents both features get the same scale, so that a circle looks like one."""

Kind = Literal["probabilities", "decisions"]
Extent = tuple[float, float, float, float]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class _Frame:
    epoch: int
    train_accuracy: float
    val_accuracy: float
    winner_P: Bytes
    lead_P: NDArray[np.float32]


class BoundaryFrames:
    """Frames of one run. For data of other than two features it takes none and gives no artefact."""

    def __init__(self, recipe: Recipe, scores: Scores, data: PreparedData, *, kind: Kind = "probabilities") -> None:
        """Watch a model.

        Args:
            recipe: of the run.
            scores: the model's logits for normalised inputs. A lead is their difference, so −∞ is a score; not a number
                (NaN) and +∞ are none.
            data: prepared for it.
            kind: whether its scores are those of probabilities.
        """
        self._scores, self._data, self._kind = scores, data, kind
        self._wanted = frozenset(frame_epochs(recipe.train.epochs))
        self._draws = isinstance(recipe.model, UserModel)
        self._frames: list[_Frame] = []
        train_data = data.splits["train"]
        self._extent = _extent(train_data, data)
        if self._extent is not None:
            device = train_data.labels_N.device
            normalizer = Normalizer(data.preprocessing, dtype=train_data.dtype, device=device)
            self._x_P2 = normalizer(torch.from_numpy(_grid(self._extent)).to(device))

    def take(self, epoch: int, on_train: Evaluation, on_val: Evaluation | None = None, *, last: bool = False) -> None:
        """Keep what the model says now, if this epoch is one of the chosen or the run's last.

        Args:
            epoch: how many the model was trained for.
            on_train: what it says of the training split.
            on_val: what it says of the validation split; found here if it is None.
            last: whether training ends here, wherever it was to end.
        """
        if self._extent is None or not (last or epoch in self._wanted):
            return
        try:
            # A user's model may draw from the global generators even when it is evaluated.
            with generators_untouched(self._x_P2.device) if self._draws else nullcontext():
                on_val = on_val or evaluate(self._scores, self._data.splits["val"])
                scores_PK = self._scores(self._x_P2.clone())  # a model may write to what it is given
        except Exception as error:  # noqa: BLE001 - whatever a model cannot bear, its picture must not end the run
            self._extent = None
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"No decision boundary was kept: between training points, {reason}", stacklevel=2)
            return
        winner_P, lead_P = winners(
            scores_PK.detach().cpu().to(torch.promote_types(scores_PK.dtype, torch.float32)).numpy()
        )
        self._frames.append(
            _Frame(
                epoch=epoch,
                train_accuracy=on_train.accuracy,
                val_accuracy=on_val.accuracy,
                winner_P=winner_P,
                lead_P=lead_P,
            )
        )

    def state(self) -> State:
        """The frames so far, and whether any more are taken."""
        by_frame = [asdict(frame) for frame in self._frames]
        tensors = {
            f"{place}:{name}": torch.from_numpy(frame.pop(name))
            for place, frame in enumerate(by_frame)
            for name in ("winner_P", "lead_P")
        }
        return State(tensors=tensors, facts={"frames": by_frame, "taken": self._extent is not None})

    def restore(self, state: State) -> None:
        arrays = {name: tensor.numpy() for name, tensor in state.tensors.items()}
        self._frames = [
            _Frame(**facts, winner_P=arrays[f"{place}:winner_P"], lead_P=arrays[f"{place}:lead_P"])
            for place, facts in enumerate(state.facts["frames"])
        ]
        if not state.facts["taken"]:
            self._extent = None

    def artefacts(self) -> Mapping[str, bytes]:
        """``decision_boundary.json``, with fewer frames where it would be larger than 60 kB; empty without frames."""
        if self._extent is None or not self._frames:
            return {}
        facts = {
            "version": _VERSION,
            "kind": self._kind,
            "extent": self._extent,
            "grid": GRID,
            "points": _points(self._data.splits["train"], self._extent),
            "points_in_all": len(self._data.splits["train"]),
        }
        frames = self._frames
        while len(content := _content(facts, frames)) > MOST_BYTES and len(frames) > 2:
            frames = [*frames[:-1:2], frames[-1]]
        return {DECISION_BOUNDARY: content}


def boundary_at_once(
    recipe: Recipe, scores: Scores, data: PreparedData, evaluations: Mapping[Split, Evaluation], *, kind: Kind
) -> Mapping[str, bytes]:
    """The artefact of a model that was fitted at once: one frame.

    Args:
        recipe: of the run.
        scores: the model's logits for normalised inputs, (B, K). Of a model that only decides, distances from its
            boundary draw a truer line than the decisions themselves.
        data: prepared for it.
        evaluations: what it says of the splits.
        kind: whether its scores are those of probabilities.
    """
    boundary = BoundaryFrames(recipe, scores, data, kind=kind)
    boundary.take(1, evaluations["train"], evaluations["val"], last=True)
    return boundary.artefacts()


def frame_epochs(epochs: int) -> list[int]:
    """Epochs to keep of a run of so many: 0, then closely at first, where most is learned, and the last one."""
    if epochs < MOST_FRAMES:
        return list(range(epochs + 1))
    spaced = np.geomspace(1, epochs, MOST_FRAMES - 1).round().astype(np.int64)
    return [0, *np.unique(spaced).tolist()]


def winners(scores_PK: NDArray[Any]) -> tuple[Bytes, NDArray[np.float32]]:
    """The most probable class at each point, and its lead, cut at 8; see this file's docstring."""
    scores_KP = np.ascontiguousarray(scores_PK.T)
    best_P, second_P = scores_KP[0].copy(), np.full_like(scores_KP[0], -np.inf)
    winner_P = np.zeros(len(scores_PK), dtype=np.uint8)
    for label, score_P in enumerate(scores_KP[1:], start=1):
        better_P = score_P > best_P
        second_P = np.where(better_P, best_P, np.maximum(second_P, score_P))
        winner_P[better_P] = label
        np.maximum(best_P, score_P, out=best_P)  # not a number, if one of them is not
    known_P = np.isfinite(best_P)
    lead_P = np.where(known_P, best_P, 0.0) - np.where(known_P, second_P, 0.0)
    cut_P = np.minimum(lead_P, LARGEST_LEAD).astype(np.float32)
    return np.where(known_P, winner_P, NO_NUMBER).astype(np.uint8), cut_P


def _packed(winner_FP: Bytes, lead_FP: NDArray[np.float32], largest_F: NDArray[np.float32]) -> str:
    """Frames as text; see this file's docstring."""
    byte_FP = np.rint(255 * np.sqrt(lead_FP / np.where(largest_F == 0, 1, largest_F)[:, None]))
    byte_FYX = byte_FP.astype(np.uint8).reshape(-1, GRID, GRID)
    along_FYX = byte_FYX.copy()
    along_FYX[:, :, 1:] -= byte_FYX[:, :, :-1]  # bytes wrap
    change_FYX = along_FYX.copy()
    change_FYX[:, 1:] -= along_FYX[:, :-1]
    return base64.b64encode(zlib.compress(winner_FP.tobytes() + change_FYX.tobytes(), _QUICK)).decode()


def _content(facts: Mapping[str, Any], frames: Sequence[_Frame]) -> bytes:
    winner_FP, lead_FP = (np.stack([getattr(frame, name) for frame in frames]) for name in ("winner_P", "lead_P"))
    by_frame = {
        name: [getattr(frame, name.removesuffix("s")) for frame in frames]
        for name in ("epochs", "train_accuracy", "val_accuracy")
    }
    largest_F = lead_FP.max(axis=1)
    packed = {"largest_leads": largest_F.tolist(), "frames": _packed(winner_FP, lead_FP, largest_F)}
    content = {**facts, **by_frame, **packed}
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def _extent(split: SplitData, data: PreparedData) -> Extent | None:
    """What to draw: the training points with some room. None for data that cannot be drawn in a plane."""
    facts = data.preprocessing.facts
    if list(facts["shape"]) != [2] or len(data.classes) >= NO_NUMBER:
        return None
    points_N2 = split.raw(np.arange(len(split))).cpu().numpy().astype(np.float64)
    low_2, high_2 = points_N2.min(axis=0), points_N2.max(axis=0)
    size_2 = high_2 - low_2
    # A feature that never changes is drawn in the middle, as if it varied by its own size.
    size_2 = np.where(size_2 > 1e-6 * np.abs(points_N2).max(axis=0), size_2, np.maximum(np.abs(high_2), 1.0))
    if size_2.max() <= _EQUAL_SCALES * size_2.min():
        size_2[:] = size_2.max()
    centre_2, half_2 = (low_2 + high_2) / 2, size_2 * (0.5 + _ROOM)
    ends = (centre_2[0] - half_2[0], centre_2[0] + half_2[0], centre_2[1] - half_2[1], centre_2[1] + half_2[1])
    if not np.abs(ends).max() < np.finfo(np.float32).max:  # the grid is float32, as points are
        return None
    return float(ends[0]), float(ends[1]), float(ends[2]), float(ends[3])


def _grid(extent: Extent) -> NDArray[np.float32]:
    x_low, x_high, y_low, y_high = extent
    x_G, y_G = np.linspace(x_low, x_high, GRID), np.linspace(y_low, y_high, GRID)
    return np.stack([np.tile(x_G, GRID), np.repeat(y_G, GRID)], axis=1).astype(np.float32)


def _points(split: SplitData, extent: Extent) -> list[list[float]]:
    """Training points with their labels, to a ten-thousandth of what is drawn."""
    places_B = np.unique(np.linspace(0, len(split) - 1, min(len(split), MOST_POINTS)).round().astype(np.int64))
    points_B2 = split.raw(places_B).cpu().numpy().astype(np.float64)
    labels_B = split.labels_of(places_B).cpu().tolist()
    for feature, (low, high) in enumerate((extent[:2], extent[2:])):
        points_B2[:, feature] = points_B2[:, feature].round(4 - math.floor(math.log10(high - low)))
    return [[x, y, label] for (x, y), label in zip(points_B2.tolist(), labels_B, strict=True)]
