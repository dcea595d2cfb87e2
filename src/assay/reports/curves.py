"""Learning curves: each arm's metrics by epoch, averaged over its seeds.

Shape key: S seeds, E epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from assay.metrics.catalogue import CATALOGUE, Metric
from assay.recipe.schema import FittedAtOnce
from assay.reports.evidence import ArmEvidence, Evidence
from assay.reports.page import Curve, CurvePanel, Curves

MOST_CURVES = 24
"""Curves in one panel; beyond it none could be told from another."""
MOST_POINTS = 150
SHOWN = ("val_accuracy", "train_accuracy", "val_loss", "train_loss")
FOLDED = ("accuracy_gap", "update_ratio", "gradient_norm", "weight_norm", "lr")
_DRAWN_ONLY = {
    "accuracy_gap": replace(CATALOGUE["accuracy_gap"], measured=True),
    "lr": Metric(name="lr", better="higher", unit="norm", meaning="learning rate", per_epoch=True),
    "update_ratio": Metric(
        name="update_ratio",
        better="lower",
        unit="norm",
        meaning="what a step changes of a weight tensor, relative to it",
        per_epoch=True,
        measured=True,
    ),
}
"""What is drawn by epoch, and cannot be claimed so."""


def curves(evidence: Evidence, metrics: Sequence[Metric]) -> Curves:
    """The panels of a study: validation and training accuracy and loss, and whatever is claimed per epoch."""
    claimed = [metric.name.partition("@")[0] for metric in metrics if metric.per_epoch]
    drawn = _drawn_arms(evidence)
    shown = [panel for name in dict.fromkeys((*SHOWN, *claimed)) if (panel := _panel(evidence, name, drawn)).curves]
    names = {panel.metric.name for panel in shown}
    folded = [panel for name in FOLDED if name not in names and (panel := _panel(evidence, name, drawn)).curves]
    longest, at_once = _longest(evidence), _fitted_at_once(evidence)
    remarks = []
    if len(drawn) < len(evidence.arms):
        remarks.append(
            f"Curves of {len(drawn)} of {len(evidence.arms)} arms are drawn, those with claims first; "
            "all are in history.csv."
        )
    level = [arm.name for arm in evidence.arms if arm.name in drawn & at_once]
    if level and longest > 1:
        remarks.append(f"Fitted at once, without epochs, and so drawn as level lines: {', '.join(level)}.")
    untrained = [arm.name for arm in evidence.arms if arm.name in drawn - at_once and _first_epoch(arm) == 0]
    if untrained and len(untrained) < len(drawn):
        remarks.append(f"Not trained, and so drawn as dots at epoch 0: {', '.join(untrained)}.")
    sparse = _sparsely_measured(evidence, drawn - at_once)
    if sparse:
        remarks.append(f"Not measured after every epoch; lines join the epochs that were: {', '.join(sparse)}.")
    if longest > MOST_POINTS:
        remarks.append(f"Of {longest:,} epochs {MOST_POINTS} evenly spaced ones are drawn; all are in history.csv.")
    return Curves(panels=tuple(shown), folded=tuple(folded), remarks=tuple(remarks))


def _drawn_arms(evidence: Evidence) -> frozenset[str]:
    names = [arm.name for arm in evidence.arms]
    claimed = [name for claim in evidence.results.claims for name in claim.comparison.weights]
    return frozenset(list(dict.fromkeys([*claimed, *names]))[:MOST_CURVES])


def _panel(evidence: Evidence, name: str, drawn: frozenset[str]) -> CurvePanel:
    found = []
    at_once = _fitted_at_once(evidence)
    metric = _DRAWN_ONLY.get(name) or CATALOGUE[name]
    for position, arm in enumerate(evidence.arms):
        if arm.name not in drawn or (name == "lr" and arm.name in at_once):  # such an arm has no rate
            continue
        curve = _curve(arm, position, metric)
        if curve is not None:
            found.append(_level(curve, _longest(evidence)) if arm.name in at_once else curve)
    return CurvePanel(metric=metric, curves=tuple(found))


def _longest(evidence: Evidence) -> int:
    return max((len(run.history_EF) for arm in evidence.arms for run in arm.runs), default=0)


def _fitted_at_once(evidence: Evidence) -> frozenset[str]:
    return frozenset(arm.name for arm in evidence.results.study.arms if isinstance(arm.recipe.model, FittedAtOnce))


def _level(curve: Curve, longest: int) -> Curve:
    """The only values of a model that has no epochs, at every epoch that is drawn of the others."""
    epochs = tuple(int(epoch) + 1 for epoch in _spaced(longest))
    return replace(
        curve,
        epochs=epochs,
        mean=curve.mean * len(epochs),
        deviation=curve.deviation * len(epochs),
        n=curve.n * len(epochs),
    )


def _sparsely_measured(evidence: Evidence, names: frozenset[str]) -> list[str]:
    def epochs_of(arm: ArmEvidence) -> int:
        return max((len(run.history_EF) for run in arm.runs), default=0)

    return [
        arm.name
        for arm in evidence.arms
        if arm.name in names and len(_measured_places(arm, CATALOGUE["val_accuracy"])) < epochs_of(arm)
    ]


def _measured_places(arm: ArmEvidence, metric: Metric) -> NDArray[np.int64]:
    """Which epochs to draw: all but those at which some run had gone on without measuring.

    A run that diverged has been measured there, whenever that was; if others went on, one value of it alone would not
    be their mean.
    """
    values_SE = _aligned(arm, metric.name)
    if not metric.measured:
        return np.arange(values_SE.shape[1])
    last_S1 = np.array([[len(run.history_EF) - 1] for run in arm.runs]).reshape(-1, 1)
    goes_on_SE = np.arange(values_SE.shape[1]) < last_S1
    return np.flatnonzero(~(goes_on_SE & np.isnan(values_SE)).any(axis=0))


def _curve(arm: ArmEvidence, position: int, metric: Metric) -> Curve | None:
    values_SE = _aligned(arm, metric.name)
    present_SE = np.isfinite(values_SE)
    measured = _measured_places(arm, metric)
    if not present_SE[:, measured].any():
        return None
    kept = measured[_spaced(len(measured))]
    values_SE, present_SE = values_SE[:, kept], present_SE[:, kept]
    n_E = present_SE.sum(axis=0)
    filled_SE = np.where(present_SE, values_SE, 0.0)
    mean_E = filled_SE.sum(axis=0) / np.maximum(n_E, 1)
    squares_E = np.where(present_SE, (filled_SE - mean_E) ** 2, 0.0).sum(axis=0)
    deviation_E = np.sqrt(squares_E / np.maximum(n_E - 1, 1))
    return Curve(
        arm=arm.name,
        position=position,
        epochs=tuple(int(epoch) + _first_epoch(arm) for epoch in kept),
        mean=tuple(float(m) if n else None for m, n in zip(mean_E, n_E, strict=True)),
        deviation=tuple(float(d) if n >= 2 else None for d, n in zip(deviation_E, n_E, strict=True)),
        n=tuple(int(n) for n in n_E),
    )


def _aligned(arm: ArmEvidence, name: str) -> NDArray[np.float64]:
    """One row per run; a run that ended early, as a diverged one does, is missing from there on."""
    longest = max((len(run.history_EF) for run in arm.runs), default=0)
    values_SE = np.full((len(arm.runs), longest), np.nan)
    for row, run in enumerate(arm.runs):
        values_SE[row, : len(run.history_EF)] = run.column(name)
    return values_SE


def _first_epoch(arm: ArmEvidence) -> int:
    return next((int(run.column("epoch")[0]) for run in arm.runs if len(run.history_EF)), 1)


def _spaced(epochs: int) -> NDArray[np.int64]:
    """Positions to draw: all of them, or evenly spaced ones with the first and the last."""
    if epochs <= MOST_POINTS:
        return np.arange(epochs)
    return np.unique(np.linspace(0, epochs - 1, MOST_POINTS).round().astype(np.int64))
