"""What it costs to watch a training for the doctor: the time spent on watching, over that of the rest of the training.

    python benchmarks/watching.py [--rounds 3] [--data-dir FOLDER]

Whole runs of a few epochs, one after another on all cores, each timed from within: every call that watches against the
training around it, its evaluation included, and against the training steps alone. That is finer than comparing runs
with and without, whose times differ by more than the cost.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, TypeVar
from unittest.mock import patch

from hardware import describe

from assay.data.places import use_data_folder
from assay.recipe.hardware import settled
from assay.recipe.schema import Recipe
from assay.run_names import fingerprint_now
from assay.training import run
from assay.training.vitals import Watch

CALLS = ("before_step", "after_step", "after_epoch", "artefacts", "state")

SGD = {"name": "sgd", "lr": 0.01, "momentum": 0.9}
SIXTEEN_BITS = {"precision": "auto", "channels_last": True}
RUNS: dict[str, dict[str, Any]] = {
    "MLP, digits, 40 epochs": {
        "data": {"source": "digits"},
        "model": {"name": "mlp", "widths": [256, 256]},
        "optimizer": {"name": "adam", "lr": 1e-3},
        "train": {"epochs": 40, "batch_size": 64},
    },
    "MLP 1024-512, MNIST, 3 epochs": {
        "data": {"source": "mnist"},
        "model": {"name": "mlp", "widths": [1024, 512]},
        "optimizer": {"name": "adam", "lr": 1e-3},
        "train": {"epochs": 3, "batch_size": 128},
    },
    "LeNet-5, CIFAR-10, 3 epochs": {
        "data": {"source": "cifar10"},
        "model": {"name": "lenet5"},
        "optimizer": SGD,
        "train": {"epochs": 3, "batch_size": 128},
    },
    "step-by-step CNN, CIFAR-10, 1 epoch": {
        "data": {"source": "cifar10"},
        "model": {"name": "step_by_step_cnn"},
        "optimizer": SGD,
        "train": {"epochs": 1, "batch_size": 128, **SIXTEEN_BITS},
    },
    "ResNet-20, a fifth of CIFAR-10, 1 epoch": {
        "data": {"source": "cifar10", "fraction": 0.2},
        "model": {"name": "cifar_resnet", "depth": 20},
        "optimizer": SGD,
        "train": {"epochs": 1, "batch_size": 128, **SIXTEEN_BITS},
    },
}

T = TypeVar("T")


class Clock:
    """Adds up the seconds of calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[..., T]) -> Callable[..., T]:
        def timed(*arguments: Any, **options: Any) -> T:
            since = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - since

        return timed


def cost(sections: dict[str, Any]) -> tuple[float, float]:
    """Seconds of watching over those of the rest of the training, and over those of the steps alone."""
    recipe = settled(Recipe.model_validate(sections))
    watching, training = Clock(), Clock()
    patches = [patch.object(Watch, name, watching.around(getattr(Watch, name))) for name in CALLS]
    patches.append(patch.object(run, "fit_in_epochs", training.around(run.fit_in_epochs)))
    for each in patches:
        each.start()
    try:
        done = run.run_recipe(recipe, fingerprint=fingerprint_now(recipe))
    finally:
        for each in patches:
            each.stop()
    steps = sum(epoch.seconds for epoch in done.history)
    return watching.seconds / (training.seconds - watching.seconds), watching.seconds / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, default=None, help="where MNIST and CIFAR-10 lie; else $ASSAY_DATA")
    asked = parser.parse_args()
    if asked.data_dir:
        use_data_folder(asked.data_dir)
    print(describe("torchvision"), flush=True)
    print(f"{asked.rounds} rounds; cost of watching: median (least to most)")
    for name, sections in RUNS.items():
        shares = [cost(sections) for _ in range(asked.rounds)]
        texts = [f"{median(of):6.2%} ({min(of):.2%} to {max(of):.2%})" for of in zip(*shares, strict=True)]
        print(f"{name:42} of the training {texts[0]}, of its steps {texts[1]}", flush=True)


if __name__ == "__main__":
    main()
