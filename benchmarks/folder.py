"""How fast a folder of images is read: the first epoch, which decodes, the second, and torchvision's every epoch.

    python benchmarks/folder.py [--rounds 3] [--data-dir FOLDER] [--folder FOLDER]

All 4,485 images of 15-Scene at 64×64. First epoch: finding the files, hashing, decoding, resizing, keeping and reading
them, with nothing in the cache. Second epoch: what training takes from the cache, in random order in batches of 128.
The peer, measured in every round beside assay, is ``ImageFolder`` with Resize(64), CenterCrop(64) and PILToTensor, and
a DataLoader with shuffling at whichever of 0, 1, 2, … worker processes is best. Goal: the second epoch at least 20
times as fast as the first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from hardware import describe
from torch.utils.data import ConcatDataset, DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from assay.data.load import source_of
from assay.data.on_device import RawExamples
from assay.data.places import CACHE_VARIABLE, find, use_data_folder
from assay.data.source import checked
from assay.recipe.schema import FolderData

DATA = FolderData(source="folder", root="scene15-160", size=(64, 64))
BATCH = 128
GOAL = 20.0
EPOCHS = 20
"""How often the second epoch is repeated, as one takes a few hundredths of a second."""


def epoch(raw: RawExamples, count: int, seed: int) -> Iterator[int]:
    order_N = np.random.default_rng(seed).permutation(count)
    for start in range(0, count, BATCH):
        yield len(raw.take(order_N[start : start + BATCH]))


def own_rates(place: Path) -> tuple[float, float, float]:
    """Images per second of the first epoch, of a second one, and seconds to find everything in the cache again."""
    with tempfile.TemporaryDirectory(dir=place) as cache:
        os.environ[CACHE_VARIABLE] = cache
        start = time.perf_counter()
        inputs = checked(source_of(DATA).load(), "folder").inputs
        raw = RawExamples(inputs, torch.device("cpu"))
        assert sum(epoch(raw, len(inputs), 0)) == len(inputs)
        first = len(inputs) / (time.perf_counter() - start)
        start = time.perf_counter()
        raw = RawExamples(checked(source_of(DATA).load(), "folder").inputs, torch.device("cpu"))
        again = time.perf_counter() - start
        start = time.perf_counter()
        images = sum(sum(epoch(raw, len(inputs), seed)) for seed in range(1, EPOCHS + 1))
        return first, images / (time.perf_counter() - start), again


def peer_rate(workers: int) -> float:
    """Images per second of one epoch, the start of its workers not counted."""
    change = transforms.Compose([transforms.Resize(64), transforms.CenterCrop(64), transforms.PILToTensor()])
    root = find(DATA.root, "Data source folder: root")
    data = ConcatDataset([ImageFolder(str(root / split), change) for split in ("train", "test")])
    batches = iter(DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers))
    next(batches)
    start = time.perf_counter()
    images = sum(len(labels_B) for _, labels_B in batches)
    return images / (time.perf_counter() - start)


def show(what: str, rates: list[float], first: list[float]) -> None:
    ratios = [own / other for own, other in zip(rates, first, strict=True)]
    print(
        f"{what:44}{statistics.median(rates):>10,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
        f"{statistics.median(ratios):>8.1f}× ({min(ratios):.1f} to {max(ratios):.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, default=None, help="where scene15-160 lies; by default $ASSAY_DATA")
    parser.add_argument(
        "--folder", type=Path, default=None, help="on the disk to measure; by default the temporary one"
    )
    asked = parser.parse_args()
    if asked.data_dir:
        use_data_folder(asked.data_dir)
    print(describe("torchvision", "pillow"))
    first: list[float] = []
    second: list[float] = []
    again: list[float] = []
    peer: list[float] = []
    for number in range(asked.rounds):
        rates = own_rates(asked.folder or Path(tempfile.gettempdir()))
        for kept, rate in zip((first, second, again), rates, strict=True):
            kept.append(rate)
        by_workers = {count: peer_rate(count) for count in range((os.cpu_count() or 1) + 1)}
        best = max(by_workers, key=by_workers.__getitem__)
        peer.append(by_workers[best])
        print(f"  round {number + 1}, peer: best with {best} workers, {by_workers[best]:,.0f} images/s")
    print(f"{asked.rounds} rounds, batches of {BATCH}; goal: second epoch at least {GOAL:g}× the first")
    print("images per second: median (least to most), ratio to the first epoch")
    show("first epoch: decoded and kept", first, first)
    show("second epoch: from the cache", second, first)
    show("  peer: ImageFolder and DataLoader", peer, first)
    print(f"finding and opening the cache again takes {statistics.median(again) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
