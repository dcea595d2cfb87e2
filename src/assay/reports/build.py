"""From the results of a study to the page that reports them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assay.metrics.catalogue import CATALOGUE, Metric
from assay.reports.boundary import boundaries
from assay.reports.classification import classification
from assay.reports.confusions import confusions
from assay.reports.curves import curves
from assay.reports.data import data_section
from assay.reports.estimates import estimate
from assay.reports.evidence import ArmEvidence, Evidence, gather
from assay.reports.looking import looking
from assay.reports.networks import networks
from assay.reports.notes import noted
from assay.reports.page import (
    ArmEntry,
    Distribution,
    DistributionRow,
    Dot,
    EnvironmentFact,
    FailureEntry,
    Page,
    RunEntry,
    Setting,
    Totals,
)
from assay.reports.verdicts import claim_entry, lead, method_sentences, shown_source, study_command
from assay.reports.words import value_text
from assay.studies.arms import Arm
from assay.studies.results import StudyResults

MOST_METRICS = 6
MOST_CLAIMS = 150
MOST_DISTRIBUTION_ROWS = 60
MOST_DOTS = 9_000
"""Dots of all distributions together."""
MOST_RUN_ROWS = 2_500
MOST_FAILURES = 50
TRACEBACK_LINES = 40
MOST_TRACEBACK = 6_000
"""Characters; the end of a traceback is where the cause stands."""
RUN_METRICS = (
    "val_accuracy",
    "test_accuracy",
    "val_loss",
    "train_accuracy",
    "train_loss",
    "seconds",
    "inference_seconds",
)


def build_page(results: StudyResults) -> Page:
    """Compute a study's report.

    Args:
        results: the study with its stored runs and verdicts; every run is read once.

    Raises:
        StoreError: a stored file is damaged.
    """
    return page_of(gather(results))


def page_of(evidence: Evidence) -> Page:
    """The report of evidence that was already read."""
    results = evidence.results
    study = results.study
    metrics, metric_remarks = _shown_metrics(evidence)
    claims = tuple(claim_entry(claim, study) for claim in results.claims[:MOST_CLAIMS])
    totals = _totals(evidence)
    common, varied = _recipes(evidence)
    return Page(
        study=study.name,
        question=study.question or study.name,
        source=shown_source(study),
        lead=lead([claim_entry(claim, study) for claim in results.claims]),
        claims=claims,
        claim_remarks=_cut(len(results.claims), MOST_CLAIMS, "claims", "claims.csv"),
        metrics=metrics,
        metric_remarks=metric_remarks,
        notes=noted({arm.name: [run.record for run in arm.runs] for arm in evidence.arms}),
        arms=tuple(_arm_entry(arm, position, evidence, metrics) for position, arm in enumerate(evidence.arms)),
        curves=curves(evidence, metrics),
        boundaries=boundaries(evidence),
        distributions=tuple(_distribution(evidence, metric, MOST_DOTS // len(metrics)) for metric in metrics),
        classification=classification(evidence),
        confusions=confusions(evidence),
        networks=networks(evidence),
        looking=looking(evidence),
        data=data_section(evidence),
        common=common,
        varied=varied,
        examples=_examples(evidence),
        environment=_environment(evidence),
        totals=totals,
        failures=_failures(results),
        diverged=tuple(_diverged(evidence)),
        run_remarks=_cut(totals.runs, MOST_RUN_ROWS, "runs", "runs.csv")
        + _cut(results.failed, MOST_FAILURES, "failed runs", "runs.csv"),
        retry=study_command(study) if results.failed or totals.missing else None,
        method=method_sentences(study, len(results.claims)) if results.claims else (),
        run_metrics=(run_metrics := _run_metrics(evidence, metrics)),
        runs=_runs(evidence, run_metrics),
    )


def _shown_metrics(evidence: Evidence) -> tuple[tuple[Metric, ...], tuple[str, ...]]:
    """The metrics of the claims, then validation and test accuracy; as many as a table can hold."""
    found = {claim.comparison.metric.name: claim.comparison.metric for claim in evidence.results.claims}
    present = {name for record in evidence.records() for name, value in record.metrics.items() if value is not None}
    for name in ("val_accuracy", "test_accuracy"):
        if name in present:
            found.setdefault(name, CATALOGUE[name])
    # Times and parameters have columns of their own.
    own_column = {"seconds", "inference_seconds", "parameters", "trainable_parameters"}
    metrics = tuple(metric for metric in found.values() if metric.name not in own_column)
    return metrics[:MOST_METRICS], _cut(len(metrics), MOST_METRICS, "metrics", "arms.csv")


def _cut(total: int, most: int, noun: str, table: str) -> tuple[str, ...]:
    if total <= most:
        return ()
    return (f"The first {most:,} of {total:,} {noun} are shown; all are in {table}.",)


def _arm_entry(arm: ArmEvidence, position: int, evidence: Evidence, metrics: Sequence[Metric]) -> ArmEntry:
    results = evidence.results
    parameters = {run.record.parameters for run in arm.runs}
    trainable = {run.record.trainable_parameters for run in arm.runs}
    asked = results.fingerprints.get(arm.name, {})
    failed = results.failures.get(arm.name, {})
    stored = {run.seed for run in arm.runs}
    return ArmEntry(
        name=arm.name,
        position=position,
        changes=changes_of(results.study.arms[position]),
        n=len(arm.runs),
        estimates=tuple(estimate(arm.values(metric)) for metric in metrics),
        parameters=parameters.pop() if len(parameters) == 1 else None,
        trainable_parameters=trainable.pop() if len(trainable) == 1 else None,
        seconds=estimate(arm.values(CATALOGUE["seconds"])),
        inference_seconds=estimate(arm.values(CATALOGUE["inference_seconds"])),
        diverged=sum(run.record.status == "diverged" for run in arm.runs),
        failed=len(failed),
        missing=sum(seed not in stored and seed not in failed for seed in asked),
    )


def changes_of(arm: Arm) -> tuple[Setting, ...]:
    """What an arm changes, its own seeds included."""
    changes = tuple(Setting(key=key, value=value_text(value)) for key, value in arm.changes.items())
    return (*changes, Setting(key="seeds_from", value=str(arm.first_seed))) if arm.first_seed else changes


def _distribution(evidence: Evidence, metric: Metric, most_dots: int) -> Distribution:
    arms = evidence.arms[:MOST_DISTRIBUTION_ROWS]
    most_per_arm = max(3, most_dots // max(1, len(arms)))
    rows = []
    for position, arm in enumerate(arms):
        values = [(run, run.value(metric)) for run in arm.runs]
        dots = [
            Dot(
                seed=run.seed,
                value=value,
                fingerprint=run.record.fingerprint,
                diverged=run.record.status == "diverged",
            )
            for run, value in values
            if value is not None and math.isfinite(value)
        ]
        rows.append(
            DistributionRow(
                arm=arm.name,
                position=position,
                estimate=estimate(value for _, value in values),
                dots=tuple(dots[:most_per_arm]),
                without=len(values) - len(dots),
            )
        )
    remarks = _cut(len(evidence.arms), MOST_DISTRIBUTION_ROWS, "arms", "arms.csv")
    if any(row.estimate.n > most_per_arm for row in rows):
        remarks += (f"The first {most_per_arm:,} seeds of an arm are drawn; means count all, and all are in runs.csv.",)
    return Distribution(metric=metric, rows=tuple(rows), remarks=remarks)


def _recipes(evidence: Evidence) -> tuple[tuple[Setting, ...], tuple[str, ...]]:
    flat = [dict(_flatten(arm.recipe.resolved())) for arm in evidence.results.study.arms]
    keys = dict.fromkeys(key for recipe in flat for key in recipe if key != "seed")
    common, varied = [], []
    for key in keys:
        values = {recipe.get(key) for recipe in flat}
        if len(values) == 1:
            common.append(Setting(key=key, value=values.pop() or ""))
        else:
            varied.append(key)
    return tuple(common), tuple(varied)


def _flatten(data: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value_text(value)


def _examples(evidence: Evidence) -> tuple[Setting, ...]:
    found: dict[str, Counter[int]] = {}
    for record in evidence.records():
        for split, size in record.examples.items():
            found.setdefault(split, Counter())[size] += 1
    return tuple(
        Setting(key=split, value=" or ".join(f"{size:,}" for size in sorted(sizes))) for split, sizes in found.items()
    )


def _environment(evidence: Evidence) -> tuple[EnvironmentFact, ...]:
    found: dict[str, Counter[str]] = {}
    for record in evidence.records():
        for key, value in record.environment.items():
            found.setdefault(key, Counter())[value] += 1
    return tuple(EnvironmentFact(key=key, values=tuple(values.most_common(10))) for key, values in found.items())


def _totals(evidence: Evidence) -> Totals:
    results = evidence.results
    records = list(evidence.records())
    started = sorted(record.started_at for record in records)
    seeds = [len(arm.runs) for arm in evidence.arms]
    asked = sum(len(by_seed) for by_seed in results.fingerprints.values())
    return Totals(
        runs=len(records),
        diverged=sum(record.status == "diverged" for record in records),
        failed=results.failed,
        missing=max(0, asked - len(records) - results.failed),
        arms=len(evidence.arms),
        fewest_seeds=min(seeds, default=0),
        most_seeds=max(seeds, default=0),
        training_seconds=math.fsum(record.metrics.get("seconds") or 0.0 for record in records),
        wall_seconds=math.fsum(record.seconds for record in records),
        first_started=started[0] if started else None,
        last_started=started[-1] if started else None,
    )


def _failures(results: StudyResults) -> tuple[FailureEntry, ...]:
    found = [
        FailureEntry(
            arm=arm,
            seed=seed,
            fingerprint=failure.fingerprint,
            kind=failure.kind,
            message=failure.message,
            traceback="\n".join(failure.traceback[-MOST_TRACEBACK:].splitlines()[-TRACEBACK_LINES:]),
            failed_at=failure.failed_at,
        )
        for arm, by_seed in results.failures.items()
        for seed, failure in sorted(by_seed.items())
    ]
    return tuple(found[:MOST_FAILURES])


def _diverged(evidence: Evidence) -> Iterable[str]:
    for arm in evidence.arms:
        for run in arm.runs:
            if run.record.status == "diverged":
                at = run.record.diverged_at or {}
                where = ", ".join(f"{key} {at[key]:,}" for key in ("epoch", "step") if key in at)
                yield f"{arm.name}, seed {run.seed}{f': in {where}' if where else ''} ({run.record.fingerprint[:12]})"


def _run_metrics(evidence: Evidence, metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    present = {name for record in evidence.records() for name in record.metrics}
    found = {metric.name: metric for metric in metrics}
    for name in RUN_METRICS:
        if name in present:
            found.setdefault(name, CATALOGUE[name])
    return tuple(found.values())


def _runs(evidence: Evidence, metrics: Sequence[Metric]) -> tuple[RunEntry, ...]:
    entries: list[RunEntry] = []
    for arm in evidence.arms:
        for run in arm.runs:
            if len(entries) == MOST_RUN_ROWS:
                return tuple(entries)
            entries.append(
                RunEntry(
                    arm=arm.name,
                    seed=run.seed,
                    fingerprint=run.record.fingerprint,
                    status=run.record.status,
                    values=tuple(run.value(metric) for metric in metrics),
                )
            )
    return tuple(entries)
