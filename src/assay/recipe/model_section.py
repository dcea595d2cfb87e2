"""The ``model`` and ``init`` sections of a recipe: what is trained, and from which weights it starts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from assay.recipe.problems import invalid_value
from assay.recipe.section import (
    OWN,
    TORCHVISION,
    TORCHVISION_NAME,
    DottedPath,
    Fraction,
    Options,
    Section,
    variant_of,
)

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


Channels = Annotated[int, Field(ge=1, le=65_536)]
Kernel = Annotated[int, Field(ge=1, le=64)]
Widths = Annotated[tuple[Channels, ...], Field(max_length=100, strict=False)]


class SimpleNetModel(_Network):
    """SimpleNet of the 15-Scene lab: convolutions 5×5, each with max-pooling 3×3 and an activation, then two fully
    connected layers; 56,895 parameters for 64×64 grey images of 15 classes."""

    name: Literal["simplenet"]
    channels: Annotated[Widths, Field(min_length=1)] = (10, 20)
    """Of each convolution."""
    widths: Widths = (100,)
    """Units of each hidden fully connected layer."""


class OpenEndedCnnModel(_Network):
    """Convolutions that keep the size, each with normalisation, activation and max-pooling 2×2, then fully connected
    layers; widths and kernels are yours to vary."""

    name: Literal["open_ended_cnn"]
    norm: Norm = "batch"
    """Normalisation after every convolution, before its activation; the fully connected layers have none."""
    channels: Annotated[Widths, Field(min_length=1)] = (64, 32)
    kernels: Annotated[tuple[Kernel, ...], Field(min_length=1, max_length=100, strict=False)] = (5, 3)
    """Odd sides of the convolutions' kernels, one for each."""
    widths: Widths = (256, 128)
    """Units of each hidden fully connected layer."""

    @model_validator(mode="after")
    def _a_kernel_for_each(self) -> OpenEndedCnnModel:
        if len(self.kernels) != len(self.channels):
            raise invalid_value(
                ("model", "kernels"),
                f"must be as many as model.channels ({len(self.channels)}), got {len(self.kernels)}.",
            )
        if even := [side for side in self.kernels if side % 2 == 0]:
            raise invalid_value(("model", "kernels"), f"must be odd, so that the size is kept, got {even[0]}.")
        return self


class StepByStepCnnModel(_Network):
    """Three convolutions 5×5 that keep the size, each followed by pooling 2×2, and two fully connected layers;
    1,191,170 parameters for 32×32 colour images of 10 classes."""

    name: Literal["step_by_step_cnn"]
    channels: Annotated[Widths, Field(min_length=1)] = (32, 64, 64)
    widths: Widths = (1000,)
    """Units of each hidden fully connected layer."""
    pooling: Pooling = "max"


class ChannelCnnModel(_Network):
    """A 5×5 convolution of stride 2 and three of 3×3, the last with twice the channels, max-pooling, and a wide fully
    connected layer: how many channels does it need?"""

    name: Literal["channel_cnn"]
    channels: Channels = 128
    widths: Widths = (4096,)
    """Units of each hidden fully connected layer."""


class CifarResNetModel(Section):
    """ResNet for 32×32 images (He et al. 2015, arXiv:1512.03385, section 4.2): 6n + 2 layers in three stages."""

    name: Literal["cifar_resnet"]
    depth: Literal[8, 14, 20, 26, 32, 44, 56, 110] = 20
    width: Channels = 16
    """Channels of the first stage; each further one has twice as many."""
    shortcuts: Literal["identity", "none"] = "identity"
    """``identity``: option A, which subsamples and adds channels of zeros where the size changes; ``none``: a plain
    network of the same depth."""


class FastCifarModel(Section):
    """A network made to be trained quickly on 32×32 images, after Page 2018 and Jordan 2024 (arXiv:2404.00498)."""

    name: Literal["fast_cifar"]
    widths: Annotated[Widths, Field(min_length=1, max_length=3)] = (64, 256, 256)
    """Channels of each group: a convolution, max-pooling and another convolution."""
    activation: Activation = "gelu"
    whitening: bool = True
    """Whether the first layer, of 2×2 patches, whitens the training images' patches and stays so; if not it is an
    ordinary convolution."""
    identity: bool = True
    """Whether convolutions start by passing on their input, in as many channels as it has."""
    norm_scale: Literal["fixed", "trained"] = "fixed"
    norm_momentum: Annotated[float, Field(gt=0.0, le=1.0)] = 0.4
    """Weight of the newest batch in batch normalisation's running statistics."""
    score_scale: Annotated[float, Field(gt=0.0, le=100.0)] = 1 / 9
    """What the scores are multiplied by."""


class TorchvisionModel(Section):
    """Any classifier of torchvision, by its name there; the first layer is fitted to the images' channels, the last to
    the classes."""

    variant = TORCHVISION
    name: Annotated[str, Field(pattern=TORCHVISION_NAME, max_length=100)]
    dropout: Fraction | None = None
    """Probability in its dropout layers; left out, torchvision's own."""
    small_images: bool = False
    """Replace a first layer that strides, and the pooling after it, by a 3×3 convolution that keeps the size: for
    images of 32×32 or so."""


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
    | Annotated[SimpleNetModel, Tag("simplenet")]
    | Annotated[OpenEndedCnnModel, Tag("open_ended_cnn")]
    | Annotated[StepByStepCnnModel, Tag("step_by_step_cnn")]
    | Annotated[ChannelCnnModel, Tag("channel_cnn")]
    | Annotated[CifarResNetModel, Tag("cifar_resnet")]
    | Annotated[FastCifarModel, Tag("fast_cifar")]
    | Annotated[TorchvisionModel, Tag(TORCHVISION)]
    | Annotated[SvmModel, Tag("svm")]
    | Annotated[LogisticRegressionModel, Tag("logistic_regression")]
    | Annotated[UserModel, Tag(OWN)],
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
