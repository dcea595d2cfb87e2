"""What one run is: everything that decides its numbers, and nothing else.

A `Recipe` is frozen and validated. Sections with variants (``model``, ``optimizer``, …) are told apart by their
``name`` (``source`` for data); each variant accepts its own keys only. Every number has a lower and an upper bound.
"""

from __future__ import annotations

import math
import sys
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import PydanticCustomError

from assay.recipe.problems import invalid_value

DOTTED_PATH = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
FOREIGN_PACKAGES = frozenset(sys.stdlib_module_names) | {"__main__", "assay", "torch", "numpy", "pip", "setuptools"}
"""Packages whose classes are not the user's own: a dotted path that leads into them is refused unread."""


def _own(path: str) -> str:
    if path.partition(".")[0].partition(":")[0] in FOREIGN_PACKAGES:
        raise PydanticCustomError("foreign_path", "leads into a package that is not yours")
    return path


DottedPath = Annotated[str, StringConstraints(pattern=DOTTED_PATH, max_length=200), AfterValidator(_own)]


def _plain(value: Any) -> Any:
    """Refuse what JSON cannot hold, so that every recipe can be saved and hashed."""
    if isinstance(value, dict):
        for item in value.values():
            _plain(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _plain(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite_number", "must be finite")
    elif not isinstance(value, str | int | float | None):
        raise PydanticCustomError("plain_value", "must be plain data")
    return value


Options = Annotated[dict[str, Any], Field(max_length=100), BeforeValidator(_plain)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1000.0)]

Activation = Literal["relu", "tanh", "sigmoid", "gelu", "swish"]
Norm = Literal["none", "batch", "layer"]


class _NotHashed:
    """Marks a field that says where something lies: it decides no number, so a fingerprint leaves it out."""


NotHashed = _NotHashed()


class Section(BaseModel):
    """A part of a recipe: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


# --- data ------------------------------------------------------------------------------------------------------------

Normalize = Literal["none", "channel", "pixel", "standard", "pca", "zca"]
Place = Annotated[str, Field(min_length=1, max_length=4096), NotHashed]
Side = Annotated[int, Field(ge=1, le=4096)]


def _both_sides(value: Any) -> Any:
    sides = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= 4096 for side in sides):
        raise PydanticCustomError("size", "is no size")  # one answer, not one for each side
    return sides


Size = Annotated[
    tuple[Side, Side],
    BeforeValidator(_both_sides, json_schema_input_type=Side | tuple[Side, Side]),
]


class _Data(Section):
    validation: Annotated[float, Field(ge=0.01, le=0.9)] = 0.2
    """Share of the examples outside the test split that validates; drawn anew for each seed. An official validation
    split is used as it is, and leaves this without effect."""
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the examples outside the test split that is used at all; drawn anew for each seed, every class alike."""
    normalize: Normalize = "channel"
    """Fitted on training examples. ``none``: pixels / 255, and points as they are; ``channel``: zero mean and unit
    deviation per channel (or feature); ``pixel``: the mean image subtracted; ``standard``: zero mean and unit deviation
    per pixel; ``pca``, ``zca``: whitened."""
    whitening_epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    """For ``pca`` and ``zca``: added to each variance before its root divides; pixels are scaled to 0–1."""


class DigitsData(_Data):
    """scikit-learn's 1,797 handwritten digits, 8×8, grey; a fixed fifth is the test split."""

    source: Literal["digits"]


class CirclesData(_Data):
    """Two noisy concentric circles in the plane, the same points for every seed."""

    source: Literal["circles"]
    points: Annotated[int, Field(ge=20, le=1_000_000)] = 250
    """Points outside the test split."""
    test_points: Annotated[int, Field(ge=10, le=1_000_000)] = 200
    noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.17
    """Standard deviation of the Gaussian noise added to each coordinate."""
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Radius of the inner circle over that of the outer one."""


class _Files(_Data):
    on_bad: Literal["error", "skip"] = "error"
    """What to do about examples that cannot be read: end with a list of them, or leave them out and note which."""


class Cifar10Data(_Files):
    """CIFAR-10 (Krizhevsky 2009), official binary files: 50,000 + 10,000 colour images of 32×32 in 10 classes."""

    source: Literal["cifar10"]
    root: Place = "cifar-10-batches-bin"
    """Folder of the files, looked for among the data folders."""


class Cifar100Data(_Files):
    """CIFAR-100 (Krizhevsky 2009), official binary files: as CIFAR-10, in 100 classes or 20 coarse ones."""

    source: Literal["cifar100"]
    root: Place = "cifar-100-binary"
    """Folder of the files, looked for among the data folders."""
    labels: Literal["fine", "coarse"] = "fine"


class MnistData(_Files):
    """MNIST (LeCun et al. 1998), official IDX files, gzipped or not: 60,000 + 10,000 grey images of 28×28."""

    source: Literal["mnist"]
    root: Place = "mnist"
    """Folder of the files, looked for among the data folders."""


class FashionMnistData(_Files):
    """Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747), in the layout of MNIST: ten kinds of clothing."""

    source: Literal["fashion_mnist"]
    root: Place = "fashion-mnist"
    """Folder of the files, looked for among the data folders."""


class _ImageFiles(_Files):
    size: Size | None = None
    """Height and width every image is brought to, or one number for both; if left out, images must have one size."""
    fit: Literal["crop", "stretch", "pad"] = "crop"
    """How an image of another shape is brought to ``size``. ``crop``: scaled until it covers it, and cut at the centre;
    ``stretch``: each side by itself; ``pad``: scaled until it fits in, with black margins."""
    color: Literal["rgb", "grey"] = "rgb"
    """Three channels, or one: ITU-R 601-2 luma."""


class FolderData(_ImageFiles):
    """A folder of images: one folder per class, below ``train``, ``val`` and ``test``, or as one tree that is split."""

    source: Literal["folder"]
    root: Place
    """The folder, looked for among the data folders."""


class CsvData(_ImageFiles):
    """A table of images: columns ``path`` and ``label``, and ``split`` (train, val, test) if it has one."""

    source: Literal["csv"]
    file: Place
    """The table, looked for among the data folders; relative paths in it start at its own folder."""


class UserData(_Data):
    """A data source class of your own, by dotted path."""

    source: DottedPath
    options: Options = {}
    """Keyword arguments of the class."""


def _variant_of(key: str) -> Discriminator:
    def variant(value: Any) -> str | None:
        name = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
        if not isinstance(name, str):
            return None
        return "user" if ":" in name else name

    return Discriminator(variant, custom_error_type=f"variant_{key}", custom_error_message="unknown variant")


Data = Annotated[
    Annotated[DigitsData, Tag("digits")]
    | Annotated[CirclesData, Tag("circles")]
    | Annotated[Cifar10Data, Tag("cifar10")]
    | Annotated[Cifar100Data, Tag("cifar100")]
    | Annotated[MnistData, Tag("mnist")]
    | Annotated[FashionMnistData, Tag("fashion_mnist")]
    | Annotated[FolderData, Tag("folder")]
    | Annotated[CsvData, Tag("csv")]
    | Annotated[UserData, Tag("user")],
    _variant_of("source"),
]

# --- augmentation ----------------------------------------------------------------------------------------------------

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=1.0)]
Range = Annotated[tuple[Positive, Positive], Field(strict=False)]


class Augment(Section):
    """Random changes of training images, drawn anew for each image and epoch; each is off unless set.

    They are applied in the order of the fields here. Keys that say how (areas, ratios, operations, the fill) have no
    effect while what they belong to is off, so that an arm can switch it off alone.
    """

    crop_padding: Annotated[int, Field(ge=0, le=512)] = 0
    """Pixels added on every side, of which a window of the image's own size is cut at random."""
    crop_fill: Literal["zeros", "reflect"] = "zeros"
    """What is added: black, or the image mirrored at its edge."""
    horizontal_flip: Probability = 0.0
    """Probability of mirroring left and right."""
    alternating_flip: bool = False
    """Mirror each image left and right in every other epoch, a random half of them in the first (Jordan 2024,
    arXiv:2404.00498)."""
    vertical_flip: Probability = 0.0
    """Probability of turning the image upside down."""
    policy: Literal["none", "rand_augment", "trivial_augment"] = "none"
    """RandAugment (Cubuk et al. 2019, arXiv:1909.13719) or TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158),
    with torchvision's operations and ranges."""
    rand_augment_operations: Annotated[int, Field(ge=1, le=14)] = 2
    """Operations in a row per image."""
    rand_augment_magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    """Their magnitude, of 0 to 30. TrivialAugment draws it."""
    resized_crop_area: Range | None = None
    """Least and greatest share of the image's area that a random window of it has; the window is resized to the whole
    (Szegedy et al. 2014, arXiv:1409.4842)."""
    resized_crop_ratio: Range = (3 / 4, 4 / 3)
    """Least and greatest ratio of that window's width to its height."""
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    """Greatest angle in degrees by which the image is turned about its centre, either way; what comes in is black."""
    brightness: Strength = 0.0
    """The image is multiplied by a factor of 1 − brightness to 1 + brightness."""
    contrast: Strength = 0.0
    """Blended with its mean grey, by such a factor."""
    saturation: Strength = 0.0
    """Blended with its grey version, by such a factor; grey images stay as they are."""
    noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Standard deviation of Gaussian noise added to every value, pixels scaled to 0–1; what leaves 0–1 is kept."""
    erasing: Probability = 0.0
    """Probability that a random rectangle is set to the normalised value 0 (Zhong et al. 2017, arXiv:1708.04896)."""
    erasing_area: Range = (0.02, 0.33)
    """Least and greatest share of the image's area erased."""
    erasing_ratio: Range = (0.3, 3.3)
    """Least and greatest ratio of the rectangle's height to its width."""
    mixup: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    """α of mixup (Zhang et al. 2017, arXiv:1710.09412): each image and label is averaged with the next of its batch,
    by a weight of its own, Beta(α, α)."""
    cutmix: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    """α of CutMix (Yun et al. 2019, arXiv:1905.04899): a rectangle of the next image's, of share 1 − Beta(α, α), is
    pasted in, and labels are averaged by the share that it really has. With mixup as well, each image gets one of the
    two, at even odds."""

    @property
    def active(self) -> bool:
        """Whether any of it changes an image."""
        return any(getattr(self, name) not in (0, None, False, "none") for name in AUGMENTATIONS)

    @model_validator(mode="after")
    def _ranges_rise(self) -> Augment:
        for name in ("resized_crop_area", "resized_crop_ratio", "erasing_area", "erasing_ratio"):
            bounds = getattr(self, name)
            if bounds is not None and bounds[0] > bounds[1]:
                raise invalid_value(("augment", name), f"must be the least value and the greatest, got {list(bounds)}.")
            if bounds is not None and name.endswith("area") and bounds[1] > 1.0:
                raise invalid_value(("augment", name), f"must be shares of at most 1, got {list(bounds)}.")
        if self.alternating_flip and self.horizontal_flip > 0.0:
            raise invalid_value(
                ("augment", "alternating_flip"),
                f"takes the place of augment.horizontal_flip, got {self.horizontal_flip} there. Leave one of them out.",
            )
        return self


AUGMENTATIONS = (
    "crop_padding",
    "horizontal_flip",
    "alternating_flip",
    "vertical_flip",
    "policy",
    "resized_crop_area",
    "rotation",
    "brightness",
    "contrast",
    "saturation",
    "noise",
    "erasing",
    "mixup",
    "cutmix",
)
"""The fields of `Augment` that switch something on; the others say how."""

# --- model and initialisation ----------------------------------------------------------------------------------------


class _Network(Section):
    activation: Activation = "relu"
    norm: Norm = "none"
    """Normalisation after every layer but the last, before its activation."""
    dropout: Fraction = 0.0
    """Probability with which a unit of a hidden fully connected layer is dropped."""


class MlpModel(_Network):
    """Fully connected layers of any widths."""

    name: Literal["mlp"]
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(max_length=100, strict=False)] = (256,)
    """Units of each hidden layer; an empty list gives a linear classifier."""


class LeNet5Model(_Network):
    """LeNet-5 (LeCun et al. 1998) with max-pooling, fitted to any image size."""

    name: Literal["lenet5"]


class UserModel(Section):
    """A ``torch.nn.Module`` of your own, by dotted path; called as ``Class(input_shape=…, classes=…, **options)``."""

    name: DottedPath
    options: Options = {}


Model = Annotated[
    Annotated[MlpModel, Tag("mlp")] | Annotated[LeNet5Model, Tag("lenet5")] | Annotated[UserModel, Tag("user")],
    _variant_of("name"),
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


class Train(Section):
    """How long, in what batches, and with what arithmetic."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 20
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads of one run. More change the order of sums, and so the last bits of every number."""
    precision: Literal["float32", "float64"] = "float32"


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
        after_normalising = [name for name in ("erasing", "mixup", "cutmix") if getattr(self.augment, name)]
        if self.data.normalize == "pca" and after_normalising:
            raise invalid_value(
                ("augment", after_normalising[0]),
                "changes normalised images, and data.normalize pca makes features of them.",
                "Choose data.normalize zca, or leave it out.",
            )
        norm = self.model.norm if isinstance(self.model, MlpModel | LeNet5Model) else "none"
        if norm == "batch" and self.train.batch_size == 1:
            raise invalid_value(("train", "batch_size"), "must be at least 2 with model.norm batch, got 1.")
        warmup = 0.0 if isinstance(self.schedule, OneCycleSchedule) else self.schedule.warmup_epochs
        if warmup >= self.train.epochs and warmup > 0:
            raise invalid_value(
                ("schedule", "warmup_epochs"), f"must be less than train.epochs ({self.train.epochs}), got {warmup:g}."
            )
        return self

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
