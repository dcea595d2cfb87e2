"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747) from their official IDX files.

An IDX file starts with two zero bytes, a byte for the type of its numbers (8: unsigned bytes), one for how many
dimensions they have, and each dimension's size as four bytes, the greatest first. A file may be gzipped whatever its
name: what it starts with tells.

Shape key: N examples, M examples of one of the two splits, H height, W width.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from assay.data.releases import RELEASES
from assay.data.source import Examples
from assay.data.sources.official import Damage, FoundFiles, locate, skipped
from assay.errors import DataError
from assay.recipe.schema import FashionMnistData, MnistData
from assay.records import Array

VERSION = 1
"""Raised when what is made of the files changes."""

_CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
_GZIP_MAGIC = b"\x1f\x8b"
_BYTES_AT_ONCE = 2**20


@dataclass(frozen=True, kw_only=True)
class _IdxFile:
    """What could be read of a file.

    Attributes:
        name: its name.
        items: the whole ones, uint8 (count, …); empty if nothing of the file can be used.
        declared: how many the header says there are.
        damages: what is wrong with the file as a whole.
    """

    name: str
    items: Array
    declared: int
    damages: tuple[Damage, ...] = ()


@final
class IdxSource:
    """uint8 images (N, 1, H, W), of 28×28 in the official files; the official test split last."""

    def __init__(self, section: MnistData | FashionMnistData) -> None:
        self._section = section
        self._classes = _CLASSES[section.source]

    def load(self) -> Examples:
        """Read all four files.

        Raises:
            DataError: files are missing, or damaged: not IDX, gzip that is broken, fewer or more bytes than the header
                says, as many labels as there are no images, a label that no class has.
        """
        found = locate(RELEASES[self._section.source], self._section.root)
        damages: list[Damage] = []
        train_images_MHW, train_labels_M = self._split(found, "train", damages)
        test_images_MHW, test_labels_M = self._split(found, "t10k", damages)
        sizes = train_images_MHW.shape[1:], test_images_MHW.shape[1:]
        if sizes[0] != sizes[1] and not _fatal(damages):
            text = "train images are {}×{} and test images {}×{}".format(*sizes[0], *sizes[1])
            damages.append(Damage(text=text, skippable=False))
        left_out = skipped(damages, found, self._section.on_bad)
        return Examples(
            inputs=np.concatenate([train_images_MHW, test_images_MHW])[:, None],
            labels_N=np.concatenate([train_labels_M, test_labels_M]),
            classes=self._classes,
            test_indices=np.arange(len(train_labels_M), len(train_labels_M) + len(test_labels_M)),
            skipped=left_out,
            remarks=found.remarks(),
        )

    def fingerprint(self) -> str:
        """Of the files' contents and this reader's version. An official file gzipped and unpacked are the same."""
        return locate(RELEASES[self._section.source], self._section.root).fingerprint(VERSION)

    def _split(self, found: FoundFiles, split: str, damages: list[Damage]) -> tuple[Array, NDArray[np.int64]]:
        """The sound images (M, H, W) and labels (M,) of a split; adds what is wrong with the others."""
        images = _read(found.path(f"{split}-images-idx3-ubyte"), dimensions=3)
        labels = _read(found.path(f"{split}-labels-idx1-ubyte"), dimensions=1)
        damages += [*images.damages, *labels.damages]
        items_M, labels_M = images.items, labels.items
        both, declared = min(len(items_M), len(labels_M)), max(images.declared, labels.declared)
        if _fatal([*images.damages, *labels.damages]):
            return items_M[:0], labels_M[:0].astype(np.int64)
        if 2 * both < declared:
            text = f"{images.name}, {labels.name}: of {declared:,} records only {both:,} are there"
            damages.append(Damage(text=text, skippable=False))
            return items_M[:0], labels_M[:0].astype(np.int64)
        damages += [Damage(text=_why_missing(images, labels, row)) for row in range(both, declared)]
        bad_M = labels_M[:both] >= len(self._classes)
        damages += [
            Damage(text=f"{labels.name}, record {row}: label {labels_M[row]} is out of 0 to {len(self._classes) - 1}")
            for row in np.flatnonzero(bad_M)
        ]
        return items_M[:both][~bad_M], labels_M[:both][~bad_M].astype(np.int64)


def _fatal(damages: Sequence[Damage]) -> bool:
    return any(not damage.skippable for damage in damages)


def _why_missing(images: _IdxFile, labels: _IdxFile, row: int) -> str:
    for file in (images, labels):
        if len(file.items) <= row < file.declared:
            return f"{file.name}, record {row}: the file ends before its end"
    lacking, other = (images, labels) if images.declared <= row else (labels, images)
    return f"{lacking.name}, record {row}: there are {lacking.declared:,}, and {other.declared:,} in {other.name}"


# --- one file ---------------------------------------------------------------------------------------------------------


def _read(path: Path, *, dimensions: int) -> _IdxFile:
    """Read one file of unsigned bytes, as far as it goes."""

    def unusable(why: str) -> _IdxFile:
        damage = Damage(text=f"{path.name}: {why}", skippable=False)
        return _IdxFile(name=path.name, items=np.empty((0,) * dimensions, np.uint8), declared=0, damages=(damage,))

    try:
        content = _unpacked(path)
    except (zlib.error, gzip.BadGzipFile) as error:
        return unusable(f"its gzip data are damaged ({error})")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if len(content) < header:
        return unusable(f"ends after {len(content)} bytes, within its header of {header}")
    if content[:4] != magic:
        return unusable(f"starts with 0x{content[:4].hex()}, and must with 0x{magic.hex()}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    size = math.prod(shape[1:])
    if not size or not shape[0]:
        return unusable(f"its header says {'×'.join(map(str, shape))}, which is nothing")
    whole = min(shape[0], (len(content) - header) // size)
    items = np.frombuffer(content, np.uint8, whole * size, header).reshape(whole, *shape[1:])
    surplus = len(content) - header - shape[0] * size
    text = f"{path.name}: {surplus} bytes follow its {shape[0]:,} records"
    return _IdxFile(name=path.name, items=items, declared=shape[0], damages=(Damage(text=text),) if surplus > 0 else ())


def _unpacked(path: Path) -> bytes:
    """The content, unpacked if it is gzipped; of a gzip file that ends early what there is."""
    content = path.read_bytes()
    if content[:2] != _GZIP_MAGIC:
        return content
    pieces = []
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        try:
            while piece := file.read1(_BYTES_AT_ONCE):  # read would lose what came before an early end
                pieces.append(piece)
        except EOFError:
            pass  # the records that are not there will be missed
    return b"".join(pieces)
