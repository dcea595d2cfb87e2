"""What frozen layers give, computed once: training then needs the layers from the first trained one on alone.

That is sound where the frozen layers give the same for an image in every epoch. So images must not be augmented, and a
network is cut only in front of a part that holds everything trained and gives the scores, and whose input is the same
in training as in evaluation, whatever becomes of what is trained. All of that is tried on a copy before a network is
cut.

Shape key: N examples of a split, B examples in a batch, K classes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from assay.data.batches import SplitData
from assay.models.layers import Dropout
from assay.training.arithmetic import Arithmetic
from assay.training.isolation import Surroundings
from assay.training.loop import set_to_training
from assay.training.state import State
from assay.training.torch_state import module_state

MOST_BYTES = 2**31
"""Memory that the features of the training and validation splits may take: 2 GiB."""

_TRIED_EXAMPLES = 8
_TOLERANCE = 1e-3
"""Share of the largest feature by which one may differ in training: other kernels round otherwise."""
_TOLERANCE_OF_16_BITS = 3e-2

_DROPPING: tuple[type[nn.Module], ...] = (Dropout, nn.modules.dropout._DropoutNd)
_DROPPING_BY_NAME = ("StochasticDepth", "DropPath")
_NORMS: tuple[type[nn.Module], ...] = (nn.modules.batchnorm._NormBase,)
"""Layers that do something else in training than in evaluation; torch has no public name for all of them."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where a network is cut in two.

    Attributes:
        module: the name of the module that holds everything trained.
        first: of a sequence of layers, from which one on they are trained; None takes the module as it is.
        flatten: whether the network makes rows of what the module gives, and does nothing else with it.
    """

    module: str
    first: int | None = None
    flatten: bool = False


class Tail(nn.Module):
    """A network from the cut on: features (B, …) to scores (B, K). It shares its layers with the network."""

    def __init__(self, model: nn.Module, cut: Cut) -> None:
        super().__init__()
        self.layers = _module(model, cut)
        self._flatten = cut.flatten
        self.eval()  # as a network is left that was measured

    def forward(self, x_B: Tensor) -> Tensor:
        y_B: Tensor = self.layers(x_B)
        return y_B.flatten(1) if self._flatten else y_B


def find_cut(model: nn.Module, arithmetic: Arithmetic, split: SplitData) -> Cut | None:
    """The latest place where a network with frozen layers can be cut; None if there is none.

    The network, and all global generators, stay as they are.

    Args:
        model: on the device.
        arithmetic: how it computes.
        split: of which a few examples are tried.
    """
    x_B, _ = next(split.in_order(_TRIED_EXAMPLES))
    generators = Surroundings(arithmetic.device, ())
    before = generators.state()
    try:
        tried = copy.deepcopy(model)
        return next((cut for place in _places(model) if (cut := _Trial(tried, place, arithmetic, x_B).passed())), None)
    except Exception:  # noqa: BLE001 - a user's network may refuse to be copied, or to be called in another mode
        return None
    finally:
        generators.restore(before)


def features_of(
    model: nn.Module, cut: Cut, arithmetic: Arithmetic, split: SplitData, batch_size: int
) -> Iterator[Tensor]:
    """What the tail of a network gets for each example of a split, in batches, in evaluation mode."""
    model.eval()
    with _Watch(model, cut) as watch, torch.no_grad():  # not inference mode, whose tensors cannot be trained on
        for x_B, _ in split.in_order(batch_size):
            arithmetic.scores(model, x_B)
            found_B = watch.taken()
            if found_B is None:
                raise ValueError(f"{cut.module} must be called once for a batch, with one tensor.")
            yield found_B


def kept_features(batches: Iterator[Tensor], examples: int, most_bytes: int) -> Tensor | int:
    """All batches as one tensor (N, …), or how many bytes it would take if those are more than allowed."""
    features_N: Tensor | None = None
    done = 0
    for x_B in batches:
        if features_N is None:
            needed = examples * math.prod(x_B.shape[1:]) * x_B.element_size()
            if needed > most_bytes:
                return needed
            features_N = x_B.new_empty((examples, *x_B.shape[1:]))
        features_N[done : done + len(x_B)] = x_B
        done += len(x_B)
    if features_N is None:
        raise ValueError("There are no examples.")
    return features_N


# --- where to cut -----------------------------------------------------------------------------------------------------


def _places(model: nn.Module) -> Iterator[Cut]:
    """Where a network may be cut, so that all that is trained comes after it: the latest place first."""
    # Under all its names: a parameter that a frozen layer shares is used there, too.
    trained = [
        name.split(".")[:-1]
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if parameter.requires_grad
    ]
    if not trained:
        return
    shared = 0
    while all(len(parts) > shared for parts in trained) and len({parts[shared] for parts in trained}) == 1:
        shared += 1
    for depth in range(shared, -1, -1):
        name = ".".join(trained[0][:depth])
        module = model.get_submodule(name)
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            inside = {parts[depth] for parts in trained if len(parts) > depth}
            first = next((place for place, child in enumerate(module._modules) if child in inside), 0)
            for place in range(first, 0, -1):
                yield Cut(module=name, first=place)
        if name:
            yield Cut(module=name)


class _Trial:
    """Tries one place on a copy of a network, whose trained parameters it moves.

    Args:
        model: the copy.
        cut: the place.
        arithmetic: how it computes.
        x_B: a few examples.
    """

    def __init__(self, model: nn.Module, cut: Cut, arithmetic: Arithmetic, x_B: Tensor) -> None:
        self._model = model
        self._arithmetic = arithmetic
        self._x_B = x_B
        self._cut = cut
        self._after = set(_module(model, cut).modules())
        self._before = [module for module in model.modules() if module not in self._after]

    @torch.no_grad()
    def passed(self) -> Cut | None:
        """The cut, if training on features comes to the same."""
        if not any(True for module in self._before for _ in module.parameters(recurse=False)):
            return None  # nothing would be spared
        self._model.eval()
        feature_B = self._in_evaluation()
        if feature_B is None:
            return None
        set_to_training(self._model)
        if any(module.training and _changes(module) for module in self._before):
            return None
        return self._cut if self._the_same_in_training(feature_B) else None

    def _in_evaluation(self) -> Tensor | None:
        """The features, if the tail makes the scores of them and of nothing else, example by example."""
        with _Watch(self._model, self._cut, replaced=True) as watch:
            flatten = _flattens(watch, self._scores(self._x_B))
        if flatten is None:
            return None
        self._cut = replace(self._cut, flatten=flatten)
        half = max(1, len(self._x_B) // 2)
        with _Watch(self._model, self._cut) as watch:
            scores_BK, feature_B = self._scores(self._x_B), watch.taken()
            self._scores(self._x_B[:half])
            of_half = watch.taken()
        if feature_B is None or not self._close(of_half, feature_B[:half]):  # they depend on the rest of the batch
            return None
        # By now the network has seen other examples: if it tells the tail of them beside the features, it shows here.
        tail_BK = self._scores(feature_B[-half:], Tail(self._model, self._cut))
        return feature_B if self._close(tail_BK, scores_BK[-half:]) else None

    def _the_same_in_training(self, feature_B: Tensor) -> bool:
        """Whether the network gives these features to the tail, and the tail's output as scores, and does nothing else
        in training that would not be done on features: draw random numbers, or count."""
        for parameter in self._model.parameters():
            if parameter.requires_grad:  # they move in training, and frozen layers may make use of one
                parameter.add_(torch.randn_like(parameter) * (parameter.abs().mean() + 0.01))
        carried = self._carried_before()
        for _ in range(2):
            generators = Surroundings(self._arithmetic.device, ())
            drawn = generators.state()
            with _Watch(self._model, self._cut, replaced=True, generators=generators) as watch:
                flatten = _flattens(watch, self._scores(self._x_B))
            if flatten is not self._cut.flatten or not self._close(watch.taken(), feature_B):
                return False
            if watch.drawn is None or not _equal(watch.drawn, drawn):
                return False
        return _equal(self._carried_before(), carried)

    def _carried_before(self) -> State:
        """What the layers before the cut carry from step to step: copies of their buffers and other attributes."""
        state = module_state(self._model)
        names = {name for name, module in self._model.named_modules() if module not in self._after}
        tensors = {}
        for key, tensor in state.tensors.items():
            kind, name, *_ = key.split(":")
            owner = name.rpartition(".")[0] if kind == "buffers" else name
            if kind != "parameters" and owner in names:
                tensors[key] = tensor.clone()
        return State(tensors=tensors, facts={name: state.facts["attributes"][name] for name in names})

    def _scores(self, x_B: Tensor, model: nn.Module | None = None) -> Tensor:
        return self._arithmetic.scores(model or self._model, x_B)

    def _close(self, one: Tensor | None, other: Tensor) -> bool:
        if one is None or one.shape != other.shape:
            return False
        one, other = one.float(), other.float()
        tolerance = _TOLERANCE_OF_16_BITS if self._arithmetic.sixteen_bits else _TOLERANCE
        return bool((one - other).abs().max() <= tolerance * other.abs().max())


def _equal(one: State, other: State) -> bool:
    alike = one.tensors.keys() == other.tensors.keys() and one.facts == other.facts
    return alike and all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


def _changes(module: nn.Module) -> bool:
    """Whether a layer is known to do something else in training than in evaluation."""
    if isinstance(module, _DROPPING) or type(module).__name__ in _DROPPING_BY_NAME:
        return getattr(module, "p", 1.0) != 0.0
    return isinstance(module, _NORMS)


def _flattens(watch: _Watch, scores_BK: Tensor) -> bool | None:
    """Whether the network flattens what the tail gives; None if it does something else with it."""
    given = watch.given
    if given is None:
        return None
    for flatten in (False, True):
        expected = given.flatten(1) if flatten else given
        if expected.shape == scores_BK.shape and torch.equal(expected.to(scores_BK.dtype), scores_BK):
            return flatten
    return None


def _module(model: nn.Module, cut: Cut) -> nn.Module:
    module = model.get_submodule(cut.module)
    if cut.first is None:
        return module
    return nn.Sequential(*_children(module)[cut.first :])


def _children(module: nn.Module) -> list[nn.Module]:
    """The modules in a module, as a sequence calls them: one that is there twice, twice."""
    return [child for child in module._modules.values() if child is not None]


class _Watch:
    """Takes what goes into a network's tail, whenever the network is called.

    With ``replaced`` the tail's output is random numbers instead: what the network then gives tells what it does with
    the tail's output, whatever that is.
    """

    def __init__(
        self, model: nn.Module, cut: Cut, *, replaced: bool = False, generators: Surroundings | None = None
    ) -> None:
        module = model.get_submodule(cut.module)
        self._starts = module if cut.first is None else _children(module)[cut.first]
        self._ends = module
        self._replaced = replaced
        self._generators = generators
        self._inputs: list[Tensor | None] = []
        self.given: Tensor | None = None
        """What the tail was made to give."""
        self.drawn: State | None = None
        """Where the global generators stood when the tail was called."""
        self._hooks = ExitStack()

    def __enter__(self) -> _Watch:
        self._hooks.callback(self._starts.register_forward_pre_hook(self._take, with_kwargs=True).remove)
        if self._replaced:
            self._hooks.callback(self._ends.register_forward_hook(self._give).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def taken(self) -> Tensor | None:
        """What went in since this was last asked; None if it was not called once, with one tensor."""
        inputs, self._inputs = self._inputs, []
        return inputs[0] if len(inputs) == 1 else None

    def _take(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        alone = len(arguments) == 1 and not named and isinstance(arguments[0], Tensor)
        self._inputs.append(arguments[0].clone() if alone else None)  # a copy, for dropout may be in place
        if self._generators is not None:
            self.drawn = self._generators.state()

    def _give(self, _: nn.Module, __: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        self.given = torch.randn(output.shape, device=output.device).to(output.dtype)
        return self.given
