"""Image files with a class each, as a folder or a table lists them, and what identifies them.

Shape key: N files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.data.images import DECODER, ImageForm
from assay.errors import DataError
from assay.records import Split

VERSION = 1
"""Raised when folders or tables are read in another way."""

_LINES_SHOWN = 10
_NAMES_SHOWN = 5
_LEAST_CLASSES = 2


@dataclass(frozen=True, kw_only=True)
class LabelledFiles:
    """Image files in the order in which they become examples.

    Attributes:
        what: how messages name the whole, such as ``Data source folder: /data/birds``.
        root: the folder at which `paths_N` start.
        paths_N: each file's path, with ``/``.
        labels_N: each file's class, a position in `classes`, int64.
        classes: names.
        splits_N: each file's official split; or empty if there are none.
        skipped: what was left out as unusable, with reasons.
        remarks: what else a reader of a run should know.
    """

    what: str
    root: Path
    paths_N: tuple[str, ...]
    labels_N: NDArray[np.int64]
    classes: tuple[str, ...]
    splits_N: tuple[Split, ...] = ()
    skipped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths_N)

    def in_split(self, split: Split) -> NDArray[np.int64] | None:
        """Positions of the files of an official split, or None if there is no such split."""
        positions = np.array([place for place, name in enumerate(self.splits_N) if name == split], dtype=np.int64)
        return positions if positions.size else None

    def without(self, bad: Mapping[int, str]) -> LabelledFiles:
        """The same without the files at these positions, which are noted with the reasons given.

        A class none of whose files are left goes too.

        Raises:
            DataError: fewer than two classes are left, or a class has no file left in some split.
        """
        if not bad:
            return self
        kept = [place for place in range(len(self)) if place not in bad]
        present_K, labels_N = np.unique(self.labels_N[kept], return_inverse=True)
        gone = sorted(set(range(len(self.classes))) - set(present_K.tolist()))
        return complete(
            replace(
                self,
                paths_N=tuple(self.paths_N[place] for place in kept),
                labels_N=labels_N.astype(np.int64),
                classes=tuple(self.classes[label] for label in present_K),
                splits_N=tuple(self.splits_N[place] for place in kept) if self.splits_N else (),
                skipped=(
                    *self.skipped,
                    *(f"{printable(self.paths_N[place])}: {bad[place]}" for place in sorted(bad)),
                    *(f"class {self.classes[label]}: none of its images can be read" for label in gone),
                ),
            )
        )


def complete(files: LabelledFiles) -> LabelledFiles:
    """The same files, or an error if there are fewer than two classes or one is missing from a split.

    Raises:
        DataError: as said.
    """
    if len(files.classes) < _LEAST_CLASSES:
        names = ", ".join(files.classes) or "none"
        raise DataError(
            f"{files.what} must have images of at least 2 classes, got {len(files.classes)}: {names}.{_left_out(files)}"
        )
    missing = []
    for split in dict.fromkeys(files.splits_N):
        count_K = np.bincount(files.labels_N[files.in_split(split)], minlength=len(files.classes))
        missing += [f"{files.classes[label]}: none in {split}" for label in np.flatnonzero(count_K == 0)]
    if missing:
        raise DataError(
            f"{files.what} must have images of every class in every split. Without:{listed(missing)}\n"
            f"  Add images, or take these classes out of the other splits.{_left_out(files)}"
        )
    return files


def _left_out(files: LabelledFiles) -> str:
    """What was left out because ``data.on_bad: skip`` says so, for messages on what is then too few."""
    return f"\n  Left out as unusable:{listed(files.skipped)}" if files.skipped else ""


def with_roles(files: LabelledFiles) -> LabelledFiles:
    """The same files, each in the split it serves in.

    Data sets that come with ``train`` and ``val`` alone keep their test labels to themselves, and results on them are
    reported on ``val``. So the only split beside ``train`` is the official test split, and validation is drawn from
    ``train``.

    Raises:
        DataError: there are splits, but no ``train``.
    """
    present = set(files.splits_N)
    if not present:
        return files
    if "train" not in present:
        raise DataError(f"{files.what} has the split {' and '.join(sorted(present))} but no train. Add it.")
    if present == {"train"}:
        remark = "There is no split but train, so the test split is drawn from it."
        return replace(files, splits_N=(), remarks=(*files.remarks, remark))
    if present == {"train", "val"}:
        remark = "There is no split test, so val is the test split, and validation is drawn from train."
        splits_N: tuple[Split, ...] = tuple("test" if name == "val" else name for name in files.splits_N)
        return replace(files, splits_N=splits_N, remarks=(*files.remarks, remark))
    return files


def fingerprint(files: LabelledFiles, digests_N: Sequence[str], form: ImageForm, on_bad: str) -> str:
    """What identifies the examples made of these files: 64 hexadecimal digits.

    It covers each file's content, class and split, in order; names of classes; and how images are brought to one
    form. Where the files lie and what they are called is no part of it, as it changes no number. Neither is the
    version of Pillow: that would make every run anew after each upgrade, while pixels hardly ever change. As with
    torch and NumPy, the version is for the run's record.
    """
    return _digest([VERSION, DECODER, files.classes, form.size, form.fit, form.color, on_bad], files, digests_N)


def identity(files: LabelledFiles, digests_N: Sequence[str]) -> str:
    """What tells these files from others, in whatever form they are: 64 hexadecimal digits."""
    return _digest([VERSION, files.classes], files, digests_N)


def _digest(head: Sequence[object], files: LabelledFiles, digests_N: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(head).encode())
    splits_N: Iterable[str] = files.splits_N or [""] * len(files)
    rows = zip(digests_N, files.labels_N.tolist(), splits_N, strict=True)
    digest.update("\n".join(f"{content} {label} {split}" for content, label, split in rows).encode())
    return digest.hexdigest()


# --- words ------------------------------------------------------------------------------------------------------------


def listed(lines: Sequence[str]) -> str:
    """The first ten, each on a line of its own, and how many more there are."""
    shown = "".join(f"\n  {line}" for line in lines[:_LINES_SHOWN])
    more = len(lines) - _LINES_SHOWN
    return shown + (f"\n  … and {more:,} more" if more > 0 else "")


def named(names: Sequence[str]) -> str:
    """The first five in one line, and how many more there are."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def counted(count: int, one: str, more: str) -> str:
    """``1 row``, ``1,200 rows``."""
    return f"{count:,} {one if count == 1 else more}"


def printable(name: str) -> str:
    """A file's name as it may appear in messages and records: line breaks and what is no Unicode are escaped."""
    return name if name.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
