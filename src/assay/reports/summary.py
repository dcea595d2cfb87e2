"""The report on one screen of a terminal: verdicts in words, then the arms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.metrics.catalogue import CATALOGUE, Metric
from assay.reports import words
from assay.reports.estimates import estimate
from assay.reports.notes import noted
from assay.reports.page import ClaimEntry
from assay.reports.verdicts import claim_entry, lead
from assay.studies.claims import Verdict
from assay.studies.results import StudyResults

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group
    from rich.table import Table
    from rich.text import Text

MOST_METRICS = 3
"""Columns of metrics that fit a terminal of 80 characters."""
MOST_CLAIMS = 40
MOST_ARMS = 60
MOST_NOTES = 3
_COLOURS: dict[Verdict, str] = {
    "helps": "green",
    "hurts": "red",
    "no difference that matters": "blue",
    "undecided": "yellow",
}
_SIGNS: dict[Verdict, str] = {"helps": "+", "hurts": "-", "no difference that matters": "=", "undecided": "?"}


def summary(results: StudyResults) -> Group:
    """Something for `rich` to print: the verdicts in words first, then a table of the arms.

    It reads no histories unless a claim is about an epoch, so it is quick even where the page is large. Names are taken
    literally: markup in them has no effect.
    """
    from rich.console import Group
    from rich.text import Text

    entries = [claim_entry(claim, results.study) for claim in results.claims]
    parts: list[Text | Table | _Indented] = [Text(lead(entries), style="bold")]
    parts += [line for entry in entries[:MOST_CLAIMS] for line in _claim_lines(entry)]
    if len(entries) > MOST_CLAIMS:
        parts.append(Text(f"… and {len(entries) - MOST_CLAIMS} more claims in the report."))
    parts += [Text(""), _arms_table(results)]
    if len(results.study.arms) > MOST_ARMS:
        parts.append(Text(f"… and {len(results.study.arms) - MOST_ARMS} more arms in the report."))
    parts.append(Text("Mean ± half-width of a 95 % interval over n seeds.", style="dim"))
    notes = noted({arm: [run.record for run in runs.values()] for arm, runs in results.runs.items()})
    parts += [Text(note, style="yellow") for note in notes[:MOST_NOTES]]
    if len(notes) > MOST_NOTES:
        parts.append(Text(f"… and {len(notes) - MOST_NOTES} more notes in the report.", style="yellow"))
    return Group(*parts)


@dataclass(frozen=True)
class _Indented:
    """Text wrapped to the terminal with an indent before every line, and nothing behind it."""

    text: Text
    by: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Text]:
        room = max(20, options.max_width - self.by)
        lines = [self.text] if self.text.no_wrap else self.text.wrap(console, room)
        for line in lines:
            line.rstrip()
            line.pad_left(self.by)
            line.no_wrap = True  # it fits already, or must not be broken
            line.overflow = "ignore"
            yield line


def _claim_lines(entry: ClaimEntry) -> Iterable[_Indented]:
    from rich.text import Text

    colour = _COLOURS[entry.verdict]
    lines = [Text(f"{_SIGNS[entry.verdict]} {entry.sentence}", style=colour)]
    if entry.verdict != "undecided":
        lines.append(Text(entry.standing, style="dim"))
    lines += [Text(note) for note in entry.notes]
    if entry.advice is not None:
        lines.append(Text(entry.advice.sentence))
        if entry.advice.command is not None:
            # It is copied: it must not be broken into lines.
            lines.append(Text(entry.advice.command, style="bold", no_wrap=True, overflow="ignore"))
    for number, line in enumerate(lines):
        yield _Indented(line, by=4 if number else 2)


def _arms_table(results: StudyResults) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    metrics = _metrics(results)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("arm", overflow="fold")
    for metric in metrics:
        table.add_column(metric.name, justify="right", overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    for arm in results.study.arms[:MOST_ARMS]:
        runs = results.runs.get(arm.name, {})
        cells = []
        for metric in metrics:
            history = metric.epoch is not None
            known = estimate(
                metric.value(run.record.metrics, run.history() if history else ()) for run in runs.values()
            )
            fewer = f" (n = {known.n})" if 0 < known.n < len(runs) else ""
            cells.append(words.plus_minus(metric, known.mean, known.half_width) + fewer)
        table.add_row(Text(arm.name), *cells, str(len(runs)))
    return table


def _metrics(results: StudyResults) -> list[Metric]:
    found = {claim.comparison.metric.name: claim.comparison.metric for claim in results.claims}
    for name in ("val_accuracy", "test_accuracy", "seconds"):
        found.setdefault(name, CATALOGUE[name])
    return list(found.values())[:MOST_METRICS]
