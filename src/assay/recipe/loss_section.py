"""The ``loss`` section of a recipe: what is minimised."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from assay.recipe.section import Fraction, Section

Penalty = Annotated[float, Field(ge=0.0, le=1000.0)]


class _Loss(Section):
    l1: Penalty = 0.0
    """Adds l1 · Σ|w| over the weights to what is minimised (not over biases or normalisation parameters)."""
    l2: Penalty = 0.0
    """Adds l2/2 · Σw² over the weights to what is minimised, so that its gradient is l2 · w."""


class CrossEntropyLoss(_Loss):
    """Softmax cross-entropy, with penalties on weights (not on biases or normalisation parameters)."""

    name: Literal["cross_entropy"]
    label_smoothing: Fraction = 0.0


class SquaredErrorLoss(_Loss):
    """Half the squared distance between the scores and the one-hot label, summed over classes (Hui and Belkin 2020,
    arXiv:2006.07322). What is recorded of a run, losses and probabilities, is that of the scores' softmax, so that arms
    with different losses are measured alike."""

    name: Literal["squared_error"]
    label_smoothing: Fraction = 0.0


Loss = Annotated[CrossEntropyLoss | SquaredErrorLoss, Field(discriminator="name")]
