"""Each optimizer against the equations of its paper, written out for one array at a time in float64."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from assay.errors import InvalidValueError
from assay.recipe.schema import Optimizer
from assay.training.optimizers import build_optimizer

parse = TypeAdapter(Optimizer).validate_python
STEPS = 12


def sgd(w, gradients, *, lr, momentum=0.0, nesterov=False):
    velocity = np.zeros_like(w)
    for g in gradients:
        velocity = momentum * velocity + g
        w = w - lr * (g + momentum * velocity if nesterov else velocity)
    return w


def rmsprop(w, gradients, *, lr, alpha=0.99, epsilon=1e-8, momentum=0.0):
    mean_square, velocity = np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        mean_square = alpha * mean_square + (1 - alpha) * g**2
        velocity = momentum * velocity + g / (np.sqrt(mean_square) + epsilon)
        w = w - lr * velocity
    return w


def adam(w, gradients, *, lr, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        unbiased_m, unbiased_v = m / (1 - beta1**t), v / (1 - beta2**t)
        w = w - lr * weight_decay * w - lr * unbiased_m / (np.sqrt(unbiased_v) + epsilon)
    return w


CASES = [
    ({"name": "sgd", "lr": 0.1}, sgd),
    ({"name": "sgd", "lr": 0.1, "momentum": 0.9}, sgd),
    ({"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True}, sgd),
    ({"name": "rmsprop", "lr": 0.01}, rmsprop),
    ({"name": "rmsprop", "lr": 0.01, "alpha": 0.9, "epsilon": 1e-3, "momentum": 0.5}, rmsprop),
    ({"name": "adam", "lr": 0.01}, adam),
    ({"name": "adam", "lr": 0.01, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-2}, adam),
    ({"name": "adamw", "lr": 0.01, "weight_decay": 0.3, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4}, adam),
]


def trained(section, model, gradients):
    optimizer = build_optimizer(parse(section), model)
    for step in range(STEPS):
        for name, parameter in model.named_parameters():
            parameter.grad = torch.from_numpy(gradients[name][step])
        optimizer.step()
    return {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(("section", "reference"), CASES, ids=[str(case[0]) for case in CASES])
def test_the_weights_after_some_steps_are_those_of_the_equations(section, reference):
    rng = np.random.default_rng(2)
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2)).double()
    start = {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}
    gradients = {name: rng.normal(size=(STEPS, *w.shape)) for name, w in start.items()}
    options = {key: value for key, value in section.items() if key != "name"}
    after = trained(section, model, gradients)
    for name, w in start.items():
        decayed = name in ("0.weight", "2.weight")  # not biases, not the gain of a normalisation
        own = options if decayed or "weight_decay" not in options else {**options, "weight_decay": 0.0}
        np.testing.assert_allclose(after[name], reference(w, gradients[name], **own), rtol=1e-10, err_msg=name)


def test_every_default_is_the_one_of_torch():
    def settings_of(optimizer, names):
        return [optimizer.param_groups[0][name] for name in names]

    model = nn.Linear(2, 2)
    parameters = list(model.parameters())
    for name, theirs, names in [
        ("rmsprop", torch.optim.RMSprop(parameters, lr=0.001), ["alpha", "eps", "momentum"]),
        ("adam", torch.optim.Adam(parameters), ["lr", "betas", "eps"]),
        ("adamw", torch.optim.AdamW(parameters), ["lr", "betas", "eps", "weight_decay"]),
        ("sgd", torch.optim.SGD(parameters, lr=0.01), ["momentum", "dampening", "nesterov"]),
    ]:
        assert settings_of(build_optimizer(parse({"name": name}), model), names) == settings_of(theirs, names)


def test_a_model_of_biases_only_is_no_obstacle_to_adamw():
    class Bias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(3))

    assert len(build_optimizer(parse({"name": "adamw"}), Bias()).param_groups) == 1


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(InvalidValueError, match=r"^model\.name must have parameters to train; ReLU has none\.$"):
        build_optimizer(parse({"name": "sgd"}), nn.ReLU())
