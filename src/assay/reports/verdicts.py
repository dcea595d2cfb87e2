"""Verdicts in words that a student understands, with the numbers behind them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from assay.reports import words
from assay.reports.page import Advice, ClaimEntry
from assay.studies.claims import ClaimResult, Comparison
from assay.studies.design import Study
from assay.studies.looks import ALPHA, LOOKS


def claim_entry(claim: ClaimResult, study: Study) -> ClaimEntry:
    """One claim as the report states it."""
    comparison = claim.comparison
    low, high = _finite_pair(claim.low, claim.high)
    low_fixed, high_fixed = _finite_pair(claim.low_fixed, claim.high_fixed)
    low_new, high_new = _finite_pair(claim.low_new, claim.high_new)
    return ClaimEntry(
        claim=str(comparison),
        kind=comparison.kind,
        metric=comparison.metric,
        verdict=claim.verdict,
        supported=claim.supported,
        statement=_statement(claim),
        numbers=_numbers(claim),
        standing=_standing(claim),
        effect=claim.effect,
        low=low,
        high=high,
        low_fixed=low_fixed,
        high_fixed=high_fixed,
        low_new=low_new,
        high_new=high_new,
        margin=comparison.margin,
        n=claim.n,
        level=claim.level,
        decided_at=claim.decided_at,
        correlation=claim.correlation,
        details=tuple(_details(claim)),
        notes=_notes(claim),
        advice=_advice(claim, study) if claim.verdict == "undecided" else None,
    )


def lead(claims: Sequence[ClaimEntry]) -> str:
    """The outcome of all claims in a sentence."""
    if not claims:
        return (
            "This study declares no claims, so there is nothing to judge; the figures below describe what was measured."
        )
    supported = sum(claim.supported for claim in claims)
    undecided = sum(claim.verdict == "undecided" for claim in claims)
    refuted = len(claims) - supported - undecided
    parts = []
    if supported:
        parts.append(f"{supported} supported")
    if refuted:
        parts.append(f"{refuted} not supported")
    if undecided:
        parts.append(f"{undecided} undecided")
    noun = "claim" if len(claims) == 1 else "claims"
    return f"{len(claims)} {noun}: {', '.join(parts)}."


def method_sentences(study: Study, claims: int) -> tuple[str, ...]:
    """How verdicts are reached, for a reader who has had one course in statistics."""
    looked = [str(seeds) for seeds in LOOKS if study.seeds.at_least <= seeds <= study.seeds.at_most]
    at = f"{', '.join(looked)} seeds" if looked else "no number of seeds yet (3 are the fewest)"
    shared = f"shared equally by the {claims} declared claims" if claims != 1 else "spent on the one declared claim"
    return (
        "Arms are compared seed by seed: the two runs of a pair share what randomness they can, and the effect of a "
        "claim is the mean of the paired differences, arm minus the arm it is compared with.",
        f"The study looks at its claims at fixed numbers of seeds only, here at {at}, and only when every arm has all "
        "its runs up to that number.",
        f"Look number k spends {ALPHA:g}/(k(k + 1)) of an error allowance of {ALPHA:g}, {shared}, so that all decision "
        f"intervals of this page hold together with at least {1 - ALPHA:.0%} probability, however often it was looked.",
        "A decision interval is the paired Student t interval at that level, intersected over the looks so far; its "
        "standard deviation is never taken to be less than one example of the evaluated split would give.",
        "Inside the margin the verdict is “no difference that matters”, even if the interval excludes zero; wholly on "
        "one side of zero it is “helps” or “hurts”; anything else is undecided. A decided claim stays decided.",
    )


def study_command(study: Study) -> str | None:
    """The command line that runs a study's file, quoted for a shell; None for a study made in Python."""
    source = shown_source(study)
    return None if source is None else shlex.join(["assay", "run", source])


def shown_source(study: Study) -> str | None:
    """The study's file, from the current folder if it lies below it: a report may go to people who know no other."""
    if study.source is None:
        return None
    path = Path(study.source)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else study.source


def _finite_pair(low: float | None, high: float | None) -> tuple[float | None, float | None]:
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return None, None
    return low, high


def _is_contrast(comparison: Comparison) -> bool:
    """Whether the claim is about a weighing of arms: then ``arm`` is an expression, and no arm."""
    return comparison.arm not in comparison.weights


def _statement(claim: ClaimResult) -> str:
    comparison = claim.comparison
    against = "" if _is_contrast(comparison) else f" against {comparison.than}"
    if claim.effect is None:
        if claim.stuck:
            return f"{comparison.arm}{against} stays undecided, for no pair of runs has {comparison.metric.name}"
        return f"{comparison.arm}{against} has no verdict yet, for no pair of runs has {comparison.metric.name} so far"
    if _is_contrast(comparison) and claim.verdict in {"helps", "hurts"}:
        above = (claim.verdict == "helps") == (comparison.metric.better == "higher")
        return f"{comparison.arm} is {'above' if above else 'below'} 0, which {claim.verdict}"
    return {
        "helps": f"{comparison.arm} helps{against}",
        "hurts": f"{comparison.arm} hurts{against}",
        "no difference that matters": f"{comparison.arm} makes no difference that matters{against}",
        "undecided": f"{comparison.arm}{against} is undecided",
    }[claim.verdict]


def _numbers(claim: ClaimResult) -> tuple[str, ...]:
    metric, (low, high) = claim.comparison.metric, _finite_pair(claim.low, claim.high)
    if claim.effect is None:
        return ()
    if low is None or high is None:
        parts = [words.effect(metric, claim.effect), "no interval yet"]
    else:
        parts = [words.effect(metric, claim.effect, (high - low) / 2), words.bounds(metric, low, high)]
    if metric.better == "lower":
        parts.append("lower is better")
    parts.append(f"n = {words.count(claim.n, 'seed')}")
    margin = claim.comparison.margin
    return tuple(parts if margin is None else [*parts, f"margin {words.margin(metric, margin)}"])


def _standing(claim: ClaimResult) -> str:
    comparison = claim.comparison
    if comparison.kind == "matches":
        verb = "differs by less than the margin from"
    elif _is_contrast(comparison):
        verb = "is above" if comparison.metric.better == "higher" else "is below"
    else:
        verb = "is better than"
    claimed = f"Claimed: {comparison.arm} {verb} {comparison.than}"
    if claim.verdict == "undecided":
        return f"{claimed}. {'More seeds cannot decide it.' if claim.stuck else 'Not decided so far.'}"
    return f"{claimed}. {'Supported' if claim.supported else 'Not supported'}."


def _details(claim: ClaimResult) -> list[str]:
    metric = claim.comparison.metric
    details = []
    low, high = _finite_pair(claim.low_fixed, claim.high_fixed)
    if low is not None and high is not None:
        details.append(
            f"For description only, a fixed-n 95 % interval over all pairs at hand: {words.bounds(metric, low, high)}."
        )
    low, high = _finite_pair(claim.low_new, claim.high_new)
    if low is not None and high is not None:
        details.append(
            f"On new examples as well as new seeds: {words.bounds(metric, low, high)}. "
            "The verdict speaks of this test set."
        )
    if claim.decided_at is not None:
        details.append(f"Decided at {words.count(claim.decided_at, 'seed')}; its numbers stay as they were then.")
    return details


def _notes(claim: ClaimResult) -> tuple[str, ...]:
    return tuple(note if note.endswith((".", "!", "?")) else f"{note}." for note in claim.notes)


def _advice(claim: ClaimResult, study: Study) -> Advice | None:
    if claim.stuck:
        return None
    if claim.level is None:
        return _advice_before_a_look(study)
    more, smallest = claim.more_seeds, _smallest_effect(claim, study)
    if more is None:
        if claim.comparison.margin is None:
            smallest += " Without a margin there is no telling how many more seeds would decide it."
        return Advice(sentence=smallest.strip(), command=None) if smallest else None
    if isinstance(more, str):
        return Advice(
            sentence=f"{more} further seeds would be needed to decide this: a new study with less noise "
            f"(longer training, more examples) or a larger margin would serve better.{smallest}",
            command=None,
        )
    target = next((look for look in LOOKS if look >= claim.n + claim.dropped + more), None)
    sentence = f"About {words.count(more, 'more seed')} would probably decide it.{smallest}"
    if target is None:
        return Advice(sentence=sentence, command=None)
    if target <= study.seeds.at_most:
        return Advice(sentence=f"{sentence} To go on, give the same command again.", command=None)
    return Advice(
        sentence=f"{sentence} The first look with that many is at {target:,} seeds; "
        "give the same command again with this added:",
        command=_at_most(target, study),
    )


def _advice_before_a_look(study: Study) -> Advice:
    if study.seeds.at_most >= LOOKS[0]:
        first = next(look for look in LOOKS if look >= study.seeds.at_least)
        return Advice(
            sentence=f"The first look at the claims is at {first} seeds. To go on, give the same command again.",
            command=None,
        )
    return Advice(
        sentence=f"Fewer than {LOOKS[0]} seeds decide nothing. Give the same command again with this added:",
        command=_at_most(LOOKS[0], study),
    )


def _at_most(seeds: int, study: Study) -> str:
    """Words that raise a study's seeds when put behind the command that ran it, whatever else that said.

    Only these are given: the page cannot know with which other ``--set`` and ``--store`` it was run. Where both counts
    are equal they may have been written as one number, below which no key can be set, so both are given.
    """
    if study.seeds.at_least == study.seeds.at_most:
        return shlex.join(["--set", f"seeds={{at_least: {study.seeds.at_least}, at_most: {seeds}}}"])
    return shlex.join(["--set", f"seeds.at_most={seeds}"])


def _smallest_effect(claim: ClaimResult, study: Study) -> str:
    if claim.smallest_effect is None or not math.isfinite(claim.smallest_effect):
        return ""
    metric = claim.comparison.metric
    size = words.effect(metric, claim.smallest_effect, claim.smallest_effect).lstrip("+")
    return f" At {study.seeds.at_most} seeds, 80 % of studies like this one would detect an effect of {size}."
