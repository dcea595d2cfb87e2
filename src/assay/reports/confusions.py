"""Confusion matrices of a study, as many as a page can hold."""

from __future__ import annotations

import numpy as np

from assay.reports.evidence import ArmEvidence, ConfusionCounts, Evidence
from assay.reports.page import ConfusedPair, Confusion, Confusions

MOST_CLASSES = 100
"""Beyond it a matrix has cells too small to see."""
NUMBERED_CLASSES = 16
"""Up to so many classes each cell holds its numbers."""
MOST_CELLS = 60_000
"""Cells of all matrices together."""
MOST_NUMBERED_CELLS = 3_000
"""The same where cells hold numbers, each of which costs some 400 bytes."""
MOST_MATRICES = 24
MOST_PAIRS = 5


def confusions(evidence: Evidence) -> Confusions:
    """The confusion matrix of each arm over its seeds: of the test split where there is one, else of validation."""
    found = [
        _confusion(arm, arm.confusion, position)
        for position, arm in enumerate(evidence.arms[: _affordable(evidence)])
        if arm.confusion is not None
    ]
    with_predictions = sum(arm.confusion is not None for arm in evidence.arms)
    drawn = all(len(confusion.classes) <= MOST_CLASSES for confusion in found)
    remarks = []
    if len(found) < with_predictions:
        remarks.append(
            f"Matrices of the first {len(found)} of {with_predictions} arms are shown; all are in confusions.csv."
        )
    if not drawn:
        remarks.append(
            f"A matrix of more than {MOST_CLASSES} classes cannot be read, so only the most frequent confusions are "
            "listed; all are in confusions.csv."
        )
    return Confusions(matrices=tuple(found), remarks=tuple(remarks))


def _confusion(arm: ArmEvidence, counted: ConfusionCounts, position: int) -> Confusion:
    total_C = counted.counts_CC.sum(axis=1) + counted.unclassified_C
    drawn = len(arm.classes) <= MOST_CLASSES
    return Confusion(
        arm=arm.name,
        position=position,
        split=counted.split,
        classes=arm.classes,
        counts=tuple(tuple(row) for row in counted.counts_CC.tolist()) if drawn else (),
        totals=tuple(total_C.tolist()),
        unclassified=int(counted.unclassified_C.sum()),
        correct=int(np.trace(counted.counts_CC)),
        seeds=counted.seeds,
        frequent=_frequent(arm.classes, counted),
    )


def _frequent(classes: tuple[str, ...], counted: ConfusionCounts) -> tuple[ConfusedPair, ...]:
    """The pairs most often confused, by count; equal ones in the order of their classes."""
    wrong_CC = counted.counts_CC.copy()
    np.fill_diagonal(wrong_CC, 0)
    total_C = counted.counts_CC.sum(axis=1) + counted.unclassified_C
    order = np.argsort(-wrong_CC, axis=None, kind="stable")[:MOST_PAIRS]
    return tuple(
        ConfusedPair(
            actual=classes[row],
            predicted=classes[column],
            count=int(wrong_CC[row, column]),
            rate=float(wrong_CC[row, column] / total_C[row]),
        )
        for row, column in (divmod(int(place), len(classes)) for place in order)
        if wrong_CC[row, column]
    )


def _affordable(evidence: Evidence) -> int:
    classes = max((len(arm.classes) for arm in evidence.arms), default=0)
    if classes > MOST_CLASSES:
        return MOST_MATRICES
    cells = MOST_NUMBERED_CELLS if classes <= NUMBERED_CLASSES else MOST_CELLS
    return max(1, min(MOST_MATRICES, cells // max(1, classes**2)))
