"""From values to places on an axis, and the round numbers to write beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from assay.metrics.catalogue import Metric
from assay.reports import words

_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis from ``low`` to ``high``, linear or logarithmic."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high end; may lie outside."""
        if self.log:
            floor = self.low * 1e-3
            return math.log(max(value, floor) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[float]:
        """At most ``most`` round values within the axis, at least two where it is linear."""
        if self.log:
            return self._log_ticks(most)
        step = _round_step((self.high - self.low) / max(1, most - 1))
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        decimals = max(0, 2 - math.floor(math.log10(step)))
        return [round((first + i) * step, decimals) for i in range(count)]

    def _log_ticks(self, most: int) -> list[float]:
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        decades = [10.0**power for power in range(first, last + 1)]
        if len(decades) >= 3:
            return decades[:: math.ceil(len(decades) / most)]
        finer = [m * 10.0**power for power in range(first - 1, last + 1) for m in (1, 2, 5)]
        return [tick for tick in finer if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]


def scale_over(
    values: Iterable[float], *, pad: float = 0.04, log: bool = False, bounds: tuple[float, float] | None = None
) -> Scale:
    """An axis that holds all values with a little room, inside ``bounds`` if given."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if log:
        ratio = max(high / low, 1.1) ** pad
        return Scale(low=low / ratio, high=high * ratio, log=True)
    size = max(abs(low), abs(high), 1e-6)
    # Values that differ by rounding alone are one value, in the middle of an axis of its own size.
    room = (high - low) * pad if high - low > 1e-9 * size else size * 0.5
    low, high = low - room, high + room
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Scale(low=low, high=high)


def suits_log(metric: Metric, values: Iterable[float]) -> bool:
    """Whether these values can only be told apart on a logarithmic axis."""
    positive = [value for value in values if math.isfinite(value)]
    return metric.unit != "fraction" and bool(positive) and min(positive) > 0 and max(positive) / min(positive) > 8


def tick_texts(metric: Metric, ticks: list[float], *, signed: bool = False) -> list[str]:
    """The numbers beside an axis: accuracies in per cent (or points), times with their unit, the rest as they are."""
    if metric.unit == "seconds":
        size, unit = words.seconds_scale(max((abs(tick) for tick in ticks), default=0.0))
        scaled = [tick / size for tick in ticks]
        decimals = max((_decimals(tick) for tick in scaled), default=0)
        return [f"{words.number(tick, decimals, signed=signed)} {unit}" for tick in scaled]
    factor = 100.0 if metric.unit == "fraction" else 1.0
    scaled = [tick * factor for tick in ticks]
    largest = max((abs(tick) for tick in scaled), default=0.0)
    if largest and not 1e-4 <= largest < 1e6:
        return [words.significant(tick, 2) for tick in scaled]
    decimals = max((_decimals(tick) for tick in scaled), default=0)
    if len(scaled) > 2 and scaled[0] > 0 and scaled[-1] / scaled[0] >= 50:
        return [words.number(tick, _decimals(tick)) for tick in scaled]
    return [words.number(tick, decimals, signed=signed) for tick in scaled]


def _decimals(value: float) -> int:
    return next((d for d in range(8) if abs(value - round(value, d)) < 1e-9 * max(1.0, abs(value))), 8)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(multiple * power for multiple in _ROUND if multiple * power >= rough * (1 - 1e-9))
