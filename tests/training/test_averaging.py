"""Averages of weights against their equations, written out for one array at a time in float64."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from assay.recipe.schema import EmaAveraging, LookaheadAveraging, NoAveraging, Recipe, SgdOptimizer
from assay.training.averaging import LastWeights, build_average
from assay.training.optimizers import build_optimizer
from assay.training.run import run_recipe

STEPS = 13


class Net(nn.Module):
    """Trained and frozen weights, running statistics, and other buffers, one of which is replaced as it goes."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(3, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 2)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("largest", torch.zeros(()), persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, x):
        if self.training:
            self.seen = self.seen + len(x)
            self.largest.copy_(x.detach().abs().max())
        return self.out(self.norm(self.frozen(x)))


def net() -> Net:
    torch.manual_seed(1)
    return Net().double()


def trained(model, average, *, steps=STEPS, optimizer=None, seed=3, after=lambda: None):
    """Take steps on made-up batches, telling the average of each."""
    optimizer = optimizer or build_optimizer(SgdOptimizer(name="sgd", lr=0.1, momentum=0.9), model)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x, y = torch.randn(8, 3, generator=generator).double(), torch.randint(0, 2, (8,), generator=generator)
        model.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        average.after_step()
        after()
    return optimizer


def values(model) -> dict[str, np.ndarray]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


@pytest.mark.parametrize("decay", [0.9, 0.5])
def test_the_moving_average_is_its_recurrence_for_weights_and_running_statistics(decay):
    model = net()
    average = build_average(EmaAveraging(name="ema", decay=decay), model)
    expected, path = values(model), []
    trained(model, average, after=lambda: path.append(values(model)))
    for t, live in enumerate(path, start=1):
        d = min(decay, (1 + t) / (10 + t))
        for name, value in live.items():
            whole = value.dtype == np.int64
            expected[name] = value if whole else d * expected[name] + (1 - d) * value
    assert expected["seen"] == 8 * STEPS == int(average.model.seen)
    found = values(average.model)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)
    assert not np.allclose(found["out.weight"], path[-1]["out.weight"], rtol=1e-3)
    assert not np.allclose(found["norm.running_var"], path[-1]["norm.running_var"], rtol=1e-3)
    np.testing.assert_array_equal(found["frozen.weight"], path[0]["frozen.weight"])


def test_the_moving_average_leaves_training_alone():
    plain, followed = net(), net()
    trained(plain, LastWeights(plain))
    average = build_average(EmaAveraging(name="ema", decay=0.99), followed)
    trained(followed, average)
    for name, value in values(plain).items():
        np.testing.assert_array_equal(values(followed)[name], value)
    assert average.model is not followed
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


@pytest.mark.parametrize(("every", "pull"), [(5, 0.5), (3, 0.8), (1, 0.25)])
def test_lookahead_is_its_two_loops(every, pull):
    model, reference = net(), net()
    average = build_average(LookaheadAveraging(name="lookahead", every=every, pull=pull), model)
    trained(model, average)
    # θ is moved by the optimizer, φ ← φ + pull·(θ − φ) and θ ← φ every so many steps, written out by hand.
    slow = {name: parameter.detach().clone() for name, parameter in reference.named_parameters()}
    taken = 0

    def pulled_back():
        nonlocal taken
        taken += 1
        if taken % every == 0:
            for name, fast in reference.named_parameters():
                slow[name] = slow[name] + pull * (fast.detach() - slow[name])
                fast.data.copy_(slow[name])

    trained(reference, LastWeights(reference), after=pulled_back)
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[name], parameter, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(
            dict(average.model.named_parameters())[name].data, slow[name], rtol=1e-12, atol=1e-14
        )
    assert STEPS % 5 != 0  # the fast weights have gone on since the last pull
    assert every == 1 or not torch.allclose(average.model.out.weight, model.out.weight)


def test_lookahead_is_measured_with_the_running_statistics_of_the_fast_weights():
    model = net()
    average = build_average(LookaheadAveraging(name="lookahead", every=4), model)
    optimizer = trained(model, average, steps=6)
    for _ in range(2):  # the second time, after an evaluation in between
        np.testing.assert_array_equal(average.model.norm.running_mean, model.norm.running_mean)
        assert int(average.model.seen) == int(model.seen)
        trained(model, average, steps=1, optimizer=optimizer)
    assert not average.model.training


def test_lookahead_that_pulls_all_the_way_after_each_step_is_no_lookahead():
    plain, followed = net(), net()
    trained(plain, LastWeights(plain))
    average = build_average(LookaheadAveraging(name="lookahead", every=1, pull=1.0), followed)
    trained(followed, average)
    for name, value in values(plain).items():
        np.testing.assert_array_equal(values(average.model)[name], value)


@pytest.mark.parametrize(
    "section",
    [EmaAveraging(name="ema", decay=0.95), LookaheadAveraging(name="lookahead", every=4, pull=0.3)],
    ids=["ema", "lookahead"],
)
def test_a_restored_average_goes_on_bit_for_bit(section):
    model = net()
    average = build_average(section, model)
    optimizer = trained(model, average, steps=6)
    state = average.state()
    facts = json.loads(json.dumps(state.facts))
    tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
    saved, momentum = values(model), copy.deepcopy(optimizer.state_dict())
    again = net()
    restored = build_average(section, again)
    tensors_of_model = {**dict(again.named_parameters()), **dict(again.named_buffers())}
    with torch.no_grad():
        for name, value in saved.items():
            tensors_of_model[name].copy_(torch.from_numpy(value))
    second = build_optimizer(SgdOptimizer(name="sgd", lr=0.1, momentum=0.9), again)
    second.load_state_dict(momentum)
    restored.restore(type(state)(tensors=tensors, facts=facts))
    for name, value in values(average.model).items():
        np.testing.assert_array_equal(values(restored.model)[name], value, err_msg=name)
    trained(model, average, steps=7, optimizer=optimizer, seed=8)
    trained(again, restored, steps=7, optimizer=second, seed=8)
    for name, value in values(average.model).items():
        np.testing.assert_array_equal(values(restored.model)[name], value, err_msg=name)


def test_no_averaging_is_the_model_itself():
    model = net()
    average = build_average(NoAveraging(name="none"), model)
    assert average.model is model
    average.restore(average.state())
    assert average.state().tensors == {}


# --- in a run --------------------------------------------------------------------------------------------------------


def run(**averaging):
    recipe = Recipe.model_validate(
        {
            "data": {"source": "digits"},
            "model": {"name": "mlp", "widths": [32], "norm": "batch", "dropout": 0.1},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "train": {"epochs": 4, "batch_size": 50},
            "averaging": averaging or {"name": "none"},
        }
    )
    return run_recipe(recipe, fingerprint="f00d")


def test_a_run_trains_the_same_weights_but_keeps_and_measures_their_average():
    plain, averaged = run(), run(name="ema", decay=0.9)
    for ours, theirs in zip(averaged.history, plain.history, strict=True):
        assert ours.running_train_loss == theirs.running_train_loss
        assert ours.val_loss != theirs.val_loss
    assert averaged.weights.keys() == plain.weights.keys()
    assert averaged.history[-1].val_accuracy > 0.85
    assert averaged.record.metrics["val_accuracy"] == averaged.history[-1].val_accuracy


def test_lookahead_learns_in_a_run_and_pulls_the_weights_it_trains():
    plain, pulled = run(), run(name="lookahead", every=5, pull=0.5)
    assert pulled.history[0].running_train_loss != plain.history[0].running_train_loss
    assert pulled.history[-1].val_accuracy > 0.85
