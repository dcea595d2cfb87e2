"""The runs of the bank: what is trained, which fault was put in, and for which part it counts.

``tuning`` runs are those on which thresholds may be looked at; ``held_out`` ones are of other data and other networks.
"""

from __future__ import annotations

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
    },
    "held_out": {
        "scenes": ({"source": "folder", "root": "scene15-160", "size": 32, "color": "grey"}, 12),
        "cifar10": ({"source": "cifar10"}, 10),
    },
}
"""Data by name, with epochs that suit them."""

NETWORKS: Mapping[Part, Mapping[str, Sections]] = {
    "tuning": {
        "mlp": {"name": "mlp", "widths": [96, 48]},
        "mlp, tanh": {"name": "mlp", "widths": [96], "activation": "tanh"},
        "mlp, batch norm": {"name": "mlp", "widths": [96], "norm": "batch"},
        "lenet5": {"name": "lenet5"},
    },
    "held_out": {
        "mlp, gelu, dropout": {"name": "mlp", "widths": [128, 64], "activation": "gelu", "dropout": 0.2},
        "mlp, sigmoid": {"name": "mlp", "widths": [64], "activation": "sigmoid"},
        "open_ended_cnn": {"name": "open_ended_cnn", "channels": [16, 16], "widths": [64, 32]},
        "step_by_step_cnn": {"name": "step_by_step_cnn", "channels": [16, 16, 16], "widths": [64]},
        "simplenet": {"name": "simplenet"},
        "cifar_resnet": {"name": "cifar_resnet", "depth": 8, "width": 8},
    },
}

OPTIMIZERS: Mapping[str, Sections] = {
    "sgd": sgd(0.02),
    "adam": ADAM,
    "adamw": ADAMW,
    "rmsprop": RMSPROP,
    "muon": MUON,
}


def spoilt(data: Sections, fault: str = "none") -> dict[str, Any]:
    examples = {"digits": 1437, "folder": 1500}.get(data["source"], 3000)
    options = {"data": dict(data), "fault": fault, "examples": examples, "test": 2000}
    return {"source": "planted:Spoilt", "options": options}


def _recipe(data: Sections, epochs: int, model: Sections, optimizer: Sections, **more: Any) -> dict[str, Any]:
    train = {"epochs": epochs, "batch_size": 32, **more.pop("train", {})}
    return {"data": dict(data), "model": dict(model), "optimizer": dict(optimizer), "train": train, **more}


def _fits(data: str, network: str) -> bool:
    """Whether a network can take images of such a size."""
    return data != "digits" or network.startswith("mlp")


def healthy() -> Iterator[Case]:
    """Every network on every data set it fits, with every optimizer, and some with what people add."""
    for part, data_sets in DATA.items():
        for data, (section, epochs) in data_sets.items():
            for network, model in NETWORKS[part].items():
                if not _fits(data, network):
                    continue
                for optimizer, of in OPTIMIZERS.items():
                    if optimizer == "muon" and len(model.get("widths", (1, 1))) < 2 and model["name"] == "mlp":
                        continue
                    name = f"{data}, {network}, {optimizer}"
                    recipe = _recipe(spoilt(section), epochs, model, of)
                    yield Case(name=name, part=part, fault="none", recipe=recipe)
            extras: Mapping[str, Sections] = {
                "cosine": {"schedule": {"name": "cosine"}},
                "smoothing": {"loss": {"label_smoothing": 0.1}},
                "ema": {"averaging": {"name": "ema", "decay": 0.99}},
                "shifts": {"augment": {"crop_padding": 1}},
            }
            for extra, sections in extras.items():
                model = {"name": "mlp", "widths": [96, 48]} if part == "tuning" else NETWORKS[part]["open_ended_cnn"]
                recipe = _recipe(spoilt(section), epochs, model, ADAM, **sections)
                yield Case(name=f"{data}, {extra}", part=part, fault="none", recipe=recipe)


FAULTY_NETWORKS: Mapping[str, tuple[str, ...]] = {
    "digits": ("mlp",),
    "mnist": ("lenet5",),
    "scenes": ("open_ended_cnn", "mlp, gelu, dropout"),
    "cifar10": ("step_by_step_cnn", "cifar_resnet"),
}
"""In which networks faults are planted; what is held out has two, so that every rule has enough runs there."""


def faulty() -> Iterator[Case]:
    """One fault each."""
    for part, data_sets in DATA.items():
        for data, (section, epochs) in data_sets.items():
            for network in FAULTY_NETWORKS[data]:
                for fault, recipe in _faults(NETWORKS[part][network], section, epochs):
                    yield Case(
                        name=f"{data}, {network}, {fault}", part=part, fault=fault.partition(":")[0], recipe=recipe
                    )


def _faults(model: Sections, section: Sections, epochs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Faults that come of a recipe, and those that only a user's own class can have."""
    sound = spoilt(section)
    dense = model["name"] == "mlp"
    kind = {"kind": "linear" if dense else "convolutions"}

    def own(name: str) -> dict[str, Any]:
        return {"name": f"planted:{name}", "options": kind}

    yield "rate too high: adam", _recipe(sound, epochs, model, {"name": "adam", "lr": 0.3})
    yield "rate too high: sgd", _recipe(sound, epochs, model, sgd(3.0))
    yield "rate too low: adam", _recipe(sound, epochs, model, {"name": "adam", "lr": 1e-7})
    yield "rate too low: sgd", _recipe(sound, epochs, model, sgd(1e-6))
    for fault in ("labels shuffled", "label noise", "test not normalised", "validation in training"):
        yield fault, _recipe(spoilt(section, fault), epochs, model, ADAM)
    yield "softmax twice", _recipe(sound, epochs, own("SoftmaxTwice"), ADAM)
    yield "last relu", _recipe(sound, epochs, own("LastRelu"), ADAM)
    yield "all zero", _recipe(sound, epochs, own("AllZero"), sgd(0.02) if dense else ADAM)
    yield "all frozen", _recipe(sound, epochs, own("AllFrozen"), ADAM if dense else sgd(0.02))
    yield "units dead", _recipe(sound, epochs, own("DeadUnits"), ADAM)
    yield "scores too large", _recipe(sound, epochs, model, sgd(1e-3), init={"name": "normal", "scale": 1.0})
    activation = "tanh" if dense else "sigmoid"
    saturating = {"name": "mlp", "widths": [64, 64], "activation": activation}
    yield "units saturated", _recipe(sound, epochs, saturating, ADAM, init={"name": "normal", "scale": 0.7})
    deep = {"name": "mlp", "widths": [48] * (9 if dense else 7), "activation": "sigmoid"}
    yield "gradients vanish", _recipe(sound, epochs, deep, sgd(0.1))
    chaotic = {"name": "mlp", "widths": [64] * (10 if dense else 12), "activation": "tanh"}
    yield "gradients explode", _recipe(sound, epochs, chaotic, sgd(1e-3), init={"name": "normal", "scale": 0.5})
    normed = {"name": "mlp", "widths": [64 if dense else 96], "norm": "batch"}
    yield "tiny batches", _recipe(sound, 2, normed, sgd(0.005), train={"batch_size": 2 if dense else 3})
    yield "too short", _recipe(sound, 2, model, sgd(5e-4))
    few = {**sound, "fraction": 0.06}
    yield "too few examples", _recipe(few, 60, {"name": "mlp", "widths": [256] * (1 if dense else 2)}, ADAM)
    dropped = {"name": "mlp", "widths": [64] * (2 if dense else 1), "dropout": 0.85}
    yield "too much dropout", _recipe(sound, epochs, dropped, ADAM)
    two = {"name": "mlp", "widths": [64] * (2 if dense else 1)}
    yield "rate never falls", _recipe(sound, 3 * epochs, two, sgd(0.25), train={"batch_size": 16})


def every_case() -> tuple[Case, ...]:
    """All of them; their names are different."""
    cases = (*healthy(), *faulty())
    if len({case.name for case in cases}) != len(cases):
        raise ValueError("Two cases of the bank have one name.")
    return cases
