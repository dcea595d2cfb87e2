"""Verdicts are sentences that a student cannot misread, and their advice works."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
from synthetic_study import DROPOUT, Behaviour, dropout_study, make_results

import assay
from assay.reports import build_page
from assay.reports.page import Page
from assay.studies.results import StudyResults


@pytest.fixture(scope="module")
def results() -> StudyResults:
    return make_results(dropout_study(), DROPOUT, seeds=8)


@pytest.fixture(scope="module")
def page(results: StudyResults) -> Page:
    return build_page(results)


def test_verdicts_are_sentences_with_effect_interval_n_and_margin(results: StudyResults, page: Page) -> None:
    hurts = page.claims[1]
    claim = results.claims[1]
    assert claim.effect is not None
    assert claim.low is not None
    assert claim.high is not None
    assert hurts.verdict == "hurts"
    found = re.fullmatch(
        r"dropout 0\.95 hurts against plain: val_accuracy −(\S+) points \[−(\S+), −(\S+)\], n = (\d+) seeds; "
        r"margin ±1\.0 point\.",
        hurts.sentence,
    )
    assert found, hurts.sentence
    effect, low, high = (-float(text) / 100 for text in found.groups()[:3])
    assert effect == pytest.approx(claim.effect, abs=0.0006)
    assert (low, high) == (pytest.approx(claim.low, abs=0.0006), pytest.approx(claim.high, abs=0.0006))
    assert int(found[4]) == claim.n
    assert hurts.standing == "Claimed: dropout 0.95 is better than plain. Not supported."


def test_every_verdict_has_its_sentence(results: StudyResults) -> None:
    said = {
        "helps": "dropout 0.5 helps against plain: ",
        "hurts": "dropout 0.5 hurts against plain: ",
        "no difference that matters": "dropout 0.5 makes no difference that matters against plain: ",
        "undecided": "dropout 0.5 against plain is undecided: ",
    }
    for verdict, opening in said.items():
        changed = (dataclasses.replace(results.claims[0], verdict=verdict), *results.claims[1:])  # type: ignore[arg-type]
        entry = build_page(dataclasses.replace(results, claims=changed)).claims[0]
        assert entry.sentence.startswith(opening)
        assert (entry.advice is not None) == (verdict == "undecided")


def test_the_lead_counts_the_outcomes(page: Page) -> None:
    assert page.lead == "4 claims: 1 supported, 1 not supported, 2 undecided."


def test_a_study_without_claims_says_so() -> None:
    page = build_page(make_results(dropout_study(claims=[]), DROPOUT))
    assert page.lead.startswith("This study declares no claims")
    assert page.claims == ()
    assert page.method == ()


@pytest.mark.parametrize(
    ("more", "added"),
    [
        (1, "--set seeds.at_most=12"),
        (4, "--set seeds.at_most=12"),
        (5, "--set seeds.at_most=20"),
        (900, "--set seeds.at_most=1200"),
        ("> 1,000", None),
        (None, None),
    ],
)
def test_undecided_claims_say_how_to_get_more_seeds(
    results: StudyResults, more: int | str | None, added: str | None
) -> None:
    claim = dataclasses.replace(results.claims[0], verdict="undecided", more_seeds=more, n=8, dropped=0)
    advice = build_page(dataclasses.replace(results, claims=(claim,))).claims[0].advice
    assert advice is not None
    assert advice.command == added
    if isinstance(more, int):
        assert advice.sentence.startswith(f"About {more} more seed")
        assert advice.sentence.endswith("give the same command again with this added:")
    if more == "> 1,000":
        assert advice.sentence.startswith("> 1,000 further seeds would be needed")
    assert "At 8 seeds, 80 % of studies like this one would detect an effect of " in advice.sentence


STUDY_FILE = """
base:
  data: {source: digits}
  model: {name: mlp}
arms: {a: {}, b: {model.dropout: 0.1}}
claims: [{arm: b, beats: a}]
"""


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ("seeds: 8", []),
        ("seeds: {at_least: 8, at_most: 8}", []),
        ("seeds: 1", []),
        ("seeds: {at_least: 3, at_most: 8}", ["base.train.epochs=5"]),
        ("seeds: {at_least: 5}", ["seeds.at_most=8"]),
        ("seeds: 3", ["seeds=8"]),
        ("", ["seeds.at_most=8"]),
    ],
)
def test_what_is_to_be_added_works_behind_the_command_of_before(tmp_path: Path, seeds: str, words: list[str]) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY_FILE + seeds, encoding="utf-8")
    study = assay.load(file, words)
    results = make_results(study, seeds=study.seeds.at_most, epochs=2)
    claim = dataclasses.replace(results.claims[0], verdict="undecided", more_seeds=20)
    advice = build_page(dataclasses.replace(results, claims=(claim,))).claims[0].advice
    assert advice is not None
    assert advice.command is not None
    option, setting = shlex.split(advice.command)
    assert option == "--set"
    enlarged = assay.load(file, [*words, setting])
    assert enlarged.seeds.at_most == (32 if study.seeds.at_most == 8 else 3)
    assert enlarged.seeds.at_least == study.seeds.at_least
    assert enlarged.arms == study.arms


def test_without_a_look_the_first_one_is_named() -> None:
    single = make_results(dropout_study(seeds=1), DROPOUT, seeds=1)
    advice = build_page(single).claims[0].advice
    assert advice is not None
    assert advice.sentence.startswith("Fewer than 3 seeds decide nothing.")
    interrupted = make_results(dropout_study(seeds={"at_least": 5, "at_most": 20}), DROPOUT, seeds=3)
    advice = build_page(interrupted).claims[0].advice
    assert advice is not None
    assert advice.sentence.startswith("The first look at the claims is at 5 seeds.")
    assert advice.command is None


def test_a_claim_that_seeds_cannot_decide_is_not_advised_to_have_more() -> None:
    claims = [{"arm": "plain", "beats": "dropout 0.5", "metric": "val_loss"}]
    results = make_results(dropout_study(claims=claims), {"plain": Behaviour(diverging_seeds=[1])}, seeds=3)
    entry = build_page(results).claims[0]
    assert entry.verdict == "undecided"
    assert entry.advice is None
    assert entry.standing.endswith("More seeds cannot decide it.")
    assert entry.notes[0].startswith("Stays undecided: val_loss is missing where a run diverged (plain at seed 1)")
    none_left = make_results(dropout_study(claims=claims), {"plain": Behaviour(diverging_seeds=[0, 1, 2])}, seeds=3)
    assert build_page(none_left).claims[0].sentence == (
        "plain against dropout 0.5 stays undecided, for no pair of runs has val_loss."
    )


@pytest.mark.parametrize(
    ("kind", "metric", "said", "claimed"),
    [
        ("beats", "val_accuracy", "0.5 · a − 0.5 · b is above 0, which helps: ", "is above 0. Supported."),
        ("beats", "val_loss", "0.5 · a − 0.5 · b is above 0, which hurts: ", "is below 0. Not supported."),
        ("matches", "val_loss", "0.5 · a − 0.5 · b is above 0, which hurts: ", "by less than the margin from 0. Not "),
    ],
)
def test_a_contrast_lies_above_or_below_zero(kind: str, metric: str, said: str, claimed: str) -> None:
    study = dropout_study(
        arms={"a": {}, "b": {"model.dropout": 0.5}},
        claims=[{"contrast": {"a": 0.5, "b": -0.5}, kind: 0, "metric": metric}],
        margin={metric: 1e-6},
    )
    results = make_results(study, {"b": Behaviour(accuracy=0.8, overfit=-20.0)}, seeds=5)
    entry = build_page(results).claims[0]
    assert entry.sentence.startswith(said)
    assert claimed in entry.standing


def test_the_direction_is_said_where_lower_is_better(page: Page) -> None:
    assert ["lower is better" in claim.sentence for claim in page.claims] == [False, False, False, True]


def test_a_study_stopped_early_is_continued_and_not_enlarged() -> None:
    results = make_results(dropout_study(seeds={"at_least": 3, "at_most": 50}), DROPOUT, seeds=3)
    claim = dataclasses.replace(results.claims[0], verdict="undecided", more_seeds=10)
    advice = build_page(dataclasses.replace(results, claims=(claim,))).claims[0].advice
    assert advice is not None
    assert advice.command is None
    assert advice.sentence.endswith("To go on, give the same command again.")
