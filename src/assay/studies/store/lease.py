"""The right to compute one run: a file lock, which the operating system takes back however its holder dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from assay.studies.store.contract import Lease
from assay.studies.store.disk import LEASE_FILE, WorkFolder, make_work_folder

_ATTEMPTS = 5


class FolderLease(Lease):
    """A held lock on ``work/<fingerprint>/lease``."""

    def __init__(self, lock: BaseFileLock, finished: Callable[[], bool]) -> None:
        self._lock = lock
        self._finished = finished

    @classmethod
    def try_take(cls, folder: Path, finished: Callable[[], bool]) -> FolderLease | None:
        """Take the lease in this folder, or return None while someone holds it.

        Args:
            folder: the run's work folder; created if need be.
            finished: whether the run exists, so that the lease will never be needed again.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                make_work_folder(folder)
                # A lease may be released by another thread than the one that took it.
                lock = FileLock(folder / LEASE_FILE, thread_local=False)
                lock.acquire(timeout=0)
            except Timeout:
                return None
            except FileNotFoundError:  # the folder was removed by the last holder since it was made
                if attempt == _ATTEMPTS:
                    raise
            else:
                return cls(lock, finished)

    def release(self) -> None:
        """Give the lease back, and remove its file once the run exists, with whatever else the work folder holds.

        Removing a lock file lets a process that had it open already hold a lock nobody else can see. That does no harm
        only because the run exists by then, and whoever takes a lease asks for the run again before computing it; the
        lease of a run that is still missing therefore stays.
        """
        if not self._lock.is_locked:
            return
        self._lock.release()
        if self._finished():
            WorkFolder(Path(self._lock.lock_file).parent).finish()
