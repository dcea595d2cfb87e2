"""The doctor before training, on CIFAR-10: ten planted mistakes must be named, and sound recipes left in peace.

    python benchmarks/doctor_bank/before.py

Prints for each recipe what was found, and how long it took. Needs CIFAR-10 in $ASSAY_DATA.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch

from assay.data.load import load_source
from assay.data.source import Examples
from assay.diagnosis.recipe import examine
from assay.recipe.schema import Recipe

CIFAR10 = {"source": "cifar10"}
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9}
ADAM = {"name": "adam", "lr": 1e-3}
LENET5 = {"name": "lenet5"}


class OneClassMissing:
    """CIFAR-10 without training examples of ships."""

    def load(self) -> Examples:
        found = load_source(Recipe.model_validate({"data": CIFAR10, "model": LENET5}).data)
        test_N = np.asarray(found.test_indices)
        rest_N = np.setdiff1d(np.arange(len(found.labels_N)), test_N)
        val_N, train_N = rest_N[:5000], rest_N[5000:]
        train_N = train_N[found.labels_N[train_N] != 8]
        kept_N = np.concatenate([train_N, val_N, test_N])
        ends = np.cumsum([len(train_N), len(val_N), len(test_N)])
        return Examples(
            inputs=found.inputs[kept_N],
            labels_N=found.labels_N[kept_N],
            classes=found.classes,
            val_indices=np.arange(ends[0], ends[1]),
            test_indices=np.arange(ends[1], ends[2]),
        )

    def fingerprint(self) -> str:
        return "cifar10 without ships"


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"data": CIFAR10, "model": LENET5, "optimizer": SGD, **sections})


def spoilt(fault: str) -> Recipe:
    options = {"data": CIFAR10, "fault": fault, "examples": 10_000, "test": 2000}
    return recipe(data={"source": "planted:Spoilt", "options": options})


def own(name: str) -> Recipe:
    return recipe(model={"name": f"planted:{name}", "options": {"kind": "convolutions"}})


PLANTED: dict[str, tuple[Recipe, str]] = {
    "labels shuffled": (spoilt("labels shuffled"), "labels_at_random"),
    "normalisation forgotten at test": (spoilt("test not normalised"), "split_shift"),
    "softmax twice": (own("SoftmaxTwice"), "softmax_twice"),
    "frozen everything": (recipe(freeze={"layers": ["*"]}), "frozen_everything"),
    "rate × 100, SGD": (recipe(optimizer={**SGD, "lr": 5.0}), "learning_rate"),
    "rate × 100, Adam": (recipe(optimizer={**ADAM, "lr": 0.1}), "learning_rate"),
    "rate ÷ 1000, SGD": (recipe(optimizer={**SGD, "lr": 5e-5}), "learning_rate"),
    "rate ÷ 1000, Adam": (recipe(optimizer={**ADAM, "lr": 1e-6}), "learning_rate"),
    "last layer ReLU": (own("LastRelu"), "last_relu"),
    "validation images in training": (spoilt("validation in training"), "split_leak"),
    "all-zero initialisation": (own("AllZero"), "equal_units"),
    "one class missing in training": (recipe(data={"source": "before:OneClassMissing"}), "class_missing"),
}

SOUND: dict[str, Recipe] = {
    "LeNet-5, SGD": recipe(),
    "LeNet-5, SGD, one cycle": recipe(schedule={"name": "one_cycle"}),
    "LeNet-5, Adam": recipe(optimizer=ADAM),
    "LeNet-5, AdamW": recipe(optimizer={"name": "adamw", "lr": 1e-3}),
    "LeNet-5, RMSProp": recipe(optimizer={"name": "rmsprop", "lr": 5e-4}),
    "LeNet-5, Muon": recipe(optimizer={"name": "muon", "lr": 0.02, "sgd_lr": 0.05}),
    "LeNet-5, label smoothing": recipe(loss={"label_smoothing": 0.1}),
    "LeNet-5, crops and flips": recipe(augment={"crop_padding": 4, "horizontal_flip": 0.5}),
    "MLP, SGD": recipe(model={"name": "mlp", "widths": [256, 128]}, optimizer={**SGD, "lr": 0.01}),
    "MLP with batch norm, Adam": recipe(model={"name": "mlp", "widths": [256, 128], "norm": "batch"}, optimizer=ADAM),
    "open-ended CNN, Adam": recipe(model={"name": "open_ended_cnn"}, optimizer=ADAM),
    "step-by-step CNN, SGD": recipe(model={"name": "step_by_step_cnn"}, optimizer={**SGD, "lr": 0.02}),
    "channel CNN, Adam": recipe(model={"name": "channel_cnn", "channels": 32, "widths": [256]}, optimizer=ADAM),
    "SimpleNet, Adam": recipe(model={"name": "simplenet"}, optimizer=ADAM),
    "ResNet-8, SGD": recipe(model={"name": "cifar_resnet", "depth": 8}, optimizer={**SGD, "lr": 0.1}),
    "ResNet-20, SGD, one cycle": recipe(
        model={"name": "cifar_resnet", "depth": 20}, optimizer={**SGD, "lr": 0.1}, schedule={"name": "one_cycle"}
    ),
    "fast network, Muon": recipe(
        model={"name": "fast_cifar", "widths": [16, 32, 32]}, optimizer={"name": "muon", "lr": 0.02, "sgd_lr": 0.05}
    ),
}


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    named, peaceful, seconds = 0, 0, []
    for name, (planted, rule) in PLANTED.items():
        since = time.perf_counter()
        found = examine(planted, device)
        seconds.append(time.perf_counter() - since)
        named += rule in {finding.rule for finding in found}
        told = ", ".join(f"{finding.rule} ({finding.severity})" for finding in found) or "nothing"
        print(f"planted  {name:34} {seconds[-1]:5.1f} s  wanted {rule:18} found {told}", flush=True)
    for name, sound in SOUND.items():
        since = time.perf_counter()
        found = examine(sound, device)
        seconds.append(time.perf_counter() - since)
        peaceful += all(finding.severity != "severe" for finding in found)
        told = ", ".join(f"{finding.rule} ({finding.severity})" for finding in found) or "nothing"
        print(f"sound    {name:34} {seconds[-1]:5.1f} s  {told}", flush=True)
    print(
        f"{named} of {len(PLANTED)} planted mistakes named; {peaceful} of {len(SOUND)} sound recipes without a severe"
    )
    print(f"finding; {np.median(seconds):.1f} s each (median; {min(seconds):.1f} to {max(seconds):.1f} s)")


if __name__ == "__main__":
    main()
