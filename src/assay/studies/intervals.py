"""Error bars for the mean of paired effects: at one look, over all looks, and at a fixed number of pairs.

Every function takes effects with any leading axes, one row of pairs per claim, so that one claim, all claims of a study
or thousands of simulated studies go through the same code.

Shape key: ... any leading axes (claims, studies), P pairs in order of their seeds; NaN stands for a dropped pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from assay.records import Array
from assay.studies.looks import level_of_look

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Mean effects with an interval. All fields have the leading axes of the effects they were computed from."""

    count: NDArray[np.int64]
    mean: Floats
    """NaN without a pair."""
    deviation: Floats
    """Standard deviation of single effects (divisor n − 1), raised to the floor; NaN with fewer than two pairs."""
    low: Floats
    high: Floats
    """−∞ and ∞ with fewer than two pairs."""


def student_interval(effects_P: ArrayLike, level: float, floor: ArrayLike = 0.0) -> Estimate:
    """Two-sided interval for a mean effect: mean ± t · s/√n (Student 1908, Biometrika 6:1).

    Assumptions: the pairs are independent, and their mean is near enough to normal. The interval is exact for Gaussian
    effects and conservative for symmetric heavy tails; the difference of two equally skewed arms is symmetric.
    Limits: for effects that are themselves skewed it misses on the side of the short tail, the more so the smaller
    ``level`` is. In studies of 10 claims with looks from 3 to 20 seeds, some interval misses in 8 % of studies at
    skewness 1 (gamma with shape 4) and in 32 % at skewness 2 (exponential), instead of 4 %. And no interval can know
    of a rare event, such as one run in fifty that diverges, before it has happened among the pairs.

    The deviation is floored because accuracies are discrete: a few pairs that happen to agree exactly would otherwise
    claim to know their mean without error.

    Args:
        effects_P: effects, shape (..., P).
        level: probability that the interval misses the mean, such as 0.05.
        floor: least standard deviation believed, in the unit of the effects, shape (...) or a number.
    """
    effects_P = np.asarray(effects_P, dtype=np.float64)
    present_P = ~np.isnan(effects_P)
    count = present_P.sum(axis=-1)
    some = np.maximum(count, 1)
    mean = np.where(present_P, effects_P, 0.0).sum(axis=-1) / some
    squares = np.where(present_P, effects_P - mean[..., None], 0.0)
    degrees = np.maximum(count - 1, 1)
    deviation = np.maximum(np.sqrt((squares**2).sum(axis=-1) / degrees), floor)
    half = -stdtrit(degrees, level / 2) * deviation / np.sqrt(some)
    enough = count >= 2
    return Estimate(
        count=count,
        mean=np.where(count >= 1, mean, np.nan),
        deviation=np.where(enough, deviation, np.nan),
        low=np.where(enough, mean - half, -np.inf),
        high=np.where(enough, mean + half, np.inf),
    )


def descriptive_interval(effects_P: ArrayLike, unit: ArrayLike = 0.0) -> Estimate:
    """Plain 95 % interval for a mean effect at a number of pairs fixed beforehand: for description, not for verdicts.

    It knows nothing of other claims and earlier looks. The deviation is floored at half a ``unit`` (the decision
    interval has a whole one): enough to keep coverage from falling when most pairs agree exactly, and not so much as
    to make the interval needlessly long. Simulated coverage for Gaussian effects is 95 %; for accuracies on 360 and
    10,000 examples of which 0.3 to 5 % are classified differently, 93 to 97 % from 8 pairs on, and more with fewer.

    Args:
        effects_P: effects, shape (..., P).
        unit: the step in which the effects move, such as one evaluation example; 0 for continuous ones.
    """
    return student_interval(effects_P, 0.05, np.asarray(unit) / 2)


class Outcome(IntEnum):
    """Where the truth lies, as far as an interval tells."""

    OPEN = 0
    ABOVE = 1
    """Above zero."""
    BELOW = 2
    """Below zero."""
    INSIDE = 3
    """Within the margin on both sides of zero."""


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What became of each row of effects. All arrays have the rows' leading axes.

    ``estimate``, ``level`` and ``seeds`` are those of the look that decided, or of the latest look for rows still open.
    """

    outcome: NDArray[np.int64]
    estimate: Estimate
    """At its look alone."""
    low: Floats
    high: Floats
    """The decision interval: the estimate's, intersected with those of all looks before it."""
    level: Floats
    seeds: NDArray[np.int64]
    """Seeds at the look; 0 before the first."""
    contradictory: NDArray[np.bool_]
    """The intervals of different looks have no point in common."""


def decide(
    effects_P: ArrayLike,
    at_looks: Sequence[int],
    *,
    claims: int,
    floor: ArrayLike = 0.0,
    margin: ArrayLike = np.nan,
    lost_P: ArrayLike = False,
) -> Decisions:
    """Follow claims through a study's looks and settle each at the first look that can.

    At every look the interval of `student_interval` at the look's level is intersected with those of the looks before.
    Since all of them hold together with probability 1 − α (see `assay.studies.looks`), so does their intersection, and
    any number of verdicts may be read off it: inside [−margin, margin] (the two one-sided tests of Schuirmann 1987,
    J. Pharmacokinet. Biopharm. 15:657, at half the level each), else above or below zero. A decided row freezes.

    Should intervals of two looks have no point in common, one of them has missed, which is the event of probability α
    itself, or the runs have changed on the way. The row then stays open for good, and its interval is the latest
    look's alone.

    Args:
        effects_P: effects, shape (..., P), P at least the last look; NaN for a dropped pair (its seed still counts).
        at_looks: seeds at each look so far, ascending, the study's own first look first.
        claims: how many claims share the error allowance.
        floor: least standard deviation, shape (...) or a number.
        margin: largest effect that does not matter, shape (...) or a number; NaN where there is none.
        lost_P: pairs whose effect is missing because of what the run did, shape (..., P). Dropping them is not
            harmless, so a row with one in view is not decided.
    """
    effects_P = np.asarray(effects_P, dtype=np.float64)
    rows = effects_P.shape[:-1]
    lost_P = np.broadcast_to(np.asarray(lost_P, dtype=np.bool_), effects_P.shape)
    state = _unseen(rows)
    for number, seeds in enumerate(at_looks, start=1):
        level = level_of_look(number, claims)
        estimate = student_interval(effects_P[..., :seeds], level, floor)
        low, high = np.maximum(state.low, estimate.low), np.minimum(state.high, estimate.high)
        contradictory = state.contradictory | (low > high)
        low, high = np.where(contradictory, estimate.low, low), np.where(contradictory, estimate.high, high)
        closed = contradictory | lost_P[..., :seeds].any(axis=-1)
        seen = Decisions(
            outcome=np.where(closed, Outcome.OPEN, _outcome(low, high, margin)),
            estimate=estimate,
            low=low,
            high=high,
            level=np.full(rows, level),
            seeds=np.full(rows, seeds),
            contradictory=contradictory,
        )
        state = _merge(seen, state, where=state.outcome == Outcome.OPEN)
    return state


def _outcome(low: Floats, high: Floats, margin: ArrayLike) -> Array:
    inside = (low >= -np.asarray(margin)) & (high <= np.asarray(margin))
    return np.select([inside, low > 0, high < 0], [Outcome.INSIDE, Outcome.ABOVE, Outcome.BELOW], Outcome.OPEN)


def _unseen(rows: tuple[int, ...]) -> Decisions:
    nothing = student_interval(np.empty((*rows, 0)), level=1.0)
    return Decisions(
        outcome=np.full(rows, Outcome.OPEN),
        estimate=nothing,
        low=nothing.low,
        high=nothing.high,
        level=np.full(rows, np.nan),
        seeds=np.zeros(rows, dtype=np.int64),
        contradictory=np.zeros(rows, dtype=np.bool_),
    )


def _merge(new: Decisions, old: Decisions, where: NDArray[np.bool_]) -> Decisions:
    def pick(a: Array, b: Array) -> Array:
        return np.where(where, a, b)

    return Decisions(
        outcome=pick(new.outcome, old.outcome),
        estimate=Estimate(
            count=pick(new.estimate.count, old.estimate.count),
            mean=pick(new.estimate.mean, old.estimate.mean),
            deviation=pick(new.estimate.deviation, old.estimate.deviation),
            low=pick(new.estimate.low, old.estimate.low),
            high=pick(new.estimate.high, old.estimate.high),
        ),
        low=pick(new.low, old.low),
        high=pick(new.high, old.high),
        level=pick(new.level, old.level),
        seeds=pick(new.seeds, old.seeds),
        contradictory=pick(new.contradictory, old.contradictory),
    )
