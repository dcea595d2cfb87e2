"""The runs of the bank: what is trained, which fault was put in, and for which part it counts.

``tuning`` runs are those on which thresholds may be looked at; ``held_out`` ones are of other data and other networks:
images of CIFAR-10 and MNIST that no other run has, with other classes (pairs of kin, even and odd), and points in a
plane. Once scores of held-out runs have been looked at and a rule was changed, they are tuning runs, and others must be
held out: so were scenes and CIFAR-10 at first, then the classes of Tiny ImageNet in 3 kinds and 20 groups.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Part = Literal["tuning", "held_out"]
Sections = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run. ``fault`` is ``none`` for a healthy one."""

    name: str
    part: Part
    fault: str
    recipe: Sections


def sgd(lr: float, **more: Any) -> dict[str, Any]:
    return {"name": "sgd", "lr": lr, "momentum": 0.9, **more}


ADAM: Sections = {"name": "adam", "lr": 1e-3}
ADAMW: Sections = {"name": "adamw", "lr": 2e-3}
RMSPROP: Sections = {"name": "rmsprop", "lr": 5e-4}
MUON: Sections = {"name": "muon", "lr": 0.02, "sgd_lr": 0.05}

DATA: Mapping[Part, Mapping[str, tuple[Sections, int]]] = {
    "tuning": {
        "digits": ({"source": "digits"}, 15),
        "mnist": ({"source": "mnist"}, 8),
        "scenes": ({"source": "folder", "root": "scene15-160", "size": 32, "color": "grey"}, 12),
        "cifar10": ({"source": "cifar10"}, 10),
        "kinds": ({"source": "folder", "root": "tiny-imagenet-100", "size": 32, "color": "rgb"}, 10),
        "groups": ({"source": "folder", "root": "tiny-imagenet-100", "size": 32, "color": "grey"}, 12),
    },
    "held_out": {
        "pairs": ({"source": "unused:Unused", "options": {"data": {"source": "cifar10"}, "used": 2000}}, 10),
        "parity": ({"source": "unused:Unused", "options": {"data": {"source": "mnist"}, "used": 2000}}, 8),
        "circles": ({"source": "circles", "points": 1500, "test_points": 1000}, 20),
    },
}
"""Data by name, with epochs that suit them."""

GROUPS: Mapping[str, list[list[int]]] = {
    "kinds": [[*range(20)], [*range(24, 36), *range(47, 59)], [*range(59, 83)]],
    "groups": [[*range(first, first + 5)] for first in range(0, 100, 5)],
    "pairs": [[0, 8], [1, 9], [3, 5], [4, 7]],
    "parity": [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]],
}
"""Classes that are put together. Of Tiny ImageNet by their place in the alphabet of WordNet numbers, in which kin are
neighbours: what lives in water, or creeps; mammals; things. Pairs are airplanes and ships, cars and trucks, cats and
dogs, deer and horses."""

NETWORKS: Mapping[Part, Mapping[str, Sections]] = {
    "tuning": {
        "mlp": {"name": "mlp", "widths": [96, 48]},
        "mlp, tanh": {"name": "mlp", "widths": [96], "activation": "tanh"},
        "mlp, batch norm": {"name": "mlp", "widths": [96], "norm": "batch"},
        "lenet5": {"name": "lenet5"},
        "mlp, gelu, dropout": {"name": "mlp", "widths": [128, 64], "activation": "gelu", "dropout": 0.2},
        "mlp, sigmoid": {"name": "mlp", "widths": [64], "activation": "sigmoid"},
        "open_ended_cnn": {"name": "open_ended_cnn", "channels": [16, 16], "widths": [64, 32]},
        "step_by_step_cnn": {"name": "step_by_step_cnn", "channels": [16, 16, 16], "widths": [64]},
        "simplenet": {"name": "simplenet"},
        "cifar_resnet": {"name": "cifar_resnet", "depth": 8, "width": 8},
        "mlp, leaky relu": {"name": "mlp", "widths": [144], "activation": "leaky_relu"},
        "mlp, swish, layer norm": {"name": "mlp", "widths": [112, 56], "activation": "swish", "norm": "layer"},
        "channel_cnn": {"name": "channel_cnn", "channels": 12, "widths": [96]},
        "lenet5, tanh": {"name": "lenet5", "activation": "tanh", "pooling": "average"},
        "plain resnet": {"name": "cifar_resnet", "depth": 14, "width": 6, "shortcuts": "none"},
        "fast_cifar": {"name": "fast_cifar", "widths": [12, 24, 24]},
    },
    "held_out": {
        "mlp, gelu": {"name": "mlp", "widths": [32, 32], "activation": "gelu"},
        "mlp, tanh, layer norm": {"name": "mlp", "widths": [24, 16], "activation": "tanh", "norm": "layer"},
        "mlp, swish, batch norm": {"name": "mlp", "widths": [80, 40], "activation": "swish", "norm": "batch"},
        "lenet5, subsample": {"name": "lenet5", "pooling": "subsample"},
        "simplenet, gelu": {"name": "simplenet", "channels": [12, 24], "widths": [64], "activation": "gelu"},
        "cnn, layer norm": {
            "name": "open_ended_cnn",
            "channels": [12, 24],
            "kernels": [3, 3],
            "widths": [48],
            "activation": "leaky_relu",
            "norm": "layer",
        },
        "resnet14": {"name": "cifar_resnet", "depth": 14, "width": 8},
    },
}

_OF_TINY_IMAGENET = (
    "mlp, leaky relu",
    "mlp, swish, layer norm",
    "channel_cnn",
    "lenet5, tanh",
    "plain resnet",
    "fast_cifar",
)

SOUND: Mapping[str, tuple[str, ...]] = {
    "digits": ("mlp", "mlp, tanh", "mlp, batch norm"),
    "mnist": ("mlp", "mlp, tanh", "mlp, batch norm", "lenet5"),
    "scenes": ("mlp, sigmoid", "open_ended_cnn", "step_by_step_cnn", "cifar_resnet"),
    "cifar10": ("mlp, gelu, dropout", "open_ended_cnn", "simplenet", "cifar_resnet"),
    "kinds": _OF_TINY_IMAGENET,
    "groups": _OF_TINY_IMAGENET,
    "pairs": ("mlp, swish, batch norm", "lenet5, subsample", "simplenet, gelu", "cnn, layer norm", "resnet14"),
    "parity": ("mlp, gelu", "mlp, swish, batch norm", "lenet5, subsample", "simplenet, gelu"),
    "circles": ("mlp, gelu", "mlp, tanh, layer norm"),
}
"""Which networks are trained soundly on what."""

FAULTY: Mapping[str, tuple[str, ...]] = {
    "digits": ("mlp",),
    "mnist": ("lenet5",),
    "scenes": ("open_ended_cnn", "mlp, gelu, dropout"),
    "cifar10": ("step_by_step_cnn", "cifar_resnet"),
    "kinds": ("channel_cnn", "mlp, leaky relu"),
    "groups": ("lenet5, tanh", "mlp, swish, layer norm"),
    "pairs": ("simplenet, gelu", "cnn, layer norm"),
    "parity": ("lenet5, subsample", "mlp, swish, batch norm"),
    "circles": ("mlp, gelu",),
}
"""In which networks faults are planted; some data have two, so that every rule has runs enough."""

OPTIMIZERS: Mapping[str, Sections] = {
    "sgd": sgd(0.02),
    "adam": ADAM,
    "adamw": ADAMW,
    "rmsprop": RMSPROP,
    "muon": MUON,
}


def spoilt(data: str, section: Sections, fault: str = "none") -> dict[str, Any]:
    examples = {"digits": 1437, "scenes": 1500, "circles": 1500}.get(data, 3000)
    options = {"data": dict(section), "fault": fault, "examples": examples, "test": 2000, "groups": GROUPS.get(data)}
    return {"source": "planted:Spoilt", "options": options}


def _recipe(data: Sections, epochs: int, model: Sections, optimizer: Sections, **more: Any) -> dict[str, Any]:
    train = {"epochs": epochs, "batch_size": 32, **more.pop("train", {})}
    return {"data": dict(data), "model": dict(model), "optimizer": dict(optimizer), "train": train, **more}


def healthy() -> Iterator[Case]:
    """Sound networks on every data set, with every optimizer, and some with what people add."""
    for part, data_sets in DATA.items():
        for data, (section, epochs) in data_sets.items():
            for network in SOUND[data]:
                model = NETWORKS[part][network]
                for optimizer, of in OPTIMIZERS.items():
                    if optimizer == "muon" and model["name"] == "mlp" and len(model["widths"]) < 2:
                        continue  # there is no hidden matrix that it could be for
                    recipe = _recipe(spoilt(data, section), epochs, model, of)
                    yield Case(name=f"{data}, {network}, {optimizer}", part=part, fault="none", recipe=recipe)
            extras: Mapping[str, Sections] = {
                "cosine": {"schedule": {"name": "cosine"}},
                "smoothing": {"loss": {"label_smoothing": 0.1}},
                "ema": {"averaging": {"name": "ema", "decay": 0.99}},
                "shifts": {"augment": {"crop_padding": 1}},
                "one cycle": {"schedule": {"name": "one_cycle"}},
                "l2": {"loss": {"l2": 5e-4}},
            }
            for (extra, sections), network in itertools.product(extras.items(), FAULTY[data]):
                if extra == "shifts" and data == "circles":
                    continue
                recipe = _recipe(spoilt(data, section), epochs, NETWORKS[part][network], ADAM, **sections)
                yield Case(name=f"{data}, {network}, {extra}", part=part, fault="none", recipe=recipe)


def faulty() -> Iterator[Case]:
    """One fault each."""
    for part, data_sets in DATA.items():
        for data, (section, epochs) in data_sets.items():
            for variant, network in enumerate(FAULTY[data]):
                for fault, recipe in _faults(data, section, epochs, NETWORKS[part][network], second=variant == 1):
                    name = f"{data}, {network}, {fault}"
                    yield Case(name=name, part=part, fault=fault.partition(":")[0], recipe=recipe)


def _faults(
    data: str, section: Sections, epochs: int, model: Sections, *, second: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Faults that come of a recipe, and those that only a user's own class can have; in two variants."""
    sound = spoilt(data, section)
    kind = "linear" if model["name"] == "mlp" else "convolutions"

    def own(name: str) -> dict[str, Any]:
        return {"name": f"planted:{name}", "options": {"kind": kind, "width": 64 if second else 96}}

    def mlp(*widths: int, **more: Any) -> dict[str, Any]:
        return {"name": "mlp", "widths": list(widths), **more}

    def adam_or_sgd(adam: float, momentum: float) -> Sections:
        return {"name": "adam", "lr": adam} if second else sgd(momentum)

    yield "rate too high: adam", _recipe(sound, epochs, model, {"name": "adam", "lr": 0.2 if second else 0.3})
    yield "rate too high: sgd", _recipe(sound, epochs, model, sgd(2.0 if second else 3.0))
    yield "rate too low: adam", _recipe(sound, epochs, model, {"name": "adam", "lr": 3e-7 if second else 1e-7})
    yield "rate too low: sgd", _recipe(sound, epochs, model, sgd(3e-6 if second else 1e-6))
    for fault in ("labels shuffled", "label noise", "test not normalised", "validation in training"):
        yield fault, _recipe(spoilt(data, section, fault), epochs, model, ADAM)
    yield "softmax twice", _recipe(sound, epochs, own("SoftmaxTwice"), ADAM)
    yield "last relu", _recipe(sound, epochs, own("LastRelu"), ADAM)
    yield "all zero", _recipe(sound, epochs, own("AllZero"), adam_or_sgd(1e-3, 0.02))
    yield "all frozen", _recipe(sound, epochs, own("AllFrozen"), adam_or_sgd(1e-3, 0.02))
    yield "units dead", _recipe(sound, epochs, own("DeadUnits"), ADAM)
    yield "scores too large", _recipe(sound, epochs, model, sgd(1e-3), init={"name": "normal", "scale": 1.0})
    saturating = mlp(64, 64, activation="sigmoid" if second else "tanh")
    yield "units saturated", _recipe(sound, epochs, saturating, ADAM, init={"name": "normal", "scale": 0.7})
    deep = mlp(*[48] * (7 if second else 9), activation="sigmoid")
    yield "gradients vanish", _recipe(sound, epochs, deep, sgd(0.1))
    chaotic = mlp(*[64] * (12 if second else 10), activation="tanh")
    yield "gradients explode", _recipe(sound, epochs, chaotic, sgd(1e-3), init={"name": "normal", "scale": 0.5})
    normed = mlp(96 if second else 64, norm="batch")
    yield "tiny batches", _recipe(sound, 2, normed, sgd(0.005), train={"batch_size": 3 if second else 2})
    yield "too short", _recipe(sound, 2, model, sgd(5e-4))
    few = spoilt(data, {**section}, "few examples")
    yield "too few examples", _recipe(few, 60, mlp(*[256] * (1 if second else 2)), ADAM)
    dropped = mlp(*[64] * (1 if second else 2), dropout=0.85)
    yield "too much dropout", _recipe(sound, epochs, dropped, ADAM)
    high = mlp(*[64] * (1 if second else 2))
    yield "diverges", _recipe(sound, epochs, mlp(96 if second else 64), sgd(2.0), loss={"name": "squared_error"})
    noisy, wide = spoilt(data, section, "label noise"), mlp(*[256] * (1 if second else 2))
    yield "trained too long", _recipe(noisy, 3 * epochs, wide, ADAM)
    yield "unsteady", _recipe(sound, epochs, mlp(96 if second else 128, norm="batch"), {"name": "rmsprop", "lr": 0.01})
    yield "rate never falls", _recipe(sound, 3 * epochs, high, sgd(0.08), train={"batch_size": 16})


def every_case() -> tuple[Case, ...]:
    """All of them; their names and their recipes are different."""
    cases = (*healthy(), *faulty())
    recipes = {repr(case.recipe) for case in cases}
    if len({case.name for case in cases}) != len(cases) or len(recipes) != len(cases):
        raise ValueError("Two cases of the bank are one.")
    return cases
