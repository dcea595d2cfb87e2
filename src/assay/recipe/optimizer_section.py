"""The ``optimizer`` and ``averaging`` sections of a recipe: how weights follow gradients, and which weights count."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from assay.recipe.problems import invalid_value
from assay.recipe.section import LayerPattern, Section

LearningRate = Annotated[float, Field(gt=0.0, le=1000.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Epsilon = Annotated[float, Field(gt=0.0, le=1.0)]
Factor = Annotated[float, Field(ge=0.0, le=1e6)]


class _Optimizer(Section):
    lr_factors: Annotated[dict[LayerPattern, Factor], Field(max_length=100)] = Field(default={})
    """Factors on the rate of parameters by name: ``{"*norm*.bias": 64, "features.*": 0.1}``. Patterns are those of
    file names, of a parameter's or its layer's name; the first that fits counts."""
    lr_scaling: Literal["none", "linear", "square_root"] = "none"
    """With ``linear`` the rate is multiplied by train.batch_size / lr_batch_size (Goyal et al. 2017,
    arXiv:1706.02677), with ``square_root`` by the root of that (Krizhevsky 2014, arXiv:1404.5997)."""
    lr_batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """The batch size for which ``lr`` is meant, for ``lr_scaling``."""


class SgdOptimizer(_Optimizer):
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


class RmspropOptimizer(_Optimizer):
    """RMSProp (Tieleman and Hinton 2012)."""

    name: Literal["rmsprop"]
    lr: LearningRate = 0.001
    alpha: Decay = 0.99
    epsilon: Epsilon = 1e-8
    momentum: Decay = 0.0


class AdamOptimizer(_Optimizer):
    """Adam (Kingma and Ba 2014, arXiv:1412.6980), bias-corrected."""

    name: Literal["adam"]
    lr: LearningRate = 0.001
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Epsilon = 1e-8


class AdamWOptimizer(_Optimizer):
    """AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101): Adam with decoupled weight decay."""

    name: Literal["adamw"]
    lr: LearningRate = 0.001
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.01
    """Of weights, as L1 and L2: not of biases or normalisation parameters."""


class MuonOptimizer(_Optimizer):
    """Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"): momentum whose matrix is
    made orthogonal before each step, for the filters of convolutions and the matrices of hidden layers.

    Filters are orthogonalised as matrices (out, in·h·w). The first layer with weights, the last one, biases,
    normalisation parameters and what belongs to no layer, such as position embeddings, take SGD with Nesterov momentum
    at ``sgd_lr``.
    """

    name: Literal["muon"]
    lr: LearningRate = 0.02
    """Of the matrices that are made orthogonal."""
    momentum: Decay = 0.95
    newton_schulz_steps: Annotated[int, Field(ge=1, le=10)] = 5
    unit_filters: bool = False
    """Keep the norm of each such matrix at the root of its number of outputs: for networks whose normalisation makes
    the scale of filters irrelevant."""
    sgd_lr: LearningRate = 0.1
    """Of all other parameters; it follows the schedule alike."""
    sgd_momentum: Decay = 0.9


Optimizer = Annotated[
    SgdOptimizer | RmspropOptimizer | AdamOptimizer | AdamWOptimizer | MuonOptimizer,
    Field(discriminator="name"),
]


class NoAveraging(Section):
    """The weights that training moves are the model's."""

    name: Literal["none"]


class EmaAveraging(Section):
    """An exponential moving average of the weights and of batch normalisation's running statistics, updated after
    each step, is what is evaluated and kept (Polyak and Juditsky 1992)."""

    name: Literal["ema"]
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999
    """Share of the average that stays at each step; while few steps were taken it is less: (1 + t)/(10 + t)."""


class LookaheadAveraging(Section):
    """Lookahead (Zhang et al. 2019, arXiv:1907.08610): every so many steps slow weights move towards the fast ones,
    which start again from there. The slow ones are evaluated and kept."""

    name: Literal["lookahead"]
    every: Annotated[int, Field(ge=1, le=100_000)] = 5
    pull: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """How far the slow weights move towards the fast ones: 1 is all the way."""


Averaging = Annotated[NoAveraging | EmaAveraging | LookaheadAveraging, Field(discriminator="name")]
