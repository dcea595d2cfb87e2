"""A file that the first run of each arm kept, read with distrust: what breaks a rule is not shown, and said so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from assay.errors import StoreError
from assay.reports.evidence import ArmEvidence, Evidence

T = TypeVar("T")


def kept_by_first_runs(
    evidence: Evidence, name: str, read: Callable[[bytes], T], *, most: int
) -> tuple[list[tuple[int, ArmEvidence, T]], list[str]]:
    """What the file of that name holds, with its arm and the arm's position, and remarks on what is left out.

    Args:
        evidence: of the study.
        name: of the file.
        read: what it holds; raises `StoreError` if it is damaged.
        most: arms that are returned.

    Raises:
        StoreError: a stored file cannot be read.
    """
    found: list[tuple[int, ArmEvidence, T]] = []
    damaged: list[str] = []
    for position, arm in enumerate(evidence.arms):
        content = evidence.results.runs[arm.name][arm.runs[0].seed].artefact(name) if arm.runs else None
        if content is None:
            continue
        try:
            found.append((position, arm, read(content)))
        except StoreError:
            damaged.append(arm.name)
    remarks = []
    if damaged:
        others = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
        remarks.append(f"What was kept is damaged, and not shown, of {', '.join(damaged[:5])}{others}: {name}.")
    if len(found) > most:
        remarks.append(f"The first {most} of {len(found)} arms are shown; each run keeps its own.")
    return found[:most], remarks
