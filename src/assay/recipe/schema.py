"""What one run is: everything that decides its numbers, and nothing else.

A `Recipe` is frozen and validated. Sections with variants (``model``, ``optimizer``, …) are told apart by their
``name`` (``source`` for data); each variant accepts its own keys only. Every number has a lower and an upper bound.
Data, augmentation and the model stand in files of their own, and are offered here with the rest.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

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
from assay.recipe.model_section import Activation as Activation
from assay.recipe.model_section import DefaultInit as DefaultInit
from assay.recipe.model_section import DropoutForm as DropoutForm
from assay.recipe.model_section import FittedAtOnce as FittedAtOnce
from assay.recipe.model_section import Init as Init
from assay.recipe.model_section import KaimingInit as KaimingInit
from assay.recipe.model_section import LeNet5Model as LeNet5Model
from assay.recipe.model_section import LogisticRegressionModel as LogisticRegressionModel
from assay.recipe.model_section import MlpModel as MlpModel
from assay.recipe.model_section import Model as Model
from assay.recipe.model_section import Norm as Norm
from assay.recipe.model_section import NormalInit as NormalInit
from assay.recipe.model_section import Pooling as Pooling
from assay.recipe.model_section import SvmModel as SvmModel
from assay.recipe.model_section import UserModel as UserModel
from assay.recipe.model_section import XavierInit as XavierInit
from assay.recipe.problems import invalid_value
from assay.recipe.section import DOTTED_PATH as DOTTED_PATH
from assay.recipe.section import FOREIGN_PACKAGES as FOREIGN_PACKAGES
from assay.recipe.section import Fraction
from assay.recipe.section import NotHashed as NotHashed
from assay.recipe.section import Section as Section

# --- loss, optimizer, schedule ---------------------------------------------------------------------------------------


class CrossEntropyLoss(Section):
    """Softmax cross-entropy, with penalties on weights (not on biases or normalisation parameters)."""

    name: Literal["cross_entropy"]
    label_smoothing: Fraction = 0.0
    l1: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """Adds l1 · Σ|w| to what is minimised."""
    l2: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """Adds l2/2 · Σw² to what is minimised, so that its gradient is l2 · w."""


Loss = Annotated[CrossEntropyLoss, Field(discriminator="name")]

LearningRate = Annotated[float, Field(gt=0.0, le=1000.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Epsilon = Annotated[float, Field(gt=0.0, le=1.0)]


class SgdOptimizer(Section):
    """Stochastic gradient descent; momentum (Polyak 1964) and its Nesterov form (Sutskever et al. 2013) if asked."""

    name: Literal["sgd"]
    lr: LearningRate = 0.01
    momentum: Decay = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SgdOptimizer:
        if self.nesterov and self.momentum == 0.0:
            raise invalid_value(("optimizer", "nesterov"), "needs optimizer.momentum above 0, got momentum 0.")
        return self


class RmspropOptimizer(Section):
    """RMSProp (Tieleman and Hinton 2012)."""

    name: Literal["rmsprop"]
    lr: LearningRate = 0.001
    alpha: Decay = 0.99
    epsilon: Epsilon = 1e-8
    momentum: Decay = 0.0


class AdamOptimizer(Section):
    """Adam (Kingma and Ba 2014, arXiv:1412.6980), bias-corrected."""

    name: Literal["adam"]
    lr: LearningRate = 0.001
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Epsilon = 1e-8


class AdamWOptimizer(Section):
    """AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101): Adam with decoupled weight decay."""

    name: Literal["adamw"]
    lr: LearningRate = 0.001
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.01
    """Of weights, as L1 and L2: not of biases or normalisation parameters."""


Optimizer = Annotated[
    SgdOptimizer | RmspropOptimizer | AdamOptimizer | AdamWOptimizer,
    Field(discriminator="name"),
]


class _Schedule(Section):
    warmup_epochs: Annotated[float, Field(ge=0.0, le=10_000.0)] = 0.0
    """Epochs over which the rate first rises linearly from near zero, fewer than ``train.epochs``; the schedule proper
    then spans the rest."""


class ConstantSchedule(_Schedule):
    """The optimizer's rate throughout."""

    name: Literal["constant"]


class StepSchedule(_Schedule):
    """Multiply the rate by ``factor`` every ``every`` epochs."""

    name: Literal["step"]
    every: Annotated[float, Field(gt=0.0, le=10_000.0)] = 10.0
    factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1


class ExponentialSchedule(_Schedule):
    """Multiply the rate by ``factor`` every epoch, smoothly step by step."""

    name: Literal["exponential"]
    factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95


class CosineSchedule(_Schedule):
    """Half a cosine from the rate down to ``end`` times it (Loshchilov and Hutter 2016, arXiv:1608.03983)."""

    name: Literal["cosine"]
    end: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class LinearSchedule(_Schedule):
    """A straight line from the rate down to ``end`` times it."""

    name: Literal["linear"]
    end: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class OneCycleSchedule(Section):
    """Up from ``start`` times the rate to the rate and down to ``end`` times it, in half cosines (Smith 2017)."""

    name: Literal["one_cycle"]
    peak: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """Share of training at which the rate is highest."""
    start: Annotated[float, Field(ge=0.0, le=1.0)] = 0.04
    end: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0001


Schedule = Annotated[
    ConstantSchedule | StepSchedule | ExponentialSchedule | CosineSchedule | LinearSchedule | OneCycleSchedule,
    Field(discriminator="name"),
]

# --- the whole -------------------------------------------------------------------------------------------------------


Engine = Literal["torch", "numpy", "autograd", "modules"]


class Train(Section):
    """How long, in what batches, and with what arithmetic."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 20
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads of one run. More change the order of sums, and so the last bits of every number."""
    precision: Literal["float32", "float64"] = "float32"
    engine: Engine = "torch"
    """What computes the training. ``numpy``: assay's layers written by hand; ``autograd``, ``modules``: one hidden tanh
    layer trained by plain SGD, written with torch's tensors, or with its layers, and no optimizer object."""


class Evaluate(Section):
    """What is measured beside the usual, after training."""

    shift: Annotated[int, Field(ge=0, le=64)] = 0
    """Pixels by which test images are shifted, in each of the eight directions, to see what the model makes of them;
    0 leaves that out."""


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
    optimizer: Optimizer = AdamOptimizer(name="adam")
    schedule: Schedule = ConstantSchedule(name="constant")
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
        if isinstance(self.model, LeNet5Model) and isinstance(self.data, CirclesData):
            raise invalid_value(
                ("model", "name"), "lenet5 needs images, and data.source circles gives points.", "Use mlp."
            )
        if isinstance(self.model, LeNet5Model) and self.data.normalize == "pca":
            raise invalid_value(
                ("data", "normalize"),
                "pca makes features of images, and model.name lenet5 needs images.",
                "Choose data.normalize zca, or model.name mlp.",
            )
        if self.augment.active and isinstance(self.data, CirclesData):
            raise invalid_value(
                ("augment",), "needs images, and data.source circles gives points.", "Leave the section out."
            )
        if self.evaluate.shift and isinstance(self.data, CirclesData):
            raise invalid_value(
                ("evaluate", "shift"), "needs images, and data.source circles gives points.", "Leave it out."
            )
        after_normalising = [name for name in ("erasing", "mixup", "cutmix") if getattr(self.augment, name)]
        if self.data.normalize == "pca" and after_normalising:
            raise invalid_value(
                ("augment", after_normalising[0]),
                "changes normalised images, and data.normalize pca makes features of them.",
                "Choose data.normalize zca, or leave it out.",
            )
        self._engine_fits()
        norm = self.model.norm if isinstance(self.model, MlpModel | LeNet5Model) else "none"
        if norm == "batch" and self.train.batch_size == 1:
            raise invalid_value(("train", "batch_size"), "must be at least 2 with model.norm batch, got 1.")
        warmup = 0.0 if isinstance(self.schedule, OneCycleSchedule) else self.schedule.warmup_epochs
        if warmup >= self.train.epochs and warmup > 0:
            raise invalid_value(
                ("schedule", "warmup_epochs"), f"must be less than train.epochs ({self.train.epochs}), got {warmup:g}."
            )
        return self

    def _engine_fits(self) -> None:
        engine = self.train.engine
        if isinstance(self.model, FittedAtOnce):
            if self.augment.active:
                raise invalid_value(
                    ("augment",),
                    f"needs a model trained in batches, and model.name {self.model.name} is fitted at once.",
                    "Leave the section out for this model: augment: {}.",
                )
            if engine != "torch":
                raise invalid_value(
                    ("train", "engine"),
                    f"{engine} trains networks, and model.name {self.model.name} is fitted by scikit-learn.",
                    "Leave train.engine out for this model.",
                )
        elif engine in ("autograd", "modules") and (missing := self._beyond_one_tanh_layer()):
            key, value, needed = missing
            raise invalid_value(
                key,
                f"must be {needed} with train.engine {engine}, which trains one hidden tanh layer by plain SGD, got "
                f"{value}.",
                "Choose train.engine torch, which trains every network, or numpy.",
            )

    def _beyond_one_tanh_layer(self) -> tuple[tuple[str, str], object, str] | None:
        """What this recipe asks for that the two smallest engines do not have: key, value, and what they have."""
        model, optimizer, loss = self.model, self.optimizer, self.loss
        if not isinstance(model, MlpModel):
            return ("model", "name"), model.name, "mlp"
        if not isinstance(optimizer, SgdOptimizer):
            return ("optimizer", "name"), optimizer.name, "sgd"
        asked: list[tuple[tuple[str, str], object, object, str]] = [
            (("model", "widths"), len(model.widths), 1, "a list of one width"),
            (("model", "activation"), model.activation, "tanh", "tanh"),
            (("model", "norm"), model.norm, "none", "none"),
            (("model", "dropout"), model.dropout, 0.0, "0"),
            (("optimizer", "momentum"), optimizer.momentum, 0.0, "0"),
            (("loss", "label_smoothing"), loss.label_smoothing, 0.0, "0"),
            (("loss", "l1"), loss.l1, 0.0, "0"),
            (("loss", "l2"), loss.l2, 0.0, "0"),
        ]
        for key, value, has, needed in asked:
            if value != has:
                return key, f"{value} widths" if key[1] == "widths" else value, needed
        return None

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
