"""The page as HTML: well-formed, closed to the outside, and harmless whatever it is fed."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_study import BASE, DROPOUT, Behaviour, dropout_study, make_results

from assay.records import FailedRun
from assay.reports import build_page, render, words
from assay.reports.render import embedded_json
from assay.studies.design import Study
from assay.studies.results import StudyResults

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Document(HTMLParser):
    """Every element with its attributes, its text, and whether all were closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> repeats an attribute"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text_in(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    @property
    def visible(self) -> str:
        return " ".join(
            " ".join(text.split()) for tag, text in self.texts if tag not in {"script", "style"} and text.strip()
        )


@pytest.fixture(scope="module")
def results() -> StudyResults:
    return make_results(dropout_study(), DROPOUT, seeds=5, evaluated=True)


@pytest.fixture(scope="module")
def text(results: StudyResults) -> str:
    return render(build_page(results))


@pytest.fixture(scope="module")
def document(text: str) -> Document:
    return Document(text)


def test_the_page_is_well_formed(document: Document) -> None:
    assert document.open == []
    assert document.elements[0][0] == "html"
    assert [attributes["lang"] for attributes in document.all("html")] == ["en"]
    assert len(document.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(attributes["href"])[1:] for attributes in document.all("a")]
    assert targets
    assert set(targets) <= set(ids)


def test_the_page_needs_nothing_from_outside(document: Document, text: str) -> None:
    for tag, attributes in document.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert "src" not in attributes
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")


def test_the_policy_admits_exactly_the_style_sheet_and_the_script(document: Document) -> None:
    policies = [m["content"] for m in document.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    (style,) = document.text_in("style")
    scripts = [text for text in document.text_in("script") if not text.startswith("{")]
    assert len(scripts) == 1

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    assert policies == [
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(scripts[0])}; "
        "base-uri 'none'; form-action 'none'"
    ]


def test_every_figure_can_be_read_without_seeing_it(document: Document) -> None:
    charts = [attributes for attributes in document.all("svg") if attributes.get("role") == "img"]
    assert len(charts) == 4 + 8 + 3 * 4 + 4 + 4  # claims, curve panels, distribution rows, matrices, reliability
    assert all(attributes["aria-label"] and attributes["tabindex"] == "0" for attributes in charts)
    plain = [a for a in document.all("svg") if a.get("role") != "img" and a.get("class") != "stretch"]
    assert all(attributes.get("aria-hidden") == "true" for attributes in plain)
    assert all(attributes.get("scope") in {"col", "row"} for attributes in document.all("th"))


def test_numbers_on_the_page_are_those_of_the_runs(results: StudyResults, document: Document) -> None:
    page = build_page(results)
    for arm in page.arms:
        for metric, known in zip(page.metrics, arm.estimates, strict=True):
            assert words.plus_minus(metric, known.mean, known.half_width) in document.visible
    for claim in page.claims:
        assert claim.statement in document.visible
        assert all(part in document.visible for part in claim.numbers)
    for by_seed in results.runs.values():
        for run in by_seed.values():
            assert run.fingerprint[:12] in document.visible
    titles = document.text_in("title")
    for run in results.runs["plain"].values():
        assert any(title.endswith(f"(run {run.fingerprint[:12]})") for title in titles)


def test_verdicts_come_before_everything_else(document: Document) -> None:
    visible = document.visible
    order = [
        visible.index(text) for text in ("Does dropout help", "4 claims:", "Learning curves By epoch", "Record What")
    ]
    assert order == sorted(order)


def test_the_curves_data_hold_the_drawn_values(results: StudyResults, document: Document) -> None:
    first = next(text for text in document.text_in("script") if text.startswith("{"))
    data = json.loads(first)
    curve = build_page(results).curves.panels[0].curves[0]
    assert data["percent"] is True
    assert data["curves"][0]["arm"] == "plain"
    assert data["curves"][0]["mean"] == pytest.approx(
        [100 * mean for mean in curve.mean if mean is not None], abs=0.006
    )


def hostile_results(*names: str) -> StudyResults:
    arms: dict[str, Any] = {name: {"model.dropout": 0.01 * number} for number, name in enumerate(names)}
    claims = [{"arm": name, "beats": names[0], "metric": "val_accuracy"} for name in names[1:]]
    study = Study(question=names[0], base=BASE, arms=arms, claims=claims).read_from(names[-1])
    failure = FailedRun(
        fingerprint="0" * 64,
        recipe={},
        kind="killed",
        message=names[0],
        traceback=names[-1],
        failed_at=names[0],
        seconds=0.0,
    )
    return make_results(
        study,
        seeds=3,
        failing={names[0]: {2: failure}},
        classes=(*names, "\u202eoverridden", "\ud800 lone surrogate", "nul \x00"),
        examples=30,
        epochs=3,
        environment={names[0]: names[-1]},
    )


HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    "</title></style><!-- {{ 1 + 1 }} -->",
    "\u05e2\u05d1\u05e8\u05d9\u05ea right to left",
    "🦉" * 100,
    "y" * 300,
)


def test_hostile_text_stays_text() -> None:
    text = render(build_page(hostile_results(*HOSTILE)))
    document = Document(text)
    assert document.open == []
    assert {tag for tag, _ in document.elements} == {
        tag
        for tag, _ in Document(render(build_page(make_results(dropout_study(), seeds=3, failing=failing())))).elements
    }
    for name in HOSTILE:
        assert " ".join(name.split()) in document.visible
    assert not any(name.startswith("on") for _, attributes in document.elements for name in attributes)


def failing() -> dict[str, dict[int, FailedRun]]:
    failure = FailedRun(
        fingerprint="f",
        recipe={},
        kind="timeout",
        message="m",
        traceback="t",
        failed_at="2026-03-01T11:00:00Z",
        seconds=0.0,
    )
    return {"plain": {2: failure}}


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    lambda name: name == name.strip() and name.isprintable()  # as arms may be named
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(names, min_size=2, max_size=3, unique=True))
def test_any_names_give_a_well_formed_page(chosen: list[str]) -> None:
    document = Document(render(build_page(hostile_results(*chosen))))
    assert document.open == []
    for name in chosen:
        assert " ".join(name.split()) in document.visible


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_embedded_json_can_stand_in_a_script(value: Any) -> None:
    text = str(embedded_json(value))
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_failed_and_diverged_runs_are_shown_with_the_way_on() -> None:
    results = make_results(dropout_study(), {"dropout 0.5": Behaviour(diverging_seeds=[0])}, seeds=3, failing=failing())
    document = Document(render(build_page(results)))
    assert "1 run failed and left no numbers" in document.visible
    assert "assay run labs/digits/dropout.yaml" in document.visible
    assert "ran out of time" in document.visible
    assert "dropout 0.5, seed 0: in epoch 10, step 180" in document.visible


def test_a_remark_stands_beside_what_is_not_drawn() -> None:
    arms = {f"arm {i}": {"model.dropout": i / 101} for i in range(30)}
    results = make_results(dropout_study(arms=arms, claims=[]), seeds=1, epochs=2, examples=30)
    assert "Curves of 24 of 30 arms are drawn" in Document(render(build_page(results))).visible


def test_an_empty_study_renders() -> None:
    document = Document(render(build_page(make_results(dropout_study(), seeds=0))))
    assert document.open == []
    assert "no pair of runs has val_accuracy so far" in document.visible


def test_the_largest_page_keeps_to_its_size() -> None:
    arms = {f"arm {i} " + "n" * 50: {"model.dropout": i / 101} for i in range(100)}
    first = next(iter(arms))
    claims = [{"arm": arm, "beats": first, "metric": "val_accuracy"} for arm in list(arms)[1:]]
    study = dropout_study(arms=arms, claims=claims, seeds={"at_least": 3, "at_most": 12})
    results = make_results(study, seeds=10, epochs=200, classes=[f"class number {i}" for i in range(100)])
    text = render(build_page(results))
    assert sum(len(runs) for runs in results.runs.values()) == 1000
    assert len(text.encode()) <= 6_000_000


def test_words_in_the_page_are_escaped_once(document: Document, text: str) -> None:
    assert "&amp;lt;" not in text
    assert html.unescape("&minus;") in document.visible
    assert not re.search(r"&(?:amp|lt|#39);", document.visible)


def test_the_same_results_give_the_same_page(results: StudyResults, text: str) -> None:
    assert render(build_page(results)) == text
    assert render(dataclasses.replace(build_page(results))) == text


def test_a_page_without_claims_speaks_of_no_comparisons() -> None:
    said = "verdicts rest on the paired comparisons above"
    assert said in render(build_page(make_results(dropout_study(), DROPOUT, seeds=3)))
    assert said not in render(build_page(make_results(dropout_study(claims=[]), DROPOUT, seeds=3)))
