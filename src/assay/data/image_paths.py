"""Image files without labels: found, and decoded in batches.

Shape key: B images in a batch, C channels, H height, W width.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.data.images import EXTENSIONS, ImageForm, decode
from assay.data.in_parallel import available_cores, in_order
from assay.data.labelled_files import printable
from assay.errors import DataError, InputError
from assay.recipe.schema import CsvData, FolderData, Recipe


@dataclass(frozen=True, kw_only=True)
class DecodedImages:
    """Some files in order: the images of those that can be read, and why the others cannot."""

    paths: tuple[Path, ...]
    """Of the images."""
    images_BCHW: NDArray[np.uint8]
    unreadable: tuple[tuple[Path, str], ...]


def form_of(recipe: Recipe, shape: Sequence[int]) -> ImageForm:
    """What images are brought to for a model of this recipe, whose raw examples had this shape.

    Raises:
        InputError: they were no images, or have other channels than files are read with.
    """
    source = recipe.data.source
    if len(shape) != 3:
        raise InputError(f"Its data, {source}, are points of {shape[0]} features; only images can be read from files.")
    channels, height, width = shape
    if channels not in (1, 3):
        raise InputError(f"Its data, {source}, have {channels} channels; image files are read with 1 or 3.")
    fit = recipe.data.fit if isinstance(recipe.data, FolderData | CsvData) else "crop"
    return ImageForm(size=(height, width), fit=fit, color="grey" if channels == 1 else "rgb")


def image_paths(places: Sequence[Path]) -> tuple[Path, ...]:
    """The image files in these folders and the folders below, and the files named themselves, each once.

    Within a folder the order is that in which people count: ``2.png`` before ``10.png``. Hidden entries are left out,
    and links to folders are not followed.

    Raises:
        InputError: a place does not exist, or a folder has no images.
    """
    found: dict[Path, None] = {}
    for place in places:
        if place.is_dir():
            below = [path for path in _files_below(place) if path.suffix.lower() in EXTENSIONS]
            if not below:
                raise InputError(f"The folder {place} holds no images. Known are {', '.join(sorted(EXTENSIONS))}.")
            found |= dict.fromkeys(sorted(below, key=lambda path: [_as_counted(part) for part in path.parts]))
        elif place.exists():
            found[place] = None
        else:
            raise InputError(f"There is no file or folder {place}.")
    return tuple(found)


def decoded(paths: Sequence[Path], form: ImageForm, batch_size: int) -> Iterator[DecodedImages]:
    """Batches of so many images that can be read, but for the last; several threads decode ahead."""
    images: list[NDArray[np.uint8]] = []
    read: list[Path] = []
    unreadable: list[tuple[Path, str]] = []

    def taken() -> DecodedImages:
        batch = DecodedImages(
            paths=tuple(read),
            images_BCHW=np.stack(images) if images else np.empty((0, form.channels, *(form.size or ())), np.uint8),
            unreadable=tuple(unreadable),
        )
        for part in (images, read, unreadable):
            part.clear()
        return batch

    def attempt(path: Path) -> NDArray[np.uint8] | str:
        try:
            return decode(path.read_bytes(), form)
        except (OSError, DataError) as error:
            return error.strerror or str(error) if isinstance(error, OSError) else str(error)

    for path, result in zip(paths, in_order(attempt, paths, threads=available_cores()), strict=True):
        if isinstance(result, str):
            unreadable.append((path, result))
            continue
        images.append(result)
        read.append(path)
        if len(images) == batch_size:
            yield taken()
    if images or unreadable:
        yield taken()


def _files_below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"The folder {printable(str(error.filename))} cannot be read: {error.strerror}.") from error

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in files if not name.startswith("."))


def _as_counted(name: str) -> tuple[tuple[int, str], ...]:
    """A key that orders numbers within names by their value."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((int(part), part) if part.isdecimal() else (-1, part) for part in parts)
