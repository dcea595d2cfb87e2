"""Activations and updates in the report: what runs watched, layer by layer and over time."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from look_files import results_with_looks

from assay.metrics.vitals import Activity, ActivitySample, Stretch, Vitals, WeightSample, vitals_written
from assay.reports import activations as room
from assay.reports.activations import ActivationCell
from assay.reports.build import build_page
from assay.reports.charts import sparkline
from assay.reports.render import render

EPOCHS = (0, 1, 2, 4)


def activity(layer: str, operation: str = "relu", *, active: float = 0.5, spoilt: float = 0.25) -> Activity:
    rectifier = operation == "relu"
    return Activity(
        layer=layer,
        operation=operation,
        kind="rectifier" if rectifier else "saturating",
        units=32,
        dead=spoilt if rectifier else 0.0,
        active=active,
        saturated=0.0 if rectifier else spoilt,
        mean=0.4,
        deviation=0.6,
    )


def kept(*layers: str, updates: float = 0.002) -> bytes:
    """Of four epochs of ten steps."""
    stretch = Stretch(step=0, steps=40, loss=1.0, highest_loss=2.0, gradient_norm=1.0, highest_gradient_norm=2.0)
    samples = [
        WeightSample(step=step, gradient_L=(1e-3,), weight_L=(0.5,), update_L=(updates / 2,)) for step in (0, 16, 32)
    ]
    looks = [
        ActivitySample(
            epoch=epoch, examples=64, layers=tuple(activity(layer, active=0.5 - epoch / 10) for layer in layers)
        )
        for epoch in EPOCHS
    ]
    return vitals_written(
        Vitals(
            steps_per_epoch=10,
            stretches=(stretch,),
            weights=("output.weight",),
            samples=tuple(samples),
            activity=tuple(looks),
        )
    )


def test_activations_stand_side_by_side_over_the_epochs() -> None:
    results = results_with_looks(["plain", "other"], instead={"vitals.json": kept("relu1", "<b>relu2</b>")})
    page = build_page(results)
    found = page.looking.outputs
    assert [(column.arm, column.epochs, column.examples) for column in found.columns] == [("plain", EPOCHS, 64)]
    assert [row.layer for row in found.rows] == ["relu1", "<b>relu2</b>"]
    cell = found.rows[0].cells[0]
    assert cell is not None
    assert (cell.operation, cell.units) == ("relu", 32)
    assert cell.active == pytest.approx((0.5, 0.4, 0.3, 0.1))
    assert cell.spoilt == (0.25,) * 4
    html = render(page)
    assert "<b>relu2</b>" not in html
    words = " ".join(re.sub(r"<[^>]*>", " ", html).replace("&nbsp;", " ").split())
    assert "relu , 32 units: 0.40 ± 0.60 10.0 % active, 25.0 % dead" in words


def test_updates_are_drawn_by_epoch_and_broken_files_are_told() -> None:
    page = build_page(results_with_looks(["plain"], seeds=1, instead={"vitals.json": kept("relu1", updates=0.004)}))
    panel = next(panel for panel in page.curves.folded if panel.metric.name == "update_ratio")
    (curve,) = panel.curves
    # The first step is of epoch 1, the 17th of epoch 2 and the 33rd of epoch 4; lines join those.
    assert curve.epochs == (1, 2, 4)
    assert curve.mean == pytest.approx((0.004,) * 3)
    page = build_page(results_with_looks(["plain"], seeds=1, instead={"vitals.json": b"{}"}))
    assert "update_ratio" not in {panel.metric.name for panel in page.curves.folded}
    assert page.looking.outputs.remarks == ("What was kept is damaged, and not shown, of plain: vitals.json.",)
    assert page.looking.outputs.remarks[0] in render(page)


def test_a_network_that_stands_still_can_be_drawn_beside_one_that_does_not() -> None:
    still = build_page(results_with_looks(["plain"], seeds=1, instead={"vitals.json": kept("relu1", updates=0.0)}))
    panel = next(panel for panel in still.curves.folded if panel.metric.name == "update_ratio")
    assert panel.curves[0].mean == (1e-6,) * 3


def test_what_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_CELLS", 2)
    layers = [f"relu{at}" for at in range(5)]
    found = build_page(results_with_looks(["plain"], instead={"vitals.json": kept(*layers)})).looking.outputs
    assert len(found.rows) == 2
    assert found.remarks == ("The first 2 of 5 activations are shown; all are in vitals.json of each run.",)


def test_a_sparkline_goes_from_left_to_right_and_breaks_where_nothing_is_known() -> None:
    cell = ActivationCell(
        operation="relu", kind="other", units=3, active=(0.0, 1.0, 0.5), spoilt=(), mean=0.0, deviation=1.0
    )
    assert 'd="M0 40L0 40L75 0L150 20V40Z"' in sparkline(cell, 0)
    broken = sparkline(replace(cell, active=(0.5, None, 0.5), spoilt=(0.0, None, 1.0)), 0)
    assert broken.count("<path") == 4
    assert not math.isnan(float(re.findall(r"M([\d.]+) ", broken)[-1]))
