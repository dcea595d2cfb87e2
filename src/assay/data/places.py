"""Where data lie, and what is in the files found there.

Data are looked for in the folders of ``$ASSAY_DATA``, then in the user cache. What assay keeps for itself, downloads
among it, goes to ``$ASSAY_CACHE``, by default the cache folder of the operating system.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from assay.errors import DataError, shown

DATA_VARIABLE = "ASSAY_DATA"
CACHE_VARIABLE = "ASSAY_CACHE"

_RACY = 2 * 10**9
"""Nanoseconds in which a file may change again without its times changing: the coarsest clock of a file system."""
_MEMO_VERSION = 1
_FILES_AT_ONCE = 64
"""Files that one task of a thread reads: handing out a task costs as much as reading a small file."""
_READERS = 4


# --- folders ----------------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where assay keeps what it could make or fetch again: ``$ASSAY_CACHE``, or the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return expanded(chosen, CACHE_VARIABLE).absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("assay", appauthor=False))


def downloads_folder() -> Path:
    """Where fetched data sets go: ``data`` in the cache."""
    return cache_folder() / "data"


def data_folders() -> tuple[Path, ...]:
    """The folders in which data are looked for: those of ``$ASSAY_DATA`` in order, then `downloads_folder`."""
    named = [part for part in os.environ.get(DATA_VARIABLE, "").split(os.pathsep) if part]
    folders = [*(expanded(part, DATA_VARIABLE).absolute() for part in named), downloads_folder()]
    return tuple(dict.fromkeys(folders))


def use_data_folder(folder: str | os.PathLike[str]) -> None:
    """Look for data in this folder, and then in the user cache, from now on and in every process started from now on.

    The choice is kept in the environment and not in a recipe, because where data lie decides no number, and because
    that is what worker processes inherit on every platform without its being handed from call to call.

    Raises:
        DataError: there is no such folder, or its name cannot be one of a list.
    """
    path = expanded(os.fspath(folder), "The data folder").absolute()
    if not path.is_dir():
        raise DataError(f"The data folder must be an existing folder, got {path}.")
    if os.pathsep in str(path):
        raise DataError(f"The data folder's path must not contain {os.pathsep!r}, which separates folders, got {path}.")
    os.environ[DATA_VARIABLE] = str(path)


def find(place: str, what: str) -> Path:
    """The file or folder that a recipe names.

    An absolute path, or one from ``~``, is taken as it is. Any other is looked for in the data folders, and then in the
    current folder.

    Args:
        place: the path as the recipe has it.
        what: the beginning of the message if there is none, such as ``Data source folder: root``.

    Raises:
        DataError: it is in none of these places; the message lists them.
    """
    path = expanded(place, what)
    if path.is_absolute():
        if _exists(path):
            return path
        raise DataError(f"{what} {shown(place)} was not found. Check the path.")
    folders = dict.fromkeys((*data_folders(), Path.cwd()))
    for folder in folders:
        if _exists(folder / path):
            return folder / path
    head = "it" if len(path.parts) == 1 else path.parts[0]
    raise DataError(
        f"{what} {shown(place)} was not found. Looked in:\n"
        + "".join(f"  {folder}\n" for folder in folders)
        + f"  Put it into one of these, or name the folder {head} is in by --data-dir or ${DATA_VARIABLE}."
    )


def expanded(place: str, what: str) -> Path:
    """The path with ``~`` written out.

    Raises:
        DataError: there is no such home folder; the message begins with ``what``.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise DataError(f"{what} {shown(place)} cannot be used: {error}") from error


def is_file(path: Path) -> bool:
    """Whether it is a file, or a link to one; False for what cannot be asked."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, a null character, a folder that may not be entered
        return False


# --- what is in files -------------------------------------------------------------------------------------------------

_State = tuple[int, int, int]
"""Size, time of the last write, and time of the last change of any kind, in nanoseconds."""


def digests(root: Path, relative_paths: Sequence[str]) -> list[str]:
    """SHA-256 of the content of each file, as 64 hexadecimal digits, or ``""`` for a file that cannot be read.

    A digest is remembered in the cache, one file per root, together with the file's size and times: as long as those
    stay, nothing is read again. The time of the last change is among them, which copying with times preserved cannot
    set back. A file changed within the last two seconds is not remembered, as it may change again without its times
    showing it. A memory that is damaged, or that cannot be written, costs time and nothing else.

    Args:
        root: the folder.
        relative_paths: paths below it.

    Returns:
        A digest for each path, in the order of the paths.
    """
    base = os.path.join(os.path.realpath(root), "")  # noqa: PTH118 - joined as text: see _state_of
    memo_file = cache_folder() / "digests" / f"{hashlib.sha256(os.fsencode(base)).hexdigest()[:24]}.json"
    memo = _read_memo(memo_file)
    found: dict[str, str] = {}
    unknown = []
    for path in dict.fromkeys(relative_paths):
        known = memo.get(path)
        if known is not None and known[0] == _state_of(base + path):
            found[path] = known[1]
        else:
            unknown.append(path)
    if unknown:
        now = time.time_ns()
        for path, (state, digest) in zip(unknown, _read_all(base, unknown), strict=True):
            found[path] = digest
            if state is not None and all(not -_RACY < now - changed < _RACY for changed in state[1:]):
                memo[path] = (state, digest)
        _write_memo(memo_file, memo)
    return [found[path] for path in relative_paths]


def _state_of(path: str) -> _State | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of 100,000 files takes longer than asking
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_all(base: str, paths: Sequence[str]) -> list[tuple[_State | None, str]]:
    """State and digest of each file, read by several threads; the state is None if it changed while being read."""
    parts = [paths[start : start + _FILES_AT_ONCE] for start in range(0, len(paths), _FILES_AT_ONCE)]

    def read_part(part: Sequence[str]) -> list[tuple[_State | None, str]]:
        return [_read(base + path) for path in part]

    if len(parts) == 1:
        return read_part(parts[0])
    with ThreadPoolExecutor(_READERS) as readers:
        return [one for part in readers.map(read_part, parts) for one in part]


def _read(path: str) -> tuple[_State | None, str]:
    before = _state_of(path)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - see _state_of
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None, ""
    return (before if before == _state_of(path) else None), digest


def _read_memo(file: Path) -> dict[str, tuple[_State, str]]:
    """What is remembered of a root, by path below it; nothing if the memory is missing or damaged."""
    try:
        kept = json.loads(file.read_bytes())
        if kept["version"] != _MEMO_VERSION:
            return {}
        states = zip(kept["sizes"], kept["written"], kept["changed"], strict=True)
        memo = dict(zip(kept["paths"], zip(states, kept["digests"], strict=True), strict=True))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    sound = all(isinstance(digest, str) and len(digest) == 64 for digest in kept["digests"])
    return memo if sound else {}


def _write_memo(file: Path, memo: dict[str, tuple[_State, str]]) -> None:
    """Columns, not rows: 100,000 short lists would take four times as long to read."""
    states = [state for state, _ in memo.values()]
    content = {
        "version": _MEMO_VERSION,
        "paths": list(memo),
        "sizes": [size for size, _, _ in states],
        "written": [written for _, written, _ in states],
        "changed": [changed for _, _, changed in states],
        "digests": [digest for _, digest in memo.values()],
    }
    with suppress(OSError, UnicodeError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=file.stem, suffix=".tmp", dir=file.parent)
        try:
            with open(handle, "w", encoding="ascii") as writing:  # noqa: PTH123 - a handle, not a path
                json.dump(content, writing)
            os.replace(aside, file)  # noqa: PTH105
        except OSError:
            os.unlink(aside)  # noqa: PTH108
            raise
