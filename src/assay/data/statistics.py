"""What the pixels of a data set are like: mean and deviation per channel, and sizes, in one pass.

Images that are files are decoded by several threads, summed at once and let go, so that memory depends neither on how
many there are nor on their sizes together. Sums of whole numbers are exact, so neither the number of threads nor their
timing shows.

Shape key: N examples, C channels (or features), H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from assay.data.images import ImageForm, decode
from assay.data.in_parallel import available_cores, in_order
from assay.data.labelled_files import LabelledFiles, listed, printable
from assay.data.load import load_source
from assay.data.moments import Moments, PixelSums, channel_moments, parts_of
from assay.data.source import Examples
from assay.errors import DataError
from assay.recipe.schema import CsvData, Data, FolderData

Side = tuple[int, int]
Read = Callable[[bytes], NDArray[np.uint8]]

_FILES_AT_ONCE = 32
"""Files that one task of a thread reads."""
_BYTES_AT_ONCE = 2**20
"""Pixels of equal images that are summed together; a larger image is summed by itself."""


@dataclass(frozen=True, kw_only=True)
class DataStatistics:
    """Statistics of the official training split, or of all examples where there is none.

    Attributes:
        source: the recipe's ``data.source``.
        split: ``train`` or ``all``.
        count: examples.
        smallest: height and width of the image of fewest pixels; None for points.
        largest: of the image of most pixels.
        channels: channels of an image, or features of a point.
        mean: per channel, every pixel counting alike; pixels are scaled to 0–1.
        std: population standard deviation per channel: it divides by the number of pixels.
        skipped: examples left out as unreadable, with reasons.
    """

    source: str
    split: Literal["train", "all"]
    count: int
    smallest: Side | None
    largest: Side | None
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skipped: tuple[str, ...] = ()

    @property
    def size(self) -> Side | None:
        """Height and width, if all images have one."""
        return self.smallest if self.smallest == self.largest else None

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``size`` is ``[H, W]``, or null where sizes differ, and ``smallest`` and ``largest`` tell."""
        return {
            "source": self.source,
            "split": self.split,
            "count": self.count,
            "size": _listed_side(self.size),
            "smallest": _listed_side(self.smallest),
            "largest": _listed_side(self.largest),
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "skipped": list(self.skipped),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class FileMoments:
    """What is known of image files after reading each once.

    Attributes:
        moments: of pixels from 0 to 255, per channel or, for a mean image, for each pixel of each channel.
        count: files that could be read.
        smallest: height and width of the image of fewest pixels.
        largest: of the image of most pixels.
        bad: reasons, by position, of files that could not be read.
    """

    moments: Moments
    count: int
    smallest: Side
    largest: Side
    bad: Mapping[int, str] = field(default_factory=dict)


def statistics_of(data: Data) -> DataStatistics:
    """Statistics of what a data section names.

    Of image files whose ``data.size`` is left out, each is taken at its own size, and nothing is cached.

    Raises:
        InputError: the data set is missing or unfit; see `assay.data.load.load_source`.
        DataError: files are bad and ``data.on_bad`` is ``error``.
    """
    if isinstance(data, FolderData | CsvData) and data.size is None:
        return _of_files(data)
    return _of_examples(data.source, load_source(data))


def moments_of_files(
    root: Path, paths: Sequence[str], read: Read, *, per_pixel: bool = False, threads: int | None = None
) -> FileMoments:
    """Read image files once, in parallel, and sum their pixels.

    Args:
        root: a folder.
        paths: the files, below it; as texts, which for many files take far less memory than paths.
        read: from a file's content to its pixels, uint8 (C, H, W); raises DataError with a reason if it is bad. Called
            by several threads.
        per_pixel: the mean image and its deviations, flattened, in place of channels; images must then have one size.
        threads: how many; by default as many as there are cores.

    Raises:
        DataError: no file can be read, or a mean image is asked for and sizes differ.
    """
    whole: _Tally | None = None
    for tally in _tallies(root, paths, read, per_pixel, threads or available_cores()):
        whole = tally if whole is None else whole.merged(tally)
    if whole is None:
        raise DataError("Statistics need at least one image, got no files.")
    if whole.sums is None:
        reasons = [f"{printable(paths[at])}: {reason}" for at, reason in whole.bad.items()]
        raise DataError(f"Statistics need at least one image that can be read, got none:{listed(reasons)}")
    return FileMoments(
        moments=whole.sums.moments(),
        count=len(paths) - len(whole.bad),
        smallest=whole.smallest,
        largest=whole.largest,
        bad=whole.bad,
    )


# --- examples ---------------------------------------------------------------------------------------------------------


def _of_examples(source: str, examples: Examples) -> DataStatistics:
    official = [chosen for chosen in (examples.test_indices, examples.val_indices) if chosen is not None]
    train_N = np.arange(len(examples.labels_N))
    if official:
        train_N = np.setdiff1d(train_N, np.concatenate(official))
    shape = examples.input_shape
    side = (shape[1], shape[2]) if len(shape) == 3 else None
    return DataStatistics(
        source=source,
        split="train" if official else "all",
        count=len(train_N),
        smallest=side,
        largest=side,
        channels=shape[0],
        **_scaled(channel_moments(parts_of(examples.inputs, train_N)), 255.0 if side else 1.0),
        skipped=examples.skipped,
    )


def _of_files(data: FolderData | CsvData) -> DataStatistics:
    files = _files(data)
    train_N = files.in_split("train")
    chosen = files.paths_N if train_N is None else [files.paths_N[at] for at in train_N]
    form = ImageForm.of(data)
    found = moments_of_files(files.root, chosen, lambda content: decode(content, form))
    bad = [f"{printable(chosen[at])}: {reason}" for at, reason in sorted(found.bad.items())]
    if bad and data.on_bad == "error":
        raise DataError(
            f"{files.what} has {len(bad):,} of {len(chosen):,} image files that cannot be read:{listed(bad)}\n"
            "  Mend or remove them, or leave them out with data.on_bad: skip."
        )
    return DataStatistics(
        source=data.source,
        split="all" if train_N is None else "train",
        count=found.count,
        smallest=found.smallest,
        largest=found.largest,
        channels=form.channels,
        **_scaled(found.moments, 255.0),
        skipped=(*files.skipped, *bad),
    )


def _files(data: FolderData | CsvData) -> LabelledFiles:
    if isinstance(data, FolderData):
        from assay.data.sources.folder import FolderSource

        return FolderSource(data).files()
    from assay.data.sources.csv import CsvSource

    return CsvSource(data).files()


def _scaled(moments: Moments, divide_by: float) -> dict[str, Any]:
    return {
        "mean": tuple((moments.mean_C / divide_by).tolist()),
        "std": tuple((moments.deviation_C / divide_by).tolist()),
    }


def _listed_side(side: Side | None) -> list[int] | None:
    return None if side is None else list(side)


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tally:
    """Of some files; without sums while none could be read."""

    sums: PixelSums | None
    smallest: Side
    largest: Side
    bad: dict[int, str]
    per_pixel: bool

    def merged(self, other: _Tally) -> _Tally:
        bad = {**self.bad, **other.bad}
        if self.sums is None or other.sums is None:
            some = self if other.sums is None else other
            return _Tally(
                sums=some.sums, smallest=some.smallest, largest=some.largest, bad=bad, per_pixel=self.per_pixel
            )
        smallest = min(self.smallest, other.smallest, key=_pixels)
        largest = max(self.largest, other.largest, key=_pixels)
        if self.per_pixel and smallest != largest:
            raise DataError(
                f"A mean image needs images of one size, got {smallest[0]} × {smallest[1]} and {largest[0]} × "
                f"{largest[1]} (height × width). Set data.size to the one that all are brought to."
            )
        return _Tally(
            sums=self.sums.merged(other.sums), smallest=smallest, largest=largest, bad=bad, per_pixel=self.per_pixel
        )


def _pixels(side: Side) -> tuple[int, Side]:
    return side[0] * side[1], side


def _tallies(root: Path, paths: Sequence[str], read: Read, per_pixel: bool, threads: int) -> Iterator[_Tally]:
    """A tally of every few files, in order; no more than a few are at work or waiting at once."""
    starts = range(0, len(paths), _FILES_AT_ONCE)
    return in_order(
        lambda start: _tally(root, paths, range(start, min(start + _FILES_AT_ONCE, len(paths))), read, per_pixel),
        starts,
        threads=threads,
    )


def _tally(root: Path, paths: Sequence[str], places: range, read: Read, per_pixel: bool) -> _Tally:
    bad: dict[int, str] = {}
    whole = _Tally(sums=None, smallest=(0, 0), largest=(0, 0), bad=bad, per_pixel=per_pixel)
    alike: list[NDArray[np.uint8]] = []
    for at in places:
        try:
            image_CHW = read((root / paths[at]).read_bytes())
        except OSError as error:
            bad[at] = error.strerror or str(error)
            continue
        except DataError as error:
            bad[at] = str(error)
            continue
        if alike and (image_CHW.shape != alike[0].shape or len(alike) * image_CHW.size >= _BYTES_AT_ONCE):
            whole = whole.merged(_summed(alike, per_pixel))
            alike = []
        alike.append(image_CHW)
    return whole.merged(_summed(alike, per_pixel)) if alike else whole


def _summed(images: Sequence[NDArray[np.uint8]], per_pixel: bool) -> _Tally:
    part = images[0][None] if len(images) == 1 else np.stack(images)
    side = (part.shape[2], part.shape[3])
    sums = PixelSums.of(part.reshape(len(part), -1) if per_pixel else part)
    return _Tally(sums=sums, smallest=side, largest=side, bad={}, per_pixel=per_pixel)
