"""All images of a data set in brief, in one pass, for `assay.data.check`.

Every image is decoded once, by several threads, and only a thumbnail and a digest of it are kept. The functions are
generators that tell how far they are and return what they found.

Shape key: N images, C channels, H height, W width, T side of a thumbnail, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.data.duplicates import SIDE, content_digest, flat, thumbnail, workers
from assay.data.images import ImageForm, decode
from assay.data.in_parallel import in_order
from assay.data.labelled_files import LabelledFiles
from assay.data.source import Examples
from assay.data.splits import TEST_SHARE, stratified
from assay.errors import DataError
from assay.recipe.streams import stream

_AT_ONCE = 32
"""Images one task of a thread looks at."""
_LEFT_OVER = 2
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Step:
    """How far a piece of work is: ``done`` of ``total`` in its own unit."""

    doing: str
    done: float
    total: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """All readable images of a data set in brief.

    Attributes:
        names_N: the path of each, or its position in the source.
        labels_N: classes, int64.
        splits_N: ``train``, ``val`` or ``test``.
        digests_N: see `assay.data.duplicates.content_digest`.
        thumbnails_NTT: see `assay.data.duplicates.thumbnail`.
        sizes_N2: height and width.
        constant_N: whether every pixel is the same.
        unreadable: names of images that cannot be read, with reasons.
        remarks: what else was noticed.
    """

    source: str
    classes: tuple[str, ...]
    names_N: tuple[str, ...]
    labels_N: NDArray[np.int64]
    splits_N: tuple[str, ...]
    digests_N: tuple[bytes, ...]
    thumbnails_NTT: NDArray[np.uint8]
    sizes_N2: NDArray[np.int64]
    constant_N: NDArray[np.bool_]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def flat_N(self) -> NDArray[np.bool_]:
        """Which images have too little contrast to be told from others of the kind."""
        return flat(self.thumbnails_NTT)


@dataclass(frozen=True, kw_only=True)
class _Look:
    """One image in brief, or why it cannot be read."""

    digest: bytes = b""
    thumbnail_TT: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((SIDE, SIDE), dtype=np.uint8))
    size: tuple[int, int] = (0, 0)
    constant: bool = False
    problem: str = ""


# --- looking ----------------------------------------------------------------------------------------------------------


def look_at_files(files: LabelledFiles, source: str) -> Generator[Step, None, Survey]:
    """Decode every file once at its own size. Files that cannot be read are noted and do not stop it."""
    root = files.root

    def look(position: int) -> _Look:
        return _look_at_file(root / files.paths_N[position])

    looks = yield from _looks(look, len(files))
    unreadable = {files.paths_N[at]: one.problem for at, one in enumerate(looks) if one.problem}
    kept = [at for at, one in enumerate(looks) if not one.problem]
    if not kept:
        raise DataError(f"{files.what}: none of {len(looks):,} files can be read as an image.")
    labels_N = files.labels_N[kept]
    splits_N, remarks = _splits(
        tuple(files.splits_N[at] for at in kept) if files.splits_N else (), labels_N, files.classes
    )
    remarks = (*files.remarks, *(f"Left out: {line}" for line in files.skipped), *remarks)
    return _survey(
        source, files.classes, [files.paths_N[at] for at in kept], labels_N, splits_N, [looks[at] for at in kept],
        unreadable, remarks,
    )  # fmt: skip


def look_at_examples(examples: Examples, source: str) -> Generator[Step, None, Survey]:
    """Look at images that a source has decoded already.

    Raises:
        DataError: the source gives points.
    """
    inputs = examples.inputs
    if inputs.ndim != 4:
        raise DataError(f"assay data check needs images, and data.source {source} gives points.")

    def look(position: int) -> _Look:
        return _look_at(inputs[position])

    looks = yield from _looks(look, len(inputs))
    labels_N = np.asarray(examples.labels_N, dtype=np.int64)
    official: list[str] = ["train"] * len(inputs) if examples.test_indices is not None else []
    for name, indices in (("test", examples.test_indices), ("val", examples.val_indices)):
        for position in indices if indices is not None and official else ():
            official[int(position)] = name
    splits_N, remarks = _splits(tuple(official), labels_N, examples.classes)
    names_N = [f"example {position}" for position in range(len(inputs))]
    remarks = (*examples.remarks, *(f"Left out: {line}" for line in examples.skipped), *remarks)
    return _survey(source, tuple(examples.classes), names_N, labels_N, splits_N, looks, {}, remarks)


def _survey(
    source: str,
    classes: tuple[str, ...],
    names_N: Sequence[str],
    labels_N: NDArray[np.int64],
    splits_N: tuple[str, ...],
    looks: Sequence[_Look],
    unreadable: Mapping[str, str],
    remarks: tuple[str, ...],
) -> Survey:
    return Survey(
        source=source,
        classes=classes,
        names_N=tuple(names_N),
        labels_N=labels_N,
        splits_N=splits_N,
        digests_N=tuple(look.digest for look in looks),
        thumbnails_NTT=np.stack([look.thumbnail_TT for look in looks]),
        sizes_N2=np.array([look.size for look in looks], dtype=np.int64),
        constant_N=np.array([look.constant for look in looks], dtype=np.bool_),
        unreadable=unreadable,
        remarks=remarks,
    )


def _splits(
    official_N: tuple[str, ...], labels_N: NDArray[np.int64], classes: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The official splits where there is a test split among them, else those that assay would draw."""
    if "test" in official_N:
        return official_N, ()
    splits = np.array(official_N or ["train"] * len(labels_N), dtype=object)
    free = np.flatnonzero(splits == "train")
    present_K, count_K = np.unique(labels_N[free], return_counts=True)
    few = [repr(classes[label]) for label, count in zip(present_K, count_K, strict=True) if count <= _LEFT_OVER]
    if few or not len(count_K):
        named = f"class {', '.join(few[:_NAMED])}{', …' if len(few) > _NAMED else ''}" if few else "every class"
        return tuple(splits), (
            f"No test split can be set aside, and training will refuse the data: {named} has fewer than "
            f"{_LEFT_OVER + 1} images.",
        )
    splits[free[stratified(labels_N[free], TEST_SHARE, stream(0, "split", "test"), left_over=_LEFT_OVER)]] = "test"
    return tuple(splits), ("There is no official test split: test is the fifth that assay sets aside.",)


def _looks(look: Callable[[int], _Look], total: int) -> Generator[Step, None, list[_Look]]:
    """Look at every image, in order, telling how many are done."""
    found: list[_Look] = []
    starts = range(0, total, _AT_ONCE)

    def look_at_some(start: int) -> list[_Look]:
        return [look(position) for position in range(start, min(start + _AT_ONCE, total))]

    for some in in_order(look_at_some, starts, threads=workers()):
        found += some
        yield Step(doing="images", done=len(found), total=total)
    return found


def _look_at_file(path: Path) -> _Look:
    try:
        return _look_at(decode(path.read_bytes(), ImageForm()))
    except DataError as error:
        return _Look(problem=str(error))
    except OSError as error:
        return _Look(problem=error.strerror or str(error))


def _look_at(image_CHW: NDArray[np.uint8]) -> _Look:
    return _Look(
        digest=content_digest(image_CHW),
        thumbnail_TT=thumbnail(image_CHW),
        size=(int(image_CHW.shape[1]), int(image_CHW.shape[2])),
        constant=bool((image_CHW == image_CHW[:, :1, :1]).all()),
    )
