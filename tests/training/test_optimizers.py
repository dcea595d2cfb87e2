"""Each optimizer against the equations of its paper, written out for one array at a time in float64."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from assay.errors import InvalidValueError
from assay.recipe.schema import Optimizer, Recipe
from assay.training.loop import set_learning_rate
from assay.training.optimizers import build_optimizer, scaled_rate
from assay.training.run import run_recipe

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


# --- factors on the rate ---------------------------------------------------------------------------------------------


def layers() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)))
    model.add_module("head", nn.Linear(4, 2))
    return model.double()


def factors(patterns, model=None, name="sgd", **section):
    """The factor on the rate that each parameter gets."""
    model = model or layers()
    optimizer = build_optimizer(parse({"name": name, "lr_factors": patterns, **section}), model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(p)]: group["lr_factor"] for group in optimizer.param_groups for p in group["params"]}
    return {name: found[name] for name in names.values() if name in found}


def test_patterns_fit_parameters_or_layers_they_are_in_and_the_first_that_fits_counts():
    assert factors({"*.bias": 2.0, "features.1": 5.0, "head": 0.0}) == {
        "features.0.weight": 1.0,
        "features.0.bias": 2.0,
        "features.1.weight": 5.0,
        "features.1.bias": 2.0,
        "head.weight": 0.0,
        "head.bias": 2.0,
    }
    assert factors({"features*": 0.1})["features.0.weight"] == 0.1
    assert factors({"feature?.[0]": 3.0})["features.0.bias"] == 3.0
    assert set(factors({}).values()) == {1.0}


def test_frozen_parameters_are_in_no_group_and_fit_no_pattern():
    model = layers()
    model.features.requires_grad_(False)
    assert factors({}, model) == {"head.weight": 1.0, "head.bias": 1.0}
    with pytest.raises(InvalidValueError) as caught:
        factors({"features.*": 0.1}, model)
    assert str(caught.value) == (
        "optimizer.lr_factors.features.* must fit the name of a parameter that is trained, and fits frozen ones "
        "alone.\n"
        "  Leave it out, or freeze less."
    )
    with pytest.raises(InvalidValueError) as caught:
        factors({"feature": 0.1}, model)
    assert str(caught.value) == (
        "optimizer.lr_factors.feature must fit the name of a parameter that is trained, and fits none.\n"
        "  assay inspect lists the layers of a model."
    )


def test_a_pattern_behind_one_that_fits_everything_it_fits_is_refused():
    with pytest.raises(InvalidValueError) as caught:
        factors({"*": 0.1, "head": 1.0})
    assert "lr_factors.head has no effect: whatever it fits, '*' or another before it fits first." in str(caught.value)
    assert factors({"head.*": 1.0, "*": 0.1})["features.0.bias"] == 0.1


@pytest.mark.parametrize(("section", "reference"), CASES, ids=[str(case[0]) for case in CASES])
def test_a_factor_is_on_the_rate_of_its_parameters_alone(section, reference):
    model = layers()
    start = {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}
    rng = np.random.default_rng(3)
    gradients = {name: rng.normal(size=(STEPS, *w.shape)) for name, w in start.items()}
    optimizer = build_optimizer(parse({**section, "lr_factors": {"*.bias": 3.0, "head": 0.5}}), model)
    for step in range(STEPS):
        set_learning_rate(optimizer, section["lr"])
        for name, parameter in model.named_parameters():
            parameter.grad = torch.from_numpy(gradients[name][step])
        optimizer.step()
    options = {key: value for key, value in section.items() if key not in ("name", "lr")}
    for name, w in start.items():
        factor = 3.0 if name.endswith("bias") else 0.5 if name.startswith("head") else 1.0
        decayed = name in ("features.0.weight", "head.weight")
        own = options if decayed or "weight_decay" not in options else {**options, "weight_decay": 0.0}
        expected = reference(w, gradients[name], lr=section["lr"] * factor, **own)
        found = dict(model.named_parameters())[name].detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    ("rule", "batch_size", "expected"),
    [
        ("none", 64, 0.4),
        ("linear", 64, 0.1),
        ("linear", 1024, 1.6),
        ("square_root", 64, 0.2),
        ("square_root", 1024, 0.8),
    ],
)
def test_the_rate_grows_with_the_batch_by_its_rule(rule, batch_size, expected):
    section = parse({"name": "sgd", "lr": 0.4, "lr_scaling": rule, "lr_batch_size": 256})
    assert scaled_rate(section, batch_size) == pytest.approx(expected)


def digits(**optimizer):
    recipe = Recipe.model_validate(
        {
            "data": {"source": "digits"},
            "model": {"name": "mlp", "widths": [16]},
            "optimizer": {"name": "sgd", **optimizer},
            "train": {"epochs": 1, "batch_size": 128},
        }
    )
    return run_recipe(recipe, fingerprint="f00d")


def test_a_run_records_the_scaled_rate_without_the_factors_of_single_parameters():
    scaled = digits(lr=0.1, lr_scaling="linear", lr_batch_size=64, lr_factors={"linear1": 0.0})
    assert scaled.history[0].lr == pytest.approx(0.2)
    whole = digits(lr=0.2, lr_factors={"linear1": 0.0})
    assert whole.history[0].running_train_loss == scaled.history[0].running_train_loss
    untrained = digits(lr=1e-30)
    np.testing.assert_array_equal(whole.weights["linear1.weight"], untrained.weights["linear1.weight"])
    assert not np.array_equal(whole.weights["output.weight"], untrained.weights["output.weight"])


def test_a_rate_scaled_to_its_own_batch_size_and_factors_of_one_change_no_bit():
    plain = digits(lr=0.1)
    for same in ({"lr_scaling": "linear", "lr_batch_size": 128}, {"lr_factors": {"output": 1.0}}):
        other = digits(lr=0.1, **same)
        for name, array in plain.weights.items():
            np.testing.assert_array_equal(other.weights[name], array)
