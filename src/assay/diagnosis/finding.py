"""What a diagnosis says: one finding for each thing that is wrong, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["severe", "warning", "note"]
"""``severe``: the result is worthless or much worse than it need be; ``warning``: it is probably worse than it need be;
``note``: worth knowing, and often wanted."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values in a row, such as a loss by epoch."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    """As many; not-a-number where there is none."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A small drawing of the evidence."""

    x: str
    """What the horizontal axis counts: ``epoch``, ``step``, ``layer``."""
    y: str
    series: tuple[Series, ...]
    log: bool = False
    mark: float | None = None
    """The place on the horizontal axis where it began."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        rule: its name, the same for every finding of the kind: ``overfitting``.
        severity: see `Severity`.
        title: what it is, in one line without a full stop.
        seen: the evidence, in numbers, in full sentences.
        why: why it matters.
        cause: the likely cause.
        cure: one concrete change, in words.
        changes: the same as values by dotted key of a recipe; empty where no key does it.
        chart: a drawing of the evidence, if there is something to draw.
    """

    rule: str
    severity: Severity
    title: str
    seen: str
    why: str
    cause: str
    cure: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    chart: Chart | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """By severity; those of one severity stay in order."""
    rank = {"severe": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda finding: rank[finding.severity]))
