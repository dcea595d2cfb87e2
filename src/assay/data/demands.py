"""What recipes ask of their data, held against the data before anything is trained. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable

from assay.data.load import origin, source_of
from assay.data.normalize import check_can_be_normalised
from assay.data.source import Examples, checked
from assay.data.sources.circles import CLASSES
from assay.data.splits import make_splits
from assay.errors import InputError, InvalidValueError
from assay.metrics.catalogue import Metric
from assay.recipe.schema import CirclesData, Recipe, UserData


def check_demands(recipes: Iterable[Recipe], metrics: Iterable[Metric] = ()) -> None:
    """Hold recipes against the files of their data, so that damage is found once and not by every run.

    Circles, which are computed, and classes of the user's own are left to the runs.

    Args:
        recipes: of all arms.
        metrics: those that are claimed about.

    Raises:
        InputError: a metric needs more classes than the data have.
        InvalidValueError: images are too small for how they are to be augmented, or shifted, or have other channels
            than they are to be normalised by.
        DataError: the data are damaged, unfit, too large to be whitened, or cannot be split as asked.
    """
    metrics = tuple(metrics)
    by_origin: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        if isinstance(recipe.data, CirclesData):
            check_classes(metrics, len(CLASSES), recipe.data.source)
        elif not isinstance(recipe.data, UserData):
            by_origin.setdefault(origin(recipe.data), []).append(recipe)
    for together in by_origin.values():  # the data are read once, however many arms there are
        # Not by `load_source`, which would keep them in this process's memory while its workers train.
        examples = checked(source_of(together[0].data).load(), together[0].data.source)
        check_classes(metrics, len(examples.classes), together[0].data.source)
        for recipe in together:
            check_augment(recipe, examples)
            check_shift(recipe, examples)
            check_can_be_normalised(recipe.data.normalize, examples.input_shape)
        for validation, fraction in {(recipe.data.validation, recipe.data.fraction) for recipe in together}:
            # Whether it can be done is a matter of counts: what holds for one seed holds for all.
            make_splits(examples, validation=validation, fraction=fraction, seed=0)


def check_classes(metrics: Iterable[Metric], classes: int, source: str) -> None:
    """Whether there are enough classes for what is claimed.

    Raises:
        InputError: there are fewer than a metric needs.
    """
    for metric in metrics:
        if classes < metric.least_classes:
            raise InputError(
                f"A claim is about {metric.name}, which needs at least {metric.least_classes} classes, and data.source "
                f"{source} has {classes}. Claim another metric, such as {metric.name.partition('_')[0]}_accuracy."
            )


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


def check_shift(recipe: Recipe, examples: Examples) -> None:
    """Whether test images can be shifted as far as the recipe says.

    Raises:
        InvalidValueError: the examples are points, or too small.
    """
    shift = recipe.evaluate.shift
    if not shift:
        return
    if len(examples.input_shape) != 3:
        raise InvalidValueError(
            ("evaluate", "shift"),
            f"needs images, and data.source {recipe.data.source} gives points.",
            "Leave it out.",
        )
    smallest = min(examples.input_shape[1:])
    if shift >= smallest:
        raise InvalidValueError(
            ("evaluate", "shift"),
            f"must be less than the image's sides, of which the shorter has {smallest} pixels, got {shift}.",
        )
