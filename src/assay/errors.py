"""Every error assay raises on purpose.

    AssayError                  exit code 1
    ├── InputError              2   something the user wrote is wrong; nothing was started
    │   ├── InvalidValueError        2   one value of a recipe or study breaks a rule
    │   │   └── StudyFileError  2   the same, with the file and line it stands on
    │   ├── DataError           2   a data set is missing, damaged or unfit for what was asked
    │   ├── ShapeError          2   arrays or layers do not fit together
    │   └── MissingExtraError   2   an optional dependency is not installed
    ├── StoreError              1   the run store cannot be read or written
    ├── RunFailedError          1   runs failed; everything else was kept
    ├── ClaimNotSupportedError  3   --check was asked and a claim is not supported
    └── InterruptedStudyError   130 stopped by Ctrl-C; finished runs were kept

The message of each names the thing, the rule, the value received and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar

KeyPath = tuple[str | int, ...]


class AssayError(Exception):
    """Base of all errors assay raises on purpose."""

    exit_code: ClassVar[int] = 1


class InputError(AssayError):
    """Something the user wrote cannot be used as it is."""

    exit_code = 2


class InvalidValueError(InputError):
    """One value in a recipe or study breaks a rule.

    Args:
        path: keys leading to the value, outermost first.
        problem: what is wrong, with the rule and the value: ``must be at least 1, got 0.``
        hint: what to do about it, such as the nearest valid name; may be empty.
        more: how many further problems the same input has.
    """

    def __init__(self, path: Sequence[str | int], problem: str, hint: str = "", more: int = 0) -> None:
        self.path: KeyPath = tuple(path)
        self.problem = problem
        self.hint = hint
        self.more = more
        super().__init__(self.path, problem, hint, more)

    @property
    def key(self) -> str:
        """The path in dotted form, as written on the command line: ``train.batch_size``."""
        return dotted(self.path)

    def __str__(self) -> str:
        lines = [" ".join(part for part in (self.key, self.problem) if part)]
        if self.hint:
            lines.append("  " + self.hint)
        if self.more:
            lines.append(f"  ({self.more} more problem{'s' if self.more > 1 else ''} after this one.)")
        return "\n".join(lines)


class StudyFileError(InvalidValueError):
    """An InvalidValueError with the place it was written at, such as ``labs/x.yaml, line 7`` or ``--set``."""

    def __init__(self, place: str, path: Sequence[str | int], problem: str, hint: str = "", more: int = 0) -> None:
        super().__init__(path, problem, hint, more)
        self.place = place
        self.args = (place, self.path, problem, hint, more)

    def __str__(self) -> str:
        return f"{self.place}: {super().__str__()}"


class DataError(InputError):
    """A data set is missing, damaged or unfit for what was asked of it."""


class ShapeError(InputError):
    """Arrays or layers do not fit together."""


class MissingExtraError(InputError):
    """An optional dependency is needed and not installed; the message holds the pip command."""


class StoreError(AssayError):
    """The run store cannot be read or written."""


class RunFailedError(AssayError):
    """One or more runs failed; everything else was kept."""


class ClaimNotSupportedError(AssayError):
    """``--check`` was asked and a claim is not supported."""

    exit_code = 3


class InterruptedStudyError(AssayError):
    """The study was stopped by the user; finished runs were kept."""

    exit_code = 130


def dotted(path: Iterable[str | int]) -> str:
    """Join a path: ``("arms", "a", "model.dropout")`` gives ``arms.a.model.dropout``; list positions become ``[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def did_you_mean(wrong: object, valid: Iterable[str]) -> str:
    """A sentence naming the nearest valid name, or all of them when none is near and they are few."""
    names = sorted(set(valid))
    near = difflib.get_close_matches(str(wrong)[:200], names, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    if not names:
        return ""
    shown = ", ".join(names[:20])
    return f"Valid: {shown}{', …' if len(names) > 20 else ''}."


def shown(value: object, limit: int = 80) -> str:
    """A value as it may appear in a message: its repr on one line, cut at ``limit`` characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
