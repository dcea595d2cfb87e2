"""The contract suite for layers, tested: right layers keep every promise, and each wrong one breaks those it should.

Shape key: B examples in the batch, D features per example.
"""

import functools
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from made_up_layers import (
    AddsWeightDecay,
    ComputesInHalfPrecision,
    CountsPasses,
    DropsATerm,
    KeepsAnAxis,
    Kept,
    LeaksFloat64FromBackward,
    LeaksFloat64FromForward,
    NeedsContiguousDy,
    ReadsMemoryInOrder,
    ReturnsAList,
    ReturnsNoTuple,
    ReturnsTooFew,
    ReturnsYAlone,
    RoundsSmallGradientsAway,
    ScaledTanh,
    SharesItsCache,
    SharesItsGradients,
    SlightlyWrong,
    UsesUpItsCache,
    WritesToDy,
    WritesToItsArgument,
    WritesToItsCache,
    WritesToY,
)

from assay.scratch.layer import Layer
from assay.testing.layers import LayerCase, LayerContract

SEEDS = st.integers(0, 2**32 - 1)


@dataclass(frozen=True, kw_only=True)
class Relu:
    at_zero: float = 0.0

    def forward(self, x):
        return np.maximum(x, 0), x

    def backward(self, dy, x):
        return (dy * np.where(x == 0, self.at_zero, x > 0).astype(x.dtype),)


@dataclass(frozen=True, kw_only=True)
class MaskedDistance:
    """A loss: the squared distance to a target where a mask says so."""

    as_python_float: bool

    def forward(self, x, target, mask):
        residual = (x - target) * mask
        loss = np.sum(residual * residual)
        return float(loss) if self.as_python_float else np.asarray(loss), residual

    def backward(self, dloss, residual):
        return (2 * residual * dloss,)


@dataclass(frozen=True, kw_only=True)
class PickedScores:
    """A loss: less the sum of the scores at the labels."""

    def forward(self, scores_BD, labels_B):
        return np.asarray(-scores_BD[np.arange(len(labels_B)), labels_B].sum()), (scores_BD, labels_B)

    def backward(self, dloss, cache):
        scores_BD, labels_B = cache
        dscores_BD = np.zeros_like(scores_BD)
        dscores_BD[np.arange(len(labels_B)), labels_B] = -dloss
        return (dscores_BD,)


@dataclass(frozen=True, kw_only=True)
class Standardised:
    """(x − mean)/deviation of two values, which is ±1: what gradient there is is made of rounding."""

    def forward(self, x):
        deviation = x.std()
        return (x - x.mean()) / deviation, ((x - x.mean()) / deviation, deviation)

    def backward(self, dy, cache):
        unit, deviation = cache
        return ((dy - dy.mean() - unit * (dy * unit).mean()) / deviation,)


def scaled_tanh_case(layer, examples, features, seed):
    draws = np.random.default_rng(seed)
    x_BD, gain_D = draws.normal(size=(examples, features)), draws.normal(size=features)
    return LayerCase(layer=layer, arguments=(x_BD, gain_D), reference=lambda x, gain: torch.tanh(x) * gain)


def relu_case(layer, values, tied, seed):
    x = np.random.default_rng(seed).normal(size=values)
    return LayerCase(layer=layer, arguments=(np.round(x) if tied else x,), reference=torch.relu)


def distance_case(as_python_float, values, seed):
    draws = np.random.default_rng(seed)
    target, mask = draws.normal(size=values), draws.random(values) < 0.5
    return LayerCase(
        layer=MaskedDistance(as_python_float=as_python_float),
        arguments=(draws.normal(size=values),),
        fixed=(target, mask),
        reference=lambda x, target, mask: (((x - target) * mask) ** 2).sum(),
    )


def picked_case(examples, classes, seed):
    draws = np.random.default_rng(seed)
    return LayerCase(
        layer=PickedScores(),
        arguments=(draws.normal(size=(examples, classes)),),
        fixed=(draws.integers(0, classes, size=examples),),
        reference=lambda scores, labels: -scores.gather(1, labels[:, None]).sum(),
    )


def standardised_case(seed):
    middle, distance = np.random.default_rng(seed).uniform(0.5, 2, size=2)
    return LayerCase(
        layer=Standardised(),
        arguments=(np.array([middle, middle + distance]),),
        reference=lambda x: (x - x.mean()) / x.std(correction=0),
    )


def scaled_tanh_cases(layer):
    return st.builds(scaled_tanh_case, st.just(layer), st.integers(1, 4), st.integers(1, 4), SEEDS)


def relu_cases(layer):
    return st.builds(relu_case, st.just(layer), st.integers(1, 12), st.booleans(), SEEDS)


class TestScaledTanh(LayerContract):
    def cases(self):
        return scaled_tanh_cases(ScaledTanh())


class TestRelu(LayerContract):
    def cases(self):
        return relu_cases(Relu())


class TestLoss(LayerContract):
    def cases(self):
        return st.builds(distance_case, st.booleans(), st.integers(1, 12), SEEDS)


class TestLossOfLabels(LayerContract):
    def cases(self):
        return st.builds(picked_case, st.integers(1, 4), st.integers(1, 4), SEEDS)


class TestGradientsOfRounding(LayerContract):
    def cases(self):
        return st.builds(standardised_case, SEEDS)


class TestValuesThatFloat32RoundsToTies(LayerContract):
    def cases(self):
        return st.just(LayerCase(layer=Relu(), arguments=(np.array([1e-60, -1e-60, 1.0, -1.0]),), reference=torch.relu))


DIFFERENCES = "test_gradients_equal_central_differences"
TORCH = "test_forward_and_gradients_equal_those_of_torch"
FLOAT32 = "test_float32_stays_float32"
UNTOUCHED = "test_nothing_is_written_to_and_a_cache_serves_twice"
LAYOUT = "test_memory_layout_changes_nothing"
LINEAR = "test_backward_is_linear"
SHAPES = "test_every_argument_has_one_gradient_of_its_shape"
LAYOUTS = [f"{LAYOUT}[{layout}]" for layout in ("transposed", "stepped", "reversed")]
PROMISES = [DIFFERENCES, TORCH, FLOAT32, UNTOUCHED, *LAYOUTS, LINEAR, SHAPES]


@pytest.fixture
def without_shrinking(monkeypatch):
    """Layers meant to fail need no smallest case, which takes most of the time."""
    plain = functools.partial(settings, phases=[Phase.generate], database=None, derandomize=True)
    monkeypatch.setattr("assay.testing.layers.settings", plain)


def broken_promises(drawn_cases):
    """Which tests of the suite fail for these cases, with what they say."""

    suite = suite_of(drawn_cases)
    broken = {}
    layouts = {f"{LAYOUT}[{layout}]": (LAYOUT, layout) for layout in ("transposed", "stepped", "reversed")}
    others = {name: (name,) for name in (DIFFERENCES, TORCH, FLOAT32, UNTOUCHED, LINEAR, SHAPES)}
    for name, (method, *arguments) in (others | layouts).items():
        try:
            getattr(suite, method)(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever a wrong layer leads to
            broken[name] = str(error)
    return broken


WRONG: dict[type[Layer], set[str]] = {
    SlightlyWrong: {DIFFERENCES, TORCH},
    DropsATerm: {DIFFERENCES, TORCH},
    LeaksFloat64FromForward: {FLOAT32},
    LeaksFloat64FromBackward: {FLOAT32},
    ComputesInHalfPrecision: {FLOAT32},
    WritesToItsArgument: {UNTOUCHED},
    WritesToDy: {UNTOUCHED},
    WritesToItsCache: {UNTOUCHED},
    WritesToY: {UNTOUCHED},
    UsesUpItsCache: {UNTOUCHED},
    SharesItsCache: {UNTOUCHED},
    SharesItsGradients: {UNTOUCHED},
    ReadsMemoryInOrder: {f"{LAYOUT}[transposed]"},
    NeedsContiguousDy: {f"{LAYOUT}[transposed]", f"{LAYOUT}[stepped]", f"{LAYOUT}[reversed]"},
    ReturnsTooFew: {DIFFERENCES, TORCH, SHAPES},
    ReturnsAList: {SHAPES},
    ReturnsNoTuple: set(PROMISES),
    ReturnsYAlone: set(PROMISES),
    KeepsAnAxis: {DIFFERENCES, TORCH, SHAPES},
    AddsWeightDecay: {DIFFERENCES, TORCH, LINEAR},
    RoundsSmallGradientsAway: {DIFFERENCES, TORCH, LINEAR},
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda layer: layer.__name__)
@pytest.mark.usefixtures("without_shrinking")
def test_a_wrong_layer_breaks_the_promises_it_should_and_no_other(wrong):
    assert set(broken_promises(scaled_tanh_cases(wrong()))) == WRONG[wrong]


@pytest.mark.usefixtures("without_shrinking")
@pytest.mark.parametrize("wrapped", [tuple, list, lambda parts: {"parts": parts}, lambda parts: Kept(parts=parts)])
def test_caches_are_watched_whatever_holds_their_arrays(wrapped):
    assert set(broken_promises(scaled_tanh_cases(CountsPasses(wrapped=wrapped)))) == {UNTOUCHED}


@pytest.mark.usefixtures("without_shrinking")
def test_another_slope_at_ties_than_that_of_torch_is_seen_by_torch_alone():
    assert set(broken_promises(relu_cases(Relu(at_zero=1.0)))) == {TORCH}


@pytest.mark.usefixtures("without_shrinking")
def test_a_slope_at_ties_outside_both_sides_is_seen_by_differences_too():
    broken = broken_promises(relu_cases(Relu(at_zero=2.0)))
    assert set(broken) == {TORCH, DIFFERENCES}
    assert "lies outside the slopes to both sides" in broken[DIFFERENCES]


@pytest.mark.usefixtures("without_shrinking")
@pytest.mark.parametrize(
    ("wrong", "promise", "message"),
    [
        (SlightlyWrong, DIFFERENCES, "SlightlyWrong.backward: the gradient of argument 0 is off by 1.0e-06"),
        (SlightlyWrong, TORCH, "gradient 0 is off by 1.0e-06 from torch, allowed is 1e-10"),
        (LeaksFloat64FromForward, FLOAT32, "y is float64 where arguments are float32"),
        (LeaksFloat64FromBackward, FLOAT32, "gradient 1 is float64 where all else is float32"),
        (WritesToItsArgument, UNTOUCHED, "forward writes to its arguments: output array is read-only"),
        (WritesToDy, UNTOUCHED, "backward writes to dy, to y, to forward's arguments or to the cache"),
        (WritesToY, UNTOUCHED, "backward writes to dy, to y, to forward's arguments or to the cache"),
        (UsesUpItsCache, UNTOUCHED, "gradient 0 differs from that of an earlier backward pass with the same cache"),
        (SharesItsGradients, UNTOUCHED, "passes over other values write to what earlier passes were given or gave"),
        (ReadsMemoryInOrder, f"{LAYOUT}[transposed]", "y 0 is off by "),
        (ReturnsTooFew, SHAPES, "gradients have shapes [(1, 1)], arguments [(1, 1), (1,)]"),
        (ReturnsTooFew, TORCH, "number of gradients: 1, by torch 2"),
        (KeepsAnAxis, TORCH, "gradient 1 has shape (1, 1), that of torch (1,)"),
        (ReturnsAList, SHAPES, "backward returned a list, not a tuple"),
        *((ReturnsNoTuple, promise, "such as (dx,), got one ndarray") for promise in PROMISES),
        *((ReturnsYAlone, promise, "forward must return (y, cache), got one ndarray") for promise in PROMISES),
        (AddsWeightDecay, LINEAR, "backward is not linear in dy"),
    ],
)
def test_what_is_wrong_is_said(wrong, promise, message):
    assert message in broken_promises(scaled_tanh_cases(wrong()))[promise]


def suite_of(drawn_cases):
    class Suite(LayerContract):
        examples = 15

        def cases(self):
            return drawn_cases

    return Suite()


def test_without_a_reference_the_comparison_with_torch_is_skipped():
    case = LayerCase(layer=Relu(), arguments=(np.ones(2),))
    with pytest.raises(pytest.skip.Exception, match="no case has a reference in torch"):
        getattr(suite_of(st.just(case)), TORCH)()


def test_cases_of_nothing_but_ties_are_refused():
    case = LayerCase(layer=Relu(), arguments=(np.array([0.0, 0.0, 1.0]),))
    with pytest.raises(
        AssertionError, match="coordinates lie at kinks or drown in rounding: let cases have fewer ties"
    ):
        getattr(suite_of(st.just(case)), DIFFERENCES)()


def test_cases_without_any_value_are_refused():
    case = LayerCase(layer=Relu(), arguments=(np.zeros((0, 3)),))
    with pytest.raises(AssertionError, match="nothing was compared"):
        getattr(suite_of(st.just(case)), DIFFERENCES)()


def test_a_failure_shrinks_to_its_smallest_case(monkeypatch):
    class WrongFromThree(ScaledTanh):
        def backward(self, dy, cache):
            dx, dgain = super().backward(dy, cache)
            return dx * (2 if dx.shape[1] >= 3 else 1), dgain

    plain = functools.partial(settings, phases=[Phase.generate, Phase.shrink], database=None, derandomize=True)
    monkeypatch.setattr("assay.testing.layers.settings", plain)
    with pytest.raises(AssertionError) as caught:
        getattr(suite_of(scaled_tanh_cases(WrongFromThree())), DIFFERENCES)()
    notes = "\n".join(caught.value.__notes__)
    assert "Suite_gradients_equal_central_differences(" in notes
    assert re.search(r"WrongFromThree\(\),\s+1,\s+3,\s+0,\s+\),\s+seed=0,", notes), notes
