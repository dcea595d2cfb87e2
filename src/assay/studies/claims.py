"""What a study claims, and what became of each claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from assay.metrics.catalogue import Metric

ClaimKind = Literal["beats", "matches"]
Verdict = Literal["helps", "hurts", "no difference that matters", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One declared claim: a linear contrast of arms on one metric.

    ``weights`` maps arm to weight and sums to zero; a plain claim is ``{arm: 1, than: -1}``. The effect is the weighted
    sum of the metric, raw; whether more of it is good is the metric's business. ``arm`` and ``than`` are for people to
    read: for a contrast, ``arm`` is its expression and ``than`` is ``0``.
    """

    weights: Mapping[str, float]
    arm: str
    than: str
    kind: ClaimKind
    metric: Metric
    margin: float | None = None
    """Largest effect that does not matter, in the metric's unit; None where the study gives none."""

    def __str__(self) -> str:
        return f"{self.arm} {self.kind} {self.than} on {self.metric.name}"


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """The verdict on one claim, with everything that was computed on the way. All effects are in the metric's unit."""

    comparison: Comparison
    verdict: Verdict
    supported: bool
    effect: float | None
    """Mean effect over the pairs at hand; None before any."""
    low: float | None
    high: float | None
    """The decision interval: simultaneous over claims and looks. None before the first look."""
    low_fixed: float | None
    high_fixed: float | None
    """A plain fixed-n 95 % interval over all pairs at hand, for description only."""
    low_new: float | None
    high_new: float | None
    """What holds on new test examples as well as new seeds; test metrics only."""
    n: int
    """Pairs that counted in the decision interval; before any look, pairs behind the effect."""
    deviation: float | None
    """Standard deviation of the paired effects, floored at one evaluation example."""
    level: float | None
    """Error probability of the interval of the latest look: its share of 0.05."""
    decided_at: int | None
    """Seeds at the look that decided the claim."""
    more_seeds: int | str | None
    """Further seeds an undecided claim needs: a number, ``"> 1,000"``, or None where it cannot be said."""
    smallest_effect: float | None
    """Smallest effect detectable with 80 % power at the study's ``at_most``, from the present deviation."""
    correlation: float | None
    """Pearson correlation of the two arms over shared seeds; None for contrasts, own seeds, or fewer than 3 pairs."""
    dropped: int
    """Pairs dropped because a run failed or the metric is missing."""
    stuck: bool = False
    """Undecided, and no number of further seeds can change that: its loss is missing, or its looks contradict."""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The claim as programs read it; the keys are a promise."""
        return {
            "arm": self.comparison.arm,
            "than": self.comparison.than,
            "metric": self.comparison.metric.name,
            "kind": self.comparison.kind,
            "verdict": self.verdict,
            "supported": self.supported,
            "effect": self.effect,
            "low": self.low,
            "high": self.high,
            "low_new": self.low_new,
            "high_new": self.high_new,
            "n": self.n,
            "more_seeds": self.more_seeds,
        }
