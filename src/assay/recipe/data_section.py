"""The ``data`` section of a recipe: which examples, and how they are split and normalised."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Tag
from pydantic_core import PydanticCustomError

from assay.recipe.section import DottedPath, Options, Place, Section, variant_of

Normalize = Literal["none", "channel", "pixel", "standard", "pca", "zca", "imagenet"]
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
    per pixel; ``pca``, ``zca``: whitened. Not fitted but given is ``imagenet``: ImageNet's mean and deviation per
    channel, which most published weights of colour images were trained with."""
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
    options: Options = Field(default={})
    """Keyword arguments of the class."""


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
    variant_of("source"),
]
