"""Downloading official releases: verified, unpacked, and put in place whole.

Everything is made in a hidden folder beside the destination and moved there at the end, so an interrupted download
leaves nothing that could be taken for data; what was whole by then is not downloaded again. ``$ASSAY_MIRROR`` replaces
the official addresses: below it each release has a folder by its name, such as ``mnist/train-images-idx3-ubyte.gz``.
Whatever the address, only files with the official SHA-256 are accepted.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

from assay.data.places import downloads_folder, expanded
from assay.data.releases import RELEASES, Download, Release
from assay.data.sources.official import find_release, whole_release
from assay.errors import DataError, did_you_mean, shown

MIRROR_VARIABLE = "ASSAY_MIRROR"

SECONDS_OF_SILENCE = 30
"""After so long without a byte a server is given up."""
_PIECE = 2**17


class Progress(Protocol):
    """Shows how far a download is."""

    def show(self, done: int, total: int) -> None:
        """So many bytes of so many are there."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """Where a release lies now, and whether it was there already."""

    folder: Path
    already: bool


def fetchable() -> tuple[str, ...]:
    """Names of the data sources that can be fetched."""
    return tuple(RELEASES)


def place_of(name: str) -> Path | None:
    """The folder in which the files of a release are found now, or None if they are not all there."""
    release = _release(name)
    found = find_release(release, release.folder)
    return None if found is None else found.folder


def fetch(name: str, folder: Path | None = None, progress: Progress | None = None) -> Fetched:
    """Download a release, unless it is there already.

    Safe under two processes: the second waits for the first, and finds what it fetched.

    Args:
        name: one of `fetchable`.
        folder: the folder to put the release's own folder into; by default the one for data in the user's cache, and
            then a release that is whole in any other data folder counts as there.
        progress: told after each piece.

    Raises:
        DataError: there is no such release, it cannot be downloaded, or the destination cannot be written or holds
            other files of these names. The message says what to put where by hand.
    """
    release = _release(name)
    if folder is None:
        found = find_release(release, release.folder)
        if found is not None and not found.remarks():
            return Fetched(folder=found.folder, already=True)
    base = downloads_folder() if folder is None else expanded(os.fspath(folder), "The folder").absolute()
    return fetch_release(release, base, progress)


def fetch_release(release: Release, base: Path, progress: Progress | None = None) -> Fetched:
    """The same as `fetch` for any release, into ``base / release.folder``."""
    target = base / release.folder
    if _is_there(release, target):
        return Fetched(folder=target, already=True)
    with _explaining(release, base):
        from filelock import FileLock

        base.mkdir(parents=True, exist_ok=True)
        with FileLock(base / f".{release.folder}.lock"):
            if _is_there(release, target):  # another process fetched it meanwhile
                return Fetched(folder=target, already=True)
            aside = base / f".{release.folder}.part"
            downloads, unpacked = aside / "downloads", aside / "unpacked"
            shutil.rmtree(unpacked, ignore_errors=True)
            unpacked.mkdir(parents=True)
            try:
                _download_all(release, downloads, progress)
            finally:
                if not any(downloads.iterdir()):  # nothing that a later attempt could use
                    shutil.rmtree(aside, ignore_errors=True)
            for download in release.downloads:
                if download.name.endswith(".tar.gz"):
                    _unpack(release, downloads / download.name, unpacked)
                else:
                    (downloads / download.name).rename(unpacked / download.name)
            _put_in_place(unpacked, target)
            shutil.rmtree(aside, ignore_errors=True)
        _is_there(release, target)  # checks what is there now, file by file
    return Fetched(folder=target, already=False)


def _release(name: str) -> Release:
    if name not in RELEASES:
        raise DataError(f"{shown(name)} cannot be fetched. {did_you_mean(name, RELEASES)}")
    return RELEASES[name]


def _is_there(release: Release, target: Path) -> bool:
    """Whether the official release lies in ``target``, as a whole.

    Raises:
        DataError: other files do.
    """
    found = whole_release(release, target)
    if found is None:
        return False
    if remarks := found.remarks():
        raise DataError(f"{target}: {remarks[0]} Move that folder away to fetch the official files.")
    return True


# --- downloading ------------------------------------------------------------------------------------------------------


@final
class _PoochProgress:
    """A `Progress` in the shape that pooch wants one, for one file of several."""

    def __init__(self, progress: Progress, before: int, size: int, total: int) -> None:
        self.total = size  # pooch sets it, to what the server says
        self._progress = progress
        self._before, self._size, self._all = before, size, total
        self._done = 0

    def update(self, amount: int) -> None:
        self._done = min(self._done + amount, self._size)
        self._progress.show(self._before + self._done, self._all)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def _address(release: Release, download: Download) -> str:
    mirror = os.environ.get(MIRROR_VARIABLE)
    return f"{mirror.rstrip('/')}/{release.name}/{download.name}" if mirror else release.address + download.name


def _download_all(release: Release, folder: Path, progress: Progress | None) -> None:
    """Download what is missing in the folder; pooch checks each file, also those of an earlier attempt."""
    import pooch
    import requests

    folder.mkdir(exist_ok=True)
    names = {download.name for download in release.downloads}
    for stray in [path for path in folder.iterdir() if path.name not in names]:
        stray.unlink()  # an attempt that was killed
    total, before = sum(download.size for download in release.downloads), 0
    with quiet_pooch():
        for download in release.downloads:
            address = _address(release, download)
            bar = _PoochProgress(progress, before, download.size, total) if progress is not None else False
            get = pooch.HTTPDownloader(progressbar=bar, chunk_size=_PIECE, timeout=SECONDS_OF_SILENCE)
            try:
                pooch.retrieve(address, "sha256:" + download.sha256, download.name, folder, downloader=get)
            except requests.RequestException as error:
                if error.response is not None:
                    error.response.close()  # pooch leaves the connection of a refused request open
                raise _cannot_fetch(release, folder.parents[1], address, reason_of(error)) from error
            except ValueError as error:  # so pooch says that the checksum is another
                why = f"what came is not the official file: its SHA-256 is not {download.sha256}"
                raise _cannot_fetch(release, folder.parents[1], address, why) from error
            before += download.size


@contextlib.contextmanager
def quiet_pooch() -> Iterator[None]:
    """Pooch announces each download on standard error, which is the caller's to write to."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def reason_of(error: Exception) -> str:
    """Why a download failed, as the end of a sentence."""
    import requests

    response = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and response is not None:
        return f"the server answered {response.status_code} {response.reason}".strip()
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"the server was silent for {SECONDS_OF_SILENCE} seconds"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate was not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not connect to it"
    if isinstance(error, requests.ConnectionError):
        return "there is no connection to it"
    return " ".join(str(error).split())[:200]


# --- unpacking --------------------------------------------------------------------------------------------------------


def _unpack(release: Release, archive: Path, folder: Path) -> None:
    """Take the files that are wanted out of an archive, by name; no path in the archive decides where one is written.

    Raises:
        DataError: it is no archive, or lacks a file.
    """
    wanted = {f"{release.folder}/{name}": name for name in (*(file.name for file in release.files), *release.extras)}
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for member in packed:
                name = wanted.pop(member.name.removeprefix("./"), None)
                content = packed.extractfile(member) if name is not None and member.isreg() else None
                if name is not None and content is not None:
                    with content, (folder / name).open("wb") as file:
                        shutil.copyfileobj(content, file, _PIECE)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}") from error
    lacking = [file.name for file in release.files if not (folder / file.name).is_file()]
    if lacking:
        raise DataError(f"{archive} lacks {', '.join(lacking)}.")


def _put_in_place(unpacked: Path, target: Path) -> None:
    """Move the folder to its place; into one that is there already only what it lacks."""
    for path in unpacked.iterdir():
        with path.open("r+b") as file:
            os.fsync(file.fileno())  # the disk has the content before the name promises it
    if not target.exists():
        unpacked.rename(target)
        return
    for path in unpacked.iterdir():
        if not (target / path.name).exists():
            path.rename(target / path.name)


# --- what to do instead -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _explaining(release: Release, base: Path) -> Iterator[None]:
    """Turn a failure to write into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise DataError(
                f"{release.title} could not be fetched: the disk that holds {base} is full. Free some space, or choose "
                "another folder with --data-dir."
            ) from error
        raise DataError(
            f"{release.title} could not be fetched: {error.strerror or error} ({error.filename or base}). Make {base} "
            "writable, or choose another folder with --data-dir."
        ) from error


def _cannot_fetch(release: Release, base: Path, address: str, why: str) -> DataError:
    names = ", ".join(download.name for download in release.downloads)
    by_hand = (
        f"unpack {names} in {base}, so that its files are in {base / release.folder}"
        if names.endswith(".tar.gz")
        else f"put {names} into {base / release.folder}"
    )
    return DataError(
        f"{release.title} could not be fetched from {address}: {why}.\n"
        f"  Try again later, or set ${MIRROR_VARIABLE} to an address that has it.\n"
        f"  Or get it on another computer from {release.address} and {by_hand}."
    )
