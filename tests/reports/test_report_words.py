"""How numbers read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.metrics.catalogue import CATALOGUE, metric_named
from assay.reports import words

ACCURACY, LOSS, SECONDS = CATALOGUE["val_accuracy"], CATALOGUE["val_loss"], CATALOGUE["seconds"]


@pytest.mark.parametrize(
    ("metric", "value", "spread", "text"),
    [
        (ACCURACY, -0.123, 0.018, "−12.3 points"),
        (ACCURACY, 0.01, 0.018, "+1.0 point"),
        (ACCURACY, 0.0, 0.018, "0.0 points"),
        (ACCURACY, 0.00123, 0.0005, "+0.12 points"),
        (LOSS, -0.0482, 0.027, "−0.048 nats"),
        (LOSS, 12.3, 4.0, "+12.3 nats"),
        (SECONDS, 1.25, 0.3, "+1.25 s"),
        (SECONDS, -0.031, 0.24, "−31 ms"),
        (SECONDS, 0.0, 0.0, "0.00 s"),
        (CATALOGUE["inference_seconds"], 4.9e-7, 8.2e-7, "+0.49 µs"),
        (LOSS, -5.452e11, 1.5e12, "−5.45e+11 nats"),
        (LOSS, 3e-9, 1e-9, "+3.00e−09 nats"),
        (CATALOGUE["parameters"], 1200.0, None, "+1,200"),
        (CATALOGUE["parameters"], -49_200.0, 6.3, "−49,200"),
        (CATALOGUE["best_epoch"], -3.25, 1.3, "−3.2"),
    ],
)
def test_effects(metric: object, value: float, spread: float | None, text: str) -> None:
    assert words.effect(metric, value, spread) == text  # type: ignore[arg-type]


def test_bounds_and_margins() -> None:
    assert words.bounds(ACCURACY, -0.141, -0.105) == "[−14.1, −10.5]"
    assert words.bounds(LOSS, -0.075, 0.021) == "[−0.075, +0.021]"
    assert words.bounds(SECONDS, -0.27, 0.21) == "[−270, +210] ms"
    assert words.bounds(CATALOGUE["inference_seconds"], -3.1e-7, 1.29e-6) == "[−0.31, +1.29] µs"
    assert words.bounds(LOSS, -2e12, 9.7e11) == "[−2.00e+12, +9.70e+11]"
    assert words.bounds(CATALOGUE["parameters"], -49_206.3, -49_193.7) == "[−49,206, −49,194]"
    assert words.margin(SECONDS, 0.01) == "±10 ms"
    assert words.margin(ACCURACY, 0.01) == "±1.0 point"
    assert words.margin(ACCURACY, 0.005) == "±0.5 points"
    assert words.margin(ACCURACY, 0.0025) == "±0.25 points"
    assert words.margin(LOSS, 0.05) == "±0.05 nats"
    assert words.margin(LOSS, 1e-10) == "±1e−10 nats"
    assert words.effect(LOSS, 0.0, 8.07e-16) == "0 nats"
    assert words.bounds(LOSS, -8.07e-16, 0.0) == "[−8.07e−16, 0]"
    assert words.bounds(LOSS, 0.0, 0.0) == "[0.00, 0.00]"


@pytest.mark.parametrize(
    ("metric", "mean", "half", "text"),
    [
        (ACCURACY, 0.9718, 0.0042, "97.18 ± 0.42 %"),
        (ACCURACY, 0.852, 0.014, "85.2 ± 1.4 %"),
        (ACCURACY, 0.9718, None, "97.18 %"),
        (ACCURACY, 0.9718, 0.0, "97.18 ± 0.00 %"),
        (LOSS, 0.1724, 0.0036, "0.1724 ± 0.0036"),
        (SECONDS, 3.41, 0.2, "3.41 ± 0.20 s"),
        (CATALOGUE["inference_seconds"], 4.1e-6, 1e-7, "4.10 ± 0.10 µs"),
        (LOSS, 545228301373.0, 1.5138e12, "5.45e+11 ± 1.51e+12"),
        (LOSS, 2e-8, 1e-8, "2.00e−08 ± 1.00e−08"),
        (CATALOGUE["parameters"], 7695.0, 0.0, "7,695 ± 0"),
        (CATALOGUE["best_epoch"], 7.5, 0.0, "7.50 ± 0.00"),
        (CATALOGUE["best_epoch"], 7.5, 1.24, "7.5 ± 1.2"),
        (LOSS, None, None, "–"),
    ],
)
def test_means_with_intervals(metric: object, mean: float | None, half: float | None, text: str) -> None:
    assert words.plus_minus(metric, mean, half) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 s"), (4.1e-6, "4.1 µs"), (0.0123, "12 ms"), (3.42, "3.4 s"), (59.4, "59 s"), (59.6, "1 min"),
        (125, "2 min 5 s"), (120, "2 min"),
        (3599.7, "1 h"), (4320, "1 h 12 min"), (7200, "2 h"), (90_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_durations(amount: float, text: str) -> None:
    assert words.seconds(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0.0, "0"), (0.00123, "0.00123"), (1234.5, "1,234"), (1.5e9, "1.50e+09"), (2e-9, "2.00e−09"), (-0.5, "−0.500")],
)
def test_significant_digits(amount: float, text: str) -> None:
    assert words.significant(amount) == text


@given(st.floats(-1e9, 1e9), st.integers(0, 6))
def test_a_number_reads_back(value: float, decimals: int) -> None:
    text = words.number(value, decimals, signed=True)
    assert float(text.replace(",", "").replace(words.MINUS, "-")) == pytest.approx(value, abs=0.51 * 10.0**-decimals)
    assert "-" not in text


@given(st.floats(1e-5, 0.5))
def test_an_interval_shows_at_least_one_digit_of_its_width(half: float) -> None:
    text = words.plus_minus(LOSS, 0.5, half)
    assert any(digit in "123456789" for digit in text.partition("±")[2])


def test_labels_are_words() -> None:
    assert words.label(ACCURACY) == "validation accuracy"
    assert words.label(CATALOGUE["running_train_loss"]) == "running training loss"
    assert words.label(CATALOGUE["test_roc_auc"]) == "test ROC AUC"
    assert words.label(CATALOGUE["val_macro_f1"]) == "validation macro F1"
    assert words.label(CATALOGUE["test_top3_accuracy"]) == "test top-3 accuracy"
    assert words.label(metric_named("val_loss@5")) == "validation loss at epoch 5"
    assert words.capital("validation of LeNet") == "Validation of LeNet"


def test_dates_are_for_people() -> None:
    assert words.date("2026-03-01T10:07:00Z") == "2026-03-01 10:07:00 UTC"
    assert words.date("2026-03-01T10:07:00+00:00") == "2026-03-01 10:07:00 UTC"
    assert words.date("some time ago") == "some time ago"


def test_counts_agree_in_number() -> None:
    assert words.count(1, "run") == "1 run"
    assert words.count(1204, "run") == "1,204 runs"
    assert words.count(2, "prediction was", "predictions were") == "2 predictions were"


def test_huge_values_stay_short() -> None:
    assert words.value(LOSS, 2.7261e12, 0.001) == "2.73e+12"
    assert words.value(LOSS, 0.25, 0.001) == "0.2500"
    assert words.value(CATALOGUE["parameters"], 61_706_000.0) == "61,706,000"


def test_half_widths_have_the_unit_of_their_metric() -> None:
    assert words.spread(ACCURACY, 0.0123) == "± 1.2 %"
    assert words.spread(CATALOGUE["test_roc_auc"], 0.00291) == "± 0.0029"
    assert words.spread(LOSS, 0.045) == "± 0.045"
    assert words.spread(SECONDS, 0.0021) == "± 2.1 ms"
