"""The report's section on data: facts, class counts, and pictures of augmentation."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from synthetic_study import BASE, Behaviour, MemoryRun, make_run

from assay.records import Run
from assay.reports.build import build_page
from assay.reports.page import Page
from assay.reports.render import render
from assay.studies.design import Study
from assay.studies.results import StudyResults

FACTS = {
    "source": "digits",
    "shape": [1, 8, 8],
    "counts": {"train": [110, 120], "val": [30, 30], "test": [36, 37]},
    "skipped": [],
    "remarks": [],
}


def png(width: int = 30, height: int = 20) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(content, "PNG")
    return content.getvalue()


class CountingRun(MemoryRun):
    asked = 0

    def artefact(self, name: str) -> bytes | None:
        CountingRun.asked += name == "augmented.png"
        return super().artefact(name)


def page_of_runs(
    arms: Mapping[str, Mapping[str, Any]],
    *,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    pictures: Mapping[str, bytes] | None = None,
    seeds: int = 3,
) -> Page:
    """A study of two classes whose runs kept these facts, and, where arms augment, these pictures."""
    study = Study.model_validate({"name": "made", "question": "?", "base": BASE, "arms": arms, "seeds": seeds})
    runs: dict[str, dict[int, MemoryRun]] = {}
    for number, arm in enumerate(study.arms):
        recipe = arm.recipe.resolved()
        for seed in range(seeds):
            run = make_run(seed, number, Behaviour(), epochs=2, classes=["cat", "dog"], examples=20, recipe=recipe)
            data = (facts or {}).get(arm.name, FACTS)
            content = (pictures or {}).get(arm.name)
            kept: Run = replace(
                run,
                record=replace(run.record, data=data),
                artefacts={} if content is None else {"augmented.png": content},
            )
            runs.setdefault(arm.name, {})[seed] = CountingRun(kept)
    fingerprints = {arm: {seed: run.fingerprint for seed, run in of.items()} for arm, of in runs.items()}
    return build_page(StudyResults(study=study, runs=runs, fingerprints=fingerprints, failures={}, claims=()))


def test_arms_with_the_same_data_stand_together() -> None:
    other = {**FACTS, "counts": {"train": [11, 12], "val": [3, 3], "test": [36, 37]}}
    page = page_of_runs({"a": {}, "b": {"train.epochs": 9}, "few": {"data.fraction": 0.1}}, facts={"few": other})
    assert [entry.arms for entry in page.data.entries] == [("a", "b"), ("few",)]
    first, second = page.data.entries
    assert first.shape == "grey images of 8 × 8"
    assert [(split.split, split.examples, split.fewest, split.most) for split in first.splits] == [
        ("train", 230, 110, 120),
        ("val", 60, 30, 30),
        ("test", 73, 36, 37),
    ]
    assert [(row.name, row.counts) for row in first.classes] == [("cat", (110, 30, 36)), ("dog", (120, 30, 37))]
    assert second.splits[0].examples == 23


def test_folders_are_told_apart_by_their_names() -> None:
    folder = {**FACTS, "source": "folder"}
    data = {"source": "folder", "root": "/photos/birds", "size": 8}
    arms = {"a": {"data": data}, "b": {"data": {**data, "root": "photos/trees/"}}}
    page = page_of_runs(arms, facts={"a": folder, "b": folder})
    assert [entry.source for entry in page.data.entries] == ["folder birds", "folder trees"]


def test_runs_that_kept_no_facts_have_no_section() -> None:
    page = page_of_runs({"a": {}, "b": {"train.epochs": 9}}, facts={"a": {}, "b": {}})
    assert page.data.entries == ()
    text = render(page)
    assert 'id="data"' not in text
    assert "img-src" not in text


def test_skipped_examples_and_remarks_are_listed_and_escaped() -> None:
    facts = {
        **FACTS,
        "skipped": [f"<img src=x onerror=alert({at})>.png: truncated" for at in range(14)],
        "remarks": ["1 file is <b>no</b> image."],
    }
    page = page_of_runs({"a": {}, "b": {"train.epochs": 9}}, facts={"a": facts, "b": facts})
    assert page.data.entries[0].skipped_in_all == 14
    assert len(page.data.entries[0].skipped) == 10
    text = render(page)
    assert "14 examples left out as unreadable" in text
    assert "And 4 more, listed in record.json" in text
    assert "&lt;img src=x onerror=alert(0)&gt;" in text
    assert "<img src=x" not in text
    assert "&lt;b&gt;no&lt;/b&gt;" in text


def test_a_picture_is_shown_for_each_augmentation_and_admitted_by_the_policy() -> None:
    page = page_of_runs(
        {
            "plain": {},
            "shifted": {"augment.crop_padding": 1},
            "shifted longer": {"augment.crop_padding": 1, "train.epochs": 9},
            "erased": {"augment.erasing": 0.5},
        },
        pictures={"shifted": png(31, 21), "shifted longer": png(31, 21), "erased": png()},
    )
    shifted, erased = page.data.sheets
    assert shifted.arms == ("shifted", "shifted longer")
    assert (shifted.picture.width, shifted.picture.height) == (31, 21)
    assert base64.b64decode(shifted.picture.uri.removeprefix("data:image/png;base64,")) == png(31, 21)
    assert [(setting.key, setting.value) for setting in shifted.settings] == [
        ("crop_padding", "1"),
        ("crop_fill", "zeros"),
    ]
    assert [setting.key for setting in erased.settings] == ["erasing", "erasing_area", "erasing_ratio"]
    text = render(page)
    assert "img-src data:; base-uri" in text
    assert text.count("<img ") == 2
    assert 'alt="Contact sheet of training images of shifted, each beside crop padding 1, crop fill zeros"' in text


def test_one_run_of_an_augmentation_is_asked_for_its_picture() -> None:
    CountingRun.asked = 0
    page_of_runs(
        {"plain": {}, "shifted": {"augment.crop_padding": 1}, "again": {"augment.crop_padding": 1, "train.epochs": 9}},
        pictures={"shifted": png(), "again": png()},
        seeds=5,
    )
    assert CountingRun.asked == 1


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"<svg onload=alert(1)>" * 10, png() + bytes(300_000)])
def test_what_is_no_small_picture_is_left_out(content: bytes) -> None:
    page = page_of_runs({"a": {}, "b": {"augment.crop_padding": 1}}, pictures={"b": content})
    assert page.data.sheets == ()
    assert "<img " not in render(page)


def test_many_augmentations_are_cut_with_a_remark() -> None:
    arms = {f"arm {at}": {"augment.rotation": float(at + 1)} for at in range(15)}
    page = page_of_runs(arms, pictures=dict.fromkeys(arms, png()), seeds=2)
    assert len(page.data.sheets) == 12
    assert page.data.remarks == ("The first 12 augmentations are pictured; 3 more are not.",)
    assert "<details open" not in render(page).partition('id="data"')[2].partition('id="record"')[0]
