"""A table of images: a CSV file with the columns ``path`` and ``label``, and ``split`` if the data have official ones.

The table is UTF-8, with or without a byte order mark, its cells separated by commas; its first line names the columns,
of which others are ignored. Relative paths start at the table's folder. Labels are names of classes; if all of them are
whole numbers, classes are in the order of these, and otherwise in that of the alphabet. Rows keep their order.

Shape key: N rows.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from assay.data.labelled_files import LabelledFiles, complete, counted, listed, printable, with_roles
from assay.data.places import find
from assay.data.sources.image_files import ImageFilesSource
from assay.errors import DataError, shown
from assay.recipe.schema import CsvData
from assay.records import Split

_NEEDED = ("path", "label")
_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}
_WHOLE = re.compile(r"[+-]?\d{1,1000}")


@dataclass(frozen=True, kw_only=True)
class _Row:
    line: int
    path: str
    label: str
    split: Split | None


@final
class CsvSource(ImageFilesSource[CsvData]):
    """The data source ``csv``."""

    def files(self) -> LabelledFiles:
        """What the table lists now.

        Raises:
            DataError: the table is missing or not as it should be.
        """
        table = find(self._section.file, "Data source csv: file")
        if not table.is_file():
            raise DataError(
                f"Data source csv: file must be a table, got the folder {table}. "
                "A folder of images is read with data.source folder."
            )
        what = f"Data source csv: {table}"
        # Links are resolved, because a path that leads upwards from a linked folder leads up from where the link goes.
        root = Path(os.path.realpath(table.parent))
        rows = _rows(_text(table, what), root, what)
        missing = [row for row in rows if not os.path.isfile(root / row.path)]  # noqa: PTH113 - bears any text
        lines = [_missing(row, root) for row in missing]
        if missing and self._section.on_bad == "error":
            raise DataError(
                f"{what} names {counted(len(missing), 'file that is', 'files that are')} not there:{listed(lines)}\n"
                "  Relative paths start at the table's folder. Mend the paths, or leave these rows out with "
                "data.on_bad: skip."
            )
        left_out = {row.line for row in missing}
        return _labelled([row for row in rows if row.line not in left_out], root, what, tuple(lines))


def _text(table: Path, what: str) -> str:
    content = table.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{what}, line {line}: the table must be in UTF-8, got the byte 0x{content[error.start]:02x}. "
            "Save it again with that encoding."
        ) from None


def _rows(text: str, root: Path, what: str) -> list[_Row]:
    """The rows of the table.

    Raises:
        DataError: a column is missing, or rows break a rule; the message lists them with their lines.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[_Row] = []
    problems: list[str] = []
    ended = 0
    try:
        header = _header(next(reader, []), what)
        ended = reader.line_num
        for cells in reader:
            ended = reader.line_num
            if not cells:
                continue
            found = _row(cells, header, reader.line_num, root)
            if isinstance(found, _Row):
                rows.append(found)
            else:
                problems.append(f"line {reader.line_num}: {found}")
    except csv.Error as error:
        # A quote that is never closed takes in all that follows, so it is where the row begins that says more.
        raise DataError(
            f"{what}, line {ended + 1}: {error}. Mend the row that begins there, and look for a quote left open."
        ) from None
    problems += _repeated(rows)
    if problems:
        raise DataError(
            f"{what} has {counted(len(problems), 'row that breaks', 'rows that break')} a rule:{listed(problems)}"
        )
    if not rows:
        raise DataError(f"{what} has no rows below its header. Add a row with path and label for each image.")
    return rows


def _header(cells: Sequence[str], what: str) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        hint = ""
        if len(cells) == 1 and (other := next((mark for mark in ";\t|" if mark in cells[0]), None)):
            hint = f" Separate the cells by commas, not by {other!r}."
        raise DataError(
            f"{what}, line 1: the first line must name the columns path and label, and split if there are official "
            f"splits; {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing, got "
            f"{shown(','.join(cells))}.{hint}"
        )
    for name in (*_NEEDED, "split"):
        if header.count(name) > 1:
            raise DataError(f"{what}, line 1: the column {name} must be there once, got {header.count(name)}.")
    return header


def _row(cells: Sequence[str], header: Sequence[str], line: int, root: Path) -> _Row | str:
    """The row, or what is wrong with it."""
    if len(cells) != len(header):
        return f"there must be {len(header)} cells as in the first line, got {len(cells)}: {shown(','.join(cells))}"
    of = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    for name in (*_NEEDED, "split"):
        if of.get(name) == "":
            return f"{name} is empty"
    split = of.get("split")
    if split is not None and split not in _SPLITS:
        return f"split must be train, val or test, got {shown(split)}"
    path = of["path"]
    if os.path.isabs(path):  # noqa: PTH117 - bears any text
        path = os.path.relpath(path, root)
    return _Row(line=line, path=path, label=of["label"], split=_SPLITS[split] if split else None)


def _repeated(rows: Sequence[_Row]) -> list[str]:
    first: dict[str, _Row] = {}
    problems = []
    for row in rows:
        earlier = first.setdefault(os.path.normpath(row.path), row)
        if earlier is row:
            continue
        differing = [
            f"with another {name} ({getattr(row, name)}, before {getattr(earlier, name)})"
            for name in ("label", "split")
            if getattr(row, name) != getattr(earlier, name)
        ]
        again = f"line {row.line}: {printable(row.path)} is on line {earlier.line} already"
        problems.append(", ".join([again, *differing]))
    return problems


def _missing(row: _Row, root: Path) -> str:
    text = f"line {row.line}: {printable(row.path)}: "
    if os.path.isdir(root / row.path):  # noqa: PTH112
        return text + "this is a folder"
    if "\\" in row.path and os.path.isfile(root / row.path.replace("\\", "/")):  # noqa: PTH113
        return text + "there is no such file, but one with / in place of \\"
    return text + "there is no such file"


def _labelled(rows: Sequence[_Row], root: Path, what: str, skipped: tuple[str, ...]) -> LabelledFiles:
    names = {row.label for row in rows}
    numbers = all(_WHOLE.fullmatch(name) for name in names)
    classes = sorted(names, key=lambda name: (int(name), name)) if numbers else sorted(names)
    label_of = {name: label for label, name in enumerate(classes)}
    files = LabelledFiles(
        what=what,
        root=root,
        paths_N=tuple(row.path for row in rows),
        labels_N=np.array([label_of[row.label] for row in rows], dtype=np.int64),
        classes=tuple(printable(name) for name in classes),
        splits_N=tuple(row.split for row in rows if row.split is not None),
        skipped=skipped,
    )
    return with_roles(complete(files))
