"""What a recipe's model looks like on its data, without training it.

Shape key: D values of an input, R weight vectors of a linear model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from assay.data.demands import check_augment, check_shift
from assay.data.load import load_source
from assay.data.normalize import output_shape
from assay.errors import InputError, InvalidValueError, shown
from assay.models.anatomy import Anatomy, LayerRow, dissect
from assay.models.build import build_model
from assay.models.dry_run import FLOAT32_BYTES
from assay.models.freeze import freeze
from assay.recipe.hardware import settled
from assay.recipe.schema import FittedAtOnce, Recipe, SvmModel
from assay.training.arithmetic import Arithmetic
from assay.training.engines.choose import check_can_train
from assay.training.engines.translate import check_shapes, translate
from assay.training.network import started
from assay.training.optimizers import build_optimizer


def inspect(model: Recipe | nn.Module, input_shape: Sequence[int] | None = None) -> Anatomy:
    """The layers of a network: shapes, parameters, multiply-accumulates, receptive fields, memory.

    Args:
        model: a recipe, of which the network is built for its data, or any ``torch.nn.Module`` that takes one tensor;
            left as it was.
        input_shape: of one example, for a module: (C, H, W) or (D,).

    Raises:
        InputError: the recipe's data or model section is unfit; a module comes without a shape, a recipe with one.

    Example:
        >>> import assay, torchvision
        >>> assay.inspect(torchvision.models.resnet18(), (3, 224, 224)).macs
        1814073344
    """
    if isinstance(model, nn.Module):
        sides = tuple(input_shape) if input_shape is not None else ()
        if not sides or not all(type(side) is int and side > 0 for side in sides):
            raise InputError(
                f"input_shape must be that of one example, such as (3, 32, 32), for a module, got {shown(input_shape)}."
            )
        return dissect(model, sides)
    if not isinstance(model, Recipe):
        raise InputError(f"inspect needs a Recipe or a torch.nn.Module, got {shown(model)}.")
    if input_shape is not None:
        raise InputError(f"input_shape belongs to a module; a recipe's data decide it, got {shown(input_shape)}.")
    return model_anatomy(model)


def model_anatomy(recipe: Recipe) -> Anatomy:
    """The layer table of the recipe's model, for the classes of its data source, and inputs as they are normalised.

    Raises:
        InputError: the data or model section is unfit; see `assay.data.load.load_source` and `anatomy_of`.
    """
    examples = load_source(recipe.data)
    input_shape = output_shape(examples.input_shape, recipe.data.normalize)
    return anatomy_of(recipe, input_shape=input_shape, classes=len(examples.classes))


def anatomy_of(recipe: Recipe, *, input_shape: tuple[int, ...], classes: int) -> Anatomy:
    """The layer table of a recipe's model for such inputs and so many classes, frozen as the recipe says.

    A linear model fitted at once has one row, of its weight vectors (R, D) and R intercepts; two classes share one.

    Raises:
        InvalidValueError: the model is an RBF machine, which has no layers.
        InputError: the model section is unfit; see `assay.models.build.build_model` and `assay.models.freeze.freeze`.
    """
    if isinstance(recipe.model, FittedAtOnce):
        return _linear_anatomy(recipe.model, math.prod(input_shape), classes)
    model = build_model(recipe.model, recipe.init, seed=recipe.seed, input_shape=input_shape, classes=classes)
    freeze(model, recipe.freeze, trains=False)
    return dissect(model, input_shape)


def check_model(recipe: Recipe) -> None:
    """Load the data, hold them against the recipe, and build the model for its engine and its optimizer, if it is one
    that is built, with the weights it starts from.

    Raises:
        InputError: the data or model section is unfit, the data cannot be augmented or shifted as asked, the engine
            lacks what the model needs, the weights are missing or do not fit it, nothing of that name can be frozen or
            given a rate of its own, or the images are made smaller than the model takes.
    """
    examples = load_source(recipe.data)
    check_augment(recipe, examples)
    check_shift(recipe, examples)
    if isinstance(recipe.model, FittedAtOnce):
        return
    recipe = settled(recipe)
    input_shape, classes = output_shape(examples.input_shape, recipe.data.normalize), len(examples.classes)
    model = build_model(recipe.model, recipe.init, seed=recipe.seed, input_shape=input_shape, classes=classes)
    started(model, recipe)
    if recipe.train.engine == "numpy":
        check_shapes(translate(model), input_shape)
    arithmetic = Arithmetic(recipe.train, torch.device("cpu"))
    check_can_train(recipe, model, arithmetic, input_shape=input_shape, classes=classes)
    if recipe.train.engine == "torch":
        build_optimizer(recipe.optimizer, model, trains=recipe.train.epochs > 0)


def _linear_anatomy(model: FittedAtOnce, values: int, classes: int) -> Anatomy:
    if isinstance(model, SvmModel) and model.kernel != "linear":
        raise InvalidValueError(
            ("model", "kernel"),
            f"must be linear for a table of layers, got {model.kernel}: that machine is made of the training examples "
            "that turn out to be its support vectors.",
            "The metric parameters of a run says how large it became.",
        )
    vectors = 1 if classes == 2 else classes
    kind = "LinearSVC" if isinstance(model, SvmModel) else "LogisticRegression"
    parameters = vectors * (values + 1)
    row = LayerRow(
        name="coefficients",
        kind=kind,
        output_shape=(vectors,),
        parameters=parameters,
        trainable_parameters=parameters,
        macs=vectors * values,
        output_bytes=vectors * FLOAT32_BYTES,
    )
    return Anatomy(
        input_shape=(values,),
        rows=(row,),
        blocks=(),
        parameters=row.parameters,
        trainable_parameters=row.parameters,
        macs=row.macs,
        output_bytes=row.output_bytes,
        training_bytes=None,
    )
