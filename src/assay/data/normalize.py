"""Normalisation fitted on training examples only, kept with the run so that prediction can repeat it.

Whitening follows Bell and Sejnowski (1997, doi:10.1016/S0042-6989(97)00121-1). With the covariance of training inputs
Σ = U Λ Uᵀ, of pixels scaled to 0–1,

    pca:  (x − mean) U (Λ + ε)^(−½)            zca:  (x − mean) U (Λ + ε)^(−½) Uᵀ.

Shape key: N examples, C channels (or features), H height, W width, D values of an input; an input is (C, H, W) or (D,).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from assay.data.moments import Covariance, Moments, channel_moments, covariance, parts_of, pixel_moments
from assay.errors import DataError, InvalidValueError, ShapeError
from assay.recipe.schema import Normalize
from assay.records import Array

Floats = NDArray[np.float64]

WHITENED_AT_MOST = 4_096
"""Values of an input, 64 × 64 in three colours, up to which it can be whitened."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of red, green and blue, 0 to 1: what torchvision publishes with its weights, and who publishes others mostly uses."""

_IN_FACTS = 64
"""Numbers of one kind that may stand in the facts; more go to the arrays."""
_MATRICES_AT_ONCE = 6
"""D × D matrices of float64 that whitening needs at once: covariances being merged, and LAPACK's divide and conquer."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What turns a raw input into the network's: ``raw / divide_by``, then ``(… − mean) / deviation``, then, if there
    is a ``whitening`` matrix, the flattened input times that, brought to ``output_shape``.

    Attributes:
        facts: plain JSON: ``normalize``; ``input`` (``image`` or ``points``); ``shape`` of a raw input, and
            ``output_shape``; ``divide_by``; ``mean`` and ``deviation``, per channel or for every value; ``constant``
            (channels or features with one value, of normalisation by channel); ``epsilon`` of whitening; ``remarks``.
        arrays: what is too large for that, by the same names; ``whitening``, float32 (D, D), is always here.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one input as the network gets it."""
        return tuple(self.facts["output_shape"])

    @property
    def whitening(self) -> Array | None:
        """What a flattened input is multiplied by, its row on the left: (D, D), or None."""
        return self._array("whitening") if self.facts["normalize"] in ("pca", "zca") else None

    def affine(self) -> tuple[Floats, Floats]:
        """Scale and shift with ``raw · scale + shift`` the normalised, not yet whitened input; they broadcast."""
        mean, deviation = self._per_value("mean"), self._per_value("deviation")
        return 1.0 / (self.facts["divide_by"] * deviation), -mean / deviation

    def _per_value(self, name: str) -> Floats:
        values = np.asarray(self.facts[name] if name in self.facts else self._array(name), dtype=np.float64)
        if values.ndim == len(self.facts["shape"]):
            return values
        return values.reshape((-1,) + (1,) * (len(self.facts["shape"]) - 1))

    def _array(self, name: str) -> Array:
        if name not in self.arrays:
            raise DataError(
                f"The preprocessing of a run with data.normalize {self.facts['normalize']} needs its array {name!r}, "
                f"got {', '.join(self.arrays) or 'none'}. Have the run computed again."
            )
        return self.arrays[name]


def fit(inputs: Array, train_N: NDArray[np.int64], kind: Normalize, epsilon: float) -> Preprocessing:
    """Measure the training examples alone, in float64, in one pass.

    Images are divided by 255 first, points by 1. A channel, or pixel, with one value throughout has no deviation: it is
    divided by 1, and so becomes 0.

    Args:
        inputs: all examples of the source: uint8 (N, C, H, W) or float32 (N, D). May be memory-mapped, for it is
            never taken as a whole.
        train_N: positions of the training examples.
        kind: the recipe's ``data.normalize``.
        epsilon: the recipe's ``data.whitening_epsilon``, added to each variance.

    Raises:
        DataError: an input has too many values to be whitened.
        InvalidValueError: inputs are to be normalised as ImageNet's, and are no colour images.
    """
    check_can_be_normalised(kind, inputs.shape[1:])
    image = inputs.dtype == np.uint8
    shape = tuple(int(size) for size in inputs.shape[1:])
    divide_by = 255.0 if image else 1.0
    facts: dict[str, Any] = {
        "normalize": kind,
        "input": "image" if image else "points",
        "shape": list(shape),
        "output_shape": list(output_shape(shape, kind)),
        "divide_by": divide_by,
        "constant": [],
        "remarks": [],
    }
    if kind in ("pca", "zca"):
        return _whitened(facts, inputs, train_N, epsilon)
    if kind == "imagenet":
        return _with_values(facts, {"mean": np.array(IMAGENET_MEAN), "deviation": np.array(IMAGENET_DEVIATION)})
    zero_C, one_C = np.zeros(shape[0]), np.ones(shape[0])
    if kind == "none":
        return _with_values(facts, {"mean": zero_C, "deviation": one_C})
    if kind == "channel":
        moments = channel_moments(parts_of(inputs, train_N))
        facts["constant"] = np.flatnonzero(moments.constant_C).tolist()
        return _with_values(facts, _standard(moments, divide_by))
    moments = pixel_moments(parts_of(inputs, train_N))
    if kind == "pixel":
        return _with_values(facts, {"mean": (moments.mean_C / divide_by).reshape(shape), "deviation": one_C})
    constant = int(moments.constant_C.sum())
    if constant:
        facts["remarks"] = [
            f"{constant} of {len(moments.constant_C)} values of an input are the same throughout the training split, "
            "and are 0 to the network."
        ]
    return _with_values(facts, {name: at.reshape(shape) for name, at in _standard(moments, divide_by).items()})


def output_shape(shape: tuple[int, ...], kind: Normalize) -> tuple[int, ...]:
    """Shape of one input as the network gets it, from that of a raw one: ``pca`` makes a row of features of it."""
    return (math.prod(shape),) if kind == "pca" else shape


def apply(preprocessing: Preprocessing, raw: Array, dtype: DTypeLike = np.float32) -> Array:
    """Normalise raw inputs, computing in ``dtype``: ``raw · scale + shift``, as `assay.data.on_device` does.

    Raises:
        ShapeError: the inputs are not of the shape the preprocessing was fitted to.
        DataError: the preprocessing lacks one of its arrays.
    """
    shape = tuple(preprocessing.facts["shape"])
    if raw.shape[1:] != shape:
        raise ShapeError(f"Inputs must have shape (N, {', '.join(map(str, shape))}), got {raw.shape}.")
    scale, shift = preprocessing.affine()
    normalised: Array = raw.astype(dtype)
    normalised *= scale.astype(dtype)
    normalised += shift.astype(dtype)
    whitening_DD = preprocessing.whitening
    if whitening_DD is None:
        return normalised
    whitened_ND: Array = normalised.reshape(len(raw), -1) @ whitening_DD.astype(dtype)
    return whitened_ND.reshape(len(raw), *preprocessing.output_shape)


def _standard(moments: Moments, divide_by: float) -> dict[str, Floats]:
    deviation_C = np.where(moments.constant_C, 1.0, moments.deviation_C / divide_by)
    return {"mean": moments.mean_C / divide_by, "deviation": deviation_C}


def _with_values(facts: dict[str, Any], values: Mapping[str, Array]) -> Preprocessing:
    """Numbers per channel, if few, in the facts, where a person reads them; all others in the arrays."""
    short = {name: at.tolist() for name, at in values.items() if at.ndim == 1 and at.size <= _IN_FACTS}
    return Preprocessing(
        facts={**facts, **short}, arrays={name: at for name, at in values.items() if name not in short}
    )


# --- whitening --------------------------------------------------------------------------------------------------------


def _whitened(facts: dict[str, Any], inputs: Array, train_N: NDArray[np.int64], epsilon: float) -> Preprocessing:
    values = inputs[0].size
    # As many examples as values at once: their products then cost far more than merging them with the rest.
    found = covariance(parts_of(inputs, train_N, values * max(values, 1024)))
    divide_by = facts["divide_by"]
    facts = {**facts, "epsilon": epsilon}
    if len(train_N) <= values:
        facts["remarks"] = [
            f"Whitening was fitted on {len(train_N)} training examples of {values} values each: they have no variance "
            f"in at least {values - len(train_N) + 1} of as many directions, and there data.whitening_epsilon "
            f"{epsilon:g} alone decides what becomes of other examples."
        ]
    mean = (found.mean_C / divide_by).reshape(facts["shape"])
    prepared = _with_values(facts, {"mean": mean, "deviation": np.ones(len(inputs[0]))})
    whitening_DD = _whitening_matrix(found, divide_by, epsilon, rotate_back=facts["normalize"] == "zca")
    return Preprocessing(facts=prepared.facts, arrays={**prepared.arrays, "whitening": whitening_DD})


def check_can_be_normalised(kind: Normalize, shape: Sequence[int]) -> None:
    """Whether inputs of this shape suit this kind of normalisation.

    Raises:
        DataError: they are to be whitened and have more than `WHITENED_AT_MOST` values.
        InvalidValueError: they are to be normalised as ImageNet's, and are no images of three channels.
    """
    if kind == "imagenet" and (len(shape) != 3 or shape[0] != len(IMAGENET_MEAN)):
        raise InvalidValueError(
            ("data", "normalize"),
            "imagenet needs images of three channels, red, green and blue, got inputs of shape "
            f"{' × '.join(map(str, shape))}.",
            "Set data.color to rgb where the source knows it, or choose data.normalize channel.",
        )
    values = math.prod(shape)
    if kind not in ("pca", "zca") or values <= WHITENED_AT_MOST:
        return
    memory = _MATRICES_AT_ONCE * 8 * values**2 / 1e9
    raise DataError(
        f"data.normalize {kind} can whiten inputs of at most {WHITENED_AT_MOST:,} values, got "
        f"{' × '.join(map(str, shape))} = {values:,}, for which it would need about {memory:,.0f} GB of memory. "
        "Make images smaller with data.size, or choose data.normalize channel, pixel or standard."
    )


def _whitening_matrix(found: Covariance, divide_by: float, epsilon: float, *, rotate_back: bool) -> NDArray[np.float32]:
    variance_D, directions_DD = np.linalg.eigh(found.products_CC / (found.count * divide_by**2))
    variance_D, directions_DD = variance_D[::-1], directions_DD[:, ::-1]
    # LAPACK leaves the sign of a direction open; the component of largest size is made positive.
    largest_D = np.abs(directions_DD).argmax(axis=0)
    directions_DD = directions_DD * np.sign(np.take_along_axis(directions_DD, largest_D[None], axis=0))
    scaled_DD = directions_DD / np.sqrt(np.maximum(variance_D, 0.0) + epsilon)
    whitening_DD: NDArray[np.float32] = (scaled_DD @ directions_DD.T if rotate_back else scaled_DD).astype(np.float32)
    return whitening_DD
