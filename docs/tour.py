"""A study engine in 150 lines: read this first, then find the same nouns in src/assay.

It asks whether momentum, and weight decay, help softmax regression on handwritten digits. Each noun below has a room:

    Recipe, fingerprint, stream   recipe/      what one run is, its name, its randomness
    train                         training/    Recipe in, Run out
    Store                         studies/store/
    conduct                       studies/runner.py
    judge                         studies/verdicts.py, intervals.py, looks.py

Run it: python docs/tour.py. Run it again: nothing is trained twice.

Shape key: N examples, D pixels, C classes, B examples in a batch.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import stdtrit
from sklearn.datasets import load_digits


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the numbers of one run, and nothing else."""

    momentum: float = 0.0
    weight_decay: float = 0.0
    lr: float = 0.02
    epochs: int = 3
    seed: int = 0


def fingerprint(recipe: Recipe) -> str:
    """The name of a run. Equal recipes have equal names, so no run is computed twice."""
    return hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()[:16]


def stream(seed: int, name: str) -> np.random.Generator:
    """Independent randomness for each purpose: two arms with one seed share their split and their order of examples."""
    key = hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


@dataclass(frozen=True)
class Run:
    """What is kept of a run."""

    recipe: Recipe
    val_accuracy: float
    examples: int


def train(recipe: Recipe) -> Run:
    """Softmax regression by stochastic gradient descent, gradients by hand."""
    digits = load_digits()
    order_N = stream(recipe.seed, "split").permutation(len(digits.target))
    x_ND, y_N = digits.data[order_N] / 16, digits.target[order_N]
    val, rest = slice(0, 360), slice(360, None)
    x_train_ND, y_train_N = x_ND[rest], y_N[rest]
    weight_DC = np.zeros((x_ND.shape[1], 10))
    velocity_DC = np.zeros_like(weight_DC)
    shuffle = stream(recipe.seed, "order")
    for _ in range(recipe.epochs):
        for batch_B in np.array_split(shuffle.permutation(len(y_train_N)), len(y_train_N) // 32):
            logits_BC = x_train_ND[batch_B] @ weight_DC
            p_BC = np.exp(logits_BC - logits_BC.max(axis=1, keepdims=True))
            p_BC /= p_BC.sum(axis=1, keepdims=True)
            p_BC[np.arange(len(batch_B)), y_train_N[batch_B]] -= 1  # now the loss's gradient at the logits
            gradient_DC = x_train_ND[batch_B].T @ p_BC / len(batch_B) + recipe.weight_decay * weight_DC
            velocity_DC = recipe.momentum * velocity_DC + gradient_DC
            weight_DC -= recipe.lr * velocity_DC
    right = (x_ND[val] @ weight_DC).argmax(axis=1) == y_N[val]
    return Run(recipe, float(right.mean()), len(right))


class Store:
    """One file per run, written aside and renamed: a run exists whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> Run | None:
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None
        kept = json.loads(path.read_text())
        return Run(Recipe(**kept.pop("recipe")), **kept)

    def add(self, name: str, run: Run) -> None:
        aside = self.folder / f"{name}.part"
        aside.write_text(json.dumps(asdict(run)))
        aside.rename(self.folder / f"{name}.json")


def conduct(
    arms: dict[str, Recipe], store: Store, looks: tuple[int, ...]
) -> Iterator[tuple[int, dict[str, list[Run]]]]:
    """Bring every arm to each look's number of seeds; whoever iterates judges, and stops by leaving the loop."""
    for seeds in looks:
        runs: dict[str, list[Run]] = {arm: [] for arm in arms}
        for seed in range(seeds):
            for arm, recipe in arms.items():
                recipe = replace(recipe, seed=seed)
                name = fingerprint(recipe)
                run = store.get(name)
                if run is None:
                    run = train(recipe)
                    store.add(name, run)
                runs[arm].append(run)
        yield seeds, runs


def judge(arm: list[Run], than: list[Run], *, look: int, claims: int, margin: float) -> tuple[str, float, float]:
    """A paired t interval at this look's share of 0.05: α/(k(k+1)m), so that looks and claims are paid for."""
    effects = np.array([a.val_accuracy - b.val_accuracy for a, b in zip(arm, than, strict=True)])
    level = 0.05 / (look * (look + 1) * claims)
    deviation = max(effects.std(ddof=1), 1 / arm[0].examples)  # accuracies move in steps of one example
    half = -float(stdtrit(len(effects) - 1, level / 2)) * deviation / math.sqrt(len(effects))
    low, high = effects.mean() - half, effects.mean() + half
    if -margin <= low and high <= margin:
        return "no difference that matters", low, high
    return ("helps" if low > 0 else "hurts" if high < 0 else "undecided"), low, high


def main(folder: Path) -> dict[str, str]:
    """Ask, answer, and return the verdicts."""
    arms = {"plain": Recipe(), "momentum": Recipe(momentum=0.9), "decay": Recipe(weight_decay=1e-4)}
    verdicts = dict.fromkeys(["momentum", "decay"], "undecided")
    for look, (seeds, runs) in enumerate(conduct(arms, Store(folder), looks=(3, 5, 8, 12)), start=1):
        for arm in [arm for arm, verdict in verdicts.items() if verdict == "undecided"]:  # a decided claim is frozen
            verdicts[arm], low, high = judge(runs[arm], runs["plain"], look=look, claims=2, margin=0.01)
            print(f"{seeds:2d} seeds: {arm:8s} {verdicts[arm]}  [{100 * low:+.2f}, {100 * high:+.2f}] points")
        if "undecided" not in verdicts.values():
            break
    return verdicts


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "assay-tour")
