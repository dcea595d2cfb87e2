"""Classifying image files with the model of a stored run.

Shape key: N images that can be read, K classes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.data.image_paths import decoded
from assay.data.images import ImageForm
from assay.data.survey import Step
from assay.errors import InputError
from assay.training.predictor import Predictor

TOP = 5
"""Classes of an image that are listed by default."""


@dataclass(frozen=True, kw_only=True)
class ClassifiedImages:
    """What a model says of image files, in the order they were given."""

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    probabilities_NK: NDArray[np.float32]
    unreadable: tuple[tuple[Path, str], ...]
    """Files that were left out, each with the reason."""

    def labels(self) -> list[str]:
        """The most probable class of each image; empty where a probability is not a number."""
        return [self.classes[order[0]] if order else "" for order in self._ranked(1)]

    def csv(self, top: int = TOP) -> str:
        """A table with a row for each image: ``path, label, probability``, then ``label_2, probability_2`` and so on.

        Equally probable classes come in the order of the run's classes. Where a probability is not a number, a row
        holds the path alone.

        Args:
            top: how many classes of each image; as many as there are at most.
        """
        top = min(top, len(self.classes))
        header = ["path", "label", "probability"]
        header += [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "probability")]
        return _written(header, self._rows(top))

    def numbered_csv(self) -> str:
        """A table ``id, label`` for the test sets of competitions: the number in each file's name, in ascending order.

        Raises:
            InputError: a name has no number or several, two files have the same one, or a file could not be read.
        """
        if self.unreadable:
            path, reason = self.unreadable[0]
            raise InputError(
                f"A numbered test set needs a label for every image, and {len(self.unreadable)} cannot be read: {path} "
                f"({reason}). Mend or remove them."
            )
        numbered: dict[int, tuple[Path, str]] = {}
        for path, label in zip(self.paths, self.labels(), strict=True):
            numbers = re.findall(r"[0-9]+", path.stem)
            if len(numbers) != 1:
                raise InputError(
                    f"The file names of a numbered test set must hold one number each, such as 17.png; got {path.name}."
                )
            number = int(numbers[0])
            if number in numbered:
                raise InputError(f"Two images of the test set have the number {number}: {numbered[number][0]}, {path}.")
            numbered[number] = (path, label)
        return _written(["id", "label"], ([str(number), label] for number, (_, label) in sorted(numbered.items())))

    def _ranked(self, top: int) -> list[list[int]]:
        order_NK = np.argsort(-self.probabilities_NK, axis=1, kind="stable")[:, :top]
        usable_N = np.logical_and.reduce(np.isfinite(self.probabilities_NK), axis=1)
        return [order if usable else [] for order, usable in zip(order_NK.tolist(), usable_N.tolist(), strict=True)]

    def _rows(self, top: int) -> Iterable[list[str]]:
        for path, order, p_K in zip(self.paths, self._ranked(top), self.probabilities_NK, strict=True):
            row = [str(path)]
            for at in order:
                row += [self.classes[at], f"{p_K[at]:.9g}"]  # nine digits tell any two float32 apart
            yield row + [""] * (1 + 2 * top - len(row))


def classifying(
    predictor: Predictor, paths: Sequence[Path], form: ImageForm
) -> Generator[Step, None, ClassifiedImages]:
    """Decode and classify files in batches, telling how far it is; `image_paths` finds the files.

    Raises:
        InputError: none of the files can be read.
    """
    read: list[Path] = []
    unreadable: list[tuple[Path, str]] = []
    probabilities: list[NDArray[np.float32]] = []
    for batch in decoded(paths, form, predictor.batch_size):
        if batch.paths:
            probabilities.append(predictor.probabilities(batch.images_BCHW))
        read += batch.paths
        unreadable += batch.unreadable
        yield Step(doing="classifying", done=len(read) + len(unreadable), total=len(paths))
    if not read:
        path, reason = unreadable[0]
        raise InputError(f"None of the {len(paths)} files can be read as an image. First: {path}: {reason}.")
    return ClassifiedImages(
        classes=predictor.classes,
        paths=tuple(read),
        probabilities_NK=np.concatenate(probabilities),
        unreadable=tuple(unreadable),
    )


def _written(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
