"""What the network gets: whether it is finite, of a sane scale, and alike in all splits.

Shape key: B examples, C channels (or features).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.diagnosis.before.bench import sampled
from assay.diagnosis.finding import Finding, Severity
from assay.recipe.schema import Recipe
from assay.records import Split
from assay.training.prepare import PreparedData

CUT = 5.0
"""Deviations at which values are cut before splits are compared: pixels that hardly ever differ can be hundreds away,
and a few of them would decide the deviation of a whole split."""
EXAMPLES = 2_000
"""Of each split that are looked at."""
_VALUES = 2**24
FAR, VERY_FAR = 10.0, 100.0
"""Mean or deviation of inputs, in units of the 1 that initial weights are made for: one and two orders away."""
SHIFTED, SHIFTED_FAR = 0.25, 1.0
"""Deviations of the training split by which the mean of another split may be off."""
SCALED, SCALED_FAR = 1.25, 2.0
"""Times that deviation, or its inverse, that another split's may be."""
SURE = 6.0
"""Standard errors, over examples, that a shift must have as well."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """Means over some examples of a split.

    Attributes:
        mean: of all values.
        deviation: of all values.
        largest: absolute value.
        finite: whether all values are.
        shift: mean of values as training's deviations from its mean, each cut at `CUT`.
        stretch: their deviation.
        means_B: the mean of such values in each example.
    """

    mean: float
    deviation: float
    largest: float
    finite: bool
    shift: float
    stretch: float
    means_B: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Standard error of the mean: examples are independent, their values are not."""
        return float(self.means_B.std() / math.sqrt(len(self.means_B)))


def scales(data: PreparedData, seed: int) -> dict[Split, Scale]:
    """Of every split, from a sample of its normalised inputs."""
    samples_B: dict[Split, Tensor] = {}
    for name, split in data.splits.items():
        most = min(EXAMPLES, max(64, _VALUES // math.prod(split.input_shape)))
        samples_B[name] = split.inputs(sampled(len(split), most, seed, name)).double()
    middle, unit = float(samples_B["train"].mean()), float(samples_B["train"].std(correction=0))
    return {name: _scale(x_B, middle, unit or 1.0) for name, x_B in samples_B.items()}


def _scale(x_B: Tensor, middle: float, unit: float) -> Scale:
    cut_B = ((x_B - middle) / unit).clamp(-CUT, CUT).flatten(1)
    return Scale(
        mean=float(x_B.mean()),
        deviation=float(x_B.std(correction=0)),
        largest=float(torch.nan_to_num(x_B.abs(), nan=math.inf).max()),
        finite=bool(x_B.isfinite().all()),
        shift=float(cut_B.mean()),
        stretch=float(cut_B.std(correction=0)),
        means_B=cut_B.mean(dim=1).cpu().numpy(),
    )


def input_scale(recipe: Recipe, data: PreparedData, found: Mapping[Split, Scale]) -> list[Finding]:
    """Inputs that are no numbers, or far from zero mean and unit deviation; channels without content."""
    broken = [name for name, scale in found.items() if not scale.finite]
    if broken:
        return [_not_finite(broken)]
    findings = []
    train = found["train"]
    normalize = recipe.data.normalize
    away = max(abs(train.mean), train.deviation, 0.1 / max(train.deviation, 1e-30))
    if away > FAR:
        findings.append(_off_scale(train, normalize, "severe" if away > VERY_FAR else "warning"))
    elif normalize == "none":
        findings.append(_as_they_are(train))
    elif train.largest > VERY_FAR:
        findings.append(_outlying(train, normalize))
    constant = data.preprocessing.facts["constant"]
    if constant:
        findings.append(_constant_channels(constant, data))
    return findings


def split_shift(found: Mapping[Split, Scale]) -> list[Finding]:
    """Validation or test inputs of another scale than those of training."""
    train = found["train"]
    findings = []
    for name in ("val", "test"):
        other = found[name]
        if not (train.finite and other.finite) or train.deviation == 0:
            continue
        shift = abs(other.shift - train.shift)
        sure = shift > SURE * math.hypot(train.error, other.error)
        ratio = max(other.stretch, 1e-30) / max(train.stretch, 1e-30)
        stretch = max(ratio, 1.0 / ratio)
        if (shift > SHIFTED and sure) or stretch > SCALED:
            far = (shift > SHIFTED_FAR and sure) or stretch > SCALED_FAR
            findings.append(_shifted(name, train, other, "severe" if far else "warning"))
    return findings


def _not_finite(broken: list[Split]) -> Finding:
    return Finding(
        rule="inputs",
        severity="severe",
        title="Some inputs are not finite numbers",
        seen=f"Normalised inputs of {' and '.join(broken)} hold infinite values or values that are not numbers.",
        why="One such value makes the loss, and then every weight, not a number.",
        cause="Values so large that they overflow once they are scaled, or a division by a vanishing deviation.",
        cure="Leave such examples out, or scale the features before they are handed over.",
    )


def _off_scale(train: Scale, normalize: str, severity: Severity) -> Finding:
    fix = {} if normalize in ("channel", "standard") else {"data.normalize": "channel"}
    return Finding(
        rule="inputs",
        severity=severity,
        title="The network's inputs are far from zero mean and unit deviation",
        seen=f"With data.normalize {normalize}, training inputs have mean {train.mean:.3g}, deviation "
        f"{train.deviation:.3g} and largest size {train.largest:.3g}.",
        why="Initial weights and usual learning rates are made for inputs of about unit size; others saturate units, "
        "or make the loss explode or hardly move.",
        cause="Normalisation is off, or a few outlying values decide it." if fix else "A few outlying values.",
        cure="Normalise each channel: data.normalize channel." if fix else "Clip or leave out outlying examples.",
        changes=fix,
    )


def _as_they_are(train: Scale) -> Finding:
    return Finding(
        rule="inputs",
        severity="note",
        title="Inputs are not normalised",
        seen=f"With data.normalize none, training inputs have mean {train.mean:.3g} and deviation "
        f"{train.deviation:.3g}.",
        why="This is near enough to train; zero mean and unit deviation usually train a little faster.",
        cause="data.normalize is none.",
        cure="Normalise each channel: data.normalize channel.",
        changes={"data.normalize": "channel"},
    )


def _outlying(train: Scale, normalize: str) -> Finding:
    return Finding(
        rule="inputs",
        severity="note",
        title="Some input values are very large",
        seen=f"With data.normalize {normalize}, the largest training value is {train.largest:.3g}, "
        f"{train.largest / train.deviation:.0f} deviations.",
        why="Such values weigh as much as hundreds of others, and those of test images may be larger still.",
        cause="Pixels that hardly ever differ are divided by their tiny deviation."
        if normalize in ("standard", "pca", "zca")
        else "A few outlying examples.",
        cure="Normalise by channel: data.normalize channel.",
        changes={} if normalize == "channel" else {"data.normalize": "channel"},
    )


def _constant_channels(constant: list[int], data: PreparedData) -> Finding:
    shape = data.facts["shape"]
    what = "channels" if len(shape) == 3 else "features"
    return Finding(
        rule="inputs",
        severity="warning",
        title=f"Some {what} never change",
        seen=f"{len(constant)} of {shape[0]} {what} have one value in all training examples: "
        f"{', '.join(map(str, constant[:8]))}{', …' if len(constant) > 8 else ''}.",
        why="They tell the network nothing, and if they do change in test images it was never trained for that.",
        cause="An empty channel in the files, such as alpha, or a feature that was filled in.",
        cure=f"Leave these {what} out, or find out why they are empty.",
    )


def _shifted(name: str, train: Scale, other: Scale, severity: Severity) -> Finding:
    shown = {"val": "validation", "test": "test"}[name]
    return Finding(
        rule="split_shift",
        severity=severity,
        title=f"The {shown} inputs are scaled otherwise than those of training",
        seen=f"Normalised alike, training inputs have mean {train.mean:.3g} and deviation {train.deviation:.3g}, "
        f"{shown} inputs mean {other.mean:.3g} and deviation {other.deviation:.3g}.",
        why="The network sees values it was not trained on: its accuracy there says little of what it learned.",
        cause=f"Normalisation that was forgotten, or done twice, for the {shown} images; another range of values, "
        "another camera or another file format.",
        cure=f"Hand the {shown} images over as the training images are: the same range, the same normalisation.",
    )
