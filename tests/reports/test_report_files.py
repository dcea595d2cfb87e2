"""CSV tables, the files on disk, and the terminal summary."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from synthetic_study import DROPOUT, Behaviour, dropout_study, make_results

from assay.errors import StoreError
from assay.records import FailedRun
from assay.reports import build_page, render, summary, tables, write
from assay.studies.results import StudyResults


@pytest.fixture(scope="module")
def results() -> StudyResults:
    failure = FailedRun(
        fingerprint="dead", recipe={}, kind="killed", message="killed", traceback="", failed_at="", seconds=1.0
    )
    return make_results(
        dropout_study(),
        {**DROPOUT, "dropout 0.5": Behaviour(diverging_seeds=[1])},
        seeds=5,
        failing={"dropout 0.25": {4: failure}},
    )


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_claims_table_holds_what_programs_read(results: StudyResults) -> None:
    rows = rows_of(tables(results)["claims.csv"])
    assert len(rows) == len(results.claims)
    for row, claim in zip(rows, results.claims, strict=True):
        for key, value in claim.to_json().items():
            assert row[key] == ("" if value is None else str(value)), key
        assert row["margin"] == ("" if claim.comparison.margin is None else str(claim.comparison.margin))
        assert float(row["low_fixed"]) == claim.low_fixed


def test_the_runs_table_holds_every_run_at_full_precision(results: StudyResults) -> None:
    rows = {(row["arm"], int(row["seed"])): row for row in rows_of(tables(results)["runs.csv"])}
    for arm, by_seed in results.runs.items():
        for seed, run in by_seed.items():
            row = rows.pop((arm, seed))
            assert row["fingerprint"] == run.fingerprint
            assert row["status"] == run.record.status
            assert row["location"] == run.location
            for name, value in run.record.metrics.items():
                assert (row[name] == "") if value is None else (float(row[name]) == value)
    ((key, failed),) = rows.items()
    assert key == ("dropout 0.25", 4)
    assert (failed["status"], failed["fingerprint"], failed["val_accuracy"]) == ("failed: killed", "dead", "")


def test_the_arms_table_agrees_with_the_runs(results: StudyResults) -> None:
    rows = {row["arm"]: row for row in rows_of(tables(results)["arms.csv"])}
    assert list(rows) == [arm.name for arm in results.study.arms]
    for arm, by_seed in results.runs.items():
        values = np.array([run.record.metrics["val_accuracy"] for run in by_seed.values()], dtype=float)
        assert float(rows[arm]["val_accuracy_mean"]) == pytest.approx(values.mean())
        assert float(rows[arm]["val_accuracy_deviation"]) == pytest.approx(values.std(ddof=1))
        assert int(rows[arm]["val_accuracy_n"]) == int(rows[arm]["runs"]) == len(values)
    assert rows["dropout 0.5"]["changes"] == "model.dropout: 0.5"
    assert rows["dropout 0.5"]["diverged"] == "1"
    assert rows["dropout 0.5"]["val_loss_n"] == "4"
    assert rows["dropout 0.25"]["failed"] == "1"


def test_the_history_table_is_the_history(results: StudyResults) -> None:
    rows = rows_of(tables(results)["history.csv"])
    expected = [
        (arm, seed, epoch)
        for arm, by_seed in results.runs.items()
        for seed, run in by_seed.items()
        for epoch in run.history()
    ]
    assert len(rows) == len(expected)
    for row, (arm, seed, epoch) in zip(rows, expected, strict=True):
        assert (row["arm"], row["seed"], row["epoch"]) == (arm, str(seed), str(epoch.epoch))
        assert row["val_loss"] == ("" if epoch.val_loss is None else repr(epoch.val_loss))


def test_the_confusions_table_counts_every_prediction(results: StudyResults) -> None:
    rows = rows_of(tables(results)["confusions.csv"])
    for arm, by_seed in results.runs.items():
        counts = [int(row["count"]) for row in rows if row["arm"] == arm]
        assert sum(counts) == 360 * len(by_seed)
        right = sum(int(row["count"]) for row in rows if row["arm"] == arm and row["actual"] == row["predicted"])
        assert right == sum(int(run.predictions()["test"].correct_N().sum()) for run in by_seed.values())
    unclassified = sum(int(row["count"]) for row in rows if row["predicted"] == "")
    assert unclassified == 180


def test_a_name_that_starts_like_a_formula_is_text_in_a_spreadsheet() -> None:
    study = dropout_study(arms={"=HYPERLINK(1)": {}, 'a "b", c': {"model.dropout": 0.1}}, claims=[])
    text = tables(make_results(study, seeds=1))["arms.csv"]
    assert [row["arm"] for row in rows_of(text)] == ["'=HYPERLINK(1)", 'a "b", c']


def test_write_puts_page_and_tables_into_a_new_folder(results: StudyResults, tmp_path: Path) -> None:
    page = write(results, tmp_path / "deep" / "er")
    assert page == tmp_path / "deep" / "er" / "report.html"
    assert page.read_text(encoding="utf-8") == render(build_page(results))
    written = {path.name: path.read_text(encoding="utf-8") for path in (page.parent / "tables").iterdir()}
    assert written == tables(results)
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.html", "tables"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    results: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write(results, tmp_path)
    before = page.read_bytes()
    changed = dataclasses.replace(results, study=dropout_study(question="Another?"))

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError) as caught:
        write(changed, tmp_path)
    assert str(caught.value) == (
        f"The report could not be written to {tmp_path}: No space left on device. "
        "Free some space, or make the folder writable, then run `assay report` again."
    )
    assert page.read_bytes() == before
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_others_may_read_the_report(results: StudyResults, tmp_path: Path) -> None:
    assert write(results, tmp_path).stat().st_mode & 0o777 == 0o644


def test_strings_no_file_can_hold_are_replaced(tmp_path: Path) -> None:
    results = make_results(dropout_study(), seeds=1, classes=["\ud800", "b"], examples=20)
    assert "?" in write(results, tmp_path).read_text(encoding="utf-8")


def printed(results: StudyResults, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, color_system=None).print(summary(results))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_summary_says_verdicts_first_and_then_the_arms(results: StudyResults, width: int) -> None:
    text = printed(results, width)
    lines = text.splitlines()
    assert lines[0] == build_page(results).lead
    flat = " ".join(text.split())
    for claim in build_page(results).claims:
        assert " ".join(claim.sentence.split()) in flat
        if claim.advice and claim.advice.command:
            assert any(line.strip() == claim.advice.command for line in lines)
    for arm in build_page(results).arms:
        (row,) = [line.split() for line in lines if line.strip().startswith(f"{arm.name}  ")]
        assert row[-1] == str(arm.n)
    assert all(len(line) <= width for line in lines if "assay run" not in line)
    assert "\x1b" not in text
    claims = lines[1 : lines.index("")]
    assert claims == [line.rstrip() for line in claims]
    assert all(line.startswith("  ") for line in claims)


def test_the_summary_says_what_is_missing() -> None:
    claims = [{"arm": "plain", "beats": "dropout 0.5", "metric": "val_loss"}]
    results = make_results(dropout_study(claims=claims), {"plain": Behaviour(diverging_seeds=[1])}, seeds=3)
    text = printed(results, 160)
    (plain,) = [line for line in text.splitlines() if line.strip().startswith("plain  ")]
    assert "(n = 2)" in plain
    assert plain.split()[-1] == "3"
    assert text.count("(n = ") == 1
    assert "Stays undecided: val_loss is missing where a run diverged (plain at seed 1)" in text


def test_names_are_not_markup_in_the_summary() -> None:
    study = dropout_study(
        arms={"[red]a[/red]": {}, "[link=x]b": {"model.dropout": 0.1}},
        claims=[{"arm": "[link=x]b", "beats": "[red]a[/red]", "metric": "val_loss"}],
    )
    text = printed(make_results(study, seeds=3), 100)
    assert "[red]a[/red]" in text
    assert "[link=x]b" in text


def test_long_lists_are_cut_and_said_in_the_summary() -> None:
    arms = {f"arm {i}": {"model.dropout": i / 101} for i in range(70)}
    claims = [{"arm": f"arm {i}", "beats": "arm 0", "metric": "val_loss"} for i in range(1, 51)]
    text = printed(make_results(dropout_study(arms=arms, claims=claims), seeds=3, epochs=2, examples=20), 100)
    assert "… and 10 more claims in the report." in text
    assert "… and 10 more arms in the report." in text


def test_reporting_loads_no_training_framework() -> None:
    code = (
        "import sys, assay.reports, assay.reports.charts; "
        "heavy = ('torch', 'torchvision', 'sklearn', 'matplotlib', 'scipy.stats', 'rich'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
