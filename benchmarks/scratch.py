"""How fast the layers by hand are: as loops, as assay runs them, and against torch, in one table.

    python benchmarks/scratch.py [--rounds 7] [--threads 2] [--data-dir FOLDER] [--only convolution,norm,lenet]

float32. Forward, and forward with backward (gradients of images, weights and biases), for convolutions and for 2×2
max-pooling of what they give. "Loops" is what is usually taught: four nested loops (images, filters, rows, columns)
around one NumPy product; it is timed once, on as many images as take some seconds, and scaled to the batch (a column
says how many). In each round assay and torch take turns, and each counts its fastest of ten calls: whatever else the
machine does can only add to it. Goals: the first convolution, forward, at least 1,000 times faster than loops; assay's
time within twice torch's, as geometric mean over all.

Then batch norm's simplified backward pass against the direct one, and LeNet-5 on CIFAR-10, `train.engine: numpy`
against `torch`, one thread each, as runs take it: at least a third of torch's images per second.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import describe
from threadpoolctl import threadpool_info, threadpool_limits
from torch.nn import functional

from assay.data.places import use_data_folder
from assay.recipe.schema import Recipe
from assay.scratch.batch_norm import SpatialBatchNorm
from assay.scratch.convolution import Convolution
from assay.scratch.convolution_loops import ConvolutionByLoops
from assay.scratch.in_parallel import threads
from assay.scratch.layer import Array
from assay.scratch.pooling import MaxPool
from assay.scratch.pooling_loops import MaxPoolByLoops
from assay.training.run import run_recipe

CONVOLUTIONS = (
    (100, 3, 31, 25, 3, 2, 1),
    (128, 3, 32, 6, 5, 1, 0),
    (64, 3, 32, 64, 5, 1, 2),
    (64, 64, 16, 64, 3, 1, 1),
    (32, 128, 8, 256, 3, 1, 1),
)
"""Images, channels, side, filters, side of the kernel, stride, padding."""

LOOPED_PRODUCTS = 700_000
"""At most so many turns of the innermost loop are timed, and those of one image at least."""

CALLS = 10


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fastest_of_each(calls: Iterable[Callable[[], object]]) -> list[float]:
    """The fastest of several calls in a row, of each: threads that another call left spinning have stopped by then."""
    return [min(seconds(call) for _ in range(CALLS)) for call in calls]


def loops(layer: Any, arguments: tuple[Array, ...], dy: Array, places_per_image: int) -> tuple[float, float, int]:
    """Seconds of the whole batch by loops, forward and with backward, and how many of its images were timed."""
    images = len(arguments[0])
    timed = max(1, min(images, LOOPED_PRODUCTS // places_per_image))
    part = (arguments[0][:timed], *arguments[1:])
    start = time.perf_counter()
    _, cache = layer.forward(*part)
    forward = time.perf_counter() - start
    layer.backward(dy[:timed], cache)
    both = time.perf_counter() - start
    return forward * images / timed, both * images / timed, timed


class Table:
    """Prints rows of times and ratios, and remembers the ratios to torch."""

    def __init__(self) -> None:
        self.to_torch: list[float] = []
        print(
            f"{'':40}{'loops':>10}{'timed':>7}{'assay':>9}{'torch':>9}   "
            f"{'loops/assay':>11}  {'assay/torch (least to most)':>28}"
        )

    def row(self, name: str, looped: float, timed: int, own: list[float], peer: list[float]) -> None:
        ratios = [mine / theirs for mine, theirs in zip(own, peer, strict=True)]
        self.to_torch.append(statistics.median(ratios))
        times = f"{1e3 * statistics.median(own):>9.2f}{1e3 * statistics.median(peer):>9.2f}"
        print(
            f"{name:40}{1e3 * looped:>10,.0f}{timed:>7}{times}   {looped / statistics.median(own):>10,.0f}×  "
            f"{statistics.median(ratios):>11.2f}× ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def convolutions(rounds: int) -> None:
    generator = np.random.default_rng(0)
    table = Table()
    for images, channels, side, filters, kernel, stride, padding in CONVOLUTIONS:
        shape = f"({images},{channels},{side},{filters},{kernel},{stride},{padding})"
        x_BCHW = generator.standard_normal((images, channels, side, side), dtype=np.float32)
        weight_FCkk = generator.standard_normal((filters, channels, kernel, kernel), dtype=np.float32)
        bias_F = generator.standard_normal(filters, dtype=np.float32)
        settings = {"stride": (stride, stride), "padding": (padding, padding)}
        measure(
            table,
            f"convolution {shape}",
            Convolution(**settings),
            ConvolutionByLoops(**settings),
            (x_BCHW, weight_FCkk, bias_F),
            lambda x, w, b, stride=stride, padding=padding: functional.conv2d(x, w, b, stride=stride, padding=padding),
            rounds,
        )
        y_BFHW, _ = Convolution(**settings).forward(x_BCHW, weight_FCkk, bias_F)
        pooled = f"  its pooling {y_BFHW.shape}".replace(" (", " (").replace(", ", ",")
        measure(table, pooled, MaxPool(), MaxPoolByLoops(), (y_BFHW,), lambda x: functional.max_pool2d(x, 2), rounds)
    geometric = math.exp(statistics.fmean(map(math.log, table.to_torch)))
    of_convolutions = [ratio for at, ratio in enumerate(table.to_torch) if at % 4 < 2]
    alone = math.exp(statistics.fmean(map(math.log, of_convolutions)))
    print(f"assay's time over torch's, geometric mean: all {geometric:.2f}×, convolutions alone {alone:.2f}×")


def measure(
    table: Table,
    name: str,
    layer: Any,
    by_loops: Any,
    arguments: tuple[Array, ...],
    in_torch: Callable[..., torch.Tensor],
    rounds: int,
) -> None:
    """Two rows: forward, and forward with backward."""
    y, _ = layer.forward(*arguments)
    dy = np.random.default_rng(1).standard_normal(y.shape, dtype=np.float32)
    tensors = [torch.from_numpy(argument).requires_grad_() for argument in arguments]
    looped_forward, looped_both, timed = loops(by_loops, arguments, dy, math.prod(y.shape[1:]))

    def forward() -> object:
        return layer.forward(*arguments)

    def both() -> object:
        _, cache = layer.forward(*arguments)
        return layer.backward(dy, cache)

    def torch_forward() -> object:
        with torch.no_grad():
            return in_torch(*tensors)

    def torch_both() -> object:
        return torch.autograd.grad(in_torch(*tensors), tensors, torch.from_numpy(dy))

    taken = [fastest_of_each([forward, torch_forward, both, torch_both]) for _ in range(rounds)]
    own_forward, peer_forward, own_both, peer_both = (list(column) for column in zip(*taken, strict=True))
    table.row(name, looped_forward, timed, own_forward, peer_forward)
    table.row("    with backward", looped_both, timed, own_both, peer_both)


def norms(rounds: int) -> None:
    generator = np.random.default_rng(0)
    for shape in ((128, 6, 28, 28), (64, 64, 16, 16)):
        x_BCHW = generator.standard_normal(shape, dtype=np.float32)
        dy_BCHW = generator.standard_normal(shape, dtype=np.float32)
        gain_C, bias_C = (generator.standard_normal(shape[1], dtype=np.float32) for _ in range(2))
        layer = SpatialBatchNorm()
        _, cache = layer.forward(x_BCHW, gain_C, bias_C)
        calls = [lambda: layer.backward_by_graph(dy_BCHW, cache), lambda: layer.backward(dy_BCHW, cache)]  # noqa: B023
        taken = [fastest_of_each(calls) for _ in range(rounds)]
        ratios = [direct / simplified for direct, simplified in taken]
        direct, simplified = (1e3 * statistics.median(column) for column in zip(*taken, strict=True))
        print(
            f"batch norm backward {shape}: direct {direct:.2f} ms, simplified {simplified:.2f} ms: "
            f"{statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def lenet(rounds: int) -> None:
    def images_per_second(engine: str, seed: int) -> float:
        recipe = Recipe.model_validate(
            {
                "data": {"source": "cifar10", "validation": 0.1},
                "model": {"name": "lenet5"},
                "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
                "train": {"epochs": 1, "batch_size": 128, "engine": engine},
                "seed": seed,
            }
        )
        run = run_recipe(recipe, fingerprint="benchmark")
        return run.record.examples["train"] / run.history[0].seconds

    images_per_second("torch", 1000)  # imports what only a first run does
    taken = [(images_per_second("numpy", seed), images_per_second("torch", seed)) for seed in range(rounds)]
    ratios = [own / peer for own, peer in taken]
    own, peer = (statistics.median(column) for column in zip(*taken, strict=True))
    print(
        f"LeNet-5 on CIFAR-10, one thread: engine numpy {own:,.0f} images/s, engine torch {peer:,.0f}: "
        f"{statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="of the tables of layers, for assay and torch alike")
    parser.add_argument("--data-dir", type=Path, default=None, help="where CIFAR-10 lies; by default $ASSAY_DATA")
    parser.add_argument("--only", default="convolution,norm,lenet", help="parts to measure, comma-separated")
    asked = parser.parse_args()
    if asked.data_dir:
        use_data_folder(asked.data_dir)
    only = asked.only.split(",")
    if asked.rounds < 1 or not {*only} <= {"convolution", "norm", "lenet"}:
        parser.error("--rounds must be at least 1, and --only some of convolution, norm, lenet")
    print(describe("threadpoolctl"))
    kernels = ", ".join(
        f"{info['internal_api']} {info['version']} ({info.get('architecture', 'unknown')} kernels)"
        for info in threadpool_info()
        if info["user_api"] == "blas"
    )
    print(f"BLAS of NumPy: {kernels}; {asked.threads} threads, {asked.rounds} rounds; times in ms, median over rounds")
    torch.set_num_threads(asked.threads)
    with threadpool_limits(asked.threads, user_api="blas"), threads(asked.threads):
        if "convolution" in only:
            convolutions(asked.rounds)
        if "norm" in only:
            norms(asked.rounds)
    if "lenet" in only:
        lenet(asked.rounds)


if __name__ == "__main__":
    main()
