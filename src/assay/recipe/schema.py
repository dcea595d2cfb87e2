"""What one run is: everything that decides its numbers, and nothing else.

A `Recipe` is frozen and validated. Sections with variants (``model``, ``optimizer``, …) are told apart by their
``name`` (``source`` for data); each variant accepts its own keys only. Every number has a lower and an upper bound.
Each section stands in a file of its own, and is offered here with the rest.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, model_validator

from assay.recipe.augment_section import AUGMENTATIONS as AUGMENTATIONS
from assay.recipe.augment_section import Augment as Augment
from assay.recipe.data_section import Cifar10Data as Cifar10Data
from assay.recipe.data_section import Cifar100Data as Cifar100Data
from assay.recipe.data_section import CirclesData as CirclesData
from assay.recipe.data_section import CsvData as CsvData
from assay.recipe.data_section import Data as Data
from assay.recipe.data_section import DigitsData as DigitsData
from assay.recipe.data_section import FashionMnistData as FashionMnistData
from assay.recipe.data_section import FolderData as FolderData
from assay.recipe.data_section import MnistData as MnistData
from assay.recipe.data_section import Normalize as Normalize
from assay.recipe.data_section import UserData as UserData
from assay.recipe.fine_tuning_section import Freeze as Freeze
from assay.recipe.fine_tuning_section import Pretrained as Pretrained
from assay.recipe.fitting import check_parts_fit
from assay.recipe.loss_section import CrossEntropyLoss as CrossEntropyLoss
from assay.recipe.loss_section import Loss as Loss
from assay.recipe.loss_section import SquaredErrorLoss as SquaredErrorLoss
from assay.recipe.model_section import Activation as Activation
from assay.recipe.model_section import ChannelCnnModel as ChannelCnnModel
from assay.recipe.model_section import CifarResNetModel as CifarResNetModel
from assay.recipe.model_section import DefaultInit as DefaultInit
from assay.recipe.model_section import DropoutForm as DropoutForm
from assay.recipe.model_section import FastCifarModel as FastCifarModel
from assay.recipe.model_section import FittedAtOnce as FittedAtOnce
from assay.recipe.model_section import Init as Init
from assay.recipe.model_section import KaimingInit as KaimingInit
from assay.recipe.model_section import LeNet5Model as LeNet5Model
from assay.recipe.model_section import LogisticRegressionModel as LogisticRegressionModel
from assay.recipe.model_section import MlpModel as MlpModel
from assay.recipe.model_section import Model as Model
from assay.recipe.model_section import Norm as Norm
from assay.recipe.model_section import NormalInit as NormalInit
from assay.recipe.model_section import OpenEndedCnnModel as OpenEndedCnnModel
from assay.recipe.model_section import Pooling as Pooling
from assay.recipe.model_section import SimpleNetModel as SimpleNetModel
from assay.recipe.model_section import StepByStepCnnModel as StepByStepCnnModel
from assay.recipe.model_section import SvmModel as SvmModel
from assay.recipe.model_section import TorchvisionModel as TorchvisionModel
from assay.recipe.model_section import UserModel as UserModel
from assay.recipe.model_section import XavierInit as XavierInit
from assay.recipe.optimizer_section import AdamOptimizer as AdamOptimizer
from assay.recipe.optimizer_section import AdamWOptimizer as AdamWOptimizer
from assay.recipe.optimizer_section import Averaging as Averaging
from assay.recipe.optimizer_section import EmaAveraging as EmaAveraging
from assay.recipe.optimizer_section import LookaheadAveraging as LookaheadAveraging
from assay.recipe.optimizer_section import MuonOptimizer as MuonOptimizer
from assay.recipe.optimizer_section import NoAveraging as NoAveraging
from assay.recipe.optimizer_section import Optimizer as Optimizer
from assay.recipe.optimizer_section import RmspropOptimizer as RmspropOptimizer
from assay.recipe.optimizer_section import SgdOptimizer as SgdOptimizer
from assay.recipe.problems import invalid_value
from assay.recipe.schedule_section import ConstantSchedule as ConstantSchedule
from assay.recipe.schedule_section import CosineSchedule as CosineSchedule
from assay.recipe.schedule_section import ExponentialSchedule as ExponentialSchedule
from assay.recipe.schedule_section import LinearSchedule as LinearSchedule
from assay.recipe.schedule_section import OneCycleSchedule as OneCycleSchedule
from assay.recipe.schedule_section import PlateauSchedule as PlateauSchedule
from assay.recipe.schedule_section import Schedule as Schedule
from assay.recipe.schedule_section import StepSchedule as StepSchedule
from assay.recipe.schedule_section import Watched as Watched
from assay.recipe.section import DOTTED_PATH as DOTTED_PATH
from assay.recipe.section import FOREIGN_PACKAGES as FOREIGN_PACKAGES
from assay.recipe.section import NotHashed as NotHashed
from assay.recipe.section import Section as Section
from assay.recipe.train_section import Engine as Engine
from assay.recipe.train_section import Evaluate as Evaluate
from assay.recipe.train_section import Precision as Precision
from assay.recipe.train_section import SmallerImages as SmallerImages
from assay.recipe.train_section import Train as Train


def _with_default_variants(data: dict[str, Any]) -> dict[str, Any]:
    """A section that sets keys but names no variant means the default one: ``loss: {label_smoothing: 0.1}``."""
    named = dict(data)
    for section, variant in default_variants().items():
        value = named.get(section)
        if isinstance(value, dict) and "name" not in value:
            named[section] = {"name": variant, **value}
    return named


class Recipe(Section):
    """Everything that decides the numbers of one run."""

    data: Data
    augment: Augment = Augment()
    model: Model
    init: Init = DefaultInit(name="default")
    loss: Loss = CrossEntropyLoss(name="cross_entropy")
    pretrained: Pretrained = Pretrained()
    freeze: Freeze = Freeze()
    optimizer: Optimizer = AdamOptimizer(name="adam")
    schedule: Schedule = ConstantSchedule(name="constant")
    averaging: Averaging = NoAveraging(name="none")
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: ValidatorFunctionWrapHandler) -> Recipe:
        try:
            recipe: Recipe = handler(_with_default_variants(data) if isinstance(data, dict) else data)
        except ValidationError as error:
            raise invalid_value((), error=error, schema=cls) from None
        return recipe

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        check_parts_fit(self)
        return self

    @property
    def probabilistic(self) -> bool:
        """Whether the model gives probabilities, and not only decisions."""
        return not isinstance(self.model, SvmModel)

    def at_seed(self, seed: int) -> Recipe:
        """The same recipe with another seed."""
        return self.model_copy(update={"seed": seed})

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, as plain JSON data; saved with the run."""
        return self.model_dump(mode="json")


def default_variants() -> dict[str, str]:
    """The sections that have a default variant, with its name."""
    defaults = {section: field.default for section, field in Recipe.model_fields.items()}
    return {section: default.name for section, default in defaults.items() if hasattr(default, "name")}
