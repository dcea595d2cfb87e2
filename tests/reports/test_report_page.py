"""The page's numbers are those of the runs, and what is left out is said."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit
from synthetic_study import DROPOUT, ENVIRONMENT, Behaviour, MemoryRun, dropout_study, make_results, make_run

from assay.records import EpochRecord, FailedRun
from assay.reports import build, build_page, curves
from assay.reports.build import value_text
from assay.reports.estimates import estimate
from assay.reports.page import Page
from assay.studies.design import Study
from assay.studies.results import StudyResults


@pytest.fixture(scope="module")
def results() -> StudyResults:
    return make_results(dropout_study(), DROPOUT, seeds=8)


@pytest.fixture(scope="module")
def page(results: StudyResults) -> Page:
    return build_page(results)


def failed(seed: int, message: str = "out of memory") -> FailedRun:
    return FailedRun(
        fingerprint=f"dead{seed:08x}",
        recipe={},
        kind="raised",
        message=message,
        traceback="Traceback (most recent call last):\n" + "  line\n" * 100 + f"MemoryError: {message}",
        failed_at="2026-03-01T11:00:00Z",
        seconds=1.0,
    )


def test_a_file_below_the_current_folder_is_named_from_there(
    results: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = build_page(dataclasses.replace(results, study=results.study.read_from(str(tmp_path / "labs" / "a.yaml"))))
    assert here.source == str(Path("labs", "a.yaml"))
    elsewhere = str(tmp_path.parent / "a.yaml")
    assert build_page(dataclasses.replace(results, study=results.study.read_from(elsewhere))).source == elsewhere


def test_a_study_made_in_python_has_no_command(results: StudyResults) -> None:
    page = build_page(dataclasses.replace(results, study=results.study.read_from(None), runs={}))
    assert page.source is None
    assert page.retry is None


def test_arms_show_mean_and_student_interval_of_their_runs(results: StudyResults, page: Page) -> None:
    assert [arm.name for arm in page.arms] == list(DROPOUT)
    for arm in page.arms:
        records = [run.record for run in results.runs[arm.name].values()]
        for metric, known in zip(page.metrics, arm.estimates, strict=True):
            values = np.array([record.metrics[metric.name] for record in records], dtype=float)
            half = -stdtrit(len(values) - 1, 0.025) * values.std(ddof=1) / math.sqrt(len(values))
            assert known.mean == pytest.approx(values.mean())
            assert known.half_width == pytest.approx(half)
            assert known.n == len(values) == arm.n
        assert arm.parameters == 85_002
        assert arm.seconds.mean == pytest.approx(np.mean([record.metrics["seconds"] for record in records]))
    assert page.arms[1].changes[0].key == "model.dropout"
    assert page.arms[1].changes[0].value == "0.25"
    assert page.arms[0].changes == ()


def test_metrics_are_those_claimed_then_the_accuracies(page: Page) -> None:
    assert [metric.name for metric in page.metrics] == ["val_accuracy", "test_accuracy", "val_loss"]


def _of_epoch(epoch: EpochRecord, name: str) -> float:
    if name == "accuracy_gap":
        assert epoch.train_accuracy is not None
        assert epoch.val_accuracy is not None
        return epoch.train_accuracy - epoch.val_accuracy
    return float(getattr(epoch, name))


def test_curves_are_means_over_seeds_by_epoch(results: StudyResults, page: Page) -> None:
    panels = {panel.metric.name: panel for panel in (*page.curves.panels, *page.curves.folded)}
    assert list(panels) == [
        "val_accuracy", "train_accuracy", "val_loss", "train_loss",
        "accuracy_gap", "gradient_norm", "weight_norm", "lr",
    ]  # fmt: skip
    for name, panel in panels.items():
        for curve in panel.curves:
            histories = [run.history() for run in results.runs[curve.arm].values()]
            values_SE = np.array([[_of_epoch(epoch, name) for epoch in history] for history in histories])
            assert curve.epochs == tuple(range(1, 41))
            assert curve.mean == pytest.approx(values_SE.mean(axis=0))
            assert curve.deviation == pytest.approx(values_SE.std(axis=0, ddof=1))
            assert set(curve.n) == {8}


def test_a_diverged_run_leaves_its_curve_and_counts_its_accuracy() -> None:
    results = make_results(dropout_study(), {"plain": Behaviour(diverging_seeds=[1])}, seeds=3)
    page = build_page(results)
    loss = next(panel for panel in page.curves.panels if panel.metric.name == "val_loss").curves[0]
    assert loss.n[8] == 3
    assert loss.n[9] == 2  # its tenth epoch ended with a loss that was not finite
    assert loss.n[-1] == 2
    plain = page.arms[0]
    assert (plain.n, plain.diverged) == (3, 1)
    by_metric = dict(zip((metric.name for metric in page.metrics), plain.estimates, strict=True))
    assert by_metric["val_accuracy"].n == 3
    assert by_metric["val_loss"].n == 2
    assert page.diverged == ("plain, seed 1: in epoch 10, step 180 (000000000001)",)
    accuracy = next(d for d in page.distributions if d.metric.name == "val_accuracy").rows[0]
    assert [dot.diverged for dot in accuracy.dots] == [False, True, False]
    missing = next(d for d in page.distributions if d.metric.name == "val_loss").rows[0]
    assert (len(missing.dots), missing.without) == (2, 1)
    confusion = page.confusions.matrices[0]
    assert confusion.unclassified == 180
    assert sum(confusion.totals) == 3 * 360


def test_distributions_hold_every_run_with_its_fingerprint(results: StudyResults, page: Page) -> None:
    for distribution in page.distributions:
        for row in distribution.rows:
            dots = {dot.seed: dot for dot in row.dots}
            assert set(dots) == set(results.runs[row.arm])
            for seed, run in results.runs[row.arm].items():
                assert dots[seed].value == run.record.metrics[distribution.metric.name]
                assert dots[seed].fingerprint == run.fingerprint


def test_confusions_sum_the_test_predictions_of_all_seeds(results: StudyResults, page: Page) -> None:
    for confusion in page.confusions.matrices:
        counts_CC = np.zeros((10, 10), dtype=int)
        for run in results.runs[confusion.arm].values():
            test = run.predictions()["test"]
            np.add.at(counts_CC, (test.labels_N, test.predicted_N()), 1)
        assert confusion.split == "test"
        assert confusion.counts == tuple(map(tuple, counts_CC.tolist()))
        assert confusion.correct == np.trace(counts_CC)
        assert confusion.totals == tuple(counts_CC.sum(axis=1))
        wrong = [(pair.count, pair.rate) for pair in confusion.frequent]
        np.fill_diagonal(counts_CC, 0)
        assert wrong[0][0] == counts_CC.max()
        assert wrong == sorted(wrong, key=lambda pair: -pair[0])


def test_validation_stands_in_where_there_is_no_test_split(results: StudyResults) -> None:
    runs = {}
    for arm, by_seed in results.runs.items():
        runs[arm] = {
            seed: MemoryRun(
                dataclasses.replace(make_run(seed, 0, Behaviour()), predictions={"val": run.predictions()["val"]})
            )
            for seed, run in by_seed.items()
        }
    page = build_page(dataclasses.replace(results, runs=runs))
    assert {confusion.split for confusion in page.confusions.matrices} == {"val"}


def test_failed_runs_are_listed_with_the_command_to_retry() -> None:
    failing = {"plain": {1: failed(1)}}
    page = build_page(make_results(dropout_study(), DROPOUT, seeds=3, failing=failing))
    (entry,) = page.failures
    assert (entry.arm, entry.seed, entry.message) == ("plain", 1, "out of memory")
    assert entry.traceback.endswith("MemoryError: out of memory")
    assert len(entry.traceback.splitlines()) == build.TRACEBACK_LINES
    assert page.retry == "assay run labs/digits/dropout.yaml"
    moved = dropout_study().read_from("my labs/it's.yaml")
    assert build_page(make_results(moved, failing=failing)).retry == "assay run 'my labs/it'\"'\"'s.yaml'"
    assert (page.totals.failed, page.totals.runs, page.totals.missing) == (1, 11, 0)
    assert page.arms[0].failed == 1
    assert any("dropped because a run failed" in note for note in page.claims[0].notes)


def test_missing_runs_are_counted_and_nothing_to_retry_is_none(results: StudyResults, page: Page) -> None:
    assert page.retry is None
    runs = {arm: dict(list(by_seed.items())[:5]) for arm, by_seed in results.runs.items()}
    cut = build_page(dataclasses.replace(results, runs=runs))
    assert cut.totals.missing == 12
    assert [arm.missing for arm in cut.arms] == [3, 3, 3, 3]
    assert cut.retry == "assay run labs/digits/dropout.yaml"


def test_the_record_tells_recipe_hardware_and_totals(results: StudyResults, page: Page) -> None:
    common = {setting.key: setting.value for setting in page.common}
    assert common["optimizer.lr"] == "0.001"
    assert common["model.widths"] == "[256, 256]"
    assert "seed" not in common
    assert page.varied == ("model.dropout",)
    assert {fact.key: fact.values for fact in page.environment} == {key: ((v, 32),) for key, v in ENVIRONMENT.items()}
    assert page.totals.training_seconds == pytest.approx(
        sum(run.record.metrics["seconds"] or 0 for runs in results.runs.values() for run in runs.values())
    )
    assert page.totals.first_started == "2026-03-01T10:00:00Z"
    assert page.totals.last_started == "2026-03-01T10:07:00Z"


def test_mixed_environments_show_every_value_with_its_runs() -> None:
    results = make_results(dropout_study(), DROPOUT, seeds=3)
    runs = {arm: dict(by_seed) for arm, by_seed in results.runs.items()}
    runs["plain"][0] = MemoryRun(make_run(0, 0, Behaviour(), environment={**ENVIRONMENT, "device": "cuda"}))
    facts = {fact.key: fact.values for fact in build_page(dataclasses.replace(results, runs=runs)).environment}
    assert facts["device"] == (("cpu", 11), ("cuda", 1))


def test_every_run_is_listed(results: StudyResults, page: Page) -> None:
    listed = {(run.arm, run.seed): run for run in page.runs}
    for arm, by_seed in results.runs.items():
        for seed, run in by_seed.items():
            entry = listed.pop((arm, seed))
            assert entry.fingerprint == run.fingerprint
            expected = tuple(run.record.metrics[metric.name] for metric in page.run_metrics)
            assert entry.values == expected
    assert listed == {}
    assert {metric.name for metric in page.metrics} <= {metric.name for metric in page.run_metrics}


def test_claims_at_an_epoch_take_their_values_from_the_history() -> None:
    study = dropout_study(claims=[{"arm": "dropout 0.5", "beats": "plain", "metric": "val_loss@5"}])
    results = make_results(study, DROPOUT, seeds=3)
    page = build_page(results)
    assert page.metrics[0].name == "val_loss@5"
    values = [run.history()[4].val_loss for run in results.runs["plain"].values()]
    assert page.arms[0].estimates[0].mean == pytest.approx(np.mean(np.array(values, dtype=float)))


@pytest.mark.parametrize("name", ["val_accuracy@20", "val_loss@20"])
def test_claims_and_arms_agree_on_a_run_that_diverged_before_the_epoch(name: str) -> None:
    study = dropout_study(claims=[{"arm": "dropout 0.5", "beats": "plain", "metric": name}])
    results = make_results(study, {"plain": Behaviour(accuracy=0.9, diverging_seeds=[1])}, seeds=3)
    page = build_page(results)
    metric = page.metrics[0]
    values = [metric.value(run.record.metrics, run.history()) for run in results.runs["plain"].values()]
    assert [run.values[0] for run in page.runs if run.arm == "plain"] == values
    assert (values[1] is None) == (metric.unit == "nats")
    assert page.arms[0].estimates[0].n == sum(value is not None for value in values)


@pytest.mark.parametrize("name", ["val_accuracy@20", "train_loss@20", "weight_norm@20"])
def test_claims_and_arms_agree_on_a_run_that_stopped_before_the_epoch(name: str) -> None:
    study = dropout_study(claims=[{"arm": "dropout 0.5", "beats": "plain", "metric": name}])
    results = make_results(study, {"plain": Behaviour(stops_after=12)}, seeds=3)
    page = build_page(results)
    metric = page.metrics[0]
    values = [metric.value(run.record.metrics, run.history()) for run in results.runs["plain"].values()]
    assert [run.values[0] for run in page.runs if run.arm == "plain"] == values
    stays = name != "weight_norm@20"
    assert values == [
        getattr(run.history()[-1], name.partition("@")[0]) if stays else None for run in results.runs["plain"].values()
    ]


SPARSE = {
    "plain": Behaviour(measured_every=3, diverging_seeds=[2]),
    "dropout 0.5": Behaviour(measured_every=7, measures_train=False),
}


def test_curves_join_the_epochs_that_were_measured() -> None:
    results = make_results(dropout_study(), SPARSE, seeds=3)
    page = build_page(results)
    panels = {panel.metric.name: panel for panel in (*page.curves.panels, *page.curves.folded)}
    assert [curve.arm for curve in panels["train_loss"].curves] == [
        arm.name for arm in results.study.arms if arm.name != "dropout 0.5"
    ]
    accuracy = {curve.arm: curve for curve in panels["val_accuracy"].curves}
    # One run diverged after epoch 10, and was measured there, where the others were not: no point of the arm's mean.
    assert accuracy["plain"].epochs == (*range(3, 40, 3), 40)
    assert accuracy["plain"].n == (3,) * 3 + (2,) * 11
    assert accuracy["dropout 0.5"].epochs == (7, 14, 21, 28, 35, 40)
    histories = [run.history() for run in results.runs["dropout 0.5"].values()]
    values_SE = np.array(
        [[history[epoch - 1].val_accuracy for epoch in (7, 14, 21, 28, 35, 40)] for history in histories]
    )
    assert accuracy["dropout 0.5"].mean == pytest.approx(values_SE.mean(axis=0))
    assert panels["weight_norm"].curves[0].epochs == tuple(range(1, 41))
    assert page.curves.remarks == (
        "Not measured after every epoch; lines join the epochs that were: plain, dropout 0.5.",
    )


def test_an_arm_whose_every_run_diverged_between_measurements_is_drawn_as_far_as_it_came() -> None:
    results = make_results(dropout_study(), {"plain": Behaviour(measured_every=4, diverging_seeds=[0, 1, 2])}, seeds=3)
    curve = build_page(results).curves.panels[0].curves[0]
    assert curve.epochs == (4, 8, 10)
    assert None not in curve.mean


def test_of_many_measured_epochs_evenly_spaced_ones_are_drawn() -> None:
    results = make_results(dropout_study(), {"plain": Behaviour(measured_every=3)}, seeds=1, epochs=900, examples=30)
    panel = build_page(results).curves.panels[0]
    assert len(panel.curves[0].epochs) == curves.MOST_POINTS
    assert all(epoch % 3 == 0 for epoch in panel.curves[0].epochs)
    assert panel.curves[0].epochs[-1] == 900


def test_a_study_without_any_run_still_makes_a_page() -> None:
    page = build_page(make_results(dropout_study(), seeds=0))
    assert page.totals.runs == 0
    assert page.claims[0].sentence == (
        "dropout 0.5 against plain has no verdict yet, for no pair of runs has val_accuracy so far."
    )
    assert page.curves.panels == ()
    assert page.confusions.matrices == ()


def many_arms(count: int, **changes: Any) -> Study:
    arms = {f"arm {i}": {"model.dropout": i / (count + 1)} for i in range(count)}
    return dropout_study(arms=arms, **{"claims": [], **changes})


def test_what_is_not_drawn_is_said() -> None:
    claims = [{"arm": "arm 90", "beats": "arm 0", "metric": "val_accuracy"}]
    page = build_page(make_results(many_arms(100, claims=claims), seeds=1, epochs=400, examples=30))
    drawn = [curve.arm for curve in page.curves.panels[0].curves]
    assert len(drawn) == curves.MOST_CURVES
    assert "arm 90" in drawn
    assert page.curves.remarks == (
        "Curves of 24 of 100 arms are drawn, those with claims first; all are in history.csv.",
        "Of 400 epochs 150 evenly spaced ones are drawn; all are in history.csv.",
    )
    epochs = page.curves.panels[0].curves[0].epochs
    assert (epochs[0], epochs[-1], len(epochs)) == (1, 400, curves.MOST_POINTS)
    assert len(page.distributions[0].rows) == build.MOST_DISTRIBUTION_ROWS
    assert page.distributions[0].remarks == ("The first 60 of 100 arms are shown; all are in arms.csv.",)
    assert len(page.confusions.matrices) == 24
    assert page.confusions.remarks == ("Matrices of the first 24 of 100 arms are shown; all are in confusions.csv.",)
    assert len(page.arms) == 100


def test_too_many_classes_are_listed_and_not_drawn() -> None:
    study = dropout_study(arms={"plain": {}}, claims=[])
    classes = [f"class {i}" for i in range(101)]
    page = build_page(make_results(study, seeds=1, classes=classes, examples=500))
    (confusion,) = page.confusions.matrices
    assert confusion.counts == ()
    assert confusion.frequent
    assert page.confusions.remarks[0].startswith("A matrix of more than 100 classes cannot be read")


def test_more_claims_than_fit_are_said(results: StudyResults) -> None:
    page = build_page(dataclasses.replace(results, claims=results.claims * 50))
    assert len(page.claims) == build.MOST_CLAIMS
    assert page.claim_remarks == ("The first 150 of 200 claims are shown; all are in claims.csv.",)
    assert page.lead == "200 claims: 50 supported, 50 not supported, 100 undecided."


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=30))
def test_estimates_agree_with_numpy(values: list[float | None]) -> None:
    known = estimate(values)
    present = [value for value in values if value is not None]
    assert known.n == len(present)
    if present:
        assert known.mean == pytest.approx(np.mean(present), abs=1e-9)
    else:
        assert known.mean is None
    assert (known.half_width is None) == (len(present) < 2)
    if known.deviation is not None:
        assert known.deviation == pytest.approx(np.std(present, ddof=1), abs=1e-6)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"), (0.001, "0.001"), (1e-8, "1e-08"), (0.12345678, "0.12345678"),
        (3, "3"), ("relu", "relu"), ([1, 2.5], "[1, 2.5]"),
        ({"name": "sgd", "lr": 0.1}, "{name: sgd, lr: 0.1}"), (None, "null"),
    ],
)  # fmt: skip
def test_recipe_values_read_as_in_a_study_file(value: Any, text: str) -> None:
    assert value_text(value) == text


def test_own_seeds_are_a_change() -> None:
    study = dropout_study(arms={"a": {}, "again": {"seeds_from": 1000}}, claims=[])
    page = build_page(make_results(study, seeds=3))
    assert [[(change.key, change.value) for change in arm.changes] for arm in page.arms] == [
        [],
        [("seeds_from", "1000")],
    ]


def test_metrics_without_a_column_are_said_where_the_columns_are() -> None:
    names = ("val_loss", "train_loss", "train_accuracy", "best_val_accuracy", "test_loss", "val_loss@3")
    study = dropout_study(claims=[{"arm": "plain", "beats": "dropout 0.5", "metric": name} for name in names])
    page = build_page(make_results(study, seeds=3))
    assert page.metric_remarks == ("The first 6 of 8 metrics are shown; all are in arms.csv.",)
    assert page.claim_remarks == ()
