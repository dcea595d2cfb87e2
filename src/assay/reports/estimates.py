"""Means over seeds, for description."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from assay.studies.intervals import student_interval


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The mean of a metric over the seeds of one arm, with a fixed-n 95 % Student t interval of that mean.

    ``mean`` is None when no run has the metric, ``half_width`` and ``deviation`` when fewer than two have.
    """

    n: int
    mean: float | None
    half_width: float | None
    deviation: float | None


def estimate(values: Iterable[float | None]) -> Estimate:
    """Mean of the values at hand with its fixed-n 95 % Student t interval."""
    present = np.array([value for value in values if value is not None and math.isfinite(value)], dtype=np.float64)
    if not present.size:
        return Estimate(n=0, mean=None, half_width=None, deviation=None)
    interval = student_interval(present, level=0.05)
    enough = present.size >= 2
    return Estimate(
        n=int(present.size),
        mean=float(interval.mean),
        half_width=float(interval.high - interval.low) / 2 if enough else None,
        deviation=float(interval.deviation) if enough else None,
    )
