"""What recipes ask of their data, held against the data before anything is trained. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable

from assay.data.load import load_source, origin
from assay.data.source import Examples
from assay.data.splits import make_splits
from assay.errors import InvalidValueError
from assay.recipe.schema import CsvData, FolderData, Recipe


def check_demands(recipes: Iterable[Recipe]) -> None:
    """Hold recipes against the images of their folders or tables, which are read if they have not been.

    Other sources are left to the runs: they fit whatever a recipe can ask, or are costly to read.

    Raises:
        InvalidValueError: images are too small for how they are to be augmented.
        DataError: the data are unfit, or cannot be split as asked.
    """
    of_images = [recipe for recipe in recipes if isinstance(recipe.data, FolderData | CsvData)]
    by_origin: dict[str, list[Recipe]] = {}
    for recipe in of_images:
        by_origin.setdefault(origin(recipe.data), []).append(recipe)
    for together in by_origin.values():  # the data are read once, however many arms there are
        examples = load_source(together[0].data)
        for recipe in together:
            check_augment(recipe, examples)
        for validation, fraction in {(recipe.data.validation, recipe.data.fraction) for recipe in together}:
            # Whether it can be done is a matter of counts: what holds for one seed holds for all.
            make_splits(examples, validation=validation, fraction=fraction, seed=0)


def check_augment(recipe: Recipe, examples: Examples) -> None:
    """Whether the examples can be augmented as the recipe says.

    Raises:
        InvalidValueError: they are points, or too small.
    """
    if not recipe.augment.active:
        return
    if len(examples.input_shape) != 3:
        raise InvalidValueError(
            ("augment",), f"needs images, and data.source {recipe.data.source} gives points.", "Leave the section out."
        )
    smallest, padding = min(examples.input_shape[1:]), recipe.augment.crop_padding
    if recipe.augment.crop_fill == "reflect" and padding >= smallest:
        raise InvalidValueError(
            ("augment", "crop_padding"),
            f"must be less than the image's sides to mirror it at its edge, got {padding} for {smallest} pixels.",
        )
