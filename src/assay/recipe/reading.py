"""Reads YAML 1.2 and remembers on which line every value stands.

Only plain data gets through: no tags, no anchors or aliases, no second document; at most 1 MiB, 20 levels and 50,000
values. Scalars follow the core schema of YAML 1.2.2, section 10.3.2, so ``1e-3`` is a number and ``no`` is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from assay.errors import InputError, InvalidValueError, KeyPath, StudyFileError, shown

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
MAX_VALUES = 50_000

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_MAX_DIGITS = 400
_LINE_BREAKS = ("\x85", "\u2028", "\u2029")
"""Characters that YAML's emitter leaves bare, and readers fold into spaces."""


@dataclass
class Document:
    """Plain data, and for every key path in it the place it was written at."""

    name: str
    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    overridden: dict[KeyPath, str] = field(default_factory=dict)
    """Paths set on the command line, with the words that set them."""

    def place(self, path: KeyPath) -> str:
        """Where the value at a path was written, or its nearest enclosing one: ``study.yaml, line 7``."""
        for below, words in self.overridden.items():
            if below[: len(path)] == path and path and path not in self.lines:
                return words
        for length in range(len(path), -1, -1):
            prefix = path[:length]
            if prefix in self.overridden:
                return self.overridden[prefix]
            if prefix in self.lines:
                return f"{self.name}, line {self.lines[prefix]}"
        return self.name

    def located(self, error: InvalidValueError) -> StudyFileError:
        """The same error with its place in this document."""
        if isinstance(error, StudyFileError):
            return error
        return StudyFileError(self.place(error.path), error.path, error.problem, error.hint, error.more)


def read_document(path: Path) -> Document:
    """Read a file that holds one mapping.

    Raises:
        InputError: the file is missing, unreadable, too large, not UTF-8, or empty.
        StudyFileError: its text is not plain YAML 1.2; the message names the line.
    """
    name = str(path)
    if len(name) > 300:
        name = "…" + name[-300:]
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder; a study file is needed, such as {name}/study.yaml.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read: {error}.") from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{name}: must be at most {MAX_BYTES:,} bytes; this file is larger.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise StudyFileError(
            f"{name}, line {line}", (), f"must be UTF-8 text; byte {raw[error.start]:#04x} is not.", "Save it as UTF-8."
        ) from None
    data, lines = parse(text, name)
    if data is None:
        raise InputError(f"{name}: is empty. A study needs at least base: and arms:; see `assay schema`.")
    if not isinstance(data, dict):
        raise StudyFileError(
            f"{name}, line 1", (), f"must be a mapping of keys to values, got {shown(data)}.", "Write key: value lines."
        )
    return Document(name, data, lines)


def parse(text: str, name: str) -> tuple[Any, dict[KeyPath, int]]:
    """Parse one YAML 1.2 document to plain data and the line (from 1) of every key path in it.

    Raises:
        StudyFileError: the text is not YAML, or holds something other than plain data.
    """
    builder = _Builder(name)
    try:
        for event in _events(text):
            builder.take(event)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise StudyFileError(f"{name}{line}", (), f"is not valid YAML: {problem[:200]}.") from None
    except RecursionError:
        raise StudyFileError(name, (), f"must be at most {MAX_DEPTH} levels deep; this is deeper.") from None
    return builder.root, builder.lines


def _events(text: str) -> Iterator[Event]:
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 2)
    yield from reader.parse(text)


class _Frame:
    """A mapping or list under construction."""

    def __init__(self, path: KeyPath, container: dict[str, Any] | list[Any]) -> None:
        self.path = path
        self.container = container
        self.key: str | None = None


class _Builder:
    """Builds plain data from parse events without recursion, so that depth is ours to limit."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Any = None
        self.lines: dict[KeyPath, int] = {}
        self._stack: list[_Frame] = []
        self._documents = 0
        self._values = 0

    def take(self, event: Event) -> None:
        line: int = event.start_mark.line + 1
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._refusal(line, "holds a second document (after ---); one file is one study.")
        elif isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise self._refusal(line, "uses an anchor or alias (& or *); write the value out instead.")
        elif isinstance(event, CollectionEndEvent):
            self._stack.pop()
        elif isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent):
            self._take_value(event, line)

    def _take_value(self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent, line: int) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._refusal(line, f"holds more than {MAX_VALUES:,} values.")
        if event.tag is not None:
            raise self._refusal(
                line, f"uses the tag {shown(str(event.tag))}; only plain values are read, without tags."
            )
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.container, dict) and frame.key is None:
            self._take_key(event, frame, line)
            return
        if isinstance(event, ScalarEvent):
            value: Any = event.value if event.style else self._plain(str(event.value), line)
        else:
            value = {} if isinstance(event, MappingStartEvent) else []
        path = self._place(value, frame, line)
        if isinstance(value, dict | list):
            if len(self._stack) >= MAX_DEPTH:
                raise self._refusal(line, f"must be at most {MAX_DEPTH} levels deep; this is deeper.")
            self._stack.append(_Frame(path, value))

    def _take_key(self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent, frame: _Frame, line: int) -> None:
        if not isinstance(event, ScalarEvent):
            raise self._refusal(line, "has a list or mapping as a key; keys must be text.")
        key: Any = event.value if event.style else self._plain(str(event.value), line)
        if not isinstance(key, str):
            raise self._refusal(line, f"has the key {shown(key)}, which is not text; put it in quotes.")
        if key in frame.container:
            first = self.lines[(*frame.path, key)]
            raise self._refusal(line, f"is given twice, first on line {first}; keep one.", (*frame.path, key))
        frame.key = key
        self.lines[(*frame.path, key)] = line

    def _place(self, value: Any, frame: _Frame | None, line: int) -> KeyPath:
        if frame is None:
            self.root = value
            path: KeyPath = ()
        elif isinstance(frame.container, list):
            path = (*frame.path, len(frame.container))
            frame.container.append(value)
        else:
            path = (*frame.path, str(frame.key))
            frame.container[str(frame.key)] = value
            frame.key = None
        self.lines.setdefault(path, line)  # of a key already known: its own line, not that of a value below it
        return path

    def _plain(self, text: str, line: int) -> Any:
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if len(text) > _MAX_DIGITS and (_INT.fullmatch(text) or _FLOAT.fullmatch(text)):
            raise self._refusal(line, f"has a number of {len(text):,} characters; at most {_MAX_DIGITS} are read.")
        if _INT.fullmatch(text):
            return int(text)
        if _OCTAL_OR_HEX.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _INFINITY.fullmatch(text):
            return float(text.replace(".", "", 1))
        if text in (".nan", ".NaN", ".NAN"):
            return float("nan")
        return text

    def _refusal(self, line: int, problem: str, path: KeyPath = ()) -> StudyFileError:
        return StudyFileError(f"{self.name}, line {line}", path, problem)


def dump(data: Mapping[str, Any]) -> str:
    """Write plain data as YAML that `parse` reads back.

    Raises:
        ValueError, TypeError: the data is not what JSON can hold.
    """
    # Through JSON, so that no object appears twice: a repeated one would be written as an alias, which readers refuse.
    plain = json.dumps(data, ensure_ascii=False)
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # keep the order
    writer.allow_unicode = not any(mark in plain for mark in _LINE_BREAKS)  # else escape them
    writer.width = 100
    text = StringIO()
    writer.dump(json.loads(plain), text)
    return text.getvalue()
