"""Averages of weights over training, which are evaluated and kept in place of the last ones."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from assay.errors import InvalidValueError
from assay.recipe.schema import Averaging, NoAveraging
from assay.training.state import State


class Average(Protocol):
    """Follows a model that is being trained."""

    @property
    def model(self) -> nn.Module:
        """The model to evaluate and to keep."""
        ...

    def after_step(self) -> None:
        """Take in the weights after one more optimizer step. May move the trained weights, as Lookahead does."""
        ...

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


class LastWeights:
    """No average: the weights that training moves."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def after_step(self) -> None:
        pass

    def state(self) -> State:
        return State()

    def restore(self, state: State) -> None:
        pass


def build_average(section: Averaging, model: nn.Module) -> Average:
    """The average that a recipe asks for."""
    if isinstance(section, NoAveraging):
        return LastWeights(model)
    raise InvalidValueError(("averaging", "name"), f"{section.name} is not there yet.")
