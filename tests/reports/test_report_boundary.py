"""The decision boundary in the report: contours, what a run kept and how far it is trusted, what is drawn and named."""

from __future__ import annotations

import base64
import json
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from boundary_artefacts import artefact, results_with_boundaries
from hypothesis import given
from hypothesis import strategies as st

from assay.reports.boundary import LEVELS, MOST_PANELS, MOST_PATHS, SIZE
from assay.reports.build import build_page
from assay.reports.contours import Chain, contours, path, region, simplified
from assay.reports.page import Boundaries
from assay.reports.render import render

GRID = 33


def circle_field(radius: float) -> np.ndarray[Any, Any]:
    x_YX, y_YX = np.meshgrid(np.arange(GRID, dtype=float), np.arange(GRID, dtype=float))
    return radius - np.hypot(x_YX - 16, y_YX - 16)


def area(chains: list[Chain]) -> float:
    """By the shoelace formula: what lies on the left counts, holes are taken off."""
    return sum(float(np.sum(c[:-1, 0] * c[1:, 1] - c[1:, 0] * c[:-1, 1])) / 2 for c in chains)


def points_of(drawn: str) -> list[np.ndarray[Any, Any]]:
    found = []
    for part in re.findall(r"M[^M]*", drawn):
        head, _, tail = part.removesuffix("z").removeprefix("M").partition("l")
        start = np.array(head.split(), dtype=float)
        steps = np.array(re.findall(r"-?\d+", tail), dtype=float).reshape(-1, 2)
        found.append(np.concatenate([[start], start + np.cumsum(steps, axis=0)]))
    return found


def boundaries_of(contents: Mapping[str, bytes | None], **options: Any) -> Boundaries:
    return build_page(results_with_boundaries(contents, **options)).boundaries


def html_of(contents: Mapping[str, bytes | None], **options: Any) -> str:
    return render(build_page(results_with_boundaries(contents, **options)))


# --- contours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [3.3, 8.0, 12.7])
def test_a_circle_is_found_whole_and_in_its_place(radius: float) -> None:
    (chain,) = contours(circle_field(radius), 0.0)
    assert np.array_equal(chain[0], chain[-1])
    assert np.abs(np.hypot(*(chain - 16).T) - radius).max() < 0.15 / radius
    assert area([chain]) == pytest.approx(np.pi * radius**2, rel=0.02)


def test_a_straight_line_is_exact_and_ends_at_the_edges() -> None:
    x_YX, y_YX = np.meshgrid(np.arange(9.0), np.arange(7.0))
    (chain,) = contours(2 * x_YX + y_YX - 7.3, 0.0)
    assert np.allclose(2 * chain[:, 0] + chain[:, 1], 7.3)
    assert {float(chain[0, 1]), float(chain[-1, 1])} == {0.0, 6.0}
    (outline,) = region(2 * x_YX + y_YX - 7.3, 0.0)
    assert area([outline]) == pytest.approx(6 * 8 - 6 * (7.3 / 2 + 1.3 / 2) / 2, rel=1e-6)


@given(
    st.integers(2, 7).flatmap(
        lambda rows: st.lists(st.lists(st.floats(-5, 5), min_size=5, max_size=5), min_size=rows, max_size=rows)
    )
)
def test_a_region_and_what_is_outside_it_fill_the_plane(rows: list[list[float]]) -> None:
    field_YX = np.array(rows) + 0.01 * np.sin(np.arange(1, len(rows) * 5 + 1)).reshape(-1, 5)  # no ties
    inside, outside = region(field_YX, 0.0), region(-field_YX, 0.0)
    for chain in inside + outside:
        assert np.array_equal(chain[0], chain[-1])
    assert area(inside) >= 0
    assert area(inside) + area(outside) == pytest.approx((len(rows) - 1) * 4, rel=1e-6)


def test_nothing_and_everything_inside() -> None:
    field_YX = np.ones((4, 6))
    assert contours(field_YX, 2.0) == contours(field_YX, 0.5) == region(field_YX, 2.0) == []
    assert area(region(field_YX, 0.5)) == pytest.approx(3 * 5)


def test_a_simplified_line_stays_within_its_tolerance() -> None:
    (chain,) = contours(circle_field(12.7), 0.0)
    fewer = simplified(chain, 0.1)
    assert len(fewer) < len(chain) / 2
    assert np.array_equal(fewer[[0, -1]], chain[[0, -1]])
    for point in chain:
        along = fewer[1:] - fewer[:-1]
        share = np.clip(((point - fewer[:-1]) * along).sum(axis=1) / (along**2).sum(axis=1), 0, 1)
        assert np.hypot(*(fewer[:-1] + share[:, None] * along - point).T).min() <= 0.1 + 1e-9


def test_a_path_says_where_its_chains_go() -> None:
    chains = [
        np.array([[1.2, 2.0], [4.0, -3.4], [4.1, -3.3], [0.0, 0.0]]),
        np.array([[5.0, 5], [9, 5], [9, 9], [5, 5]]),
    ]
    assert path(chains) == "M1 2l3-5-4 3M5 5l4 0 0 4z"
    assert path([np.array([[5.1, 5.0], [5.2, 5.1]])]) == ""
    assert path([np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0]])]) == "M0 0l3 0z"


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_each_frame_is_drawn_as_it_was_kept() -> None:
    found = boundaries_of({"a": artefact(epochs=(0, 1, 5, 20), radius=(0.2, 0.4, 0.6, 0.8))})
    (panel,) = found.panels
    assert found.epochs == (0, 1, 5, 20)
    assert [frame.epoch for frame in panel.frames] == [0, 1, 5, 20]
    assert [frame.train_accuracy for frame in panel.frames] == [0.5, 0.6, 0.7, 0.8]
    assert [frame.val_accuracy for frame in panel.frames] == [None, 0.55, 0.65, 0.75]
    for frame, radius in zip(panel.frames, (0.2, 0.4, 0.6, 0.8), strict=True):
        (line,) = points_of(frame.line)
        distance = np.hypot(*(line - SIZE / 2).T) / (SIZE / 2)  # the extent reaches from −1 to 1
        assert np.abs(distance - radius).max() < 0.01
        # The lead falls off linearly, and so each shade is a circle of its own.
        for shade, level in zip(frame.shades[1], LEVELS, strict=True):
            inner = radius - np.log(level / (1 - level)) / 6
            if inner > 0.05:
                (outline,) = points_of(shade)
                assert np.abs(np.hypot(*(outline - SIZE / 2).T) / (SIZE / 2) - inner).max() < 0.015, (radius, level)


def test_up_is_up() -> None:
    found = boundaries_of({"a": artefact(field=lambda x, y: 4 * y - 2 * x, points=[[0.5, 0.9, 1], [-0.5, -0.9, 0]])})
    (panel,) = found.panels
    assert panel.points == (((SIZE // 4, round(0.95 * SIZE)),), ((3 * SIZE // 4, round(0.05 * SIZE)),))
    (line,) = points_of(panel.frames[0].line)
    ends = sorted(map(tuple, line[[0, -1]].tolist()))
    assert ends == [(0, 450), (SIZE, 150)]  # from (−1, −0.5) up to (1, 0.5)
    (upper,) = points_of(panel.frames[0].shades[1][0])
    assert upper[:, 1].min() == 0


def test_the_page_holds_the_last_frame_and_the_script_s_the_others() -> None:
    html = html_of({"a": artefact(epochs=(0, 3, 9), radius=(0.2, 0.4, 0.8))})
    stored = json.loads(re.search(r'<script type="application/json" id="film-1">(.*?)</script>', html)[1])  # type: ignore[index]
    assert stored["epochs"] == [0, 3, 9]
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in stored["texts"]] == [
        "epoch 0: training 50.0 %, validation –",
        "epoch 3: training 60.0 %, validation 55.0 %",
        "epoch 9: training 70.0 %, validation 65.0 %",
    ]
    shapes = re.findall(r'<path class="(?:shade|decision)[^"]*" d="([^"]*)"', html)
    assert shapes == stored["paths"][-1]
    assert len({len(paths) for paths in stored["paths"]}) == 1
    assert f'<p class="remark now">{stored["texts"][-1]}</p>' in html
    slider = re.search(r'<input type="range"[^>]*>', html)[0]  # type: ignore[index]
    assert 'min="0" max="2" value="2"' in slider
    assert 'data-epochs="0 3 9"' in slider
    assert '<label for="film-epoch">Epoch</label>' in html


def test_the_slider_goes_over_the_epochs_of_all_arms() -> None:
    found = boundaries_of({"a": artefact(epochs=(0, 2, 8)), "b": artefact(epochs=(0, 3)), "c": artefact(epochs=(7,))})
    assert found.epochs == (0, 2, 3, 8)  # c was fitted at once, and belongs to no epoch
    assert [panel.at_once for panel in found.panels] == [False, False, True]
    assert "fitted at once: training" in html_of({"c": artefact(epochs=(7,))})
    assert 'type="range"' not in html_of({"c": artefact(epochs=(7,))})


def test_a_model_that_only_decides_has_one_shade() -> None:
    contents = {"a": artefact(kind="decisions"), "b": artefact()}
    plain, shaded = boundaries_of(contents).panels
    assert [len(of_class) for of_class in plain.frames[-1].shades] == [1, 1]
    assert [len(of_class) for of_class in shaded.frames[-1].shades] == [len(LEVELS)] * 2
    assert "gives no probabilities has one shade" in html_of(contents)
    assert "gives no probabilities" not in html_of({"b": artefact()})


def test_three_classes_meet_without_a_gap() -> None:
    def field(x: Any, y: Any) -> Any:
        angle = np.arctan2(y, x)
        return np.stack([4 * np.cos(angle - 2 * np.pi * label / 3) for label in range(3)])

    (panel,) = boundaries_of({"a": artefact(scores=field, classes=3)}, classes=("x", "y", "z")).panels
    frame = panel.frames[-1]
    covered = sum(_area_of(of_class[0]) for of_class in frame.shades)
    assert covered == pytest.approx(SIZE**2, rel=0.01)
    assert len(points_of(frame.line)) >= 2


def _area_of(drawn: str) -> float:
    return abs(area([np.concatenate([part, part[:1]]) for part in points_of(drawn)]))


def test_what_is_not_a_number_is_not_shaded_and_said() -> None:
    contents = {"a": artefact(epochs=(0, 1), lost=(False, True))}
    (panel,) = boundaries_of(contents, diverged={"a"}).panels
    assert panel.lost
    assert all(shade == "" for of_class in panel.frames[-1].shades for shade in of_class)
    assert panel.frames[-1].line == ""
    html = html_of(contents, diverged={"a"})
    assert "Where nothing is shaded, a score is not a number." in html
    assert "epoch 1, where it diverged: training" in html


def test_the_first_seed_is_drawn_and_named() -> None:
    html = html_of({"a": artefact()}, seeds_from=1000)
    assert "<bdi>a</bdi></b>, seed 1000" in html


def test_arms_with_other_classes_get_a_legend_of_their_own() -> None:
    page = html_of({"a": artefact(), "b": artefact()})
    assert page.count('class="legend classes"') == 1
    results = results_with_boundaries({"a": artefact(), "b": artefact()})
    for seed, run in results.runs["b"].items():
        results.runs["b"][seed]._run = replace(  # type: ignore[attr-defined]
            run._run,  # type: ignore[attr-defined]
            record=replace(run.record, classes=("up", "down")),
        )
    page = render(build_page(results))
    assert page.count('class="legend classes"') == 2
    assert "<bdi>down</bdi>" in page


# --- what is not drawn -----------------------------------------------------------------------------------------------


def test_data_of_other_shapes_have_no_such_section() -> None:
    for options in ({"shape": [1, 8, 8]}, {"shape": [3]}, {"shape": None}):
        html = html_of({"a": artefact()}, **options)
        assert 'id="boundary"' not in html
        assert "#boundary" not in html


def test_runs_of_before_have_no_such_section() -> None:
    assert boundaries_of({"a": None}) == Boundaries(panels=(), epochs=(), remarks=())
    assert 'id="boundary"' not in html_of({"a": None})


def test_arms_beyond_the_room_are_named_those_with_claims_come_first() -> None:
    names = [f"arm {number}" for number in range(MOST_PANELS + 3)]
    found = boundaries_of({name: artefact() for name in names}, claims=[("arm 10", "arm 9")])
    assert [panel.arm for panel in found.panels] == [*names[: MOST_PANELS - 2], "arm 9", "arm 10"]
    (remark,) = found.remarks
    assert remark.endswith("decision_boundary.json: arm 6, arm 7, arm 8.")


def test_long_lists_of_names_are_cut() -> None:
    found = boundaries_of({f"arm {number}": artefact() for number in range(MOST_PANELS + 25)})
    assert found.remarks[0].endswith("arm 27 and 5 more.")


def test_arms_without_one_are_named() -> None:
    assert boundaries_of({"a": artefact(), "b": None}).remarks == ("No boundary was kept of: b.",)


def test_that_points_were_sampled_is_said() -> None:
    (remark,) = boundaries_of({"a": artefact(points_in_all=5000)}).remarks
    assert remark == "2 of 5,000 training points are drawn of a."


def test_points_outside_the_picture_are_left_out() -> None:
    (panel,) = boundaries_of({"a": artefact(points=[[0.0, 0.0, 0], [9.0, 0.0, 1], [0.0, -1e300, 1]])}).panels
    assert [len(of_class) for of_class in panel.points] == [1, 0]


def test_long_lines_cost_frames_and_neither_time_nor_room() -> None:
    rng = np.random.default_rng(0)

    def noise(x: Any, y: Any) -> Any:
        return rng.normal(0, 3, size=np.shape(x))

    content = artefact(epochs=tuple(range(25)), field=noise, grid=48)
    start = time.perf_counter()
    found = boundaries_of({"a": content})
    assert time.perf_counter() - start < 5
    (panel,) = found.panels
    length = sum(len(frame.line) + sum(len(s) for c in frame.shades for s in c) for frame in panel.frames)
    assert length < 2 * MOST_PATHS
    assert 1 <= len(panel.frames) < 25
    assert panel.frames[-1].epoch == 24
    assert found.remarks == ("Fewer epochs are drawn than were kept, because their lines are long, of: a.",)


# --- what was kept is not trusted ------------------------------------------------------------------------------------


def changed(**facts: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda good: json.dumps({**good, **facts}).encode()


def without(name: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda good: json.dumps({key: value for key, value in good.items() if key != name}).encode()


BOMB = base64.b64encode(zlib.compress(bytes(10**8), 9)).decode()
DAMAGED: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "empty": lambda good: b"",
    "no json": lambda good: b"\xff\xfe\x00<script>",
    "a list": lambda good: b"[]",
    "deep": lambda good: b"[" * 100_000,
    "huge": lambda good: json.dumps({**good, "more": "x" * 300_000}).encode(),
    "a number of many digits": lambda good: b'{"version":' + b"9" * 5000 + b"}",
    **{f"no {name}": without(name) for name in json.loads(artefact())},
    "another version": changed(version=2),
    "another kind": changed(kind="<b>"),
    "a grid of one": changed(grid=1),
    "a grid too large": changed(grid=10**9),
    "a grid of text": changed(grid="33"),
    "no epochs at all": changed(epochs=[], train_accuracy=[], val_accuracy=[]),
    "epochs not ascending": changed(epochs=[5, 1, 0]),
    "epochs twice": changed(epochs=[1, 1, 5]),
    "epochs of text": changed(epochs=["<script>", "b", "c"]),
    "negative epochs": changed(epochs=[-3, 1, 5]),
    "far epochs": changed(epochs=[0, 1, 10**30]),
    "too many epochs": changed(epochs=list(range(99))),
    "more epochs than frames": changed(epochs=[0, 1, 5, 6], train_accuracy=[0.5] * 4, val_accuracy=[0.5] * 4),
    "fewer accuracies": changed(train_accuracy=[0.5]),
    "an accuracy of 7": changed(val_accuracy=[0.5, 7, 0.5]),
    "an accuracy of text": changed(val_accuracy=[0.5, "<b>", 0.5]),
    "accuracies not numbers": changed(val_accuracy=[0.5, float("nan"), 0.5]),
    "an extent of nothing": changed(extent=[1, 1, 0, 1]),
    "an extent turned round": changed(extent=[1, -1, 0, 1]),
    "an endless extent": changed(extent=[float("-inf"), float("inf"), 0, 1]),
    "an extent beyond floats": changed(extent=[-(10**400), 10**400, 0, 1]),
    "an extent that overflows": changed(extent=[-1.7e308, 1.7e308, 0, 1]),
    "an extent too small to divide": changed(extent=[0, 5e-324, 0, 1]),
    "an extent of rounding": changed(extent=[1, 1.0000000000000002, 0, 1]),
    "an extent of three": changed(extent=[0, 1, 0]),
    "points of text": changed(points=[["<b>", 0, 0]]),
    "points not numbers": changed(points=[[float("nan"), 0, 0]]),
    "a point of two": changed(points=[[0, 0]]),
    "a point of another class": changed(points=[[0, 0, 2]]),
    "a point of a class before the first": changed(points=[[0, 0, -1]]),
    "points without end": changed(points=[[0, 0, 0]] * 5000),
    "fewer points in all": changed(points_in_all=1),
    "leads too few": changed(largest_leads=[1.0]),
    "leads too large": changed(largest_leads=[1.0, 1e9, 1.0]),
    "leads below none": changed(largest_leads=[1.0, -1.0, 1.0]),
    "leads not numbers": changed(largest_leads=[1.0, float("nan"), 1.0]),
    "frames of no base64": changed(frames="<script>alert(1)</script>"),
    "frames not packed": changed(frames=base64.b64encode(b"no zlib").decode()),
    "frames too short": changed(frames=base64.b64encode(zlib.compress(b"abc")).decode()),
    "frames of a bomb": changed(frames=BOMB),
    "frames of a class that there is not": changed(frames=base64.b64encode(zlib.compress(b"\x07" * 6534)).decode()),
    "frames of numbers": changed(frames=17),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_not_drawn_and_named(name: str) -> None:
    good = json.loads(artefact(epochs=(0, 1, 5)))
    content = DAMAGED[name](good)
    start = time.perf_counter()
    page = build_page(results_with_boundaries({"a": content, "b": artefact()}))
    assert time.perf_counter() - start < 2
    assert [panel.arm for panel in page.boundaries.panels] == ["b"]
    assert page.boundaries.remarks == ("What was kept is damaged, and not drawn, of: a.",)
    assert "<script>alert" not in render(page)


def test_damage_alone_is_said_too() -> None:
    html = html_of({"a": b"{}"})
    assert "What was kept is damaged, and not drawn, of: a." in html


def test_names_are_escaped() -> None:
    name = "</script><img src=x onerror=alert(1)>"
    html = html_of({name: artefact(), "b": b"", name + "2": b""}, classes=(name, "\"'><svg onload=alert(1)>"))
    assert "<img" not in html
    assert "<svg onload" not in html
    assert html.count("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;") >= 3


def test_a_trained_run_is_drawn() -> None:
    """What training writes, the report reads."""
    from assay.recipe.schema import Recipe
    from assay.training.run import run_recipe

    recipe = Recipe.model_validate(
        {"data": {"source": "circles"}, "model": {"name": "mlp", "widths": [8]}, "train": {"epochs": 12}}
    )
    run = run_recipe(recipe, fingerprint="f00d")
    found = boundaries_of({"a": run.artefacts["decision_boundary.json"]}, classes=run.record.classes)
    assert found.remarks == ()
    (panel,) = found.panels
    assert [frame.epoch for frame in panel.frames] == list(range(13))
    assert panel.frames[-1].val_accuracy == run.record.metrics["val_accuracy"]
    assert sum(map(len, panel.points)) == run.record.examples["train"]
    assert panel.frames[-1].line
