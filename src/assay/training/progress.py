"""How far a training has come, besides its model: where it is in the epoch, its history, its best epoch.

Shape key: R records, F fields of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from assay.recipe.schema import Watched
from assay.records import Array, EpochRecord, StepRecord
from assay.training.state import State, joined, part

Record = TypeVar("Record", StepRecord, EpochRecord)


class BestEpoch:
    """The best measurement so far of what is watched, the first one when tied."""

    def __init__(self, watch: Watched, min_improvement: float = 0.0) -> None:
        self._watch = watch
        self._min_improvement = min_improvement
        self._best = -math.inf
        self._counted = -math.inf
        self.epoch = 0
        self.waited = 0
        """Measurements since the last improvement that counted."""
        self.since = 0
        """The epoch of that improvement."""
        self.weights: Mapping[str, Array] | None = None

    def improved_by(self, record: EpochRecord) -> bool:
        """Whether this epoch's measurement is the best so far; an epoch without one is not."""
        value: float | None = getattr(record, self._watch)
        if value is None:
            return False
        good = value if self._watch == "val_accuracy" else -value
        if good > self._counted + self._min_improvement:
            self._counted, self.waited, self.since = good, 0, record.epoch
        else:
            self.waited += 1
        if good <= self._best:
            return False
        self._best, self.epoch = good, record.epoch
        return True

    def state(self) -> State:
        facts = {
            "best": self._best,
            "counted": self._counted,
            "epoch": self.epoch,
            "waited": self.waited,
            "since": self.since,
        }
        if self.weights is None:
            return State(facts=facts)
        tensors = {name: torch.from_numpy(array) for name, array in self.weights.items()}
        return State(tensors=tensors, facts={**facts, "weights": True})

    def restore(self, state: State) -> None:
        self._best, self._counted = state.facts["best"], state.facts["counted"]
        self.epoch, self.waited, self.since = (state.facts[name] for name in ("epoch", "waited", "since"))
        if "weights" in state.facts:
            self.weights = {name: tensor.numpy() for name, tensor in state.tensors.items()}


@dataclass(kw_only=True)
class Progress:
    """Everything that a training has come to, but for what its engine holds."""

    best: BestEpoch
    history: list[EpochRecord] = field(default_factory=list)
    records: list[StepRecord] = field(default_factory=list)
    """Of the epoch under way."""
    seconds: float = 0.0
    """Spent on training in the epoch under way."""
    initial_loss: float | None = None

    @property
    def epoch(self) -> int:
        """The one under way, from 1 on."""
        return len(self.history) + 1

    @property
    def last_accuracy(self) -> float | None:
        """On the validation split, as last measured."""
        return next((one.val_accuracy for one in reversed(self.history) if one.val_accuracy is not None), None)

    def steps_done(self, steps_per_epoch: int) -> int:
        return len(self.history) * steps_per_epoch + len(self.records)

    def end_epoch(self, record: EpochRecord) -> None:
        """Go on to the next one."""
        self.history.append(record)
        self.records, self.seconds = [], 0.0

    def state(self) -> State:
        own = State(
            tensors={"history": _table(self.history), "records": _table(self.records)},
            facts={"seconds": self.seconds, "initial_loss": self.initial_loss},
        )
        return joined({"own": own, "best": self.best.state()})

    def restore(self, state: State) -> None:
        own = part(state, "own")
        self.history = _records(EpochRecord, own.tensors["history"])
        self.records = _records(StepRecord, own.tensors["records"])
        self.seconds, self.initial_loss = own.facts["seconds"], own.facts["initial_loss"]
        self.best.restore(part(state, "best"))


def _table(records: Sequence[StepRecord] | Sequence[EpochRecord]) -> Tensor:
    """Records as float64 (R, F), which holds each of their numbers exactly; NaN in place of None."""
    rows = [[math.nan if value is None else float(value) for value in astuple(record)] for record in records]
    return torch.tensor(rows, dtype=torch.float64)


def _records(kind: type[Record], table_RF: Tensor) -> list[Record]:
    return [
        kind(**{one.name: _number(one.type, value) for one, value in zip(fields(kind), row, strict=True)})
        for row in table_RF.tolist()
    ]


def _number(kind: Any, value: float) -> Any:
    """A number of a field whose annotation this is."""
    if math.isnan(value) and "None" in str(kind):
        return None
    return int(value) if kind in ("int", int) else value
