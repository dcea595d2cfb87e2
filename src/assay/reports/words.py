"""Numbers as a reader meets them: signs, units, sensible digits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from assay.metrics.catalogue import Metric

MINUS = "−"
MISSING = "–"

_EFFECT_UNIT = {"nats": "nats", "count": "", "norm": "", "score": "", "fraction": "points"}
_SMALLEST, _LARGEST = 1e-5, 1e6
"""Losses and norms between these are written out."""
_MANY = 1000
"""Differences of counts are whole numbers from here on."""
_DURATIONS = ((86_400.0, "d", 3_600.0, "h"), (3_600.0, "h", 60.0, "min"), (60.0, "min", 1.0, "s"))


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """A number with thousands separated and a true minus sign; zero has no sign."""
    text = f"{abs(value):,.{decimals}f}"
    if not any(digit in "123456789" for digit in text):
        return text
    return f"{MINUS if value < 0 else '+' if signed else ''}{text}"


def decimals_for(spread: float | None, most: int = 6) -> int:
    """Decimals that show two digits of a spread (an interval's half-width), at most ``most``."""
    if spread is None or not math.isfinite(spread) or spread <= 0:
        return min(2, most)
    return max(0, min(most, 1 - math.floor(math.log10(spread))))


def _scale(metric: Metric, extent: float) -> tuple[float, str]:
    """What to multiply differences up to ``extent`` by, and the unit they then have."""
    if metric.unit == "seconds":
        size, unit = seconds_scale(extent)
        return 1.0 / size, unit
    return 100.0 if metric.unit == "fraction" else 1.0, _EFFECT_UNIT[metric.unit]


def _effect_decimals(metric: Metric, spread: float | None, value: float) -> int:
    """Decimals of a difference; value and spread are scaled already."""
    if metric.unit == "fraction":
        return max(1, decimals_for(spread, most=2))
    if metric.unit == "count" and abs(value) >= _MANY:
        return 0
    return decimals_for(spread if spread else (abs(value) / 10.0 or None))


def _readable(metric: Metric, amount: float, decimals: int, extent: float, *, signed: bool = False) -> str:
    """A number with those decimals; in powers of ten where all its neighbours up to ``extent`` are huge or tiny."""
    if metric.unit not in {"nats", "norm"} or _SMALLEST <= extent < _LARGEST:
        return number(amount, decimals, signed=signed)
    if amount == 0:
        return "0" if extent else number(amount, decimals)
    return f"{MINUS if amount < 0 else '+' if signed else ''}{abs(amount):.2e}".replace("-", MINUS)


def effect(metric: Metric, value: float, spread: float | None = None) -> str:
    """A signed difference with its unit, accuracies in percentage points: ``−12.3 points``, ``+41 µs``."""
    extent = max(abs(value), spread or 0.0)
    scale, unit = _scale(metric, extent)
    decimals = _effect_decimals(metric, None if spread is None else spread * scale, value * scale)
    return _with_unit(unit, _readable(metric, value * scale, decimals, extent, signed=True))


def bounds(metric: Metric, low: float, high: float) -> str:
    """An interval of differences: ``[−14.1, −10.5]``; with its unit only where that varies: ``[+38, +44] µs``."""
    extent = max(abs(low), abs(high))
    scale, unit = _scale(metric, extent)
    decimals = _effect_decimals(metric, (high - low) / 2 * scale, high * scale)
    text = ", ".join(_readable(metric, end * scale, decimals, extent, signed=True) for end in (low, high))
    return f"[{text}] {unit}" if metric.unit == "seconds" else f"[{text}]"


def margin(metric: Metric, value: float) -> str:
    """A margin with its unit and the digits it was given: ``±1.0 point``."""
    scale, unit = _scale(metric, value)
    scaled = value * scale
    fewest = 1 if metric.unit == "fraction" else 0
    decimals = next((d for d in range(fewest, 8) if math.isclose(round(scaled, d), scaled, rel_tol=1e-9)), 8)
    text = number(scaled, decimals) if scaled >= _SMALLEST else f"{scaled:.3g}".replace("-", MINUS)
    return "±" + _with_unit(unit, text)


def _with_unit(unit: str, text: str) -> str:
    if unit in {"points", "nats"} and text.lstrip(f"+{MINUS}").rstrip("0").rstrip(".") == "1":
        unit = unit[:-1]
    return f"{text} {unit}" if unit else text


def value(metric: Metric, amount: float | None, spread: float | None = None) -> str:
    """A value of a metric with its unit: ``97.2 %``, ``0.113``, ``3.4 s``."""
    if amount is None:
        return MISSING
    if metric.unit == "seconds":
        return seconds(amount)
    if metric.unit == "fraction":
        return f"{number(amount * 100.0, max(1, decimals_for(spread and spread * 100.0, most=2)))} %"
    if metric.unit == "count":
        return number(amount, 0 if float(amount).is_integer() else 1)
    return significant(amount) if spread is None else _readable(metric, amount, decimals_for(spread), abs(amount))


def plus_minus(metric: Metric, mean: float | None, half_width: float | None) -> str:
    """A mean with the half-width of its interval: ``97.2 ± 0.4 %``; only the mean where there is no interval."""
    if mean is None:
        return MISSING
    if half_width is None:
        return value(metric, mean)
    if metric.unit == "seconds":
        scale, unit = seconds_scale(abs(mean))
        decimals = decimals_for(half_width / scale, most=2)
        return f"{number(mean / scale, decimals)} ± {number(half_width / scale, decimals)} {unit}"
    extent = max(abs(mean), half_width)
    scale, _ = _scale(metric, extent)
    decimals = decimals_for(half_width * scale, most=2 if metric.unit in {"fraction", "count"} else 6)
    if metric.unit == "fraction":
        decimals = max(1, decimals)
    if metric.unit == "count" and half_width == 0 and float(mean).is_integer():
        decimals = 0  # the same whole number in every run
    text = " ± ".join(_readable(metric, amount * scale, decimals, extent) for amount in (mean, half_width))
    return f"{text} %" if metric.unit == "fraction" else text


def spread(metric: Metric, half_width: float) -> str:
    """The half-width of an interval with its unit: ``± 0.4 %``."""
    scale, unit = _scale(metric, half_width)
    text = _readable(metric, half_width * scale, decimals_for(half_width * scale), half_width)
    return "± " + _with_unit("%" if metric.unit == "fraction" else unit if metric.unit == "seconds" else "", text)


def significant(amount: float, digits: int = 3) -> str:
    """A number to so many significant digits, in powers of ten when very large or small."""
    if amount == 0 or not math.isfinite(amount):
        return "0" if amount == 0 else str(amount)
    exponent = math.floor(math.log10(abs(amount)))
    if -5 <= exponent < 6:
        return number(amount, max(0, digits - 1 - exponent))
    return f"{amount:.{digits - 1}e}".replace("-", MINUS)


def seconds(amount: float) -> str:
    """A duration in the unit that suits it: ``41 µs``, ``3.4 s``, ``2 min 5 s``, ``1 h 12 min``."""
    for size, name, smaller, smaller_name in _DURATIONS:
        parts = round(amount / smaller)
        if parts >= round(size / smaller):
            whole, rest = divmod(parts, round(size / smaller))
            return f"{whole} {name} {rest} {smaller_name}" if rest else f"{whole} {name}"
    if amount == 0:
        return "0 s"
    scale, unit = seconds_scale(amount)
    return f"{significant(amount / scale, 2 if amount / scale < 100 else 3)} {unit}"


def seconds_scale(amount: float) -> tuple[float, str]:
    """The unit that suits a time, in seconds and by name: ``(1e-3, "ms")``; seconds for none at all."""
    if amount >= 1.0 or amount == 0:
        return 1.0, "s"
    return (1e-3, "ms") if amount >= 1e-3 else (1e-6, "µs")


def memory(count: int) -> str:
    """Bytes in the unit that suits them, of 1,000 each: ``0``, ``840 B``, ``32.8 kB``, ``1.23 GB``."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            amount = count / size
            return f"{amount:.{2 if amount < 9.995 else 1 if amount < 99.95 else 0}f} {unit}"
    return f"{count} B" if count else "0"


def count(amount: int, noun: str, plural: str | None = None) -> str:
    """``1 run``, ``1,204 runs``."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


_OTHERWISE = {"lr": "learning rate", "update_ratio": "update-to-weight ratio"}


def label(metric: Metric) -> str:
    """A metric's name as a heading: ``validation accuracy``, ``training loss at epoch 5``."""
    base, at, epoch = metric.name.partition("@")
    if base in _OTHERWISE:
        return _OTHERWISE[base]
    text = re.sub(r"\b(?:val\b|train\b|f1\b|roc auc\b|top(?=\d))", _in_words, base.replace("_", " "))
    return f"{text} at epoch {epoch}" if at else text


def _in_words(abbreviated: re.Match[str]) -> str:
    known = {"val": "validation", "train": "training", "f1": "F1", "roc auc": "ROC AUC", "top": "top-"}
    return known[abbreviated[0]]


def capital(text: str) -> str:
    """The text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def date(text: str) -> str:
    """An ISO 8601 time in UTC for people: ``2026-03-01 10:07:00 UTC``; any other text as it is."""
    return re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)$", r"\1 \2 UTC", text)


def value_text(value: Any) -> str:
    """A recipe value as a reader would write it in a study file."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return text if float(text := f"{value:g}") == value else repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {value_text(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(part) for part in value) + "]"
    return str(value)
