"""Files of weights: where a recipe's lie, and what identifies their content.

Weights are looked for in the current folder, in the folders of ``$ASSAY_WEIGHTS``, in ``weights`` in each data folder
and beside it, and in the user cache. Loads no torch, but for the names of weights that torchvision publishes, which
are asked for once and remembered.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from assay.data.places import cache_folder, data_folders, digests, expanded, is_file
from assay.errors import DataError, shown

WEIGHTS_VARIABLE = "ASSAY_WEIGHTS"

SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".bin")
"""Of files that can be read: the first by safetensors, the others as torch saves them."""

LARGEST = 2**34
"""Bytes, 16 GiB: six times the largest file that torchvision publishes."""

_KEY = "pretrained.weights"


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A file of weights, and the SHA-256 of its content as 64 hexadecimal digits."""

    path: Path
    sha256: str


def downloaded_weights() -> Path:
    """Where published weights are put: ``weights`` in the cache."""
    return cache_folder() / "weights"


def weight_folders() -> tuple[Path, ...]:
    """The folders in which weights are looked for, in order."""
    named = [part for part in os.environ.get(WEIGHTS_VARIABLE, "").split(os.pathsep) if part]
    near_data = [place / "weights" for folder in data_folders() for place in (folder, folder.parent)]
    folders = [Path.cwd(), *(expanded(part, WEIGHTS_VARIABLE).absolute() for part in named), *near_data]
    return tuple(dict.fromkeys([*folders, downloaded_weights()]))


def weight_file(place: str, model: str) -> WeightFile:
    """The file of weights that a recipe names.

    What torchvision publishes is looked for by its file name, and downloaded if it is in none of the folders. The
    content of a file that was not changed since is not read again to identify it.

    Args:
        place: the recipe's ``pretrained.weights``.
        model: its ``model.name``, which says which of torchvision's weights are meant.

    Raises:
        DataError: there is no such file, it cannot be used, or it cannot be downloaded.
        InvalidValueError: torchvision has no classifier of the model's name.
    """
    if place == "torchvision":
        from assay.data.published_weights import published_file

        return published_file(model.partition(":")[2])
    return identified(_found(place))


def identified(path: Path) -> WeightFile:
    """A file with its digest.

    Raises:
        DataError: it is empty, too large, or cannot be read.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{_KEY}: {path} cannot be read: {error.strerror}.") from error
    if size == 0:
        raise DataError(f"{_KEY}: {path} is empty. Copy or download it again.")
    if size > LARGEST:
        raise DataError(f"{_KEY}: {path} must have at most {LARGEST / 2**30:.0f} GiB, got {size / 2**30:,.0f} GiB.")
    sha256 = digests(path.parent, [path.name])[0]
    if not sha256:
        raise DataError(f"{_KEY}: {path} cannot be read. Check who may read it.")
    return WeightFile(path=path, sha256=sha256)


def _found(place: str) -> Path:
    path = expanded(place, _KEY)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{_KEY} must be torchvision, or name a file that ends in {', '.join(SUFFIXES)}, got {shown(place)}."
        )
    if path.is_absolute():
        if is_file(path):
            return path
        raise DataError(f"{_KEY} {shown(place)} was not found, or is no file. Check the path.")
    folders = weight_folders()
    for folder in folders:
        if is_file(folder / path):
            return folder / path
    raise DataError(
        f"{_KEY} {shown(place)} was not found, or is no file. Looked in:\n"
        + "".join(f"  {folder}\n" for folder in folders)
        + f"  Put the file into one of these, or name the folder it is in by ${WEIGHTS_VARIABLE}."
    )
