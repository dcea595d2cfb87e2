"""How well the arms of a study classify the test split, as a whole and class by class, from what their runs kept.

What a run kept is described in `assay.metrics.evaluation`. It is read with distrust, as stores are copied and merged: a
file that breaks a rule is not shown, and said so.

Shape key: S runs of an arm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from assay.errors import StoreError
from assay.metrics.catalogue import CATALOGUE, CLASSIFICATION, Metric
from assay.metrics.evaluation import (
    EVALUATION,
    ClassificationReport,
    ClassScores,
    Estimated,
    Reports,
    reports_read,
)
from assay.records import Split
from assay.reports.estimates import Estimate, estimate
from assay.reports.evidence import ArmEvidence, Evidence

SPLIT: Split = "test"
MOST_ARMS = 24
"""With tables of their classes."""
MOST_ROWS = 1_500
"""Of all arms together."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A metric of an arm. ``over_examples`` is the half-width of a single run's 95 % interval over test examples, root
    mean square of the runs; None where no run has one."""

    over_seeds: Estimate
    over_examples: float | None


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class of an arm, over its seeds; ``support`` counts its test examples."""

    name: str
    support: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    roc_auc: Estimate


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Test examples whose confidence lies in this bin, of all seeds together; ``share`` is theirs of all examples."""

    low: float
    high: float
    share: float
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Classified:
    """One arm; ``figures`` by the name of their metric."""

    arm: str
    position: int
    seeds: int
    figures: Mapping[str, Figure | None]
    classes: tuple[ClassRow, ...]
    bins: tuple[Bin, ...]
    """Empty where there are no probabilities."""

    @property
    def ranked(self) -> bool:
        """Whether examples can be ranked by how probable a class is."""
        return any(row.roc_auc.n for row in self.classes)


@dataclass(frozen=True, kw_only=True)
class Classification:
    metrics: tuple[Metric, ...]
    arms: tuple[Classified, ...]
    detailed: tuple[Classified, ...]
    """The arms whose classes are shown too."""
    remarks: tuple[str, ...]


def classification(evidence: Evidence) -> Classification:
    """The arms in the order declared, but for those whose runs kept no evaluation.

    Raises:
        StoreError: a stored file cannot be read.
    """
    found: list[tuple[ArmEvidence, int, list[ClassificationReport]]] = []
    without, damaged = [], []
    for position, arm in enumerate(evidence.arms):
        kept, broken = kept_reports(evidence, arm)
        reports = [of[SPLIT] for _, of in kept if SPLIT in of]
        if reports:
            found.append((arm, position, reports))
        if broken:
            damaged.append(arm.name)
        elif arm.runs and len(reports) < len(arm.runs):
            without.append(arm.name)
    metrics = _metrics([report for _, _, reports in found for report in reports])
    arms = [_classified(arm, position, reports) for arm, position, reports in found]
    detailed = _affordable(arms)
    remarks = [
        *_named("Some runs kept no evaluation of:", without),
        *_named("What was kept is damaged, and not shown, of some runs of:", damaged),
    ]
    if len(detailed) < len(arms):
        remarks.append(
            f"Classes are shown of the first {len(detailed)} of {len(arms)} arms; those of all are in classes.csv."
        )
    return Classification(metrics=metrics, arms=tuple(arms), detailed=detailed, remarks=tuple(remarks))


def kept_reports(evidence: Evidence, arm: ArmEvidence) -> tuple[list[tuple[int, Reports]], bool]:
    """What the runs of an arm kept, each with its seed; and whether anything was damaged."""
    kept, broken = [], False
    for run in arm.runs:
        content = evidence.results.runs[arm.name][run.seed].artefact(EVALUATION)
        if content is None:
            continue
        try:
            reports = reports_read(content)
        except StoreError:
            broken = True
            continue
        if all(len(report.classes) == len(run.record.classes) for report in reports.values()):
            kept.append((run.seed, reports))
        else:
            broken = True
    return kept, broken


def metric_of(figure: str, split: Split) -> Metric:
    """The catalogue's metric behind a figure of a report."""
    return CATALOGUE[f"{split}_{'loss' if figure == 'log_loss' else figure}"]


_FIGURES = ("accuracy", "log_loss", *CLASSIFICATION)


def _metrics(reports: Iterable[ClassificationReport]) -> tuple[Metric, ...]:
    """Those that any report has, as a table shows them."""
    present = {name for report in reports for name in report.figures}
    return tuple(metric_of(name, SPLIT) for name in _FIGURES if name in present)


def _classified(arm: ArmEvidence, position: int, reports: Sequence[ClassificationReport]) -> Classified:
    figures = {}
    for name in _FIGURES:
        metric = metric_of(name, SPLIT)
        of_runs = [report.figures[name] for report in reports if name in report.figures]
        known = Figure(over_seeds=estimate(arm.values(metric)), over_examples=_half_width(of_runs))
        figures[metric.name] = known if of_runs else None
    rows = [
        ClassRow(
            name=name,
            support=reports[0].classes[at].support,
            precision=_over(reports, at, lambda scores: scores.precision),
            recall=_over(reports, at, lambda scores: scores.recall),
            f1=_over(reports, at, lambda scores: scores.f1),
            roc_auc=_over(reports, at, lambda scores: scores.roc_auc),
        )
        for at, name in enumerate(arm.classes)
    ]
    return Classified(
        arm=arm.name,
        position=position,
        seeds=len(reports),
        figures=figures,
        classes=tuple(rows),
        bins=_bins(reports),
    )


def _over(
    reports: Sequence[ClassificationReport], at: int, figure: Callable[[ClassScores], Estimated | None]
) -> Estimate:
    of_runs = [figure(report.classes[at]) for report in reports]
    return estimate(None if one is None else one.value for one in of_runs)


def _half_width(of_runs: Sequence[Estimated]) -> float | None:
    halves = [(one.high - one.low) / 2.0 for one in of_runs]
    return math.sqrt(sum(half * half for half in halves) / len(halves)) if halves else None


def _bins(reports: Sequence[ClassificationReport]) -> tuple[Bin, ...]:
    """The reliability diagrams of all runs in one."""
    diagrams = [report.reliability for report in reports if report.reliability is not None]
    sizes = {len(diagram.counts) for diagram in diagrams}
    if len(sizes) != 1:
        return ()
    bins, examples = sizes.pop(), sum(sum(diagram.counts) for diagram in diagrams)
    found = []
    for at in range(bins):
        count = sum(diagram.counts[at] for diagram in diagrams)
        if count:
            confidence = sum(diagram.counts[at] * diagram.confidence[at] for diagram in diagrams) / count
            accuracy = sum(diagram.counts[at] * diagram.accuracy[at] for diagram in diagrams) / count
            found.append(
                Bin(
                    low=at / bins,
                    high=(at + 1) / bins,
                    share=count / examples,
                    confidence=confidence,
                    accuracy=accuracy,
                )
            )
    return tuple(found)


def _affordable(arms: Sequence[Classified]) -> tuple[Classified, ...]:
    """The first arms, as long as their classes fit the page."""
    shown: list[Classified] = []
    rows = 0
    for arm in arms[:MOST_ARMS]:
        rows += len(arm.classes)
        if rows > MOST_ROWS:
            break
        shown.append(arm)
    return tuple(shown)


def _named(sentence: str, arms: Sequence[str]) -> list[str]:
    if not arms:
        return []
    more = f" and {len(arms) - 5} more" if len(arms) > 5 else ""
    return [f"{sentence} {', '.join(arms[:5])}{more}."]
