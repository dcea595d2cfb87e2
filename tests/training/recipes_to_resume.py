"""Recipes whose runs are interrupted and taken up: over optimizers, schedules, averages, precisions, engines."""

from __future__ import annotations

from typing import Any

IMAGES: dict[str, Any] = {"crop_padding": 1, "horizontal_flip": 0.5, "mixup": 0.2}
MLP: dict[str, Any] = {"name": "mlp", "widths": [24, 16], "norm": "batch", "dropout": 0.3}
LENET: dict[str, Any] = {"name": "lenet5", "norm": "batch", "dropout": 0.3}

RECIPES: dict[str, dict[str, Any]] = {
    "sgd, one cycle": {
        "model": MLP,
        "augment": IMAGES,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
        "schedule": {"name": "one_cycle"},
    },
    "sgd without momentum, squared error": {
        "model": {**MLP, "dropout_form": "vanilla"},
        "loss": {"name": "squared_error", "l2": 0.01},
        "optimizer": {"name": "sgd", "lr": 0.01},
    },
    "adam, plateau, moving average": {
        "model": LENET,
        "augment": {**IMAGES, "erasing": 0.5},
        "optimizer": {"name": "adam", "lr": 0.01},
        "schedule": {"name": "plateau", "patience": 1, "min_improvement": 0.3},
        "averaging": {"name": "ema", "decay": 0.9},
    },
    "rmsprop, cosine, lookahead": {
        "model": MLP,
        "augment": IMAGES,
        "optimizer": {"name": "rmsprop", "momentum": 0.5},
        "schedule": {"name": "cosine", "warmup_epochs": 0.5},
        "averaging": {"name": "lookahead", "every": 3},
    },
    "adamw, bfloat16, moving average": {
        "model": LENET,
        "augment": {"crop_padding": 1, "cutmix": 1.0},
        "optimizer": {"name": "adamw", "lr": 0.01},
        "averaging": {"name": "ema"},
        "train": {"precision": "bfloat16"},
    },
    "muon, channels last": {
        "model": LENET,
        "augment": IMAGES,
        "optimizer": {"name": "muon", "unit_filters": True},
        "schedule": {"name": "linear"},
        "train": {"channels_last": True, "clip_norm": 1.0},
    },
    "adam, float64, the best epoch": {
        "model": MLP,
        "augment": IMAGES,
        "optimizer": {"name": "adam", "lr": 0.5},  # far too much: the first epoch stays the best
        "train": {"precision": "float64", "keep": "best", "patience": 2},
    },
    "sgd, float16, lookahead": {
        "model": MLP,
        "augment": IMAGES,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "averaging": {"name": "lookahead"},
        "train": {"precision": "float16"},
    },
    "by hand, adam": {
        "model": LENET,
        "augment": {"crop_padding": 1, "horizontal_flip": 0.5},
        "optimizer": {"name": "adam", "lr": 0.5},
        "schedule": {"name": "plateau", "patience": 1, "min_improvement": 0.3},
        "train": {"engine": "numpy", "keep": "best"},
    },
    "by hand, momentum, float64": {
        "model": MLP,
        "augment": IMAGES,
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "schedule": {"name": "step", "every": 2},
        "train": {"engine": "numpy", "precision": "float64"},
    },
    "autograd": {
        "model": {"name": "mlp", "widths": [16], "activation": "tanh"},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "train": {"engine": "autograd"},
    },
    "modules": {
        "model": {"name": "mlp", "widths": [16], "activation": "tanh"},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "schedule": {"name": "plateau", "patience": 1, "min_improvement": 0.5},
        "train": {"engine": "modules"},
    },
    "a model that draws from global generators": {
        "model": {"name": "own_models:Restless"},
        "optimizer": {"name": "sgd", "momentum": 0.9},
    },
    "a model that keeps things of its own": {
        "model": {"name": "own_models:KeepsThings"},
        "averaging": {"name": "ema"},
    },
    "points, drawn when measured": {
        "data": {"source": "own_models:Points"},
        "model": {"name": "own_models:DrawsWhenMeasured"},
        "train": {"batch_size": 10},
    },
    "frozen layers, whose features are kept": {
        "model": LENET,
        "freeze": {"depth": 2},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    },
    "frozen layers, seen anew each time": {
        "model": LENET,
        "augment": IMAGES,
        "freeze": {"depth": 1},
        "averaging": {"name": "ema"},
        "evaluate": {"train_split": False},
    },
    "smaller first, measured now and then": {
        "model": {"name": "own_models:AnySize"},
        "augment": IMAGES,
        "train": {"smaller_first": [{"epochs": 2, "side": 6}]},
        "evaluate": {"every": 2, "train_split": False, "views": "mirrored"},
    },
}


def recipe(name: str) -> dict[str, Any]:
    sections = RECIPES[name]
    train = {"epochs": 4, "batch_size": 40, **sections.get("train", {})}
    return {"data": {"source": "digits", "fraction": 0.2}, "seed": 3, **sections, "train": train}
