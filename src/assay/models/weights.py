"""Starting from weights that were trained before: which of a file's tensors are which of a network's.

Names are the measure. Prefixes that wrappers leave behind are taken off where that makes names fit, and the layer that
gives the scores is known by its place, whatever it is called. One change of values is made, because it is exact: for
grey images the three filters of a first convolution of colour are summed, which gives what the convolution gives for
the grey image in all three channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from assay.errors import DataError, InvalidValueError
from assay.models.heads import first_layer_of, head_of

_PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "backbone.",
    "network.",
    "net.",
    "encoder.",
    "base_model.",
    "base.",
    "student.",
    "ema_model.",
)
_DEEPEST = 3
"""Prefixes taken off one after the other."""
_HEADS = frozenset({"fc", "linear", "last_linear", "classifier", "head", "heads", "output", "out", "logits"})
"""How the layer that gives the scores is called, or the part of the network it is in."""
_AUXILIARY = ("aux", "aux1", "aux2", "AuxLogits")
"""Heads for training alone, which torchvision's GoogLeNet and Inception are published with."""
_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=\d\.)")
"""In torchvision's published DenseNets a point stands where the network's names have none."""
_SHOWN = 4

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""In the file, and in the network."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What became of a file's tensors, by name.

    Attributes:
        loaded: of the network, in its order.
        missing: of the network, not in the file; they keep their initial values.
        unexpected: in the file, and of no use to the network.
        other_shape: of the network, of another shape in the file; they keep their initial values.
        adapted: of those loaded, how their values were changed.
        head: the layer that gives the scores, and whether its weights were loaded; None if there is no such layer.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: Mapping[str, Shapes]
    adapted: Mapping[str, str]
    head: tuple[str, bool] | None

    def facts(self) -> dict[str, object]:
        """As plain JSON, for a run's record."""
        return {
            "head": None if self.head is None else {"layer": self.head[0], "loaded": self.head[1]},
            "loaded": list(self.loaded),
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "other_shape": {name: [list(shape) for shape in shapes] for name, shapes in self.other_shape.items()},
            "adapted": dict(self.adapted),
        }

    def sentence(self) -> str:
        """The same in numbers, as the end of a sentence about the file."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        parts += [f"{name}: {how}" for name, how in self.adapted.items()]
        if self.head is not None and not self.head[1]:
            parts.append(f"the head {self.head[0]} starts anew")
        beyond = [
            (len([name for name in self.missing if not self.in_head(name)]), "that the model has are missing"),
            (len([name for name in self.other_shape if not self.in_head(name)]), "have another shape"),
            (len(self.unexpected), "are of no use to it"),
        ]
        return ", ".join([*parts, *(f"{count} {what}" for count, what in beyond if count)])

    def in_head(self, name: str) -> bool:
        """Whether a tensor of the network is one of its head's."""
        return self.head is not None and _is_in(name, self.head[0])


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], *, file: str, partial: bool) -> Loaded:
    """Give a network the weights of a file, in the network's own type of numbers.

    The head is loaded whole or not at all: one for other classes starts as it is.

    Args:
        model: on the CPU, with its initial weights.
        tensors: of the file, by name.
        file: its name, for messages.
        partial: whether tensors besides the head's may be missing in the file, unused, or of another shape.

    Raises:
        InvalidValueError: nothing of the file fits the network; or something beyond the head does not, and ``partial``
            is false.
        DataError: the file holds a weight that is not a finite number.
    """
    own = model.state_dict()
    head = _head(model)
    source = _renamed(tensors, own, head)
    adapted = _adapted(model, own, tensors, source)
    found = _matched(own, {name: adapted.get(name, tensors[source[name]]) for name in source}, head)
    used = {source[name] for name in (*found.loaded, *found.other_shape)}
    loaded = Loaded(
        loaded=found.loaded,
        missing=found.missing,
        unexpected=tuple(name for name in tensors if name not in used and not _is_bookkeeping(name)),
        other_shape=found.other_shape,
        adapted=dict.fromkeys(adapted, "its three colour filters are summed, for grey images"),
        head=None if head is None else (head, any(_is_in(name, head) for name in found.loaded)),
    )
    _check(loaded, model, file=file, partial=partial)
    with torch.no_grad():
        for name in loaded.loaded:
            values = adapted.get(name, tensors[source[name]])
            if not bool(values.isfinite().all()):
                raise DataError(f"{file}: {source[name]} holds values that are not finite. Choose other weights.")
            own[name].copy_(values)
    return loaded


# --- names ------------------------------------------------------------------------------------------------------------


def _head(model: nn.Module) -> str | None:
    try:
        return head_of(model)
    except InvalidValueError:  # nothing in it gives scores by weights
        return None


def _renamed(tensors: Iterable[str], own: Mapping[str, Tensor], head: str | None) -> dict[str, str]:
    """The file's name of each of the network's tensors that it has: as many of them as renaming can find."""
    names = list(tensors)
    tried = [{name: name for name in names}]
    for _ in range(_DEEPEST):
        tried += [shorter for known in tried for prefix in _PREFIXES if (shorter := _without(prefix, known)) != known]
        tried = list({tuple(known): known for known in tried}.values())
    best = max(tried, key=lambda known: sum(name in own for name in known))  # of equal ones the first: the plainest
    best = {_DENSE_LAYER.sub(r"\1", name) if name not in own else name: file_name for name, file_name in best.items()}
    source = {name: best[name] for name in own if name in best}
    if head is not None and not any(_is_in(name, head) for name in source):
        source.update(_other_head(best, own, head))
    return source


def _without(prefix: str, known: Mapping[str, str]) -> dict[str, str]:
    """Names without a prefix, where they have it and nothing else has the shorter name; the file's names stay."""
    return {
        short if (short := name.removeprefix(prefix)) and short not in known else name: file_name
        for name, file_name in known.items()
    }


def _other_head(known: Mapping[str, str], own: Mapping[str, Tensor], head: str) -> dict[str, str]:
    """The tensors of the file's head under the names of the network's, if the file has one layer that may be it."""
    layers = {
        name.rpartition(".")[0]
        for name in known
        if name not in own and name.endswith(".weight") and name.partition(".")[0] in _HEADS
    }
    if len(layers) != 1:
        return {}
    layer = layers.pop()
    return {
        name: known[other] for name in own if _is_in(name, head) and (other := layer + name.removeprefix(head)) in known
    }


def _is_in(name: str, layer: str) -> bool:
    return name.startswith(f"{layer}.")


def _is_bookkeeping(name: str) -> bool:
    """Whether a tensor is one that a network does without: how many batches were seen, or a head for training."""
    return name.endswith("num_batches_tracked") or any(part in _AUXILIARY for part in name.split(".")[:-1])


# --- shapes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Matched:
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    other_shape: Mapping[str, Shapes]


def _matched(own: Mapping[str, Tensor], given: Mapping[str, Tensor], head: str | None) -> _Matched:
    other_shape = {
        name: (tuple(given[name].shape), tuple(tensor.shape))
        for name, tensor in own.items()
        if name in given and not _fits(given[name], tensor)
    }
    missing = [name for name in own if name not in given and not _is_bookkeeping(name)]
    if head is not None and any(_is_in(name, head) for name in (*other_shape, *missing)):
        # Half a head would be neither the old one nor a new one.
        for name in own:
            if _is_in(name, head) and name in given:
                other_shape[name] = (tuple(given[name].shape), tuple(own[name].shape))
    loaded = tuple(name for name in own if name in given and name not in other_shape)
    return _Matched(loaded=loaded, missing=tuple(missing), other_shape=other_shape)


def _fits(given: Tensor, own: Tensor) -> bool:
    return given.shape == own.shape and given.is_floating_point() == own.is_floating_point() and not given.is_complex()


def _adapted(
    model: nn.Module, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Mapping[str, str]
) -> dict[str, Tensor]:
    """The first convolution's weights for grey images, if the file's are for colour ones."""
    try:
        name = f"{first_layer_of(model)}.weight"
    except InvalidValueError:
        return {}
    if name not in source:
        return {}
    given, wanted = tensors[source[name]], own[name]
    of_colour = given.ndim == 4 and given.is_floating_point() and given.shape[1] == 3
    if not of_colour or wanted.shape != (given.shape[0], 1, *given.shape[2:]):
        return {}
    return {name: given.double().sum(dim=1, keepdim=True)}


# --- what does not fit ------------------------------------------------------------------------------------------------


def _check(loaded: Loaded, model: nn.Module, *, file: str, partial: bool) -> None:
    weights = [name for name in loaded.loaded if not name.endswith("num_batches_tracked")]
    if not weights:
        raise InvalidValueError(
            ("pretrained", "weights"),
            f"must have a tensor of the model's in name and shape, got {file}, which has none: it holds "
            f"{_listed(loaded.unexpected or list(loaded.other_shape))}; {type(model).__name__} has "
            f"{_listed(list(model.state_dict()))}.",
            "Choose the model that these weights are of, or a file of this model's.",
        )
    problems = []
    if missing := [name for name in loaded.missing if not loaded.in_head(name)]:
        problems.append(f"it lacks {len(missing)} of the model's tensors ({_listed(missing)})")
    if other := [name for name in loaded.other_shape if not loaded.in_head(name)]:
        shapes = [f"{name} {loaded.other_shape[name][0]} for {loaded.other_shape[name][1]}" for name in other]
        problems.append(f"{len(other)} have another shape ({_listed(shapes)})")
    if loaded.unexpected:
        problems.append(f"{len(loaded.unexpected)} are of no use to it ({_listed(loaded.unexpected)})")
    if problems and not partial:
        raise InvalidValueError(
            ("pretrained", "weights"),
            f"must fit all of the model but its head, got {file}: {'; '.join(problems)}.",
            "Choose the model that these weights are of, or set pretrained.partial to true, and what is missing starts "
            "as init says.",
        )


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - _SHOWN:,} more" if len(known) > _SHOWN else ""
    return ", ".join(known[:_SHOWN]) + more
