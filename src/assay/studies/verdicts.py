"""From stored runs to a verdict on every claim.

Verdicts are a function of the runs alone: judging a study again gives the same answer, and nothing is remembered
between looks but the runs themselves. (A failed run that is retried with success adds its pair to every look it
belongs to, also to past ones.)

Shape key: C claims, P pairs (one per seed index), N test examples.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assay.records import Array
from assay.studies.claims import ClaimResult, Comparison, Verdict
from assay.studies.evidence import Evidence, Pairs
from assay.studies.intervals import Decisions, Outcome, decide, descriptive_interval, student_interval
from assay.studies.looks import ALPHA, looks
from assay.studies.new_data import new_data_interval
from assay.studies.power import predicted_seeds, smallest_effect_at, upper_deviation
from assay.studies.store.contract import StoredRun

MOST_MORE_SEEDS = 1000
"""Beyond this many further seeds a study says so instead of giving a number."""


def judge(
    comparisons: Sequence[Comparison],
    runs: Mapping[str, Mapping[int, StoredRun]],
    failed: Mapping[str, Collection[int]],
    *,
    first_seeds: Mapping[str, int],
    at_least: int,
    at_most: int,
) -> tuple[ClaimResult, ...]:
    """Give each claim its verdict, from the looks that the runs at hand allow.

    A look at n seeds happens when every arm of the study has its first n runs, stored or failed. Pairs are made by
    index: the i-th run of one arm with the i-th of the other. All claims share the error allowance of 0.05 (see
    `assay.studies.looks`); verdicts come from `assay.studies.intervals.decide`.

    A failed run drops its pair, on the assumption that failing (a killed worker, a full disk) has nothing to do with
    what the run would have scored. A run that ended without the metric (a loss that diverged) drops its pair too, but
    then the claim stays undecided, for what is missing is not missing by chance. The accuracy of a diverged run counts.

    Args:
        comparisons: every declared claim, in order.
        runs: arm to seed to stored run.
        failed: arm to the seeds whose runs failed; a seed that also has a run counts as stored.
        first_seeds: every arm of the study with its first seed; its i-th run has that seed plus i.
        at_least: seeds before the first look.
        at_most: seeds after the last look.

    Returns:
        One result per comparison, in order. ``effect``, ``low``, ``high``, ``n``, ``deviation``, ``dropped`` and the
        new-data interval belong together: to the look that decided, or to the latest; before any look, effect, n,
        deviation and dropped are of the pairs at hand. The fixed-n interval and the correlation are always of all
        pairs at hand.
    """
    if not comparisons:
        return ()
    evidence = Evidence(runs, failed, first_seeds, at_most)
    reached = looks(at_least, min(at_most, evidence.complete()))
    pairs = [evidence.pairs(comparison) for comparison in comparisons]
    decisions = decide(
        np.stack([each.effects_P for each in pairs]),
        reached,
        claims=len(comparisons),
        floor=np.array([each.floor for each in pairs]),
        margin=np.array([np.nan if claim.margin is None else claim.margin for claim in comparisons]),
        lost_P=np.stack([each.lost_P for each in pairs]),
    )
    study = _Plan(claims=len(comparisons), at_least=at_least, at_most=at_most)
    return tuple(
        _result(comparison, pairs[c], _Decision.of(decisions, c), evidence, study)
        for c, comparison in enumerate(comparisons)
    )


def all_closed(results: Iterable[ClaimResult]) -> bool:
    """Whether every claim is decided or stuck, so that further seeds would change nothing."""
    return all(result.verdict != "undecided" or result.stuck for result in results)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    claims: int
    at_least: int
    at_most: int


@dataclass(frozen=True, kw_only=True)
class _Decision:
    """One claim's row of `Decisions` in plain numbers; None where there is nothing to say."""

    outcome: Outcome
    seeds: int
    low: float | None
    high: float | None
    level: float | None
    contradictory: bool

    @classmethod
    def of(cls, decisions: Decisions, row: int) -> _Decision:
        return cls(
            outcome=Outcome(int(decisions.outcome[row])),
            seeds=int(decisions.seeds[row]),
            low=_finite(decisions.low[row]),
            high=_finite(decisions.high[row]),
            level=_finite(decisions.level[row]),
            contradictory=bool(decisions.contradictory[row]),
        )


def _result(comparison: Comparison, pairs: Pairs, decision: _Decision, evidence: Evidence, plan: _Plan) -> ClaimResult:
    seeds = decision.seeds or plan.at_most
    seen = pairs.first(seeds)
    estimate = student_interval(seen.effects_P, ALPHA, seen.floor)
    fixed = descriptive_interval(pairs.effects_P, pairs.floor)
    deviation = _finite(estimate.deviation)
    verdict = _verdict(comparison, decision.outcome)
    new = _new_data(comparison, evidence, decision, seen)
    stuck = verdict == "undecided" and (decision.contradictory or bool(seen.lost_P.any()))
    return ClaimResult(
        comparison=comparison,
        verdict=verdict,
        supported=verdict == ("helps" if comparison.kind == "beats" else "no difference that matters"),
        effect=_finite(estimate.mean),
        low=decision.low,
        high=decision.high,
        low_fixed=_finite(fixed.low),
        high_fixed=_finite(fixed.high),
        low_new=None if new is None else new[0],
        high_new=None if new is None else new[1],
        n=int(estimate.count),
        deviation=deviation,
        level=decision.level,
        decided_at=None if verdict == "undecided" else decision.seeds,
        more_seeds=_more_seeds(comparison, decision, int(estimate.count), deviation, plan)
        if verdict == "undecided" and not stuck
        else None,
        smallest_effect=None
        if deviation is None
        else smallest_effect_at(plan.at_least, plan.at_most, plan.claims, deviation),
        correlation=_correlation(comparison, pairs, evidence),
        stuck=stuck,
        dropped=seen.dropped,
        notes=_notes(comparison, seeds, decision, evidence),
    )


def _verdict(comparison: Comparison, outcome: Outcome) -> Verdict:
    if outcome is Outcome.INSIDE:
        return "no difference that matters"
    if outcome is Outcome.OPEN:
        return "undecided"
    return "helps" if (outcome is Outcome.ABOVE) == (comparison.metric.better == "higher") else "hurts"


def _more_seeds(
    comparison: Comparison, decision: _Decision, count: int, deviation: float | None, plan: _Plan
) -> int | str | None:
    """Further seeds for an 80 % chance of an answer, whether the effect is one margin or none.

    None without a margin to measure against, before the first look, or while the pairs show no spread at all.
    """
    if not comparison.margin or not decision.seeds or not deviation:
        return None
    pairs = predicted_seeds(
        upper_deviation(deviation, count),
        comparison.margin,
        at_least=plan.at_least,
        claims=plan.claims,
        beyond=decision.seeds,
    )
    if pairs is None or pairs - count > MOST_MORE_SEEDS:
        return f"> {MOST_MORE_SEEDS:,}"
    return pairs - count


def _new_data(
    comparison: Comparison, evidence: Evidence, decision: _Decision, seen: Pairs
) -> tuple[float, float] | None:
    """The new-data interval at the decision interval's own look, where test predictions tell."""
    if decision.level is None or comparison.metric.predictions_of != "test":
        return None
    effects_PN = evidence.example_effects(comparison, np.flatnonzero(~np.isnan(seen.effects_P)).tolist())
    return None if effects_PN is None else new_data_interval(effects_PN, decision.level, seen.floor)


def _correlation(comparison: Comparison, pairs: Pairs, evidence: Evidence) -> float | None:
    """Pearson correlation of the two arms' values over the pairs at hand; None where either does not vary."""
    plain = sorted(comparison.weights.values()) == [-1.0, 1.0]
    if not plain or not evidence.share_seeds(tuple(comparison.weights)):
        return None
    x_P, y_P = pairs.values_AP[:, ~np.isnan(pairs.effects_P)]
    # Equal values can differ from their own mean by rounding, which would correlate perfectly.
    if x_P.size < 3 or any(np.ptp(v_P) <= 1e-12 * np.abs(v_P).max() for v_P in (x_P, y_P)):
        return None
    x_P, y_P = x_P - x_P.mean(), y_P - y_P.mean()
    scale = math.sqrt(float(x_P @ x_P)) * math.sqrt(float(y_P @ y_P))
    return max(-1.0, min(1.0, float(x_P @ y_P) / scale))


def _notes(comparison: Comparison, seeds: int, decision: _Decision, evidence: Evidence) -> tuple[str, ...]:
    notes = []
    if failures := evidence.failures(comparison, seeds):
        notes.append(f"Pairs dropped because a run failed: {_few(failures)}.")
    diverged, unrecorded = evidence.losses(comparison, seeds)
    if diverged:
        notes.append(
            f"Stays undecided: {comparison.metric.name} is missing where a run diverged ({_few(diverged)}), "
            "and to leave such runs out would favour their arm."
        )
    if unrecorded:
        notes.append(f"Stays undecided: {comparison.metric.name} is missing from {_few(unrecorded)}.")
    if decision.contradictory:
        notes.append(
            "Stays undecided: the intervals of two looks have no value in common. By chance that happens in fewer "
            "than 5 % of studies; check that all runs were made alike, then ask again with fresh seeds (seeds_from)."
        )
    if mixed := evidence.mixed_environments(comparison, seeds):
        differences = "; ".join(f"{key} is {' or '.join(map(repr, values))}" for key, values in mixed.items())
        notes.append(f"Compares runs made in different environments: {differences}.")
    if evidence.compares_data(comparison, seeds):
        notes.append("Its arms were trained and measured on different examples, so that no example pairs their scores.")
    return tuple(notes)


def _few(names: Sequence[str], most: int = 4) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _finite(value: Array | float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
