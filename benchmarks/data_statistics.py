"""What statistics of image files cost in time and memory.

    python benchmarks/data_statistics.py [--rounds 3] [--images 60000] [--data-dir FOLDER]

Makes folders of PNGs in a temporary place: CIFAR-10's images (random pixels where it is not at hand), and 10,000 and
100,000 synthetic images. Every measurement is a fresh process; its memory is the peak above what it had after its
imports. "of it, list" is what listing the folder alone takes. The peer, in every round beside assay, is the script most
people write: torchvision's ImageFolder with ToTensor and a DataLoader at its best number of workers, once through the
images for the mean and once more for the deviation; its workers' memory is not counted. Also: fitting
``normalize: channel`` to 45,000 of CIFAR-10's images in memory on one thread, against two passes in NumPy.

Goals: under 400 MB for the 60,000 PNGs; the list aside, no more for 100,000 images than for 10,000; 0.3 s for the fit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from hardware import describe
from numpy.typing import NDArray
from PIL import Image

WORKERS = (0, 1, 2)
CLASSES = 10
MEGABYTE = 1e6


# --- in a fresh process -----------------------------------------------------------------------------------------------


def peak_memory() -> int:
    """Bytes this process ever held at once, from its start on."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return int(getattr(psutil.Process().memory_info(), "peak_wset", psutil.Process().memory_info().rss))


def ours(folder: str) -> dict[str, Any]:
    from assay.data.statistics import statistics_of
    from assay.recipe.schema import FolderData

    before, start = peak_memory(), time.perf_counter()
    found = statistics_of(FolderData(source="folder", root=folder))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "bytes": peak_memory() - before, "mean": found.mean, "std": found.std}


def listing(folder: str) -> dict[str, Any]:
    import assay.data.statistics  # noqa: F401 - as `ours` has it
    from assay.data.sources.folder import FolderSource
    from assay.recipe.schema import FolderData

    before, start = peak_memory(), time.perf_counter()
    files = FolderSource(FolderData(source="folder", root=folder)).files()
    assert len(files)
    return {"seconds": time.perf_counter() - start, "bytes": peak_memory() - before}


def peer(folder: str, workers: int) -> dict[str, Any]:
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import ToTensor

    before, start = peak_memory(), time.perf_counter()
    loader = DataLoader(ImageFolder(folder, ToTensor()), batch_size=128, num_workers=workers)
    total, squares, pixels = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0
    for x_BCHW, _ in loader:
        total += x_BCHW.double().sum(dim=(0, 2, 3))
        pixels += x_BCHW.numel() // 3
    mean_C = total / pixels
    for x_BCHW, _ in loader:
        squares += (x_BCHW.double() - mean_C.view(-1, 1, 1)).square().sum(dim=(0, 2, 3))
    seconds = time.perf_counter() - start
    std_C = (squares / pixels).sqrt()
    return {"seconds": seconds, "bytes": peak_memory() - before, "mean": mean_C.tolist(), "std": std_C.tolist()}


def fitted(images_file: str) -> dict[str, Any]:
    from assay.data.normalize import fit

    images_NCHW: NDArray[np.uint8] = np.load(images_file)
    train_N = np.sort(np.random.default_rng(0).permutation(50_000)[:45_000])
    before, start = peak_memory(), time.perf_counter()
    found = fit(images_NCHW, train_N, "channel", 1e-3)
    return {"seconds": time.perf_counter() - start, "bytes": peak_memory() - before, "mean": found.facts["mean"]}


def fitted_in_two_passes(images_file: str) -> dict[str, Any]:
    images_NCHW: NDArray[np.uint8] = np.load(images_file)
    train_N = np.sort(np.random.default_rng(0).permutation(50_000)[:45_000])
    before, start = peak_memory(), time.perf_counter()
    parts = [train_N[first : first + 1000] for first in range(0, len(train_N), 1000)]
    pixels = len(train_N) * 1024
    mean_C = sum((images_NCHW[part] / 255).sum(axis=(0, 2, 3)) for part in parts) / pixels
    squares_C = sum(np.square(images_NCHW[part] / 255 - mean_C[:, None, None]).sum(axis=(0, 2, 3)) for part in parts)
    assert np.sqrt(squares_C / pixels).all()
    return {"seconds": time.perf_counter() - start, "bytes": peak_memory() - before, "mean": mean_C.tolist()}


def measured(what: str, *arguments: str) -> dict[str, Any]:
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} if what.startswith("fitted") else {}
    command = [sys.executable, __file__, "--measure", what, *arguments]
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- folders of images ------------------------------------------------------------------------------------------------


def cifar_images(count: int, data_dir: Path | None) -> tuple[NDArray[np.uint8], str]:
    """Images (N, C, H, W) of CIFAR-10, or random pixels, and which of the two they are."""
    from assay.data.load import load_source
    from assay.data.places import use_data_folder
    from assay.errors import DataError
    from assay.recipe.schema import Cifar10Data

    if data_dir is not None:
        use_data_folder(data_dir)
    try:
        return load_source(Cifar10Data(source="cifar10")).inputs[:count], "CIFAR-10"
    except DataError:
        return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32)).astype(np.uint8), "random pixels"


def write_folder(root: Path, images_NCHW: NDArray[np.uint8], count: int) -> Path:
    """So many PNGs in folders of classes, the images given in turn."""
    for label in range(CLASSES):
        (root / f"class{label}").mkdir(parents=True)

    def write(number: int) -> None:
        image = Image.fromarray(images_NCHW[number % len(images_NCHW)].transpose(1, 2, 0))
        image.save(root / f"class{number % CLASSES}" / f"{number:06}.png", compress_level=1)

    with ThreadPoolExecutor() as threads:
        for _ in threads.map(write, range(count), chunksize=256):
            pass
    return root


def row(what: str, of: list[dict[str, Any]], images: int, peers: list[dict[str, Any]] | None = None) -> None:
    seconds = statistics.median(one["seconds"] for one in of)
    memory = max(one["bytes"] for one in of) / MEGABYTE
    ratio = ""
    if peers:
        ratio = f"{statistics.median(one['seconds'] for one in peers) / seconds:>8.1f}×"
    print(f"{what:44}{images:>8,}{seconds:>9.2f} s{images / seconds:>10,.0f}/s{memory:>8.0f} MB{ratio}")


def agree(left: dict[str, Any], right: dict[str, Any], tolerance: float) -> None:
    for name in ("mean", "std"):
        if name in left and name in right:
            np.testing.assert_allclose(left[name], right[name], rtol=tolerance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        what, *arguments = asked.measure
        if what == "peer":
            print(json.dumps(peer(arguments[0], int(arguments[1]))))
        else:
            act = {"ours": ours, "listing": listing, "fitted": fitted, "two passes": fitted_in_two_passes}[what]
            print(json.dumps(act(arguments[0])))
        return
    print(describe("torchvision", "pillow"))
    with tempfile.TemporaryDirectory() as place:
        compare(Path(place), asked.rounds, asked.images, asked.data_dir)


def compare(place: Path, rounds: int, count: int, data_dir: Path | None) -> None:
    images_NCHW, kind = cifar_images(60_000, data_dir)
    np.save(place / "images.npy", images_NCHW)
    folder = str(write_folder(place / "cifar", images_NCHW[:count], count))
    best = min(WORKERS, key=lambda workers: measured("peer", folder, str(workers))["seconds"])
    of_ours, of_lists, of_peer, fits, two_passes = [], [], [], [], []
    for _ in range(rounds):
        of_ours.append(measured("ours", folder))
        of_lists.append(measured("listing", folder))
        of_peer.append(measured("peer", folder, str(best)))
        fits.append(measured("fitted", str(place / "images.npy")))
        two_passes.append(measured("two passes", str(place / "images.npy")))
    agree(of_ours[0], of_peer[0], 1e-6)  # the peer's pixels are float32
    agree(fits[0], two_passes[0], 1e-12)
    print(f"{rounds} rounds, medians; memory is the largest peak above the imports")
    print(f"{'':44}{'images':>8}{'time':>11}{'rate':>12}{'memory':>11}{'ratio':>9}")
    row(f"folder of PNGs, {kind}, 32×32", of_ours, count, of_peer)
    row("  of it, list", of_lists, count)
    row(f"  peer: torchvision, 2 passes, {best} workers", of_peer, count)
    for images in (10_000, 100_000):
        synthetic = str(write_folder(place / f"synthetic{images}", images_NCHW[:1000], images))
        row("synthetic folder", [measured("ours", synthetic) for _ in range(rounds)], images)
        row("  of it, list", [measured("listing", synthetic) for _ in range(rounds)], images)
    row("fit normalize: channel, in memory, 1 thread", fits, 45_000, two_passes)
    row("  peer: two passes in NumPy", two_passes, 45_000)


if __name__ == "__main__":
    main()
