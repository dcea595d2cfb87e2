"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from their official binary files.

A file is a row of records. Of CIFAR-10 each is a label and 3,072 bytes of pixels: the red, green and blue plane of 32
rows of 32. Of CIFAR-100 each has a coarse label before the fine one. Any number of records per file is read, so that a
part of the data in this layout serves as well.

Shape key: N examples, R records of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import final

import numpy as np

from assay.data.places import is_file
from assay.data.releases import RELEASES
from assay.data.source import Examples
from assay.data.sources.official import Damage, FoundFiles, locate, skipped
from assay.errors import DataError
from assay.recipe.schema import Cifar10Data, Cifar100Data
from assay.records import Array

VERSION = 1
"""Raised when what is made of the files changes."""

_PIXELS = 3 * 32 * 32
_NAMES_BYTES = 2**20
_AT_ONCE = 256
"""Records read at a time: a whole file would be written to fresh memory first, which takes half as long again."""
_COARSE_NAMES = """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
    large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
    vehicles_1 vehicles_2
"""
_FINE_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


@dataclass(frozen=True, kw_only=True)
class _Label:
    """One label byte of a record: what it is called, the file with the names of its classes, and the official names."""

    kind: str
    names_file: str
    official: tuple[str, ...]


_CIFAR10_LABELS = (
    _Label(
        kind="label",
        names_file="batches.meta.txt",
        official=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
)

_CIFAR100_LABELS = (
    _Label(
        kind="coarse label",
        names_file="coarse_label_names.txt",
        official=tuple(_COARSE_NAMES.split()),
    ),
    _Label(
        kind="fine label",
        names_file="fine_label_names.txt",
        official=tuple(_FINE_NAMES.split()),
    ),
)

_TEST_FILES = frozenset({"test_batch.bin", "test.bin"})


@final
class CifarSource:
    """uint8 images (N, 3, 32, 32), the official test split last."""

    def __init__(self, section: Cifar10Data | Cifar100Data) -> None:
        self._section = section
        self._labels: tuple[_Label, ...] = _CIFAR10_LABELS
        self._column = 0
        if isinstance(section, Cifar100Data):
            self._labels = _CIFAR100_LABELS
            self._column = 1 if section.labels == "fine" else 0

    def load(self) -> Examples:
        """Read all files.

        Raises:
            DataError: files are missing, or damaged: a file that ends within a record, a label that no class has.
        """
        found = locate(RELEASES[self._section.source], self._section.root)
        names = [_class_names(found, label) for label in self._labels]
        room = sum(found.path(name).stat().st_size // self._record for name in found.names)
        images_NP, labels_N = np.empty((room, _PIXELS), dtype=np.uint8), np.empty(room, dtype=np.int64)
        damages: list[Damage] = []
        train_count = stop = 0
        for name in found.names:
            for rows_RB in self._sound_records(found, name, names, damages):
                start, stop = stop, min(room, stop + len(rows_RB))
                images_NP[start:stop] = rows_RB[: stop - start, len(self._labels) :]
                labels_N[start:stop] = rows_RB[: stop - start, self._column]
            if name not in _TEST_FILES:
                train_count = stop
        left_out = skipped(damages, found, self._section.on_bad)
        return Examples(
            inputs=images_NP[:stop].reshape(-1, 3, 32, 32),
            labels_N=labels_N[:stop],
            classes=names[self._column],
            test_indices=np.arange(train_count, stop),
            skipped=left_out,
            remarks=found.remarks(),
        )

    def fingerprint(self) -> str:
        """Of the files' contents, the names of the classes, which of the labels are used, and this reader's version."""
        found = locate(RELEASES[self._section.source], self._section.root)
        return found.fingerprint(VERSION, self._column, _class_names(found, self._labels[self._column]))

    @property
    def _record(self) -> int:
        return len(self._labels) + _PIXELS

    def _sound_records(
        self, found: FoundFiles, name: str, names: Sequence[tuple[str, ...]], damages: list[Damage]
    ) -> Iterator[Array]:
        """Records (R, bytes) of a file, as many at a time as a cache holds; adds what is wrong with the others.

        Each yielded array is overwritten by the next.
        """
        rows_RB = np.empty((_AT_ONCE, self._record), dtype=np.uint8)
        row = 0
        with _opened(found, name) as file:
            while size := file.readinto(rows_RB.data.cast("B")):
                whole, rest = divmod(size, self._record)
                sound_R = np.ones(whole, dtype=bool)
                for column, (label, classes) in enumerate(zip(self._labels, names, strict=True)):
                    for place in np.flatnonzero(rows_RB[:whole, column] >= len(classes)):
                        sound_R[place] = False
                        text = f"{label.kind} {rows_RB[place, column]} is out of 0 to {len(classes) - 1}"
                        damages.append(Damage(text=f"{name}, record {row + place}: {text}"))
                yield rows_RB[:whole] if sound_R.all() else rows_RB[:whole][sound_R]
                row += whole
                if rest:
                    text = f"the file ends after {rest} of its {self._record} bytes"
                    damages.append(Damage(text=f"{name}, record {row}: {text}"))
        if not row:
            damages.append(Damage(text=f"{name}: holds no whole record of {self._record} bytes", skippable=False))


@contextmanager
def _opened(found: FoundFiles, name: str) -> Iterator[BufferedReader]:
    """The file, and a failure to read it in assay's words."""
    try:
        with found.path(name).open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"Data source {found.release.name}: {found.path(name)} cannot be read: {error}") from error


def _class_names(found: FoundFiles, label: _Label) -> tuple[str, ...]:
    """The names in the file beside the data, one per line, or else the official ones."""
    path: Path = found.folder / label.names_file
    if not is_file(path):
        return label.official
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(_NAMES_BYTES).splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(
            f"Data source {found.release.name}: {path} cannot be read as a text with one class name per line: {error}"
        ) from error
    return tuple(name for line in lines if (name := line.strip()))
