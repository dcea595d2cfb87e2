"""Edits nested data by dotted keys: what arms change, and what ``--set`` says.

``model.dropout: 0.5`` edits one value; ``model: {…}`` replaces the whole section, so that a section whose variant
changes does not inherit keys of the old one.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from assay.errors import InputError, InvalidValueError, KeyPath, did_you_mean, shown
from assay.recipe.reading import Document, parse

_PROFILE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")


class Draft:
    """Recipe data under construction, which remembers where in the study each value was written."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self._origins: dict[KeyPath, KeyPath] = {}

    def copy(self) -> Draft:
        twin = Draft()
        twin.data = copy.deepcopy(self.data)
        twin._origins = dict(self._origins)
        return twin

    def apply(self, changes: Mapping[str, Any], origin: KeyPath) -> None:
        """Apply dotted changes written at ``origin``; whole sections first, then single values in them."""
        for key in sorted(changes, key=lambda text: text.count(".")):
            self._set(tuple(key.split(".")), changes[key], (*origin, key))

    def _set(self, path: tuple[str, ...], value: Any, origin: KeyPath) -> None:
        level = self.data
        for part in path[:-1]:
            below = level.setdefault(part, {})
            if not isinstance(below, dict):
                raise InvalidValueError(origin, f"goes below {part!r}, which is no mapping but {shown(below)}.")
            level = below
        if "" in path:
            raise InvalidValueError(origin, "has an empty part between its dots.", "Write keys like model.dropout.")
        level[path[-1]] = copy.deepcopy(value)
        self._origins = {known: place for known, place in self._origins.items() if known[: len(path)] != path}
        self._origins[path] = origin

    def origin(self, path: KeyPath) -> KeyPath:
        """Where in the study the value at a recipe path was written; ``base`` and the path where nobody wrote it.

        Of a section that was only ever written by its dotted keys, where the last of these stands.
        """
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return (*self._origins[path[:length]], *path[length:])
        below = [place for known, place in self._origins.items() if known[: len(path)] == path]
        return below[-1] if below else ("base", *path)


def take_profiles(document: Document) -> dict[str, dict[str, Any]]:
    """Take ``profiles`` out of a document: for each its changes, by dotted keys in the file.

    Raises:
        StudyFileError: it is no mapping of names to mappings.
    """
    profiles = document.data.pop("profiles", None)
    if profiles is None:
        return {}
    rule = "must name sets of changes, such as {smoke: {base.train.epochs: 1}}, got "
    if not isinstance(profiles, dict):
        raise document.located(InvalidValueError(("profiles",), f"{rule}{shown(profiles)}."))
    for name, changes in profiles.items():
        path = ("profiles", name)
        if not _PROFILE_NAME.fullmatch(name):
            raise document.located(
                InvalidValueError(path, "must be a name of up to 30 lower-case letters, digits and hyphens.")
            )
        if not isinstance(changes, dict) or not changes:
            raise document.located(InvalidValueError(path, f"{rule}{shown(changes)} for {name}."))
    return profiles


def apply_profile(document: Document, profiles: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Apply the changes of one profile to a document from which `take_profiles` took it.

    Raises:
        InputError: there is no such profile, or one of its keys leads nowhere.
    """
    if name not in profiles:
        known = did_you_mean(name, profiles) or "It has none."
        raise InputError(f"{document.name}: has no profile {name!r}. {known}")
    for key, value in profiles[name].items():
        place = document.place(("profiles", name, key))
        _set_at(document, key, value, f"{place}, profiles.{name}")


def set_values(document: Document, assignments: list[str]) -> None:
    """Apply ``--set KEY=VALUE`` words to a document. Values are YAML; keys are dotted paths in the file.

    Raises:
        InputError: a word has no ``=``, or leads nowhere.
        StudyFileError: the value is not plain YAML.
    """
    for words in assignments:
        key, equals, text = _key_and_value(document.data, words)
        if not equals or not key.strip():
            raise InputError(f"--set needs KEY=VALUE, got {shown(words)}. Example: --set base.train.epochs=5")
        place = f"--set {words if len(words) <= 100 else words[:99] + '…'}"
        value, _ = parse(text, place)
        _set_at(document, key.strip(), value, place)


def _set_at(document: Document, key: str, value: Any, place: str) -> None:
    path = _assign(document.data, key, value, place)
    for known in [known for known in document.overridden if known[: len(path)] == path]:
        del document.overridden[known]
    for known in [known for known in document.lines if known[: len(path)] == path]:
        del document.lines[known]
    document.overridden[path] = place


def _key_and_value(data: Any, words: str) -> tuple[str, str, str]:
    """Split words at the ``=`` that ends the key: one in the name of an arm or of another existing key does not."""
    start = 0
    level = data
    while isinstance(level, dict):
        known = [key for key in level if words.startswith((key + ".", key + "="), start)]
        if not known:
            break
        step = max(known, key=len)
        start += len(step)
        if words[start] == "=":
            break
        start += 1
        level = level[step]
    end = words.find("=", start)
    return (words, "", "") if end < 0 else (words[:end], "=", words[end + 1 :])


# Below these keys of a study the rest of a dotted key is one key, itself dotted: an override, or a factor.
_DOTTED_KEYS_BELOW: dict[str | int, int] = {"grid": 1, "arms": 2, "leave_one_out": 2}


def _assign(data: dict[str, Any], key: str, value: Any, place: str) -> KeyPath:
    """Set a dotted key and return its path. Existing keys may hold dots themselves; the longest match wins."""
    level: Any = data
    path: KeyPath = ()
    rest = key
    while True:
        if isinstance(level, list):
            head, _, tail = rest.partition(".")
            if not head.isdecimal() or int(head) >= len(level):
                raise InputError(f"{place}: {head!r} is no position in a list of {len(level)}, counted from 0.")
            step: str | int = int(head)
        else:
            step = _next_key(level, path, rest)
            tail = rest[len(step) + 1 :]
        path = (*path, step)
        if not tail:
            level[step] = value
            return path
        if isinstance(level, dict) and level.get(step) is None:
            if path[:1] in (("arms",), ("leave_one_out",)) and len(path) == 2:
                raise InputError(f"{place}: there is no arm {step!r}. {did_you_mean(step, level)}")
            level[step] = {}
        below = level[step]
        if not isinstance(below, dict | list):
            raise InputError(f"{place}: {tail!r} goes below {step!r}, which is no mapping but {shown(below)}.")
        level, rest = below, tail


def _next_key(level: dict[str, Any], path: KeyPath, rest: str) -> str:
    known = [key for key in level if rest == key or rest.startswith(key + ".")]
    if known:
        return max(known, key=len)
    depth = _DOTTED_KEYS_BELOW.get(path[0]) if path else None
    return rest if depth == len(path) else rest.partition(".")[0]
