"""The study's numbers as CSV, at full precision, for a spreadsheet or another program."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np

from assay.metrics.catalogue import CATALOGUE, Metric
from assay.reports.build import changes_of
from assay.reports.classification import kept_reports
from assay.reports.estimates import estimate
from assay.reports.evidence import HISTORY_FIELDS, ArmEvidence, Evidence, gather
from assay.studies.results import StudyResults

Cell = str | int | float | bool | None


def tables(results: StudyResults) -> dict[str, str]:
    """The tables by file name: ``claims.csv``, ``arms.csv``, ``runs.csv``, ``history.csv``, ``classification.csv``,
    ``classes.csv``, ``confusions.csv``.

    Values are in the metric's own unit (accuracies as fractions, times in seconds); an empty cell is a missing value.

    Raises:
        StoreError: a stored file is damaged.
    """
    return tables_of(gather(results))


def tables_of(evidence: Evidence) -> dict[str, str]:
    """The tables of evidence that was already read."""
    return {
        "claims.csv": _claims(evidence),
        "arms.csv": _arms(evidence),
        "runs.csv": _runs(evidence),
        "history.csv": _history(evidence),
        "classification.csv": _classification(evidence),
        "classes.csv": _classes(evidence),
        "confusions.csv": _confusions(evidence),
    }


def _written(header: Sequence[str], rows: Iterable[Iterable[Cell]]) -> str:
    return _csv(header, ([_inert(cell) for cell in row] for row in rows))


def _csv(header: Sequence[str], rows: Iterable[Iterable[Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _inert(cell: Cell) -> Cell:
    """A cell that a spreadsheet takes for text, even if a name in it starts like a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _metrics(evidence: Evidence) -> list[Metric]:
    """Every metric some run has, in the order of the catalogue, then those claimed at an epoch."""
    present = {name for record in evidence.records() for name in record.metrics}
    found = {name: metric for name, metric in CATALOGUE.items() if name in present}
    for claim in evidence.results.claims:
        found.setdefault(claim.comparison.metric.name, claim.comparison.metric)
    return list(found.values())


def _claims(evidence: Evidence) -> str:
    header = [
        "arm",
        "than",
        "metric",
        "kind",
        "verdict",
        "supported",
        "effect",
        "low",
        "high",
        "low_fixed",
        "high_fixed",
    ]
    header += ["low_new", "high_new", "margin", "n", "dropped", "deviation", "level", "decided_at", "more_seeds"]
    header += ["smallest_effect", "correlation", "notes"]
    rows = []
    for claim in evidence.results.claims:
        known = {**vars(claim), **claim.to_json(), "margin": claim.comparison.margin, "notes": " ".join(claim.notes)}
        rows.append([known[name] for name in header])
    return _written(header, rows)


def _arms(evidence: Evidence) -> str:
    metrics = _metrics(evidence)
    header = ["arm", "changes", "runs", "diverged", "failed"]
    for metric in metrics:
        header += [
            f"{metric.name}_mean",
            f"{metric.name}_half_width_95",
            f"{metric.name}_deviation",
            f"{metric.name}_n",
        ]
    rows = []
    for arm, declared in zip(evidence.arms, evidence.results.study.arms, strict=True):
        changes = "; ".join(f"{change.key}: {change.value}" for change in changes_of(declared))
        diverged = sum(run.record.status == "diverged" for run in arm.runs)
        row: list[Cell] = [arm.name, changes, len(arm.runs), diverged]
        row.append(len(evidence.results.failures.get(arm.name, {})))
        for metric in metrics:
            known = estimate(arm.values(metric))
            row += [known.mean, known.half_width, known.deviation, known.n]
        rows.append(row)
    return _written(header, rows)


def _runs(evidence: Evidence) -> str:
    metrics = _metrics(evidence)
    header = ["arm", "seed", "fingerprint", "status", "location", *(metric.name for metric in metrics)]
    rows: list[list[Cell]] = []
    for arm in evidence.arms:
        for run in arm.runs:
            known = [run.value(metric) for metric in metrics]
            rows.append([arm.name, run.seed, run.record.fingerprint, run.record.status, run.location, *known])
        for seed, failure in sorted(evidence.results.failures.get(arm.name, {}).items()):
            rows.append([arm.name, seed, failure.fingerprint, f"failed: {failure.kind}", "", *([None] * len(metrics))])
    return _written(header, rows)


def _history(evidence: Evidence) -> str:
    """Much the longest table, so only its one column of names is looked at for formulas."""

    def rows() -> Iterable[list[Cell]]:
        for arm in evidence.arms:
            name = _inert(arm.name)
            for run in arm.runs:
                complete = not np.isnan(run.history_EF).any()
                for epoch, step, *values in run.history_EF.tolist():
                    known = values if complete else [None if math.isnan(value) else value for value in values]
                    yield [name, run.seed, int(epoch), int(step), *known]

    return _csv(["arm", "seed", *HISTORY_FIELDS], rows())


def _classification(evidence: Evidence) -> str:
    """A run's figures with their 95 % intervals over the examples of the split."""
    rows: list[list[Cell]] = []
    for arm in evidence.arms:
        for seed, reports in kept_reports(evidence, arm)[0]:
            for split, report in reports.items():
                for name, of in report.figures.items():
                    rows.append([arm.name, seed, split, report.examples, name, of.value, of.low, of.high])
    return _written(["arm", "seed", "split", "examples", "figure", "value", "low", "high"], rows)


def _classes(evidence: Evidence) -> str:
    """The same of each class."""
    figures = ("precision", "recall", "f1", "roc_auc")
    header = ["arm", "seed", "split", "class", "support", "predicted"]
    header += [f"{figure}{end}" for figure in figures for end in ("", "_low", "_high")]
    rows: list[list[Cell]] = []
    for arm in evidence.arms:
        for seed, reports in kept_reports(evidence, arm)[0]:
            for split, report in reports.items():
                for name, scores in zip(arm.classes, report.classes, strict=True):
                    row: list[Cell] = [arm.name, seed, split, name, scores.support, scores.predicted]
                    for figure in figures:
                        of = getattr(scores, figure)
                        row += [None, None, None] if of is None else [of.value, of.low, of.high]
                    rows.append(row)
    return _written(header, rows)


def _confusions(evidence: Evidence) -> str:
    """Cells that are not empty only; a prediction that was not a number has no predicted class."""
    return _written(
        ["arm", "split", "seeds", "actual", "predicted", "count"],
        (row for arm in evidence.arms for row in _confusion_rows(arm)),
    )


def _confusion_rows(arm: ArmEvidence) -> Iterable[list[Cell]]:
    confusion = arm.confusion
    if confusion is None:
        return
    classes = arm.classes
    for actual, predicted in np.argwhere(confusion.counts_CC).tolist():
        count = int(confusion.counts_CC[actual, predicted])
        yield [arm.name, confusion.split, confusion.seeds, classes[actual], classes[predicted], count]
    for actual in np.flatnonzero(confusion.unclassified_C).tolist():
        yield [arm.name, confusion.split, confusion.seeds, classes[actual], None, int(confusion.unclassified_C[actual])]
