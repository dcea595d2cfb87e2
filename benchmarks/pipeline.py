"""How fast images reach training: augmentation alone, and LeNet-5 with it, on CIFAR-10.

    python benchmarks/pipeline.py [--rounds 3] [--data-dir FOLDER]

The peer, measured in every round beside assay, is the script most people write: a torchvision data set of PIL images,
RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor, Normalize, and a DataLoader with shuffling, at whichever of
0, 1, 2, … worker processes is best, with all cores. assay uses them by running side by side, one thread each, as its
workers do. Goals: augmentation alone at least 40 times the loader; training at least 3 times the script.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import describe
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from assay.data.batches import training_batches
from assay.data.load import load_source
from assay.data.places import use_data_folder
from assay.recipe.schema import Cifar10Data, Recipe
from assay.training.prepare import prepare_data
from assay.training.run import run_recipe

BATCH = 128
ASSAY_SECONDS = 5.0
PEER_SECONDS = 8.0
"""How long the peer is timed: its rate is steady after the workers have started."""

RECIPE = Recipe.model_validate(
    {
        "data": {"source": "cifar10", "validation": 0.1},
        "augment": {"crop_padding": 4, "horizontal_flip": 0.5},
        "model": {"name": "lenet5"},
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
        "train": {"epochs": 2, "batch_size": BATCH},
    }
)


class ImagesInMemory(Dataset[tuple[Tensor, int]]):
    """What torchvision's CIFAR10 is, without its download: uint8 arrays, made PIL images one by one."""

    def __init__(self, images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64]) -> None:
        self._images_NHWC = images_NHWC
        self._labels = labels_N.tolist()
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._images_NHWC[index])), self._labels[index]


def lenet5() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def peer_data() -> ImagesInMemory:
    examples = load_source(RECIPE.data)
    test = set(examples.test_indices.tolist()) if examples.test_indices is not None else set()
    train_N = np.array([n for n in range(len(examples.labels_N)) if n not in test])
    images_NHWC = np.ascontiguousarray(examples.inputs[train_N].transpose(0, 2, 3, 1))
    return ImagesInMemory(images_NHWC, examples.labels_N[train_N].astype(np.int64))


def rate(batches: Iterator[Any], size: Callable[[Any], int], seconds: float, *, warm_up: int = 10) -> float:
    """Images per second of an iterator of batches, after the first ones."""
    for _ in range(warm_up):
        next(batches)
    images, start = 0, time.perf_counter()
    for batch in batches:
        images += size(batch)
        if (elapsed := time.perf_counter() - start) > seconds:
            return images / elapsed
    return images / (time.perf_counter() - start)


def peer_loading(data: ImagesInMemory, workers: int) -> float:
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers)
    return rate(iter(loader), lambda batch: len(batch[1]), PEER_SECONDS)


def peer_training(data: ImagesInMemory, workers: int) -> float:
    model, loss_of = lenet5(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def steps() -> Iterator[int]:
        for x_BCHW, y_B in DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers):
            optimizer.zero_grad()
            loss = loss_of(model(x_BCHW), y_B)
            loss.backward()
            optimizer.step()
            yield len(y_B)

    return rate(steps(), int, PEER_SECONDS)


def assay_loading(seed: int) -> float:
    """Augmented, normalised batches on one thread, through what training itself reads."""
    torch.set_num_threads(1)
    data = prepare_data(RECIPE.at_seed(seed), torch.device("cpu"))
    batches = training_batches(
        data.splits["train"], RECIPE.augment, classes=10, batch_size=BATCH, epochs=1000, seed=seed
    )
    return rate(batches, lambda batch: len(batch[1]), ASSAY_SECONDS)


def assay_run(seed: int) -> float:
    """Images per second of one whole run's training: its evaluations are not part of it, as in the peer."""
    run = run_recipe(RECIPE.at_seed(seed), fingerprint=f"benchmark-{seed}")
    seconds = run.record.metrics["seconds"]
    assert seconds is not None
    return run.record.examples["train"] * RECIPE.train.epochs / seconds


def show(what: str, rates: list[float], peer: list[float]) -> None:
    ratios = [own / other for own, other in zip(rates, peer, strict=True)]
    print(
        f"{what:42}{statistics.median(rates):>10,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
        f"{statistics.median(ratios):>8.1f}× ({min(ratios):.1f} to {max(ratios):.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, default=None, help="where CIFAR-10 lies; by default $ASSAY_DATA")
    asked = parser.parse_args()
    if asked.data_dir:
        use_data_folder(asked.data_dir)
    assert isinstance(RECIPE.data, Cifar10Data)
    print(describe("torchvision", "pillow"))
    data = peer_data()
    workers = range((os.cpu_count() or 1) + 1)
    own: dict[str, list[float]] = {"one": [], "loading": [], "training": []}
    peer: dict[str, list[float]] = {"loading": [], "training": []}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(assay_run, [1000, 1001]))  # every worker has imported what it needs, and met the data
        for number in range(asked.rounds):
            seeds = [2 * number, 2 * number + 1]
            own["one"] += list(pool.map(assay_loading, seeds[:1]))
            own["loading"].append(sum(pool.map(assay_loading, seeds)))
            own["training"].append(sum(pool.map(assay_run, seeds)))
            for name, measure in (("loading", peer_loading), ("training", peer_training)):
                by_workers = {count: measure(data, count) for count in workers}
                best = max(by_workers, key=by_workers.__getitem__)
                peer[name].append(by_workers[best])
                print(f"  round {number + 1}, peer, {name}: best with {best} workers, {by_workers[best]:,.0f} images/s")
    print(f"{asked.rounds} rounds, batches of {BATCH}; images per second: median (least to most)")
    show("flip, crop and normalise: one thread", own["one"], peer["loading"])
    show("  two side by side, together", own["loading"], peer["loading"])
    show("  peer: DataLoader and transforms", peer["loading"], peer["loading"])
    show("LeNet-5: two runs side by side, together", own["training"], peer["training"])
    show("  peer: the script, all cores", peer["training"], peer["training"])


if __name__ == "__main__":
    main()
