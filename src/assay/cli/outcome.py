"""What became of a study, as programs read it: the object that ``--json`` prints. Its keys are a promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.studies.results import StudyResults


def outcome(results: StudyResults, page: Path, *, done: int, cached: int, failed: int) -> dict[str, Any]:
    """Study, counts of runs, claims, and the path of the report."""
    return {
        "study": results.study.name,
        "runs": {"done": done, "cached": cached, "failed": failed},
        "claims": [claim.to_json() for claim in results.claims],
        "report": str(page),
    }
