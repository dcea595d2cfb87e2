"""How fast four networks train on CIFAR-10: assay against the same networks in an ordinary torch + torchvision script.

    python benchmarks/training.py [--rounds 3] [--data-dir FOLDER]

The script is that of `pipeline.py`: PIL images, torchvision's transforms, a DataLoader at whichever of 0, 1, 2, …
worker processes is best, float32, all cores. assay augments alike (crop with padding 4, mirroring) and runs two
trainings side by side, one thread each; the fast network, which is meant to be trained alone, has both threads. A
second row of each network adds bfloat16 and channels-last. Both sides are timed after a warm-up, without evaluation,
in the same round.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from hardware import describe
from pipeline import ImagesInMemory, lenet5, peer_data, rate, show
from torch import nn
from torch.utils.data import DataLoader

from assay.data.batches import training_batches
from assay.data.places import use_data_folder
from assay.models.build import build_model
from assay.models.fast_cifar import FastCifar
from assay.recipe.hardware import settled
from assay.recipe.schema import DefaultInit, FastCifarModel, Recipe
from assay.training.engines.choose import build_engine
from assay.training.isolation import isolated
from assay.training.memory import keep_freed_memory
from assay.training.prepare import prepare_data

SECONDS = 8.0

SIXTEEN_BITS = {"precision": "auto", "channels_last": True}
MODELS: dict[str, tuple[dict[str, Any], int, int]] = {
    "LeNet-5": ({"name": "lenet5"}, 128, 1),
    "step-by-step CNN": ({"name": "step_by_step_cnn"}, 128, 1),
    "ResNet-20": ({"name": "cifar_resnet", "depth": 20}, 128, 1),
    "fast network": ({"name": "fast_cifar"}, 1000, 2),
}
"""Section, batch size, and threads of each training on assay's side."""


def recipe_of(name: str, *, sixteen_bits: bool) -> Recipe:
    model, batch_size, threads = MODELS[name]
    train = {"batch_size": batch_size, "threads": threads, "epochs": 1000, **(SIXTEEN_BITS if sixteen_bits else {})}
    return settled(
        Recipe.model_validate(
            {
                "data": {"source": "cifar10", "validation": 0.1},
                "augment": {"crop_padding": 4, "horizontal_flip": 0.5},
                "model": model,
                "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
                "train": train,
            }
        )
    )


def assay_training(recipe: Recipe) -> float:
    """Images per second of assay's own steps."""
    keep_freed_memory()
    device = torch.device("cpu")
    with isolated(threads=recipe.train.threads, seed=recipe.seed, device=device):
        data = prepare_data(recipe, device)
        engine = build_engine(recipe, data, device)
        batches = training_batches(
            data.splits["train"],
            recipe.augment,
            classes=10,
            batch_size=recipe.train.batch_size,
            epochs=recipe.train.epochs,
            seed=recipe.seed,
        )
        return rate(engine.steps(batches), lambda record: record.examples, SECONDS, warm_up=3)


def plain(name: str) -> nn.Module:
    """The network of torch's own layers alone."""
    if name == "LeNet-5":
        return lenet5()
    if name == "step-by-step CNN":
        widths = [3, 32, 64, 64]
        blocks = [
            layer
            for before, after in itertools.pairwise(widths)
            for layer in (nn.Conv2d(before, after, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        ]
        return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(1024, 1000), nn.ReLU(), nn.Linear(1000, 10))
    if name == "ResNet-20":
        section = recipe_of(name, sixteen_bits=False).model
        return build_model(section, DefaultInit(name="default"), seed=0, input_shape=(3, 32, 32), classes=10)
    network = FastCifar(FastCifarModel(name="fast_cifar"), input_shape=(3, 32, 32), classes=10)
    network.whiten.weight.requires_grad = False
    for group in (network.group1, network.group2, network.group3):
        group.pool = nn.MaxPool2d(2)
    return network


def peer_training(name: str, data: ImagesInMemory, workers: int) -> float:
    model, loss_of = plain(name), nn.CrossEntropyLoss()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.9)

    def steps() -> Iterator[int]:
        while True:
            for x_BCHW, y_B in DataLoader(data, batch_size=MODELS[name][1], shuffle=True, num_workers=workers):
                optimizer.zero_grad()
                loss = loss_of(model(x_BCHW), y_B)
                loss.backward()
                optimizer.step()
                yield len(y_B)

    return rate(steps(), int, SECONDS, warm_up=3)


def best_of(measure: Callable[[int], float]) -> float:
    return max(measure(workers) for workers in range((os.cpu_count() or 1) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, default=None, help="where CIFAR-10 lies; by default $ASSAY_DATA")
    asked = parser.parse_args()
    if asked.data_dir:
        use_data_folder(asked.data_dir)
    print(describe("torchvision", "pillow"), flush=True)
    data = peer_data()
    rates: dict[str, list[float]] = {}
    peers: dict[str, list[float]] = {name: [] for name in MODELS}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for _ in range(asked.rounds):
            for name, (_, _, threads) in MODELS.items():
                for sixteen_bits in (False, True):
                    recipe = recipe_of(name, sixteen_bits=sixteen_bits)
                    side_by_side = [recipe.at_seed(seed) for seed in range(2 // threads)]
                    row = f"{name}{', ' + recipe.train.precision + ', channels-last' if sixteen_bits else ''}"
                    rates.setdefault(row, []).append(sum(pool.map(assay_training, side_by_side)))
                peers[name].append(best_of(lambda workers, name=name: peer_training(name, data, workers)))
    print(f"{asked.rounds} rounds; images per second: median (least to most), and over the script's")
    for row, measured in rates.items():
        show(row, measured, peers[row.partition(",")[0]])
    for name, measured in peers.items():
        show(f"  peer: {name}", measured, measured)


if __name__ == "__main__":
    main()
