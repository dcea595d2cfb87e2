"""Puts a study's report on disk: ``report.html`` and ``tables/*.csv``."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from assay.errors import StoreError
from assay.reports.build import page_of
from assay.reports.evidence import gather
from assay.reports.render import render
from assay.reports.tables import tables_of
from assay.studies.results import StudyResults

PAGE = "report.html"
TABLES = "tables"


def write(results: StudyResults, folder: Path) -> Path:
    """Write the report of a study into a folder, which is made if need be.

    Each file is written aside and renamed into place, so that a reader never meets half a page, and a full disk
    leaves the earlier report as it was.

    Returns:
        The path of the HTML page.

    Raises:
        StoreError: a stored file is damaged, or the report cannot be written.
    """
    evidence = gather(results)
    # Everything is computed before anything is written.
    texts = {PAGE: render(page_of(evidence))} | {f"{TABLES}/{name}": text for name, text in tables_of(evidence).items()}
    try:
        _write_all(folder, texts)
    except OSError as error:
        raise StoreError(
            f"The report could not be written to {folder}: {error.strerror or error}. "
            "Free some space, or make the folder writable, then run `assay report` again."
        ) from error
    return folder / PAGE


def _write_all(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, text.encode("utf-8", errors="replace"))  # a lone surrogate in a name is no reason to fail


def _replace(target: Path, content: bytes) -> None:
    descriptor, aside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(aside).chmod(0o644)  # mkstemp makes files for their owner alone; a report is for others too
        Path(aside).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(aside).unlink()
        raise
