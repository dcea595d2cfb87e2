"""How well arms classify, in the report: what runs kept, how far it is trusted, and how it is shown."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from synthetic_study import DROPOUT, Behaviour, MemoryRun, dropout_study, make_results

from assay.metrics.evaluation import EVALUATION, reports_read
from assay.reports.build import build_page
from assay.reports.classification import MOST_ARMS, Classification
from assay.reports.render import render
from assay.reports.tables import tables
from assay.studies.results import StudyResults


@pytest.fixture(scope="module")
def results() -> StudyResults:
    return make_results(dropout_study(), DROPOUT, seeds=3, evaluated=True)


def with_artefact(results: StudyResults, arm: str, seed: int, content: bytes | None) -> StudyResults:
    """The same, but that one run kept something else."""
    runs = {name: dict(of) for name, of in results.runs.items()}
    run = runs[arm][seed]
    assert isinstance(run, MemoryRun)
    runs[arm][seed] = MemoryRun(replace(run._run, artefacts={} if content is None else {EVALUATION: content}))
    return replace(results, runs=runs)


def section_of(results: StudyResults) -> str:
    """The section's words, without markup, on one line."""
    found = re.search(r'<section id="classification".*?</section>', render(build_page(results)), re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", found.group()).split()) if found else ""


def classification_of(results: StudyResults) -> Classification:
    return build_page(results).classification


def test_figures_are_means_over_seeds_with_both_spreads(results: StudyResults) -> None:
    arm = classification_of(results).arms[0]
    kept = [reports_read(run.artefact(EVALUATION) or b"")["test"] for run in results.runs["plain"].values()]
    figure = arm.figures["test_macro_f1"]
    assert figure is not None
    values = [report.figures["macro_f1"].value for report in kept]
    assert figure.over_seeds.mean == pytest.approx(np.mean(values))
    halves = [(report.figures["macro_f1"].high - report.figures["macro_f1"].low) / 2 for report in kept]
    assert figure.over_examples == pytest.approx(np.sqrt(np.mean(np.square(halves))))
    three = arm.classes[3]
    assert (three.name, three.support) == ("3", kept[0].classes[3].support)
    assert three.recall.mean == pytest.approx(np.mean([report.classes[3].recall.value for report in kept]))
    assert sum(one.share for one in arm.bins) == pytest.approx(1.0)


def test_the_page_names_every_figure(results: StudyResults) -> None:
    text = section_of(results)
    for heading in ("Balanced accuracy", "Top-3 accuracy", "Macro F1", "ROC AUC", "Brier", "Calibration error"):
        assert heading in text
    assert "Reliability" not in text  # it is the chart's label
    assert 'aria-label="Reliability diagram of dropout 0.5, test split.' in render(build_page(results))


def test_runs_that_diverged_have_what_decisions_say() -> None:
    results = make_results(dropout_study(), {"plain": Behaviour(diverging_seeds=[0, 1, 2])}, seeds=3, evaluated=True)
    arm = classification_of(results).arms[0]
    assert arm.figures["test_roc_auc"] is None
    assert arm.figures["test_macro_f1"] is not None
    assert arm.bins == ()
    assert not arm.ranked
    assert "plain" in section_of(results)


def test_runs_without_an_evaluation_are_told_of(results: StudyResults) -> None:
    older = with_artefact(results, "plain", 1, None)
    found = classification_of(older)
    assert found.remarks == ("Some runs kept no evaluation of: plain.",)
    assert found.arms[0].seeds == 2
    none = make_results(dropout_study(), DROPOUT, seeds=2)
    assert classification_of(none).arms == ()
    assert "kept no evaluation of: plain, dropout 0.25, dropout 0.5, dropout 0.95." in section_of(none)


@pytest.mark.parametrize("content", [b"", b"{}x", b'{"test": {"examples": 3}}'])
def test_a_damaged_file_is_not_shown_and_said_so(results: StudyResults, content: bytes) -> None:
    found = classification_of(with_artefact(results, "dropout 0.5", 0, content))
    assert found.remarks == ("What was kept is damaged, and not shown, of some runs of: dropout 0.5.",)


def test_a_file_of_other_classes_is_not_shown(results: StudyResults) -> None:
    other = make_results(dropout_study(), DROPOUT, seeds=1, classes=["a", "b"], evaluated=True)
    content = other.runs["plain"][0].artefact(EVALUATION)
    found = classification_of(with_artefact(results, "plain", 0, content))
    assert found.remarks == ("What was kept is damaged, and not shown, of some runs of: plain.",)


def test_classes_of_many_arms_are_left_to_the_table() -> None:
    arms = {f"arm {at}": {"train.epochs": at + 1} for at in range(MOST_ARMS + 2)}
    study = dropout_study(arms=arms, claims=[])
    found = classification_of(make_results(study, seeds=1, epochs=2, examples=30, evaluated=True))
    assert len(found.arms) == MOST_ARMS + 2
    assert len(found.detailed) == MOST_ARMS
    assert found.remarks == (
        f"Classes are shown of the first {MOST_ARMS} of {MOST_ARMS + 2} arms; those of all are in classes.csv.",
    )


def test_tables_hold_every_run_and_split(results: StudyResults) -> None:
    written = tables(results)
    figures = list(csv.DictReader(io.StringIO(written["classification.csv"])))
    assert {(row["arm"], row["seed"], row["split"]) for row in figures} == {
        (arm, str(seed), split) for arm in results.runs for seed in range(3) for split in ("val", "test")
    }
    one = next(row for row in figures if row["figure"] == "accuracy" and row["split"] == "test")
    assert float(one["low"]) < float(one["value"]) < float(one["high"])
    assert float(one["value"]) == results.runs["plain"][0].record.metrics["test_accuracy"]
    classes = list(csv.DictReader(io.StringIO(written["classes.csv"])))
    assert len(classes) == 4 * 3 * 2 * 10
    assert classes[0].keys() >= {"class", "support", "predicted", "precision", "recall_low", "f1_high", "roc_auc"}
