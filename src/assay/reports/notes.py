"""What runs noted of themselves, for a reader: warnings, what did not converge, batches larger than the data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from assay.records import RunRecord

MOST_NOTES = 10
"""Different notes shown; the rest stand in each run's ``record.json``."""
MOST_ARMS = 4
"""Arms named for one note."""
_LONGEST = 300
_EPOCH = re.compile(r"\bepoch (\d+)")


def noted(records: Mapping[str, Iterable[RunRecord]]) -> tuple[str, ...]:
    """One sentence for each different note of the runs of each arm, saying how many runs of which arms have it.

    Runs that stopped early did so at different epochs, and yet for one reason: theirs is one note. What is known of
    the data stands with the data and is left out here.

    Args:
        records: of each arm.
    """
    runs: dict[str, int] = {}
    found: dict[str, dict[str, int]] = {}
    alike: dict[str, list[str]] = {}
    for arm, of_arm in records.items():
        for record in of_arm:
            runs[arm] = runs.get(arm, 0) + 1
            for note in dict.fromkeys(map(str, record.notes)):
                if not _of_the_data(note, record):
                    kind = _without_epochs(note)
                    alike.setdefault(kind, []).append(note)
                    found.setdefault(kind, {}).setdefault(arm, 0)
                    found[kind][arm] += 1
    sentences = [_sentence(_over_all(alike[kind]), arms, runs) for kind, arms in list(found.items())[:MOST_NOTES]]
    if len(found) > MOST_NOTES:
        sentences.append(f"{len(found) - MOST_NOTES} more notes stand in the runs' record.json.")
    return tuple(sentences)


def _without_epochs(note: str) -> str:
    return _EPOCH.sub("epoch", note) if note.startswith("Training stopped after epoch") else note


def _over_all(notes: list[str]) -> str:
    """Notes that differ in their epochs as one: ``after epochs 4 to 7``."""
    if len(set(notes)) == 1:
        return notes[0]
    places = zip(*([int(epoch) for epoch in _EPOCH.findall(note)] for note in notes), strict=True)
    spans = iter([(min(epochs), max(epochs)) for epochs in places])

    def span(_: re.Match[str]) -> str:
        low, high = next(spans)
        return f"epoch {low}" if low == high else f"epochs {low} to {high}"

    return _EPOCH.sub(span, notes[0])


def _of_the_data(note: str, record: RunRecord) -> bool:
    skipped = record.data.get("skipped") or ()
    return note in (record.data.get("remarks") or ()) or (
        bool(skipped) and note.startswith(f"{len(skipped)} examples left out as unreadable")
    )


def _sentence(note: str, arms: Mapping[str, int], runs: Mapping[str, int]) -> str:
    named = [f"{count} of {runs[arm]} runs of {arm}" for arm, count in list(arms.items())[:MOST_ARMS]]
    more = f" and of {len(arms) - MOST_ARMS} more arms" if len(arms) > MOST_ARMS else ""
    text = " ".join(note.split())
    return f"Noted in {', '.join(named)}{more}: {text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}"
