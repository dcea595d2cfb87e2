"""One idea, four rungs: a hidden layer learns two circles, each time with less to write, and always the same curve.

    python docs/four_rungs.py

    numpy      the backward pass by hand: the chain rule, line by line
    autograd   torch finds it, from how each tensor came about
    modules    layers that hold their own parameters
    torch      an optimizer object takes the step

This is what `train.engine: numpy | autograd | modules | torch` runs, without everything around it; the last lines hold
all four against it. There the gradients by hand are put together from layers that can be stacked: assay/scratch.

Shape key: B examples in the batch, H hidden units, K classes; points are of 2 coordinates.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from assay.data.load import load_source
from assay.data.splits import make_splits
from assay.models.build import build_model
from assay.recipe.schema import Recipe
from assay.recipe.streams import stream
from assay.training.run import run_recipe

RECIPE = Recipe.model_validate(
    {
        "data": {"source": "circles", "normalize": "none"},
        "model": {"name": "mlp", "widths": [32], "activation": "tanh"},
        "optimizer": {"name": "sgd", "lr": 0.03},
        "train": {"epochs": 20, "batch_size": 10, "precision": "float64"},
    }
)
LR = RECIPE.optimizer.lr

Array = NDArray[np.float64]
Step = Callable[[Array, NDArray[np.int64]], float]
"""Takes a batch, changes the weights, returns the loss before that."""


def initial_weights() -> nn.Module:
    """Of every rung the same: drawn from the seed's own stream."""
    return build_model(RECIPE.model, RECIPE.init, seed=RECIPE.seed, input_shape=(2,), classes=2).double()


def by_hand() -> Step:
    W1_H2, b1_H, W2_KH, b2_K = (p.detach().numpy().copy() for p in initial_weights().parameters())

    def step(x_B2: Array, y_B: NDArray[np.int64]) -> float:
        hidden_BH = np.tanh(x_B2 @ W1_H2.T + b1_H)
        logits_BK = hidden_BH @ W2_KH.T + b2_K
        p_BK = np.exp(logits_BK - logits_BK.max(axis=1, keepdims=True))
        p_BK /= p_BK.sum(axis=1, keepdims=True)
        rows_B = np.arange(len(y_B))
        loss = -np.log(p_BK[rows_B, y_B]).mean()

        dlogits_BK = p_BK.copy()  # ∂loss/∂logits = (p − one-hot(y)) / B
        dlogits_BK[rows_B, y_B] -= 1.0
        dlogits_BK /= len(y_B)
        dW2_KH, db2_K = dlogits_BK.T @ hidden_BH, dlogits_BK.sum(axis=0)
        dsum_BH = (dlogits_BK @ W2_KH) * (1.0 - hidden_BH**2)  # tanh' = 1 − tanh²
        dW1_H2, db1_H = dsum_BH.T @ x_B2, dsum_BH.sum(axis=0)

        for weight, gradient in ((W1_H2, dW1_H2), (b1_H, db1_H), (W2_KH, dW2_KH), (b2_K, db2_K)):
            weight -= LR * gradient
        return float(loss)

    return step


def with_autograd() -> Step:
    weights = [p.detach().clone().requires_grad_() for p in initial_weights().parameters()]
    W1_H2, b1_H, W2_KH, b2_K = weights

    def step(x_B2: Array, y_B: NDArray[np.int64]) -> float:
        hidden_BH = torch.tanh(torch.from_numpy(x_B2) @ W1_H2.T + b1_H)
        loss = functional.cross_entropy(hidden_BH @ W2_KH.T + b2_K, torch.from_numpy(y_B))
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= LR * gradient
        return loss.item()

    return step


def with_modules() -> Step:
    model = initial_weights()

    def step(x_B2: Array, y_B: NDArray[np.int64]) -> float:
        loss = functional.cross_entropy(model(torch.from_numpy(x_B2)), torch.from_numpy(y_B))
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= LR * parameter.grad
        return loss.item()

    return step


def with_an_optimizer() -> Step:
    model = initial_weights()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)

    def step(x_B2: Array, y_B: NDArray[np.int64]) -> float:
        loss = functional.cross_entropy(model(torch.from_numpy(x_B2)), torch.from_numpy(y_B))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def curve(step: Step) -> list[float]:
    """The loss of each epoch, averaged over its batches while the weights move."""
    examples = load_source(RECIPE.data)
    train_N = make_splits(examples, validation=RECIPE.data.validation, fraction=1.0, seed=RECIPE.seed).train_N
    x_N2, y_N = examples.inputs[train_N].astype(np.float64), examples.labels_N[train_N]
    losses = []
    for epoch in range(1, RECIPE.train.epochs + 1):
        order_N = stream(RECIPE.seed, "order", epoch).permutation(len(train_N))
        batches = order_N.reshape(-1, RECIPE.train.batch_size)
        losses.append(sum(step(x_N2[chosen_B], y_N[chosen_B]) for chosen_B in batches) / len(batches))
    return losses


def main() -> dict[str, float]:
    """Print the four curves, and return how far each engine's own is from them."""
    rungs = {"numpy": by_hand, "autograd": with_autograd, "modules": with_modules, "torch": with_an_optimizer}
    curves = {engine: curve(rung()) for engine, rung in rungs.items()}
    print("epoch  " + "".join(f"{engine:>20}" for engine in curves))
    for epoch, losses in enumerate(zip(*curves.values(), strict=True), start=1):
        print(f"{epoch:>5}  " + "".join(f"{loss:>20.15f}" for loss in losses))
    apart = {}
    for engine, own in curves.items():
        recipe = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"engine": engine})})
        run = run_recipe(recipe, fingerprint=engine)
        apart[engine] = max(abs(one - epoch.running_train_loss) for one, epoch in zip(own, run.history, strict=True))
        print(f"train.engine {engine:9} differs from the lines above by at most {apart[engine]:.0e}")
    return apart


if __name__ == "__main__":
    main()
