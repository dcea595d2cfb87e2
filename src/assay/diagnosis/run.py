"""What is wrong with a finished run."""

from __future__ import annotations

from collections.abc import Callable

from assay.diagnosis.evidence import Evidence
from assay.diagnosis.finding import Finding, worst_first
from assay.diagnosis.rules import fit, predictions, rate, units
from assay.studies.store.contract import StoredRun

Rule = Callable[[Evidence], Finding | None]

RULES: tuple[Rule, ...] = (
    rate.diverged,
    fit.not_learning,
    fit.labels_at_random,
    predictions.softmax_twice,
    predictions.last_relu,
    predictions.class_collapse,
    predictions.validation_flatters,
    predictions.label_noise,
    rate.rate_too_high,
    rate.rate_too_low,
    rate.oscillation,
    rate.plateau,
    units.equal_units,
    units.initial_loss,
    units.dead_units,
    units.saturated_units,
    units.vanishing_gradients,
    units.exploding_gradients,
    units.tiny_batches_with_batch_norm,
    fit.underfitting,
    fit.overfitting,
    fit.best_epoch_early,
    fit.validation_better,
    fit.noisy_validation,
)
"""All of them, in the order in which findings of one severity are told."""


def diagnose(run: StoredRun) -> tuple[Finding, ...]:
    """What is wrong with a run, worst first; nothing is an answer too.

    Raises:
        StoreError: a stored file is damaged.
    """
    return diagnose_evidence(Evidence.of(run))


def diagnose_evidence(evidence: Evidence) -> tuple[Finding, ...]:
    """The same of evidence that was already read."""
    found = (rule(evidence) for rule in RULES)
    return worst_first([finding for finding in found if finding is not None])
