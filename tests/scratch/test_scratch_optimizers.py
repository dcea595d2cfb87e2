"""The optimizers by hand against torch's, step by step; those are tested against the equations elsewhere."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

import assay.scratch.optimizers as by_hand
from assay.errors import InputError, ShapeError
from assay.recipe.schema import Optimizer as OptimizerSection
from assay.scratch.optimizers import Adam, AdamW, Rmsprop, Sgd, build_optimizer

STEPS = 32

decays = st.one_of(st.just(0.0), st.floats(0.01, 0.9999))
"""Not between: torch moves Adam's m by (1 − β₁)·(g − m), of which for a tiny β₁ and g = 0 rounding alone is left."""
epsilons = st.sampled_from([1e-12, 1e-8, 1e-3, 1.0])
momenta = st.floats(0.01, 0.99)
settings_drawn = st.one_of(
    st.builds(lambda m: {"name": "sgd", "momentum": m}, decays),
    st.builds(lambda m: {"name": "sgd", "momentum": m, "nesterov": True}, momenta),
    st.builds(
        lambda a, e, m: {"name": "rmsprop", "alpha": a, "epsilon": e, "momentum": m}, decays, epsilons, decays
    ),
    st.builds(lambda a, b, e: {"name": "adam", "beta1": a, "beta2": b, "epsilon": e}, decays, decays, epsilons),
    st.builds(
        lambda a, b, e, d: {"name": "adamw", "beta1": a, "beta2": b, "epsilon": e, "weight_decay": d},
        decays, decays, epsilons, st.sampled_from([0.0, 0.01, 0.5]),
    ),
)  # fmt: skip
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)

EVERY = [
    Sgd(),
    Sgd(momentum=0.9),
    Sgd(momentum=0.9, nesterov=True),
    Rmsprop(),
    Rmsprop(momentum=0.5),
    Adam(),
    AdamW(weight_decay=0.3),
]
every_optimizer = pytest.mark.parametrize("optimizer", EVERY, ids=repr)


def of_torch(section, parameter):
    """torch's optimizer with the hyperparameters of a section; its rate is set before each step."""
    known = {key: value for key, value in section.items() if key != "name"}
    if "epsilon" in known:
        known["eps"] = known.pop("epsilon")
    if "beta1" in known:
        known["betas"] = (known.pop("beta1"), known.pop("beta2"))
    classes = {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}
    return getattr(torch.optim, classes[section["name"]])([parameter], lr=1.0, **known)


def gradients_of(rng, shape, dtype=np.float64):
    """Of sizes from 1e-3 to 1e3, some of them zero: some values, and some steps altogether."""
    sizes = 10.0 ** rng.uniform(-3, 3, size=(STEPS, *(1 for _ in shape)))
    found = rng.normal(size=(STEPS, *shape)) * sizes
    found[rng.random(found.shape) < 0.2] = 0.0
    found[rng.random(STEPS) < 0.1] = 0.0
    return found.astype(dtype)


def rates(rng):
    return (10.0 ** rng.uniform(-4, -1, size=STEPS)).tolist()


def parse(section):
    return TypeAdapter(OptimizerSection).validate_python(section)


def error_against_torch(section, shape, seed, dtype=np.float64):
    """The largest difference after any step, over the largest weight until then."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=shape).astype(dtype)
    parameter = torch.nn.Parameter(torch.from_numpy(weight.copy()))
    theirs, ours = of_torch(section, parameter), build_optimizer(parse(section))
    state, worst, largest = ours.start(weight), 0.0, np.abs(weight).max()
    for gradient, rate in zip(gradients_of(rng, shape, dtype), rates(rng), strict=True):
        theirs.param_groups[0]["lr"] = rate
        parameter.grad = torch.from_numpy(gradient.copy())
        theirs.step()
        ours.step(weight, gradient, state, rate)
        expected = parameter.detach().numpy()
        largest = max(largest, np.abs(expected).max())
        worst = max(worst, np.abs(weight - expected).max() / largest)
    assert weight.dtype == dtype
    return worst


@given(section=settings_drawn, shape=shapes, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_every_step_is_torchs_in_float64(section, shape, seed):
    assert error_against_torch(section, shape, seed) <= 1e-12


@given(section=settings_drawn, shape=shapes, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_every_step_is_torchs_in_float32_but_for_rounding(section, shape, seed):
    assert error_against_torch(section, shape, seed, np.float32) <= 5e-5


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw"])
def test_the_defaults_are_those_of_a_recipe(name):
    classes = {"sgd": Sgd, "rmsprop": Rmsprop, "adam": Adam, "adamw": AdamW}
    assert build_optimizer(parse({"name": name})) == classes[name]()


@every_optimizer
def test_a_block_at_a_time_changes_no_bit(optimizer, monkeypatch):
    rng = np.random.default_rng(3)
    start, gradients = rng.normal(size=(7, 5)), gradients_of(rng, (7, 5))
    found = []
    for values in (1, 10, 1000):  # a row, two rows and one left over, the whole
        monkeypatch.setattr(by_hand, "_VALUES_AT_ONCE", values)
        weight = start.copy()
        state = optimizer.start(weight)
        for gradient in gradients:
            optimizer.step(weight, gradient, state, 0.01)
        found.append(weight.tobytes())
    assert len(set(found)) == 1


@every_optimizer
def test_any_layout_in_memory_will_do(optimizer):
    rng = np.random.default_rng(4)
    plain, gradient = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    strided = np.zeros((6, 8)).T[::2]
    strided[...] = plain
    for weight, own in ((plain, gradient), (strided, np.asfortranarray(gradient))):
        state = optimizer.start(weight)
        for _ in range(3):
            optimizer.step(weight, own, state, 0.1)
    np.testing.assert_array_equal(plain, strided)


@every_optimizer
def test_gradients_are_left_alone_and_states_are_not_shared(optimizer):
    rng = np.random.default_rng(5)
    start, gradients = rng.normal(size=(3, 4)), gradients_of(rng, (3, 4))
    others = gradients_of(rng, (3, 4))
    alone, weight, other = start.copy(), start.copy(), start.copy()
    alone_state, state, other_state = (optimizer.start(array) for array in (alone, weight, other))
    before = gradients.copy()
    for gradient in gradients:
        optimizer.step(alone, gradient, alone_state, 0.01)
    for gradient, its in zip(gradients, others, strict=True):
        optimizer.step(weight, gradient, state, 0.01)
        optimizer.step(other, its, other_state, 0.02)
    np.testing.assert_array_equal(weight, alone)
    np.testing.assert_array_equal(gradients, before)
    assert not np.array_equal(other, weight)
    arrays = [[value for value in vars(one).values() if isinstance(value, np.ndarray)] for one in (state, other_state)]
    assert not any(np.shares_memory(a, b) for a, b in itertools.product(*arrays))
    assert not any(np.shares_memory(a, weight) for a in arrays[0])


@every_optimizer
def test_a_zero_gradient_at_the_start_moves_nothing_but_decay(optimizer):
    weight = np.array([1.0, -2.0, 0.0])
    state = optimizer.start(weight)
    optimizer.step(weight, np.zeros(3), state, 0.1)
    shrunk = 1.0 - 0.1 * 0.3 if isinstance(optimizer, AdamW) else 1.0
    np.testing.assert_allclose(weight, shrunk * np.array([1.0, -2.0, 0.0]), rtol=1e-15)


@every_optimizer
def test_decay_can_be_left_out_and_nothing_else_changes(optimizer):
    rng = np.random.default_rng(6)
    start, gradients = rng.normal(size=5), gradients_of(rng, (5,))

    def after(chosen):
        weight = start.copy()
        state = chosen.start(weight)
        for gradient in gradients:
            chosen.step(weight, gradient, state, 0.01)
        return weight

    plain = Adam() if isinstance(optimizer, AdamW) else optimizer
    np.testing.assert_array_equal(after(optimizer.without_decay()), after(plain))


@every_optimizer
def test_an_overflow_gives_no_warning_and_numbers_that_are_not(optimizer):
    weight = np.full(2, 3e38, dtype=np.float32)
    state = optimizer.start(weight)
    optimizer.step(weight, np.array([-3e38, np.inf], dtype=np.float32), state, 1e4)
    assert not np.isfinite(weight[1])


@every_optimizer
def test_a_gradient_of_another_shape_is_refused_and_nothing_changed(optimizer):
    weight = np.ones((3, 2))
    state = optimizer.start(weight)
    with pytest.raises(ShapeError) as caught:
        optimizer.step(weight, np.ones(2), state, 0.1)  # would broadcast
    assert str(caught.value) == (
        "An optimizer needs a gradient of its weight's shape, with at least one axis, got (2,) for a weight of shape "
        "(3, 2)."
    )
    assert (weight == 1.0).all()
    assert getattr(state, "steps", 0) == 0


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(InputError, match=r"^Sgd: nesterov needs momentum above 0, got 0\."):
        Sgd(nesterov=True)


def test_no_temporary_is_as_large_as_the_weight():
    weight = np.zeros((512, 1024), dtype=np.float32)
    gradient = np.ones_like(weight)
    for optimizer in EVERY:
        state = optimizer.start(weight)
        tracemalloc.start()
        optimizer.step(weight, gradient, state, 0.1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < weight.nbytes / 8, optimizer
