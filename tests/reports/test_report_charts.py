"""Charts put marks where the numbers are, on axes with round numbers, in colours that can be told apart."""

from __future__ import annotations

import dataclasses
import re
from importlib.resources import files
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import DROPOUT, Behaviour, dropout_study, make_results

from assay.metrics.catalogue import CATALOGUE
from assay.reports import build_page, charts
from assay.reports.charts.curves import GRID, curve_scale
from assay.reports.charts.distribution import distribution_scale
from assay.reports.charts.scales import Scale, scale_over, tick_texts
from assay.reports.page import Page
from assay.reports.palette import ARM_COLOURS, DARK, LIGHT, PRINT, colour_class


@pytest.fixture(scope="module")
def page() -> Page:
    return build_page(make_results(dropout_study(), DROPOUT, seeds=5))


def drawn(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<root>{markup}</root>")


def shares(root: ElementTree.Element, css: str, *names: str) -> list[tuple[float, ...]]:
    return [
        tuple(float(node.attrib[name].rstrip("%")) / 100 for name in names)
        for node in root.iter()
        if css in node.get("class", "").split()
    ]


finite = st.floats(-1e5, 1e5)


@given(st.lists(finite, min_size=1, max_size=20), st.integers(3, 8))
def test_ticks_are_few_round_and_inside(values: list[float], most: int) -> None:
    scale = scale_over(values)
    ticks = scale.ticks(most)
    assert 1 <= len(ticks) <= most
    assert ticks == sorted(set(ticks))
    reach = scale.high - scale.low
    assert all(scale.low - 1e-9 * reach <= tick <= scale.high + 1e-9 * reach for tick in ticks)
    assert all(0 <= scale.share(value) <= 1 for value in values)


@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e6))
def test_logarithmic_axes_keep_order_and_have_ticks(low: float, ratio: float) -> None:
    scale = scale_over([low, low * ratio], log=True)
    ticks = scale.ticks(6)
    assert all(-1e-9 <= scale.share(tick) <= 1 + 1e-9 for tick in ticks)
    assert scale.share(low) < scale.share(low * ratio)
    if ratio > 10:
        assert len(ticks) >= 2


def test_tick_texts_carry_unit_and_sign() -> None:
    assert tick_texts(CATALOGUE["val_accuracy"], [0.85, 0.9, 0.95]) == ["85", "90", "95"]
    assert tick_texts(CATALOGUE["val_accuracy"], [-0.005, 0.0, 0.005], signed=True) == ["−0.5", "0.0", "+0.5"]
    assert tick_texts(CATALOGUE["val_loss"], [0.02, 0.1, 1.0, 2.0]) == ["0.02", "0.1", "1", "2"]
    assert tick_texts(CATALOGUE["seconds"], [2e-6, 4e-6]) == ["2 µs", "4 µs"]
    assert tick_texts(CATALOGUE["seconds"], [-0.2, 0.0, 0.2], signed=True) == ["−200 ms", "0 ms", "+200 ms"]
    assert tick_texts(CATALOGUE["val_loss"], [2e-6, 4e-6]) == ["2.0e−06", "4.0e−06"]


def test_a_forest_plot_draws_effect_intervals_margin_and_zero(page: Page) -> None:
    claim = page.claims[0]
    assert claim.margin is not None
    root = drawn(charts.forest(claim, [claim]))
    ((zero,),) = shares(root, "zero", "x1")
    ((left, width),) = shares(root, "margin", "x", "width")
    per_unit = width / (2 * claim.margin)
    assert left + width / 2 == pytest.approx(zero, abs=2e-4)
    ((effect,),) = shares(root, "effect", "cx")
    assert claim.effect is not None
    assert effect == pytest.approx(zero + claim.effect * per_unit, abs=2e-4)
    for css, low, high in (
        ("decision", claim.low, claim.high),
        ("fixed", claim.low_fixed, claim.high_fixed),
    ):
        assert low is not None
        assert high is not None
        (bar, *caps) = shares(root, css, "x1", "x2")
        assert bar == pytest.approx((zero + low * per_unit, zero + high * per_unit), abs=2e-4)
        assert len(caps) == 2


def test_the_interval_on_new_examples_is_drawn_where_there_is_one(page: Page) -> None:
    has = [bool(shares(drawn(charts.forest(claim, page.claims)), "new", "x1")) for claim in page.claims]
    assert has == [claim.low_new is not None for claim in page.claims]
    assert any(has)
    assert not all(has)


def test_claims_share_an_axis_only_while_all_stay_readable(page: Page) -> None:
    claim = page.claims[0]
    wide = dataclasses.replace(claim, low=-0.9, high=0.9)
    similar = dataclasses.replace(claim, low=-0.03, high=0.03)

    def zero_and_ends(*others: object) -> list[tuple[float, ...]]:
        return shares(drawn(charts.forest(claim, [claim, *others])), "decision", "x1", "x2")[:1]  # type: ignore[list-item]

    alone = zero_and_ends()
    assert zero_and_ends(wide) == alone
    assert zero_and_ends(similar) != alone


def test_a_claim_without_any_pair_has_no_plot(page: Page) -> None:
    assert charts.forest(dataclasses.replace(page.claims[0], effect=None), page.claims) == ""


def test_every_seed_is_a_dot_at_its_value(page: Page) -> None:
    distribution = page.distributions[0]
    scale = distribution_scale(distribution)
    for row in distribution.rows:
        root = drawn(charts.distribution_row(distribution, row, scale))
        found = sorted(x for (x,) in shares(root, "dot", "cx"))
        assert found == pytest.approx(sorted(scale.share(dot.value) for dot in row.dots), abs=1e-4)
        ((mean,),) = shares(root, "mean", "x1")
        assert row.estimate.mean is not None
        assert mean == pytest.approx(scale.share(row.estimate.mean), abs=1e-4)


def test_an_arm_far_away_flattens_no_other(page: Page) -> None:
    losses = next(one for one in page.distributions if one.metric.unit == "nats")
    first, *others = losses.rows
    far = dataclasses.replace(
        first,
        dots=tuple(dataclasses.replace(dot, value=dot.value * 1000) for dot in first.dots),
        estimate=dataclasses.replace(first.estimate, mean=first.dots[0].value * 1000, half_width=1e9),
    )
    scale = distribution_scale(dataclasses.replace(losses, rows=(far, *others)))
    assert scale.log
    assert not distribution_scale(losses).log
    everywhere = [dot.value for row in (far, *others) for dot in row.dots]
    near = [dot.value for row in others for dot in row.dots]
    assert scale.share(max(near)) - scale.share(min(near)) > 20 * (max(near) - min(near)) / max(everywhere)
    assert all(0.0 <= scale.share(value) <= 1.0 for value in everywhere)


def test_equal_values_do_not_hide_each_other(page: Page) -> None:
    distribution = page.distributions[0]
    row = distribution.rows[0]
    twins = dataclasses.replace(row, dots=tuple(dataclasses.replace(row.dots[0], seed=seed) for seed in range(5)))
    root = drawn(charts.distribution_row(distribution, twins, distribution_scale(distribution)))
    heights = [node.attrib["cy"] for node in root.iter("circle")]
    assert len(set(heights)) == 5


def test_curves_pass_through_their_means(page: Page) -> None:
    panel = page.curves.panels[0]
    root = drawn(charts.curve_chart(panel))
    scale = curve_scale(panel)
    lines = [node for node in root.iter("path") if node.get("class", "").startswith("line")]
    assert len(lines) == len(panel.curves)
    for line, curve in zip(lines, panel.curves, strict=True):
        points = [tuple(map(float, pair.split())) for pair in line.attrib["d"].lstrip("M").split("L")]
        assert len(points) == len(curve.epochs)
        for (x, y), epoch, mean in zip(points, curve.epochs, curve.mean, strict=True):
            assert mean is not None
            assert x == pytest.approx((epoch - 1) / 39 * GRID, abs=0.06)
            assert y == pytest.approx((1 - scale.share(mean)) * GRID, abs=0.06)


def test_a_curve_is_broken_where_no_seed_has_a_value() -> None:
    behaviours = {"plain": Behaviour(diverging_seeds=[0])}
    page = build_page(make_results(dropout_study(arms={"plain": {}}, claims=[]), behaviours, seeds=1))
    panel = next(panel for panel in page.curves.panels if panel.metric.name == "val_loss")
    assert panel.curves[0].mean[-1] is None
    gap = dataclasses.replace(
        panel.curves[0], mean=(1.0, None, 1.0), deviation=(None,) * 3, epochs=(1, 2, 3), n=(1, 0, 1)
    )
    root = drawn(charts.curve_chart(dataclasses.replace(panel, curves=(gap,))))
    (line,) = [node for node in root.iter("path") if node.get("class", "").startswith("line")]
    assert line.attrib["d"].count("M") == 2


def test_a_curve_axis_holds_means_and_most_of_the_bands(page: Page) -> None:
    for panel in page.curves.panels:
        scale = curve_scale(panel)
        means = [mean for curve in panel.curves for mean in curve.mean if mean is not None]
        assert all(0 <= scale.share(mean) <= 1 for mean in means)
        wild = dataclasses.replace(panel.curves[0], deviation=(1e3,) * 40)
        stretched = curve_scale(dataclasses.replace(panel, curves=(wild, *panel.curves[1:])))
        assert stretched.share(max(means)) - stretched.share(min(means)) > 0.5


def test_one_epoch_is_a_point(page: Page) -> None:
    one = build_page(make_results(dropout_study(), DROPOUT, seeds=2, epochs=1))
    root = drawn(charts.curve_chart(one.curves.panels[0]))
    assert [node for node in root.iter("path") if node.get("class", "").startswith("line")]


def test_a_curve_of_one_epoch_among_longer_ones_is_a_dot() -> None:
    results = make_results(dropout_study(), {"plain": Behaviour(diverging_seeds=[0, 1, 2])}, seeds=3, epochs=4)
    panel = next(panel for panel in build_page(results).curves.panels if panel.metric.name == "val_accuracy")
    assert [len(curve.epochs) for curve in panel.curves] == [1, 4, 4, 4]
    drawings = [node for node in drawn(charts.curve_chart(panel)).iter("svg") if "stretch" in node.get("class", "")]
    lines, dots = ([path for path in node.iter("path") if "line" in path.get("class", "")] for node in drawings)
    assert [path.get("data-arm") for path in lines] == ["1", "2", "3"]
    assert [(path.get("data-arm"), "lone" in path.get("class", "")) for path in dots] == [("0", True)]
    assert drawings[1].get("class") == "stretch whole"  # not cut where it stands at the edge


def test_a_matrix_cell_holds_count_and_rate(page: Page) -> None:
    confusion = page.confusions.matrices[3]
    root = drawn(charts.matrix(confusion))
    cells = [node for node in root.iter("g") if "mark" in node.get("class", "")]
    assert len(cells) == 100
    for index, cell in enumerate(cells):
        row, column = divmod(index, 10)
        count, total = confusion.counts[row][column], confusion.totals[row]
        assert cell.findtext("title") == f"{row} taken for {column}: {count} of {total} ({count / total:.1%})"
        texts = [node.text for node in cell.iter("text")]
        assert texts[:1] == ([str(count)] if count else [])
        rect = cell.find("rect")
        assert rect is not None
        assert rect.attrib["class"].split()[0] == ("hit" if row == column else "miss")
        assert (rect.attrib["class"].split()[1] == "s0") == (count == 0)


def test_a_large_matrix_draws_every_filled_cell() -> None:
    study = dropout_study(arms={"plain": {}}, claims=[])
    classes = [f"class {i}" for i in range(40)]
    (confusion,) = build_page(make_results(study, seeds=2, classes=classes, examples=900)).confusions.matrices
    root = drawn(charts.matrix(confusion))
    corners = sum(path.attrib["d"].count("M") for path in root.iter("path"))
    assert corners == sum(count > 0 for row in confusion.counts for count in row)
    assert not [node for node in root.iter("text") if node.get("class") == "count"]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
def test_colours_meet_wcag_aa(colours: dict[str, str]) -> None:
    for ground in ("paper", "raised"):
        for text in ("ink", "soft", "link", "helps", "hurts", "no", "undecided"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for mark in ("hit", "miss", "helps", "hurts", *(f"arm{i}" for i in range(ARM_COLOURS))):
        assert contrast(colours[mark], colours["paper"]) >= 3.0, mark
    assert contrast(colours["ink"], colours["margin"]) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("hue", ["hit", "miss"])
def test_numbers_can_be_read_on_every_shade(colours: dict[str, str], hue: str) -> None:
    def mixed(opacity: float) -> str:
        pairs = [(int(colours[hue][i : i + 2], 16), int(colours["paper"][i : i + 2], 16)) for i in (1, 3, 5)]
        return "#" + "".join(f"{round(a * opacity + b * (1 - opacity)):02x}" for a, b in pairs)

    style = (files("assay.reports") / "templates" / "page.css").read_text(encoding="utf-8")
    opacities = {int(k): float(v) for k, v in re.findall(r"\.s(\d+)\{fill-opacity:([\d.]+)\}", style)}
    assert sorted(opacities) == list(range(1, 11))
    for shade, opacity in opacities.items():
        text = colours["paper"] if shade > 6 else colours["ink"]
        assert contrast(text, mixed(opacity)) >= 4.5, (shade, hue)


def test_arms_beyond_the_last_colour_get_another_dash() -> None:
    classes = [colour_class(position) for position in range(ARM_COLOURS * 3)]
    assert len(set(classes)) == len(classes)


def test_a_scale_maps_its_ends() -> None:
    assert Scale(low=2.0, high=4.0).share(3.0) == 0.5
    assert Scale(low=0.01, high=1.0, log=True).share(0.1) == pytest.approx(0.5)
