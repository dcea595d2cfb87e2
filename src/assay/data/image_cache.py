"""Images decoded and brought to one form once, and kept as one memory-mapped array.

    <cache>/images/<key>/images.npy    uint8 (N, C, H, W), the bad files left out
    <cache>/images/<key>/index.json    which files were bad, and what the array was made of
    <cache>/images/<key>.lock          held by the process that makes it
    <cache>/images/<key>.<…>.partial   being made, or being removed

The key covers what is in the files, in order, how images are brought to one form, and the version of the decoder, of
Pillow and of its JPEG library: a changed file makes another key. A cache is written aside and renamed, so it exists
whole or not at all. Two processes that need it at once make it once. When it is made, older ones of the same place and
form are removed, and what killed processes left behind. A process that has an older one open keeps its pixels.

Shape key: N images, C channels, H height, W width.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import features

from assay.data import labelled_files
from assay.data.images import DECODER, ImageForm, decode
from assay.data.in_parallel import available_cores, in_order
from assay.data.labelled_files import LabelledFiles, listed, printable
from assay.data.places import CACHE_VARIABLE, cache_folder, digests
from assay.data.source import Examples
from assay.errors import DataError
from assay.recipe.schema import CsvData, FolderData

_VERSION = 1
_ARRAY = "images.npy"
_INDEX = "index.json"
_PARTIAL = ".partial"
_BYTES_AT_ONCE = 2**20
"""Decoded bytes that one task of a thread makes, about; finished tasks wait to be written in order."""
_IMAGES_AT_ONCE = 32
_WAIT = 0.5
"""Seconds between looks at whether another process has finished."""
_ATTEMPTS = 3
_LARGER_DISK = f"Free some space, or set {CACHE_VARIABLE} to a folder on a larger disk."
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the decoding of a data set is.

    Attributes:
        done: files decoded.
        total: all of them.
        waiting: whether another process is at it; `done` is not known then, and 0.
    """

    done: int
    total: int
    waiting: bool = False


@dataclass(frozen=True, kw_only=True)
class _Order:
    """A cache that is wanted."""

    files: LabelledFiles
    digests_N: list[str]
    form: ImageForm
    place: Path
    """The folder of all caches of images."""

    @cached_property
    def key(self) -> str:
        made_by = [_VERSION, DECODER, PIL.__version__, str(features.version("jpg"))]
        head = [*made_by, self.form.size, self.form.fit, self.form.color]
        digest = hashlib.sha256(json.dumps(head).encode() + "\n".join(self.digests_N).encode())
        return digest.hexdigest()[:32]

    @property
    def origin(self) -> str:
        """Equal for all states of one place in one form, of which only the latest is kept."""
        head = [self.files.what, self.form.size, self.form.fit, self.form.color]
        return hashlib.sha256(json.dumps(head).encode()).hexdigest()[:32]

    @property
    def folder(self) -> Path:
        return self.place / self.key


def examples(files: LabelledFiles, section: FolderData | CsvData) -> Examples:
    """uint8 images (N, C, H, W), memory-mapped, with labels and official splits.

    Raises:
        DataError: files are bad and ``data.on_bad`` is ``error``; or they change while they are read, or are not of one
            size and ``data.size`` is left out; or the cache cannot be written.
    """
    order = _order(files, section)
    for _ in range(_ATTEMPTS):
        for _ in _made(order):
            pass
        if (cached := _opened(order)) is not None:
            return _examples(order, section, *cached)
    raise DataError(f"The cache {order.folder} is removed again and again by another process. Try again later.")


def prepare(files: LabelledFiles, section: FolderData | CsvData) -> Iterator[Progress]:
    """Make the cache unless it is there, telling how far it is, and check what `examples` will give.

    Nothing is told if there is nothing to make. Leaving the iterator gives up.

    Raises:
        DataError: as `examples`.
    """
    yield from _made(_order(files, section))
    examples(files, section)


def fingerprint(files: LabelledFiles, section: FolderData | CsvData) -> str:
    """See `assay.data.labelled_files.fingerprint`."""
    order = _order(files, section)
    return labelled_files.fingerprint(files, order.digests_N, order.form, section.on_bad)


def _examples(
    order: _Order, section: FolderData | CsvData, images_NCHW: NDArray[np.uint8], bad: dict[int, str]
) -> Examples:
    if bad and section.on_bad == "error":
        raise _bad_files(order.files, bad, "Mend or remove them, or leave them out with data.on_bad: skip.")
    files = order.files.without(bad)
    digests_N = [digest for place, digest in enumerate(order.digests_N) if place not in bad]
    return Examples(
        inputs=images_NCHW,
        labels_N=files.labels_N,
        classes=files.classes,
        test_indices=files.in_split("test"),
        val_indices=files.in_split("val"),
        skipped=files.skipped,
        remarks=files.remarks,
        identity=labelled_files.identity(files, digests_N),
    )


def _order(files: LabelledFiles, section: FolderData | CsvData) -> _Order:
    return _Order(
        files=files,
        digests_N=digests(files.root, files.paths_N),
        form=ImageForm.of(section),
        place=cache_folder() / "images",
    )


def _bad_files(files: LabelledFiles, bad: dict[int, str], advice: str) -> DataError:
    lines = [f"{printable(files.paths_N[place])}: {reason}" for place, reason in sorted(bad.items())]
    return DataError(
        f"{files.what} has {len(bad):,} of {len(files):,} image files that cannot be read:{listed(lines)}\n  {advice}"
    )


# --- reading a cache --------------------------------------------------------------------------------------------------


def _opened(order: _Order) -> tuple[NDArray[np.uint8], dict[int, str]] | None:
    """The array and the bad files by position; None if there is no such cache, or it is damaged."""
    try:
        index = json.loads((order.folder / _INDEX).read_bytes())
        images_NCHW = np.load(order.folder / _ARRAY, mmap_mode="r", allow_pickle=False)
        bad = {int(place): str(reason) for place, reason in index["bad"]}
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    sound = images_NCHW.dtype == np.uint8 and images_NCHW.ndim == 4 and len(images_NCHW) == len(order.files) - len(bad)
    return (images_NCHW, bad) if sound else None


# --- making a cache ---------------------------------------------------------------------------------------------------


def _made(order: _Order) -> Iterator[Progress]:
    """Make the cache unless it is there."""
    if _opened(order) is not None:
        return
    with _explaining(order.place):
        order.place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(order.place / f"{order.key}.lock", thread_local=False)
        while True:
            try:
                lock.acquire(timeout=_WAIT)
                break
            except Timeout:
                yield Progress(done=0, total=len(order.files), waiting=True)
        try:
            if _opened(order) is None:
                _remove(order.folder)
                _remove_leftovers(order)
                yield from _written(order)
                _remove_older(order)
        finally:
            lock.release()


def _written(order: _Order) -> Iterator[Progress]:
    """Decode into a folder aside, and rename it."""
    aside = order.place / f"{order.key}.{secrets.token_hex(4)}{_PARTIAL}"
    aside.mkdir()
    try:
        bad: dict[int, str] = {}
        with (aside / _ARRAY).open("w+b") as file:
            yield from _decoded_into(file, order, bad)
            file.flush()
            os.fsync(file.fileno())
        index = {"version": _VERSION, "origin": order.origin, "pillow": PIL.__version__, "bad": sorted(bad.items())}
        with (aside / _INDEX).open("w", encoding="utf-8") as writing:
            json.dump(index, writing)
            writing.flush()
            os.fsync(writing.fileno())
        aside.rename(order.folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _decoded_into(file: IO[bytes], order: _Order, bad: dict[int, str]) -> Iterator[Progress]:
    """Write all images that can be read as one array, without ever holding more than a few; note the bad ones."""
    total = len(order.files)
    first: tuple[int, tuple[int, ...]] | None = None
    done = 0
    for results in _decoded(order):
        for place, result in enumerate(results, start=done):
            if isinstance(result, str):
                bad[place] = result
                continue
            if first is None:
                first = place, result.shape
                _check_space(order, total * result.size)
                file.write(_header(total, result.shape))
            if result.shape != first[1]:
                raise _different_sizes(order.files, first, (place, result.shape))
            file.write(result.tobytes())
        done += len(results)
        yield Progress(done=done, total=total)
    if first is None:
        raise _bad_files(order.files, bad, "Mend or replace them.")
    if bad:
        file.seek(0)
        file.write(_header(total - len(bad), first[1]))


def _decoded(order: _Order) -> Iterator[list[NDArray[np.uint8] | str]]:
    """The files' pixels, or reasons why not, some at a time and in order; as many threads as cores decode ahead."""
    at_once = max(1, min(_IMAGES_AT_ONCE, _BYTES_AT_ONCE // _bytes_each(order)))
    starts = range(0, len(order.files), at_once)
    yield from in_order(
        lambda start: _decoded_part(order, start, min(start + at_once, len(order.files))),
        starts,
        threads=available_cores(),
    )


def _bytes_each(order: _Order) -> int:
    if order.form.size is not None:
        height, width = order.form.size
        return order.form.channels * height * width
    (first,) = _decoded_part(order, 0, 1)  # all should be of its size
    return _BYTES_AT_ONCE if isinstance(first, str) else first.size


def _decoded_part(order: _Order, start: int, stop: int) -> list[NDArray[np.uint8] | str]:
    results: list[NDArray[np.uint8] | str] = []
    for place in range(start, stop):
        path = order.files.paths_N[place]
        try:
            content = (order.files.root / path).read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            if order.digests_N[place]:  # it could be read just now, so what is wrong with it may pass: not to be kept
                raise DataError(
                    f"{order.files.what}: {printable(path)} could be read before, and now not: {reason}. Try again."
                ) from error
            results.append(reason)
            continue
        if hashlib.sha256(content).hexdigest() != order.digests_N[place]:
            raise DataError(
                f"{order.files.what}: {printable(path)} changed while it was read. Try again when nobody writes there."
            )
        try:
            results.append(decode(content, order.form))
        except DataError as error:
            results.append(str(error))
    return results


def _header(images: int, shape: Sequence[int]) -> bytes:
    """Head of an .npy file; NumPy leaves room in it, so that its length is the same for any number of images."""
    head = io.BytesIO()
    facts: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": (images, *shape)}
    np.lib.format.write_array_header_1_0(head, facts)
    return head.getvalue()


def _different_sizes(files: LabelledFiles, *two: tuple[int, tuple[int, ...]]) -> DataError:
    sizes = [
        f"{printable(files.paths_N[place])} has {shape[1]} × {shape[2]} pixels (height × width)" for place, shape in two
    ]
    return DataError(
        f"{files.what} must have images of one size, or data.size must be set:{listed(sizes)}\n"
        "  Set data.size to the height and width that all are brought to, such as data.size: 64."
    )


# --- the disk ---------------------------------------------------------------------------------------------------------


def _check_space(order: _Order, needed: int) -> None:
    free = shutil.disk_usage(order.place).free
    if free < needed:
        raise DataError(
            f"The disk of the cache {order.place} has too little space: {len(order.files):,} images need "
            f"{needed / 1e6:,.1f} MB, of which {free / 1e6:,.1f} MB are free. {_LARGER_DISK}"
        )


@contextmanager
def _explaining(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DataError(f"The disk of the cache {place} is full. {_LARGER_DISK}") from error
        raise DataError(
            f"The cache {place} cannot be written ({error.strerror or error}). Set {CACHE_VARIABLE} to a folder that "
            "can."
        ) from error


def _remove(folder: Path) -> None:
    """Rename, so that it never stands there half removed, and remove. What is in use (on Windows) stays."""
    aside = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{_PARTIAL}")
    with suppress(OSError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _remove_leftovers(order: _Order) -> None:
    """Remove what killed processes left: a living one holds the lock of its key."""
    for folder in order.place.glob(f"*{_PARTIAL}"):
        _remove_unless_in_use(order, folder, folder.name.partition(".")[0])


def _remove_older(order: _Order) -> None:
    for index in order.place.glob(f"*/{_INDEX}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if index.parent != order.folder and json.loads(index.read_bytes())["origin"] == order.origin:
                _remove_unless_in_use(order, index.parent, index.parent.name)


def _remove_unless_in_use(order: _Order, folder: Path, key: str) -> None:
    if key == order.key:  # this process holds the lock
        _remove(folder)
        return
    with suppress(OSError), FileLock(order.place / f"{key}.lock", timeout=0, thread_local=False):
        _remove(folder)
