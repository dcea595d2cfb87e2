"""Learning rates over training: pure functions from the step to a factor on the optimizer's rate.

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


_ROUNDING = 1e-9
"""Of a period: keeps a drop due at step 7 there, though 0.07 epochs of 100 steps come out as 7.000000000000001."""


def build_schedule(section: ScheduleSection, *, lr: float, epochs: int, steps_per_epoch: int) -> Schedule:
    """The learning rate at each step.

    Raises:
        InvalidValueError: the warm-up leaves no step for the schedule itself.
    """
    total = epochs * steps_per_epoch
    if not isinstance(section, OneCycleSchedule) and warmup_steps(section, steps_per_epoch) >= total:
        raise InvalidValueError(
            ("schedule", "warmup_epochs"),
            f"must leave part of train.epochs ({epochs}) to the schedule itself, got {section.warmup_epochs:g}.",
        )
    return FixedSchedule(lambda step: lr * factor(section, step, total=total, steps_per_epoch=steps_per_epoch))


def warmup_steps(section: ScheduleSection, steps_per_epoch: int) -> int:
    """Steps of the linear warm-up, rounded to whole ones; one-cycle has its own rise instead."""
    return 0 if isinstance(section, OneCycleSchedule) else round(section.warmup_epochs * steps_per_epoch)


def factor(section: ScheduleSection, step: int, *, total: int, steps_per_epoch: int) -> float:
    """What the optimizer's rate is multiplied with at ``step`` of ``total``: between 0 and 1.

    During a warm-up of w steps it is (step + 1)/(w + 1) (Goyal et al. 2017, arXiv:1706.02677, section 2.2), so that the
    schedule's first step is the first at the full rate.
    """
    warmup = warmup_steps(section, steps_per_epoch)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    since = step - warmup
    progress = since / (total - warmup)
    match section:
        case ConstantSchedule():
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
        case PlateauSchedule():
            raise NotImplementedError


def half_cosine(first: float, last: float, progress: float) -> float:
    """From ``first`` at progress 0 to ``last`` at progress 1, flat at both ends."""
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * progress))
