"""The ``model`` and ``init`` sections of a recipe: what is trained, and from which weights it starts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from assay.recipe.problems import invalid_value
from assay.recipe.section import DottedPath, Fraction, Options, Section, variant_of

Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "swish"]
Norm = Literal["none", "batch", "layer"]
DropoutForm = Literal["inverted", "vanilla"]
Pooling = Literal["max", "average", "subsample"]


class _Network(Section):
    activation: Activation = "relu"
    norm: Norm = "none"
    """Normalisation after every layer but the last, before its activation."""
    dropout: Fraction = 0.0
    """Probability with which a unit of a hidden fully connected layer is dropped."""
    dropout_form: DropoutForm = "inverted"
    """``inverted``: kept units are scaled up in training; ``vanilla``: all units are scaled down in evaluation."""


class MlpModel(_Network):
    """Fully connected layers of any widths."""

    name: Literal["mlp"]
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(max_length=100, strict=False)] = (256,)
    """Units of each hidden layer; an empty list gives a linear classifier."""


class LeNet5Model(_Network):
    """LeNet-5 (LeCun et al. 1998), fitted to any image size; its pooling is a maximum unless another is asked for."""

    name: Literal["lenet5"]
    pooling: Pooling = "max"
    """What becomes of each 2×2 window: its maximum, its mean, or (``subsample``) its first pixel."""


PenaltyInverse = Annotated[float, Field(gt=0.0, le=1e9)]
KernelWidth = Annotated[float, Field(gt=0.0, le=1e9)] | Literal["scale"]


def _width(value: Any) -> Any:
    if value != "scale" and not (type(value) in (int, float) and 0 < value <= 1e9):
        raise PydanticCustomError("kernel_width", "is no width")  # one answer, not one for each kind
    return value


class FittedAtOnce(Section):
    """Base of the models that scikit-learn fits to all training examples at once: they have no epochs, no layers, and
    no weights to start from."""


class SvmModel(FittedAtOnce):
    """Support vector machine (Cortes and Vapnik 1995, "Support-vector networks"), by scikit-learn; fitted at once.

    ``linear`` is one-versus-rest with squared hinge loss (LIBLINEAR, which penalises the intercept like a weight), or a
    single machine for two classes; ``rbf`` is one-versus-one with hinge loss (LIBSVM). It has no epochs, and gives
    classes instead of probabilities, so its losses are missing and claims on them stay undecided. Of the sections
    ``init``, ``loss``, ``optimizer``, ``schedule`` and ``train`` only ``train.threads`` and ``train.precision`` (of the
    normalised inputs) have an effect.

    All training inputs are held in memory in float64, by ``linear`` three times over: CIFAR-10's take 1.2 GB once. The
    time of ``rbf`` grows with the square of the examples or faster.
    """

    name: Literal["svm"]
    kernel: Literal["linear", "rbf"] = "rbf"
    C: PenaltyInverse = 1.0
    """Weight of the training errors against the margin's width: minimised is ‖w‖²/2 + C · the sum of the losses."""
    gamma: Annotated[KernelWidth, BeforeValidator(_width, json_schema_input_type=KernelWidth)] = "scale"
    """Of the RBF kernel exp(−γ‖x − x'‖²); ``scale`` is 1 / (features · variance of all inputs)."""

    @model_validator(mode="after")
    def _gamma_needs_rbf(self) -> SvmModel:
        if self.kernel != "rbf" and self.gamma != "scale":
            raise invalid_value(
                ("model", "gamma"),
                f"needs model.kernel rbf, got kernel {self.kernel}, which has no width.",
                "Leave model.gamma out for this kernel.",
            )
        return self


class LogisticRegressionModel(FittedAtOnce):
    """Multinomial logistic regression with an L2 penalty, by scikit-learn; fitted at once, from zero weights.

    It has no epochs, but probabilities and losses. Of the sections ``init``, ``loss``, ``optimizer``, ``schedule`` and
    ``train`` only ``train.threads`` and ``train.precision`` (of the normalised inputs) have an effect. All training
    inputs are held in memory in float64.
    """

    name: Literal["logistic_regression"]
    C: PenaltyInverse = 1.0
    """Inverse of the penalty: minimised is ‖W‖²/2 + C · the sum of the cross-entropies, intercepts not penalised. For
    two classes W is the single weight vector of the second one against the first."""
    iterations: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Most iterations of L-BFGS; a run that needs more has a note of it."""


class UserModel(Section):
    """A ``torch.nn.Module`` of your own, by dotted path; called as ``Class(input_shape=…, classes=…, **options)``."""

    name: DottedPath
    options: Options = Field(default={})


Model = Annotated[
    Annotated[MlpModel, Tag("mlp")]
    | Annotated[LeNet5Model, Tag("lenet5")]
    | Annotated[SvmModel, Tag("svm")]
    | Annotated[LogisticRegressionModel, Tag("logistic_regression")]
    | Annotated[UserModel, Tag("user")],
    variant_of("name"),
]


class DefaultInit(Section):
    """torch's U(−1/√fan_in, 1/√fan_in) for assay's models; a user's class keeps what its constructor made."""

    name: Literal["default"]


class KaimingInit(Section):
    """He et al. 2015, arXiv:1502.01852: deviation gain/√fan_in; biases zero."""

    name: Literal["kaiming"]
    distribution: Literal["normal", "uniform"] = "normal"


class XavierInit(Section):
    """Glorot and Bengio 2010: deviation gain·√(2/(fan_in + fan_out)); biases zero."""

    name: Literal["xavier"]
    distribution: Literal["normal", "uniform"] = "uniform"


class NormalInit(Section):
    """Zero-mean normal weights of one standard deviation, the weight scale; biases zero."""

    name: Literal["normal"]
    scale: Annotated[float, Field(ge=0.0, le=100.0)] = 0.01


Init = Annotated[DefaultInit | KaimingInit | XavierInit | NormalInit, Field(discriminator="name")]
