"""What runs noted of themselves reaches the reader, on the page and on the terminal."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

import assay
from assay.records import RunRecord
from assay.reports.notes import MOST_NOTES, noted
from assay.reports.summary import summary
from assay.testing.trials import made_up_recipe, made_up_run


def record(*notes: str, **data: object) -> RunRecord:
    return replace(made_up_run(made_up_recipe(0)).record, notes=notes, data=data)


def test_a_note_says_how_many_runs_of_which_arms_have_it():
    records = {"a": [record("odd"), record("odd", "odd", "even"), record()], "b": [record("odd")], "c": [record()]}
    assert noted(records) == ("Noted in 2 of 3 runs of a, 1 of 1 runs of b: odd", "Noted in 1 of 3 runs of a: even")


def test_what_stands_with_the_data_is_left_out():
    known = record(
        "grey all over", "2 examples left out as unreadable; …", "new", remarks=["grey all over"], skipped=[1, 2]
    )
    assert noted({"a": [known]}) == ("Noted in 1 of 1 runs of a: new",)


def test_many_notes_and_arms_and_words_are_cut_and_said_to_be():
    many = noted({"a": [record(*(f"note {number}" for number in range(MOST_NOTES + 3)))]})
    assert len(many) == MOST_NOTES + 1
    assert many[-1] == "3 more notes stand in the runs' record.json."
    (wide,) = noted({f"arm {number}": [record("same")] for number in range(6)})
    assert wide.endswith("1 of 1 runs of arm 3 and of 2 more arms: same")
    (long,) = noted({"a": [record("word\n" * 200)]})
    assert len(long) < 350
    assert "\n" not in long
    assert long.endswith("…")


def test_runs_that_stopped_at_different_epochs_are_one_note():
    def stopped(after: int, since: int, watched: str = "val_accuracy") -> RunRecord:
        return record(
            f"Training stopped after epoch {after}: {watched} had not improved for 3 measurements since epoch {since}."
        )

    records = {"a": [stopped(7, 4), stopped(12, 9), record("at epoch 3")], "b": [stopped(7, 4), record("at epoch 4")]}
    assert noted(records) == (
        "Noted in 2 of 3 runs of a, 1 of 2 runs of b: Training stopped after epochs 7 to 12: val_accuracy had not "
        "improved for 3 measurements since epochs 4 to 9.",
        "Noted in 1 of 3 runs of a: at epoch 3",
        "Noted in 1 of 2 runs of b: at epoch 4",
    )
    assert noted({"a": [stopped(7, 4)] * 2})[0].endswith(
        "after epoch 7: val_accuracy had not improved for 3 measurements since epoch 4."
    )
    assert len(noted({"a": [stopped(7, 4), stopped(7, 4, "val_loss")]})) == 2


@pytest.fixture(scope="module")
def unconverged(tmp_path_factory):
    study = assay.Study(
        question="Does it converge?",
        base={"data": {"source": "digits", "fraction": 0.2}, "model": {"name": "logistic_regression"}},
        arms={"<b>hasty</b>": {"model.iterations": 2}, "patient": {}},
        seeds={"at_least": 2, "at_most": 2},
    )
    return assay.run(study, store=tmp_path_factory.mktemp("store"), executor="inline", device="cpu")


def test_the_page_shows_them_escaped(unconverged):
    page = assay.report(unconverged).read_text(encoding="utf-8")
    assert "Noted in 2 of 2 runs of &lt;b&gt;hasty&lt;/b&gt;:" in page
    assert "<b>hasty" not in page
    assert "converge" in page[page.index("Noted in 2 of 2 runs") :][:300]
    assert "runs of patient" not in page


def test_the_terminal_shows_them(unconverged):
    screen = StringIO()
    Console(file=screen, width=200).print(summary(unconverged))
    assert "Noted in 2 of 2 runs of <b>hasty</b>:" in screen.getvalue()
