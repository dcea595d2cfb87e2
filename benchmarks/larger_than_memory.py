"""Training on more images than memory may hold.

    python benchmarks/larger_than_memory.py [--images 100000] [--limit-gb 0.5]

Makes a memory-mapped array of 64×64 colour images (12 kB each, by default 1.2 GB, random), and trains LeNet-5 on it for
one epoch, flipped and cropped, in a process that may take no more than so many GB of memory of its own beyond what
importing takes. What the
operating system keeps of the file in memory is not the process's own: it is given up when others need it. Beside it
the same training from an array that is read whole, which such a limit does not allow.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from hardware import describe

BLOCK = 10_000


def make(path: Path, images: int) -> None:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(images, 3, 64, 64))
    generator = np.random.default_rng(0)
    for start in range(0, images, BLOCK):
        array[start : start + BLOCK] = generator.integers(0, 256, array[start : start + BLOCK].shape, dtype=np.uint8)
    array.flush()


def train(path: Path, *, limit: int, mapped: bool) -> None:
    """Runs in a process of its own, which ends with an error if it needs more memory than it may have."""
    from assay.data.source import Examples
    from assay.recipe.schema import Recipe
    from assay.training import prepare
    from assay.training.run import run_recipe

    recipe = Recipe.model_validate(
        {
            "data": {"source": "mnist"},  # what it would load is replaced
            "augment": {"crop_padding": 4, "horizontal_flip": 0.5},
            "model": {"name": "lenet5"},
            "train": {"epochs": 1, "batch_size": 128},
        }
    )
    limit += in_kib("VmData") * 1024  # what importing the framework takes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    inputs = np.load(path, mmap_mode="r" if mapped else None)
    labels_N = np.arange(len(inputs)) % 10
    examples = Examples(inputs=inputs, labels_N=labels_N, classes=tuple("0123456789"))
    prepare.load_source = lambda data: examples
    run = run_recipe(recipe, fingerprint="benchmark")
    seconds = run.record.metrics["seconds"] or 1.0
    own = in_kib("RssAnon") / 2**20
    print(f"trained: {run.record.examples['train'] / seconds:,.0f} images/s, {own:.2f} GB of its own at the end")


def in_kib(what: str) -> int:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[what].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--limit-gb", type=float, default=0.5)
    parser.add_argument("--train", choices=["mapped", "whole"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    limit = int(asked.limit_gb * 2**30)
    if asked.train:
        train(asked.file, limit=limit, mapped=asked.train == "mapped")
        return
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images.npy"
        make(file, asked.images)
        print(f"{asked.images:,} images, {file.stat().st_size / 2**30:.2f} GB; at most {asked.limit_gb:g} GB of memory")
        for how in ("mapped", "whole"):
            words = [sys.executable, __file__, "--train", how, "--file", str(file), "--limit-gb", str(asked.limit_gb)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            last = (done.stdout or done.stderr).strip().splitlines()[-1]
            print(f"{how:8} {last if done.returncode == 0 else 'fails: ' + last}")


if __name__ == "__main__":
    main()
