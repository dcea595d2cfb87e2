"""The networks in the report: what runs kept of their layers, how far it is trusted, and how it is shown."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_files import CONVOLUTION, OUTPUT, layers, results_with_layers, row

from assay.reports.build import build_page
from assay.reports.networks import MOST_NAMES, MOST_NETWORKS, Networks, field_text, shape_text
from assay.reports.render import render


def networks_of(contents: dict[str, bytes | None], **options: Any) -> Networks:
    return build_page(results_with_layers(contents, **options)).networks


def section_of(contents: dict[str, bytes | None], **options: Any) -> str:
    """The section's words, without markup, on one line."""
    html = render(build_page(results_with_layers(contents, **options)))
    found = re.search(r'<section id="networks".*?</section>', html, re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]*>", " ", found.group()).split())


def test_arms_of_one_network_share_its_table() -> None:
    found = networks_of({"plain": layers(), "wide": layers(macs=9), "faster": layers()})
    assert [network.arms for network in found.compared] == [(("plain", 0), ("faster", 2)), (("wide", 1),)]
    assert [network.table.macs for network in found.compared] == [164_640, 9]
    assert found.shown == found.compared
    assert found.remarks == ()


def test_what_a_run_kept_is_what_is_shown() -> None:
    text = section_of({"plain": layers(trainable_parameters=47_050, rows=[row(trainable=0), OUTPUT])})
    assert "plain 1×32×32 2 47,206 47,050 156 164,640 18.9 kB 22.9 kB 5" in text
    assert "conv1 Conv2d 5×5 6×28×28 156 156 117,600 5 1 18.8 kB" in text
    assert "output Linear 10 47,050 0 47,040 whole 40 B" in text


def test_columns_that_say_nothing_are_left_out() -> None:
    points = layers(rows=[row(field=None, stride=None)], largest_window=None, training_bytes=None)
    text = section_of({"plain": points})
    assert "Frozen" not in text
    assert "Trained" not in text
    assert "Stride" not in text
    assert "18.9 kB – –" in text


@pytest.mark.parametrize(
    ("values", "without", "text"),
    [
        ((5, 5), "?", "5"),
        ((5, 7), "?", "5×7"),
        (("whole", 7), "?", "whole×7"),
        ((None, None), "?", "?"),
        ((None, 3), "?", "?×3"),
        ((1_024, 1_024), "?", "1,024"),
        (None, "–", "–"),
    ],
)
def test_fields_in_words(values: Any, without: str, text: str) -> None:
    assert field_text(values, without) == text


def test_shapes_in_words() -> None:
    assert (shape_text((64, 8, 8)), shape_text((10,)), shape_text(None)) == ("64×8×8", "10", "")


def test_blocks_say_that_they_are_sums() -> None:
    text = section_of({"plain": layers(layers=606, depth=2)})
    assert "606 layers, summed up by the first 2 parts of their names." in text
    assert "Block Kind" in text


def test_models_fitted_at_once_have_no_layers_and_older_runs_kept_none() -> None:
    svm = {"svm": {"name": "svm"}}
    assert networks_of({"svm": None, "plain": layers()}, models=svm).remarks == ()
    assert networks_of({"old": None, "plain": layers()}).remarks == ("Runs kept no table of layers of: old.",)
    nothing = networks_of({"old": None})
    assert (nothing.compared, nothing.remarks) == ((), ())
    assert 'id="networks"' not in render(build_page(results_with_layers({"old": None})))


BROKEN = {
    "no JSON": b"{",
    "no object": b"[]",
    "another version": layers(version=2),
    "a negative number": layers(macs=-1),
    "a fraction": layers(parameters=1.5),
    "a truth": layers(macs=True),
    "more trained than there are": layers(trainable_parameters=47_207),
    "a row too short": layers(rows=[CONVOLUTION[:-1]]),
    "a row too long": layers(rows=[[*CONVOLUTION, 1]]),
    "too many rows": layers(rows=[CONVOLUTION] * 101),
    "too long a name": layers(rows=[row(name="x" * 201)]),
    "no name": layers(rows=[row(name=None)]),
    "a field in words": layers(rows=[row(field=["much", 5])]),
    "half a field": layers(rows=[row(field=[5])]),
    "a stride without end": layers(rows=[row(stride=[10**19, 1])]),
    "more trained in a row": layers(rows=[row(trainable=157)]),
    "too many dimensions": layers(input_shape=[1] * 11),
    "a key missing": json.dumps({key: value for key, value in json.loads(layers()).items() if key != "rows"}).encode(),
    "nested without end": b"[" * 50_000,
    "too large": layers(rows=[row(kind="x" * 199)] * 100, more="y" * 90_000),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_file_is_not_shown_and_said_so(name: str) -> None:
    found = networks_of({"broken": BROKEN[name], "plain": layers()})
    assert [network.arms for network in found.compared] == [(("plain", 1),)]
    assert found.remarks == ("What was kept is damaged, and not shown, of: broken.",)
    alone = section_of({"broken": BROKEN[name]})
    assert "What was kept is damaged, and not shown, of: broken." in alone


@settings(deadline=None, max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from([None, *json.loads(layers())]),
)
def test_whatever_a_file_holds_the_page_is_built(value: Any, key: str | None) -> None:
    content = json.dumps(value).encode() if key is None else layers(**{key: value})
    render(build_page(results_with_layers({"odd": content}, seeds=1)))


def test_names_are_only_ever_text() -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    rows = [row(name=hostile, kind="{{ 7 * 7 }}" + hostile), OUTPUT]
    html = render(build_page(results_with_layers({hostile: layers(rows=rows)})))
    assert "<img src=x" not in html
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in html
    assert "{{ 7 * 7 }}" in html


def test_a_page_of_many_networks_stays_small() -> None:
    count = MOST_NETWORKS + 60
    contents: dict[str, bytes | None] = {f"arm {at}": layers(macs=at) for at in range(count)}
    contents |= {f"old {at}": None for at in range(MOST_NAMES + 3)}
    found = networks_of(contents, seeds=1)
    assert (len(found.compared), len(found.shown)) == (60, MOST_NETWORKS)
    assert found.remarks[1:] == (
        f"The first 60 of {count} networks are compared.",
        f"Layers are shown of the first {MOST_NETWORKS} networks; each run keeps its own in layers.json.",
    )
    assert found.remarks[0].endswith("old 19 and 3 more.")


def test_many_arms_of_one_network_are_named_in_part() -> None:
    text = section_of({f"arm {at}": layers() for at in range(8)})
    assert "arm 4 and 3 more" in text
    assert "arm 5" not in text
