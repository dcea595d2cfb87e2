"""Averages of weights over training, which are evaluated and kept in place of the last ones.

Both keep a copy of the model in evaluation mode, and touch only what training moves: parameters that are trained, and
buffers. Frozen parameters stay as they were copied.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from assay.recipe.schema import Averaging, EmaAveraging, LookaheadAveraging, NoAveraging
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


class MovingAverage:
    """An exponential moving average (Polyak and Juditsky 1992; Tarvainen and Valpola 2017, arXiv:1703.01780).

    After step t, counted from 1, ā ← d·ā + (1 − d)·w with d = min(decay, (1 + t)/(10 + t)), for every trained
    parameter and every buffer of floating-point numbers, such as running statistics; other buffers are copied. The
    average starts at the initial weights, of which after the first step 2/11 are left.
    """

    def __init__(self, section: EmaAveraging, model: nn.Module) -> None:
        self._decay = section.decay
        self._steps = 0
        self._pair = _Pair(model)
        self.model = self._pair.copied

    @torch.no_grad()
    def after_step(self) -> None:
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        ours, theirs = self._pair.parameters()
        for mine, live in zip(*self._pair.buffers(), strict=True):
            if mine.is_floating_point():
                ours.append(mine)
                theirs.append(live)
            else:
                mine.copy_(live)
        torch._foreach_lerp_(ours, theirs, 1.0 - decay)

    def state(self) -> State:
        return State(tensors=self._pair.trained() | self._pair.named_buffers(), facts={"steps": self._steps})

    @torch.no_grad()
    def restore(self, state: State) -> None:
        self._steps = state.facts["steps"]
        self._pair.load(state.tensors)


class Lookahead:
    """Slow weights φ, towards which the trained, fast ones θ are pulled back (Zhang et al. 2019, arXiv:1907.08610).

    After every k-th step φ ← φ + pull·(θ − φ) and θ ← φ; the optimizer keeps its momentum, as the paper has it. The
    slow weights are evaluated, with the running statistics of batch normalisation that the fast ones have by then: they
    are no weights, and as the authors evaluate.
    """

    def __init__(self, section: LookaheadAveraging, model: nn.Module) -> None:
        self._every = section.every
        self._pull = section.pull
        self._steps = 0
        self._pair = _Pair(model)
        self._buffers_are_old = False

    @property
    def model(self) -> nn.Module:
        if self._buffers_are_old:  # copied when they are asked for, not at each step
            with torch.no_grad():
                for mine, live in zip(*self._pair.buffers(), strict=True):
                    mine.copy_(live)
            self._buffers_are_old = False
        return self._pair.copied

    @torch.no_grad()
    def after_step(self) -> None:
        self._steps += 1
        self._buffers_are_old = True
        if self._steps % self._every == 0:
            slow, fast = self._pair.parameters()
            torch._foreach_lerp_(slow, fast, self._pull)
            torch._foreach_copy_(fast, slow)

    def state(self) -> State:
        return State(tensors=self._pair.trained(), facts={"steps": self._steps})

    @torch.no_grad()
    def restore(self, state: State) -> None:
        self._steps = state.facts["steps"]
        self._buffers_are_old = True
        self._pair.load(state.tensors)


class _Pair:
    """A model that is trained, a copy of it in evaluation mode, and what of the two belongs together."""

    def __init__(self, model: nn.Module) -> None:
        self.copied = copy.deepcopy(model).eval().requires_grad_(False)
        self._ours: list[Tensor] = []
        self._theirs: list[Tensor] = []
        self._trained: list[str] = []
        for (name, live), mine in zip(model.named_parameters(), self.copied.parameters(), strict=True):
            if live.requires_grad:
                self._trained.append(name)
                self._ours.append(mine)
                self._theirs.append(live)
        # By their places, because a layer may put another tensor there as it goes.
        layers = zip(self.copied.modules(), model.modules(), strict=True)
        self._places = [(ours._buffers, theirs._buffers) for ours, theirs in layers if ours._buffers]

    def parameters(self) -> tuple[list[Tensor], list[Tensor]]:
        """Those that are trained: the copy's, and the live ones."""
        return [*self._ours], [*self._theirs]

    def buffers(self) -> tuple[list[Tensor], list[Tensor]]:
        """All buffers: the copy's, and the live ones."""
        ours: list[Tensor] = []
        theirs: list[Tensor] = []
        for mine, live in self._places:
            for name, buffer in mine.items():
                other = live[name]
                if buffer is not None and other is not None:
                    ours.append(buffer)
                    theirs.append(other)
        return ours, theirs

    def trained(self) -> dict[str, Tensor]:
        """The copy's trained parameters by name."""
        return dict(zip(self._trained, self._ours, strict=True))

    def named_buffers(self) -> dict[str, Tensor]:
        """The copy's buffers by name."""
        return dict(self.copied.named_buffers())

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        for name, mine in (self.trained() | self.named_buffers()).items():
            if name in tensors:
                mine.copy_(tensors[name])


def build_average(section: Averaging, model: nn.Module) -> Average:
    """The average that a recipe asks for, of a model on its device; it starts at the model's present weights."""
    if isinstance(section, NoAveraging):
        return LastWeights(model)
    if isinstance(section, EmaAveraging):
        return MovingAverage(section, model)
    return Lookahead(section, model)
