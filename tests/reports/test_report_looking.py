"""The closer look in the report: what runs kept, how far it is trusted, and how it is shown."""

from __future__ import annotations

import json
import re
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from look_files import PICTURES, picture, results_with_looks, weights
from synthetic_study import MemoryRun, dropout_study, make_results

from assay.metrics.mistakes import mistakes_read
from assay.reports import looking as room
from assay.reports.build import build_page
from assay.reports.charts import histogram, sheet, thumbnail
from assay.reports.looking import MOST_ARMS, Looking
from assay.reports.pictures import picture_of
from assay.reports.render import render
from assay.reports.weights import MOST_CELLS, MOST_COLUMNS, WeightCell, WeightRow
from assay.studies.results import StudyResults

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def results() -> StudyResults:
    return results_with_looks(["plain", "other"], seeds=3)


def looking_of(results: StudyResults) -> Looking:
    return build_page(results).looking


def section_of(results: StudyResults) -> str:
    """The section's words, without markup, on one line."""
    found = re.search(r'<section id="looking".*?</section>', render(build_page(results)), re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", found.group()).replace("&nbsp;", " ").split()) if found else ""


def bomb(width: int, height: int) -> bytes:
    """A small PNG of very many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_the_first_seed_is_shown_and_wrong_answers_are_counted_over_all(results: StudyResults) -> None:
    arm = looking_of(results).mistakes[1]
    assert (arm.arm, arm.position, arm.seed, arm.seeds) == ("other", 1, 0, 3)
    run = results.runs["other"][0]
    kept = mistakes_read(run.artefact("mistakes.json") or b"", classes=10)
    assert [one.position for one in arm.worst] == [kept.examples[place].position for place in kept.worst]
    for one in [*arm.worst, *(one for pair in arm.pairs for one in pair.examples)]:
        wrong = 0
        for stored in results.runs["other"].values():
            predictions = stored.predictions()["test"]
            (place,) = np.flatnonzero(predictions.indices_N == one.position)
            wrong += int(not predictions.correct_N()[place])
        assert one.wrong == wrong
    assert {one.wrong for one in arm.worst} > {3}
    assert all(pair.count >= len(pair.examples) > 0 for pair in arm.pairs)


def test_runs_of_other_test_examples_are_not_counted_together(results: StudyResults) -> None:
    runs = {name: dict(of) for name, of in results.runs.items()}
    run = runs["plain"][2]
    assert isinstance(run, MemoryRun)
    moved = replace(run.predictions()["test"], indices_N=run.predictions()["test"].indices_N + 1)
    runs["plain"][2] = MemoryRun(replace(run._run, predictions={**run.predictions(), "test": moved}))
    found = looking_of(replace(results, runs=runs))
    assert {one.wrong for one in found.mistakes[0].worst} == {None}
    assert None not in {one.wrong for one in found.mistakes[1].worst}


def test_the_page_says_what_is_shown(results: StudyResults) -> None:
    text = section_of(results)
    worst = looking_of(results).mistakes[0].worst[0]
    assert worst.probability is not None
    assert f"{worst.actual} (2.0 %) taken for {worst.predicted} (90.0 %) wrong in {worst.wrong} of 3 seeds" in text
    for words in ("Greatest loss", "At the convolution conv2", "Filters of the first convolution", "conv1.weight"):
        assert words in text
    assert "near zero: 11.0 ± 2.5 %" in text


def test_pictures_are_admitted_by_the_policy_and_stand_in_the_page_once(results: StudyResults) -> None:
    html = render(build_page(results))
    assert "img-src data:; base-uri" in html
    assert html.count("data:image/png") == 3 * 2
    assert len(re.findall(r'<use href="#mistakes-1"', html)) > 18
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<use href="#([^"]*)"', html)) <= set(ids)


def test_a_study_that_kept_nothing_has_no_section() -> None:
    html = render(build_page(make_results(dropout_study(), seeds=2, epochs=2)))
    assert 'id="looking"' not in html
    assert "img-src" not in html


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    "content",
    [b"", b"<svg onload=alert(1)>" * 10, picture()[:-1], picture() + bytes(100_000), bomb(60_000, 60_000), bomb(0, 5)],
    ids=["empty", "no picture", "cut", "large", "bomb", "no pixels"],
)
def test_what_is_no_small_picture_is_not_shown_and_said_so(name: str, content: bytes) -> None:
    found = looking_of(results_with_looks(["plain", "other"], instead={name: content}))
    assert found.remarks == (f"What was kept is damaged, and not shown, of plain: {name}.",)
    for shown in (found.mistakes, found.activations, found.filters):
        assert ("plain" not in {arm.arm for arm in shown}) == (
            shown is {PICTURES[0]: found.mistakes, PICTURES[1]: found.activations, PICTURES[2]: found.filters}[name]
        )


@pytest.mark.parametrize("name", ["mistakes.png", "class_activation.png"])
def test_a_sheet_of_another_size_than_is_spoken_of_is_not_shown(name: str) -> None:
    found = looking_of(results_with_looks(["plain"], instead={name: picture(96, 96)}))
    assert found.remarks == (f"What was kept is damaged, and not shown, of plain: {name}.",)
    missing = looking_of(results_with_looks(["plain"], instead={name: None}))
    assert missing.remarks == found.remarks


@pytest.mark.parametrize("name", ["mistakes.json", "class_activation.json", "weights.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b'{"examples": [7]}', b" " * 500_000, b"\xff\xfe"])
def test_a_damaged_description_is_not_shown_and_said_so(name: str, content: bytes) -> None:
    results = results_with_looks(["plain", "other"], instead={name: content})
    assert f"What was kept is damaged, and not shown, of plain: {name}." in section_of(results)


def test_classes_that_are_not_there_are_not_shown() -> None:
    of_more = results_with_looks(["plain"], classes=[f"class {at}" for at in range(20)])
    content = of_more.runs["plain"][0].artefact("mistakes.json")
    assert looking_of(results_with_looks(["plain"], instead={"mistakes.json": content})).mistakes == ()


def test_weights_of_all_arms_are_drawn_over_one_range() -> None:
    found = looking_of(results_with_looks(["plain", "other"], instead={"weights.json": weights(scale=3.0)})).weights
    assert [column.arm for column in found.columns] == ["plain", "other"]
    row = found.rows[0]
    plain, other = row.cells
    assert plain is not None
    assert other is not None
    assert (row.name, row.low, row.high) == ("conv1.weight", plain.low, plain.high)
    assert plain.deviation > 20 * other.deviation
    assert found.columns[0].near_zero.mean == pytest.approx(0.105)


def test_arms_have_the_layers_that_they_have() -> None:
    found = looking_of(
        results_with_looks(["plain", "other"], instead={"weights.json": weights(["first.weight"])})
    ).weights
    assert [(row.name, [cell is None for cell in row.cells]) for row in found.rows] == [
        ("first.weight", [False, True]),
        ("conv1.weight", [True, False]),
        ("output.weight", [True, False]),
    ]


def test_weights_that_are_not_finite_have_no_histogram() -> None:
    content = json.loads(weights(["a.weight", "b.weight"]))
    content[0].update(low=None, high=None, deviation=None, counts=[], not_finite=600)
    content[1].update(low=-1e308, high=1e308)
    results = results_with_looks(["plain"], instead={"weights.json": json.dumps(content).encode()})
    assert [row.cells for row in looking_of(results).weights.rows] == [(None,), (None,)]
    assert "a.weight 0 to 0 –" in section_of(results)


def test_many_arms_and_layers_are_cut_with_a_remark() -> None:
    arms = [f"arm {at}" for at in range(MOST_ARMS + 3)]
    found = looking_of(results_with_looks(arms, seeds=1, layers=[f"layer{at}.weight" for at in range(80)]))
    assert len(found.filters) <= MOST_ARMS
    assert found.remarks == (
        f"Pictures are shown of the first {len(found.filters)} of {len(arms)} arms; each run keeps its own.",
    )
    assert len(found.weights.columns) == MOST_COLUMNS
    assert len(found.weights.rows) == MOST_CELLS // MOST_COLUMNS
    assert found.weights.remarks == (
        f"The first {MOST_COLUMNS} of {len(arms)} arms are shown; each run keeps its own.",
        f"The first {MOST_CELLS // MOST_COLUMNS} of 80 tensors are shown; all are in weights.json of each run.",
    )


def test_pictures_stop_where_the_page_would_become_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    results = results_with_looks(["a", "b", "c"], seeds=1)
    one = sum(len(picture_of(results.runs["a"][0].artefact(name) or b"").uri) for name in PICTURES)  # type: ignore[union-attr]
    monkeypatch.setattr(room, "MOST_ON_THE_PAGE", 2 * one + 5_000)
    found = looking_of(results)
    assert [arm.arm for arm in found.filters] == ["a", "b"]
    assert found.remarks == ("Pictures are shown of the first 2 of 3 arms; each run keeps its own.",)


def test_every_name_is_escaped() -> None:
    results = results_with_looks([HOSTILE], classes=[HOSTILE, "{{ 7 * 7 }}", "x"], layers=[HOSTILE])
    html = render(build_page(results))
    assert "<img src=x" not in html
    assert "&lt;/script&gt;&lt;img" in html
    assert "{{ 7 * 7 }}" in html
    assert "49" not in section_of(results).replace("{{ 7 * 7 }}", "") or "{{ 7 * 7 }}" in section_of(results)


def test_five_arms_of_five_seeds_keep_to_the_size_of_a_page() -> None:
    names = [f"arm {at}" for at in range(5)]
    layers = [f"stage{at}.convolution.weight" for at in range(20)]
    results = results_with_looks(names, seeds=5, examples=2_000, epochs=100, evaluated=True, layers=layers)
    sizes = {name: len(results.runs["arm 0"][0].artefact(name) or b"") for name in PICTURES}
    assert sizes["mistakes.png"] > 20_000
    assert sizes["class_activation.png"] > 40_000
    found = looking_of(results)
    assert len(found.mistakes) == len(found.activations) == len(found.filters) == 5
    assert found.remarks == ()
    html = render(build_page(results))
    assert len(html.encode()) < 3_000_000


# --- charts -----------------------------------------------------------------------------------------------------------


def cell(**changes: Any) -> WeightCell:
    options = {"size": 10, "near_zero": 0.0, "not_finite": 0, "low": -1.0, "high": 1.0, "deviation": 0.5}
    return WeightCell(**{**options, "counts": (1, 4, 2), **changes})


def test_a_histogram_lies_where_its_weights_do() -> None:
    row = WeightRow(name="w", low=-2.0, high=1.0, cells=())
    drawn = histogram(row, cell(), 1)
    assert 'd="M50 40V30H83.3V0H116.7V20H150V40Z"' in drawn
    assert 'x1="100" x2="100"' in drawn
    assert "a1" in drawn


def test_a_histogram_of_equal_weights_is_a_spike() -> None:
    row = WeightRow(name="w", low=0.5, high=0.5, cells=())
    drawn = histogram(row, cell(low=0.5, high=0.5, counts=(0, 3, 0)), 0)
    assert 'd="M74.5 40V40H74.8V0H75.2V40H75.5V40Z"' in drawn
    assert "zero" not in drawn


def test_a_thumbnail_shows_its_tile(results: StudyResults) -> None:
    drawn = looking_of(results).mistakes[0].sheet
    assert (drawn.tiles.columns, drawn.tiles.width) == (6, 32)
    assert 'viewBox="32 64 32 32" width="96" height="96"' in thumbnail(drawn, "s", 13, "a <cat>")
    assert "a &lt;cat&gt;" in thumbnail(drawn, "s", 13, "a <cat>")
    assert 'class="thumb pixels"' in thumbnail(drawn, "s", 13, "cat")
    assert f'id="s" href="{drawn.picture.uri}"' in sheet(drawn, "s")
