"""A run store in a folder of plain files.

    runs/<fingerprint>/    one run: see `assay.studies.store.files`
    work/<fingerprint>/    lease, checkpoint and progress of a run under way, and folders being written
    failed/<fingerprint>/  failure.json traceback.txt
    studies/<name>/        a study's own files

A run's folder is written in ``work/`` and renamed into ``runs/`` when the disk has all of it, so it exists whole or not
at all, and any number of processes may share the store. Moving a run between stores is copying its folder.
"""

from __future__ import annotations

import secrets
import struct
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from assay.errors import InputError, StoreError
from assay.records import Array, EpochRecord, FailedRun, Predictions, Run, RunProgress, RunRecord
from assay.studies.store import files as formats
from assay.studies.store.contract import Lease, Store, StoredRun
from assay.studies.store.disk import (
    CHECKPOINT_FILE,
    PROGRESS_FILE,
    WorkFile,
    WorkFolder,
    checked_name,
    explaining,
    make_folder,
    sync_folder,
    write_file,
)

Part = TypeVar("Part")

# What the readers of JSON, zip and NumPy files raise on damaged input.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, struct.error, RecursionError)


_LEFTOVER_AGE = 3600.0
"""Seconds after which a study's file still being written aside is taken for a dead process's."""


class FolderRun(StoredRun):
    """A run in a `FolderStore`."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self._folder = folder
        self._record = record

    @property
    def record(self) -> RunRecord:
        return self._record

    @property
    def location(self) -> str:
        return str(self._folder)

    def history(self) -> tuple[EpochRecord, ...]:
        return _read_part(self._folder / formats.HISTORY, formats.read_history)

    def predictions(self) -> Mapping[str, Predictions]:
        return _read_part(self._folder / formats.PREDICTIONS, formats.read_predictions)

    def weights(self) -> Mapping[str, Array]:
        return _read_part(self._folder / formats.WEIGHTS, formats.read_arrays)

    def last_weights(self) -> Mapping[str, Array]:
        path = self._folder / formats.LAST_WEIGHTS
        return _read_part(path, formats.read_arrays) if path.exists() else {}

    def preprocessing(self) -> tuple[Mapping[str, Any], Mapping[str, Array]]:
        facts = _read_part(self._folder / formats.PREPROCESSING, formats.read_preprocessing)
        path = self._folder / formats.PREPROCESSING_ARRAYS
        return facts, _read_part(path, formats.read_arrays) if path.exists() else {}

    def log(self) -> str:
        return _read_part(self._folder / formats.LOG, formats.read_log)

    def artefacts(self) -> tuple[str, ...]:
        folder = self._folder / formats.ARTEFACTS
        names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
        return tuple(sorted(name for name in names if formats.is_artefact_name(name)))  # not what a file browser left

    def artefact(self, name: str) -> bytes | None:
        path = self._folder / formats.ARTEFACTS / formats.checked_artefact_name(name)
        return _read_part(path, bytes) if path.exists() else None


class FolderStore(Store):
    """A store in one folder, which is created when something is first written to it.

    Args:
        root: the store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        self._runs = self.root / "runs"
        self._failed = self.root / "failed"
        self._studies = self.root / "studies"
        self._swept = False

    def get(self, fingerprint: str) -> StoredRun | None:
        folder = self._runs / checked_name(fingerprint, "a fingerprint")
        path = folder / formats.RECORD
        with explaining(self.root, f"looking for run {fingerprint}"):
            if not path.exists() and not folder.exists():  # in this order: a run may appear in between
                return None
        record = _read_part(path, formats.read_record)
        if record.fingerprint != fingerprint:
            raise _damaged(path, f"it is of run {record.fingerprint!r}")
        return FolderRun(folder, record)

    def add(self, run: Run) -> StoredRun:
        fingerprint = checked_name(run.fingerprint, "a fingerprint")
        found = self.get(fingerprint)
        if found is None:
            try:
                files = formats.run_files(run)
            except InputError as error:
                raise InputError(f"Run {fingerprint} cannot be kept: {error}") from error
            except Exception as error:  # each library that encodes a part raises its own
                raise StoreError(f"Run {fingerprint} cannot be kept, for it is not plain data: {error}.") from error
            with explaining(self.root, f"keeping run {fingerprint}"):
                self._work(fingerprint).publish(files, self._runs / fingerprint)
            found = FolderRun(self._runs / fingerprint, formats.read_record(files[formats.RECORD]))
        self._clear_failure(fingerprint)
        return found

    def failure(self, fingerprint: str) -> FailedRun | None:
        path = self._failed / checked_name(fingerprint, "a fingerprint") / formats.FAILURE
        with explaining(self.root, f"looking for the failure of run {fingerprint}"):
            # A process killed right after it added the run may have left the earlier failure there.
            if not path.exists() or (self._runs / fingerprint).exists():
                return None
        return _read_part(path, formats.read_failure)

    def add_failure(self, failure: FailedRun) -> None:
        fingerprint = checked_name(failure.fingerprint, "a fingerprint")
        destination = self._failed / fingerprint
        work = self._work(fingerprint)
        with explaining(self.root, f"keeping the failure of run {fingerprint}"):
            files = formats.failure_files(failure)
            work.discard(destination)
            while not work.publish(files, destination):  # another process published one in between
                work.discard(destination)

    def try_lease(self, fingerprint: str) -> Lease | None:
        from assay.studies.store.lease import FolderLease  # a study found whole in the store needs no lease

        work = self._work(checked_name(fingerprint, "a fingerprint"))
        with explaining(self.root, f"taking the lease of run {fingerprint}"):
            make_folder(self.root)
            self._sweep()
            lease = FolderLease.try_take(work.path, finished=(self._runs / fingerprint).exists)
            if lease is not None:
                work.clear()
        return lease

    def checkpoint_file(self, fingerprint: str) -> WorkFile:
        """Where the holder of a run's lease keeps how far it has come; gone once the run exists and the lease ends."""
        return WorkFile(self._work(checked_name(fingerprint, "a fingerprint")).path / CHECKPOINT_FILE)

    def progress(self, fingerprint: str) -> RunProgress | None:
        with suppress(OSError, *_DAMAGE):  # it is for show, and whoever writes it may be dying
            data = self._progress_file(fingerprint).read()
            return None if data is None else formats.read_progress(data)
        return None

    def tell(self, fingerprint: str, progress: RunProgress) -> None:
        """Let others see how far a run has come; nothing happens where that cannot be written."""
        with suppress(OSError):
            self._progress_file(fingerprint).write(formats.progress_json(progress), lasting=False)

    def _progress_file(self, fingerprint: str) -> WorkFile:
        return WorkFile(self._work(checked_name(fingerprint, "a fingerprint")).path / PROGRESS_FILE)

    def _sweep(self) -> None:
        """Remove, once, what is left of runs whose process died right after it had added them."""
        if self._swept:
            return
        self._swept = True
        for name in _folders_in(self.root / "work"):
            if (self._runs / name).exists():
                self._work(name).finish()

    def fingerprints(self) -> Iterator[str]:
        with explaining(self.root, "listing runs"):
            yield from _folders_in(self._runs)

    def find(self, prefix: str) -> tuple[str, ...]:
        """Every fingerprint that begins with ``prefix``, sorted: what a person abbreviates on the command line."""
        return tuple(fingerprint for fingerprint in self.fingerprints() if fingerprint.startswith(prefix))

    def save_study(self, name: str, files: Mapping[str, str]) -> None:
        folder = self.study_folder(name)
        paths = {self._study_path(name, file): text for file, text in files.items()}
        with explaining(self.root, f"keeping the files of study {name}"):
            make_folder(folder)
            for path, text in paths.items():
                make_folder(path.parent)
                _replace_file(path, text.encode())

    def study_file(self, name: str, file: str) -> str | None:
        path = self._study_path(name, file)
        with explaining(self.root, f"reading {file} of study {name}"):
            try:
                return path.read_bytes().decode()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except UnicodeDecodeError as error:
                raise StoreError(f"{path} is damaged: {error}. Remove it and run the study again.") from error

    def studies(self) -> tuple[str, ...]:
        with explaining(self.root, "listing studies"):
            return tuple(_folders_in(self._studies))

    def _work(self, fingerprint: str) -> WorkFolder:
        return WorkFolder(self.root / "work" / fingerprint)

    def _clear_failure(self, fingerprint: str) -> None:
        folder = self._failed / fingerprint
        if folder.exists():
            with explaining(self.root, f"clearing the earlier failure of run {fingerprint}"):
                self._work(fingerprint).discard(folder)

    def study_folder(self, name: str) -> Path:
        """Where a study's own files are: its report and tables among them."""
        return self._studies / checked_name(name, "a study's name")

    def _study_path(self, name: str, file: str) -> Path:
        return self.study_folder(name).joinpath(*(checked_name(part, "a file of a study") for part in file.split("/")))


def _folders_in(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir())


def _replace_file(path: Path, data: bytes) -> None:
    for leftover in path.parent.glob(f".{path.name}.*"):
        with suppress(FileNotFoundError):  # another process is done with it
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_AGE:
                leftover.unlink()
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_file(aside, data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(path.parent)


def _read_part(path: Path, read: Callable[[bytes], Part]) -> Part:
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise _damaged(path, f"it cannot be read ({error.strerror or error})") from error
    except _DAMAGE as error:
        raise _damaged(path, str(error) or type(error).__name__) from error


def _damaged(path: Path, problem: str) -> StoreError:
    run = path.parent.parent if path.parent.name == formats.ARTEFACTS else path.parent
    return StoreError(f"{path} is damaged: {problem}. Remove the folder {run} to have the run computed again.")
