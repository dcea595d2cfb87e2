"""What a recipe's model looks like on its data, without training it."""

from __future__ import annotations

from assay.data.load import load_source
from assay.data.normalize import output_shape
from assay.models.anatomy import Anatomy, dissect
from assay.models.build import build_model
from assay.recipe.schema import Recipe


def model_anatomy(recipe: Recipe) -> Anatomy:
    """The layer table of the recipe's model, for the classes of its data source, and inputs as they are normalised.

    Raises:
        InputError: the data or model section is unfit; see `assay.data.load.load_source` and
            `assay.models.build.build_model`.
    """
    examples = load_source(recipe.data)
    input_shape = output_shape(examples.input_shape, recipe.data.normalize)
    model = build_model(
        recipe.model, recipe.init, seed=recipe.seed, input_shape=input_shape, classes=len(examples.classes)
    )
    return dissect(model, input_shape)
