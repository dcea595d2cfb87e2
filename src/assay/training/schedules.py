"""Learning rates over training: pure functions from the step to a factor on the optimizer's rate, but for the one that
waits for a plateau, which depends on what is measured.

After the warm-up a schedule is a function of the progress u = t/T, for step t of the T steps left; its end value is
that at u = 1, where a step after the last one would be. So no step is spent at an end value of 0. Cosine: Loshchilov
and Hutter 2016, arXiv:1608.03983, without restarts; one-cycle: Smith and Topin 2017, arXiv:1708.07120, in half cosines.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from assay.errors import InvalidValueError
from assay.recipe.schema import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    StepSchedule,
)
from assay.recipe.schema import Schedule as ScheduleSection
from assay.records import EpochRecord
from assay.training.state import State


class Schedule(Protocol):
    """The learning rate over training."""

    def __call__(self, step: int) -> float:
        """The rate at a step, counted from 0."""
        ...

    def observe(self, record: EpochRecord) -> None:
        """Take in what was measured after an epoch."""
        ...

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


class FixedSchedule:
    """A rate that depends on the step alone."""

    def __init__(self, rate: Callable[[int], float]) -> None:
        self._rate = rate

    def __call__(self, step: int) -> float:
        return self._rate(step)

    def observe(self, record: EpochRecord) -> None:
        pass

    def state(self) -> State:
        return State()

    def restore(self, state: State) -> None:
        pass


class PlateauRate:
    """A rate that is lowered when what is watched has stopped improving.

    Each time it has not improved, by more than ``min_improvement``, in so many measurements since it last did or since
    the rate was last lowered, the rate is multiplied by ``factor``, but never below ``lowest`` times what it was.
    Epochs without a measurement, and those that end during the warm-up, do not count at all.
    """

    def __init__(self, section: PlateauSchedule, rate: Callable[[int], float], *, warmup: int) -> None:
        """Args: the section; the rate at a step if it were never lowered; steps of the warm-up."""
        self._section = section
        self._rate = rate
        self._warmup = warmup
        self._lowered_to = 1.0
        self._best: float | None = None
        self._waited = 0

    def __call__(self, step: int) -> float:
        return self._rate(step) * self._lowered_to

    def observe(self, record: EpochRecord) -> None:
        section = self._section
        value: float | None = getattr(record, section.watch)
        if value is None or record.step < self._warmup:
            return
        good = value if section.watch == "val_accuracy" else -value
        if self._best is None or good > self._best + section.min_improvement:
            self._best, self._waited = good, 0
            return
        self._waited += 1
        if self._waited >= section.patience:
            self._lowered_to = max(section.lowest, self._lowered_to * section.factor)
            self._waited = 0

    def state(self) -> State:
        return State(facts={"lowered_to": self._lowered_to, "best": self._best, "waited": self._waited})

    def restore(self, state: State) -> None:
        self._lowered_to, self._best = state.facts["lowered_to"], state.facts["best"]
        self._waited = state.facts["waited"]


_ROUNDING = 1e-9
"""Of a period: keeps a drop due at step 7 there, though 0.07 epochs of 100 steps come out as 7.000000000000001."""


def build_schedule(section: ScheduleSection, *, lr: float, epochs: int, steps_per_epoch: int) -> Schedule:
    """The learning rate at each step.

    Raises:
        InvalidValueError: the warm-up leaves no step for the schedule itself.
    """
    total = epochs * steps_per_epoch
    warmup = warmup_steps(section, steps_per_epoch)
    if warmup and warmup >= total and not isinstance(section, OneCycleSchedule):
        raise InvalidValueError(
            ("schedule", "warmup_epochs"),
            f"must leave part of train.epochs ({epochs}) to the schedule itself, got {section.warmup_epochs:g}.",
        )

    def rate(step: int) -> float:
        return lr * factor(section, step, total=total, steps_per_epoch=steps_per_epoch)

    return PlateauRate(section, rate, warmup=warmup) if isinstance(section, PlateauSchedule) else FixedSchedule(rate)


def warmup_steps(section: ScheduleSection, steps_per_epoch: int) -> int:
    """Steps of the linear warm-up, rounded to whole ones; one-cycle has its own rise instead."""
    return 0 if isinstance(section, OneCycleSchedule) else round(section.warmup_epochs * steps_per_epoch)


def factor(section: ScheduleSection, step: int, *, total: int, steps_per_epoch: int) -> float:
    """What the optimizer's rate is multiplied with at ``step`` of ``total``: between 0 and 1.

    During a warm-up of w steps it is (step + 1)/(w + 1) (Goyal et al. 2017, arXiv:1706.02677, section 2.2), so that the
    schedule's first step is the first at the full rate. That of a plateau is as if it never came.
    """
    warmup = warmup_steps(section, steps_per_epoch)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    since = step - warmup
    progress = since / (total - warmup)
    match section:
        case ConstantSchedule() | PlateauSchedule():
            return 1.0
        case StepSchedule():
            return float(section.factor ** math.floor(since / (section.every * steps_per_epoch) + _ROUNDING))
        case ExponentialSchedule():
            return float(section.factor ** (since / steps_per_epoch))
        case CosineSchedule():
            return half_cosine(1.0, section.end, progress)
        case LinearSchedule():
            return 1.0 + (section.end - 1.0) * progress
        case OneCycleSchedule():
            if progress < section.peak:
                return half_cosine(section.start, 1.0, progress / section.peak)
            return half_cosine(1.0, section.end, (progress - section.peak) / (1.0 - section.peak))


def half_cosine(first: float, last: float, progress: float) -> float:
    """From ``first`` at progress 0 to ``last`` at progress 1, flat at both ends."""
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * progress))
