"""Writing that survives a crash: bytes reach the disk before the name that promises them does."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from assay.errors import InputError, StoreError, shown

LEASE_FILE = "lease"
CHECKPOINT_FILE = "checkpoint.safetensors"
PROGRESS_FILE = "progress.json"

_ATTEMPTS = 5
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_SAFE_NAME = re.compile(r"\w[\w.\-]{0,199}(?<!\.)")
_DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows opens a device for these


def is_device_name(name: str) -> bool:
    """Whether Windows would open a device in place of a file of this name."""
    return _DEVICE_NAME.fullmatch(name) is not None


def checked_name(name: str, what: str) -> str:
    """The name itself, when it can be a single file name below the store on every platform.

    Raises:
        InputError: it could not, or could lead out of the store's folder.
    """
    if not _SAFE_NAME.fullmatch(name) or is_device_name(name):
        raise InputError(
            f"{what} must be 1 to 200 letters, digits, '-', '_' or '.', starting with a letter, digit or '_', "
            f"and no device name of Windows, got {shown(name)}."
        )
    return name


@contextmanager
def explaining(root: Path, what: str) -> Iterator[None]:
    """Turn an OSError into a StoreError saying what was being done to the store at ``root``, and what to do next."""
    try:
        yield
    except OSError as error:
        raise StoreError(_explained(error, root, what)) from error


def _explained(error: OSError, root: Path, what: str) -> str:
    again = "run the same command again; finished runs are kept."
    if error.errno in _FULL:
        return f"The disk that holds {root} is full: {what} failed. Free some space and {again}"
    where = error.filename or root
    if error.errno in _FORBIDDEN:
        return f"{what} failed: no permission for {where}. Make it writable, or choose another store with --store."
    return f"{what} failed: {error.strerror or error} ({where}). Mend the folder {root} and {again}"


def make_folder(path: Path) -> None:
    """Create a folder and its parents, so that they are there after a power cut too."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def make_work_folder(path: Path) -> None:
    """Create a folder that others may be removing just now.

    It may be gone again when this returns. While it comes and goes, ``Path.mkdir`` may find something in its place,
    look what that is, find nothing, and say that a file stands there.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if attempt == _ATTEMPTS:
                raise
        else:
            return


def write_file(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the disk has a folder's entries, where the platform can say so (Windows cannot)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class WorkFile:
    """A file in the work folder of a run under way, replaced as a whole.

    Args:
        path: of the file; its folder has to be there, as it is while the run's lease is held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """The content; None when there is no such file.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, data: bytes, *, lasting: bool = True) -> None:
        """Replace the content; when that fails, or the process dies, the former one is still there.

        Args:
            data: the content.
            lasting: whether to wait until a power cut could not harm it either.

        Raises:
            OSError: it cannot be written.
        """
        aside = _fresh(self.path.parent, "writing")
        try:
            if lasting:
                write_file(aside, data)
            else:
                aside.write_bytes(data)
            aside.replace(self.path)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
        if lasting:
            sync_folder(self.path.parent)


class WorkFolder:
    """Where one run's folders are written before they are renamed into place: ``work/<fingerprint>``.

    Anyone may write here; only the holder of the run's lease clears what dead writers left. A clearing moves a folder
    away in one step before it deletes, so that a writer who is alive after all finds its folder gone as a whole, and
    writes anew, rather than publish a half-deleted one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def publish(self, files: Mapping[str, bytes], destination: Path) -> bool:
        """Make ``destination`` a folder of these files, whole or not at all; False when something stands there.

        Args:
            files: content by path; a path may lead into one folder below.
            destination: the folder's path.
        """
        below = sorted({name.rpartition("/")[0] for name in files} - {""})
        attempt = 0
        while True:
            attempt += 1
            aside = self._fresh("writing")
            try:
                make_work_folder(self.path)
                aside.mkdir()
                for folder in below:
                    (aside / folder).mkdir()
                for name, data in files.items():
                    write_file(aside / name, data)
                for folder in (*below, ""):
                    sync_folder(aside / folder)
                make_folder(destination.parent)
                aside.rename(destination)
            except FileNotFoundError:  # cleared by a new holder of the lease
                if attempt == _ATTEMPTS:
                    raise
            except OSError:
                if destination.exists():
                    return False
                raise
            else:
                sync_folder(destination.parent)
                return True
            finally:
                shutil.rmtree(aside, ignore_errors=True)
                self._remove_if_empty()

    def discard(self, folder: Path) -> None:
        """Remove a folder so that no reader ever sees a part of it; nothing happens when it is not there."""
        away = self._fresh("discarded")
        make_work_folder(self.path)
        with suppress(FileNotFoundError):
            folder.rename(away)
            shutil.rmtree(away, ignore_errors=True)
        self._remove_if_empty()

    def clear(self) -> None:
        """Remove what dead writers left."""
        with suppress(FileNotFoundError):  # the last holder has finished the run, and the folder went with its lease
            self._clear()

    def finish(self) -> None:
        """Remove the folder of a run that exists: nobody needs what is in it."""
        for name in (CHECKPOINT_FILE, PROGRESS_FILE, LEASE_FILE):
            with suppress(OSError):
                (self.path / name).unlink()
        self._remove_if_empty()

    def _clear(self) -> None:
        for entry in list(self.path.iterdir()):
            if entry.name == PROGRESS_FILE or (entry.name.startswith("writing-") and entry.is_file()):
                entry.unlink(missing_ok=True)
            elif entry.name.startswith("writing-"):
                self.discard(entry)
            elif entry.name.startswith("discarded-"):
                shutil.rmtree(entry, ignore_errors=True)

    def _remove_if_empty(self) -> None:
        with suppress(OSError):  # a lease is in it, or it is gone
            self.path.rmdir()

    def _fresh(self, purpose: str) -> Path:
        return _fresh(self.path, purpose)


def _fresh(folder: Path, purpose: str) -> Path:
    return folder / f"{purpose}-{os.getpid()}-{secrets.token_hex(4)}"
