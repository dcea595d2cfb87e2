"""The contact sheets of `assay data`: images of each class, augmented ones, and pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from assay.cli.data_section import decode_ahead
from assay.cli.steps import Steps
from assay.data.images import ImageForm, decode
from assay.data.load import load_source, source_of
from assay.data.sheet import Row, contact_sheet
from assay.errors import DataError, InputError
from assay.recipe.schema import CsvData, FolderData

if TYPE_CHECKING:
    from assay.data.check import Findings, Pair
    from assay.data.labelled_files import LabelledFiles
    from assay.recipe.schema import Data, Recipe

_PAIRS_SHOWN = 60
_PAIRS_IN_A_COLUMN = 15
_PAIR_NAMES = 260
"""Pixels for the names of a pair."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A PNG file's bytes, how many rows it has, and what to say of it."""

    png: bytes
    rows: int
    note: str


def class_sheet(recipe: Recipe, images: int, classes: int, steps: Steps) -> Sheet:
    """Some images of each of the first classes, drawn by the recipe's seed; files are read at their own size."""
    data = recipe.data
    images_of = _FileImages(_files(data)) if isinstance(data, FolderData | CsvData) else _ArrayImages(data)
    names = images_of.classes[:classes]
    generator = np.random.default_rng(recipe.seed)
    rows = []
    for label, name in enumerate(names):
        places = generator.permutation(np.flatnonzero(images_of.labels_N == label))
        rows.append(Row(name=name, images=list(_readable(images_of, places, images))))
        steps.tell("reading", label + 1, len(names))
    if not any(row.images for row in rows):
        raise DataError(f"Data source {data.source}: no image can be read. Run: assay data check")
    left = len(images_of.classes) - len(names)
    note = f"{len(names)} of {len(images_of.classes)} classes" if left else f"{len(names)} classes"
    note += f", up to {images} images each, drawn with seed {recipe.seed}"
    return Sheet(png=contact_sheet(rows, note=note), rows=len(rows), note=note)


def augmented_sheet(recipe: Recipe, draws: int, classes: int, steps: Steps) -> Sheet:
    """An image of each of the first classes beside what the first epochs of training make of it."""
    import torch

    from assay.training.artefacts import augmented_rows, first_of_classes
    from assay.training.prepare import prepare_data

    decode_ahead(recipe.data, steps)
    data = prepare_data(recipe, torch.device("cpu"))
    rows = augmented_rows(recipe, data, first_of_classes(data.splits["train"], classes), draws=draws)
    captions = ["original", *(f"epoch {epoch}" for epoch in range(1, draws + 1))]
    note = f"{len(rows)} images in the first {draws} epochs at seed {recipe.seed}"
    return Sheet(png=contact_sheet(rows, captions=captions, note=note), rows=len(rows), note=note)


def pair_sheet(data: Data, findings: Findings) -> Sheet:
    """Pairs side by side, those across splits or with two labels first."""
    survey = findings.survey
    worst = sorted(findings.pairs, key=lambda pair: (not findings.conflicting(pair), not findings.across_splits(pair)))
    shown = worst[:_PAIRS_SHOWN]
    if isinstance(data, FolderData | CsvData):
        root = _files(data).root
        images = {at: _decoded((root / survey.names_N[at]).read_bytes()) for pair in shown for at in _both(pair)}
    else:
        inputs = load_source(data).inputs
        images = {at: inputs[at] for pair in shown for at in _both(pair)}
    rows = []
    for pair in shown:
        lines = [_named(survey.splits_N[at], survey.names_N[at]) for at in _both(pair)]
        labels = {survey.classes[int(survey.labels_N[at])] for at in _both(pair)}
        kind = "equal" if pair.exact else f"{pair.similarity:.2f}{' mirrored' if pair.mirrored else ''}"
        rows.append(
            Row(name="\n".join([*lines, kind, " / ".join(sorted(labels))]), images=[images[at] for at in _both(pair)])
        )
    note = f"{len(shown)} of {len(findings.pairs):,} pairs"
    return Sheet(
        png=contact_sheet(rows, note=note, rows_in_a_column=_PAIRS_IN_A_COLUMN, name_width=_PAIR_NAMES),
        rows=len(rows),
        note=note,
    )


def _named(split: str, name: str) -> str:
    return name if name.startswith(f"{split}/") else f"{split}: {name}"


def _both(pair: Pair) -> tuple[int, int]:
    return pair.first, pair.second


class _FileImages:
    """Images as they lie in files: only those shown are decoded."""

    def __init__(self, files: LabelledFiles) -> None:
        self.classes, self.labels_N = files.classes, files.labels_N
        self._files = files

    def read(self, place: int) -> Image | None:
        """An image at its own size, or None if the file cannot be read."""
        try:
            return _decoded((self._files.root / self._files.paths_N[place]).read_bytes())
        except (OSError, DataError):
            return None


class _ArrayImages:
    """Images that a source has decoded."""

    def __init__(self, data: Data) -> None:
        examples = load_source(data)
        if len(examples.input_shape) != 3:
            raise InputError(f"assay data show needs images, and data.source {data.source} gives points.")
        self.classes, self.labels_N = tuple(examples.classes), examples.labels_N
        self._inputs = examples.inputs

    def read(self, place: int) -> Image | None:
        """The image."""
        return np.asarray(self._inputs[place])


def _readable(images_of: _FileImages | _ArrayImages, places: NDArray[np.intp], most: int) -> Iterator[Image]:
    """The first images at these places that can be read."""
    found = 0
    for place in places:
        image = images_of.read(int(place))
        if image is not None:
            found += 1
            yield image
        if found == most:
            return


def _files(data: FolderData | CsvData) -> LabelledFiles:
    source = source_of(data.model_copy(update={"on_bad": "skip"}))
    return source.files()  # type: ignore[attr-defined,no-any-return]


def _decoded(content: bytes) -> Image:
    return decode(content, ImageForm())
