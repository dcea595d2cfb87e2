"""The promises of a layer by hand, as tests.

Subclass `LayerContract`, name the class ``Test…``, and say what to apply your layer to:

    class TestMyLayer(LayerContract):
        def cases(self):
            return st.builds(my_case, st.integers(1, 5), st.integers(0, 2**32 - 1))

    def my_case(features, seed):
        draws = np.random.default_rng(seed)
        x, gain = draws.normal(size=(3, features)), draws.normal(size=features)
        return LayerCase(layer=MyLayer(), arguments=(x, gain), reference=lambda x, gain: torch.tanh(x) * gain)

Keep arrays small, about a hundred values in all: each value takes six forward passes at least, in each case. Let some
cases have ties (round to integers), but not most of them.
"""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from assay.scratch.gradcheck import FLOOR, check_gradients, relative_error
from assay.scratch.layer import Array, Cache, Layer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LayerCase:
    """A layer, and what it is applied to.

    Attributes:
        layer: see `assay.scratch.layer.Layer`; a loss is one whose y is a scalar.
        arguments: of ``forward``, float64; each gets a gradient.
        fixed: further arguments, after those, that have no gradient: masks, labels.
        reference: the same function in torch, of arguments and fixed; arrays come as tensors, all else as it is.
    """

    layer: Layer
    arguments: tuple[Array, ...]
    fixed: tuple[Any, ...] = ()
    reference: Callable[..., torch.Tensor] | None = None


class LayerContract(ABC):
    """Promises of `assay.scratch.layer.Layer`.

    Whether gradients are right is asked of differences, which know no rule at ties, and of torch, which has one.
    """

    examples: ClassVar[int] = 25
    """How many cases each test draws."""

    reference_tolerance: ClassVar[float] = 1e-10
    """Relative error against torch, and between two ways to the same numbers."""

    float32_tolerance: ClassVar[float] = 1e-4
    """Relative error of float32 against float64, of arrays whose norm is below 1 absolute.

    Layers that divide by small deviations lose digits, and may have to allow for more.
    """

    most_left_out: ClassVar[float] = 0.5
    """The share of coordinates, over all cases, that may lie at kinks."""

    @abstractmethod
    def cases(self) -> SearchStrategy[LayerCase]:
        """The cases to draw from. Let everything in a case follow from what is drawn, so that failures shrink."""

    def test_gradients_equal_central_differences(self) -> None:
        compared, left_out = 0, 0

        def check(case: LayerCase, draws: np.random.Generator) -> None:
            nonlocal compared, left_out
            dy = _draw_dy(draws, case)
            report = check_gradients(case.layer, case.arguments, case.fixed, dy, most_left_out=1.0)
            assert not report.problems, "\n".join(report.problems)
            compared, left_out = compared + report.compared, left_out + report.left_out

        self._for_each_case("gradients_equal_central_differences", check)
        assert compared > 0, "no case has an argument with values in it: nothing was compared"
        assert left_out <= self.most_left_out * (compared + left_out), (
            f"{left_out} of {compared + left_out} coordinates lie at kinks or drown in rounding: "
            "let cases have fewer ties, or raise most_left_out"
        )

    def test_forward_and_gradients_equal_those_of_torch(self) -> None:
        referenced = 0

        def check(case: LayerCase, draws: np.random.Generator) -> None:
            nonlocal referenced
            if case.reference is None:
                return
            referenced += 1
            dy = _draw_dy(draws, case)
            y, gradients = _both_passes(_fresh(case), dy.copy())
            expected_y, expected_gradients = _by_torch(case, case.reference, dy)
            _demand_close([y], [expected_y], self.reference_tolerance, "y", "torch")
            _demand_close(gradients, expected_gradients, self.reference_tolerance, "gradient", "torch")

        self._for_each_case("forward_and_gradients_equal_those_of_torch", check)
        if not referenced:
            pytest.skip("no case has a reference in torch")

    def test_float32_stays_float32(self) -> None:
        def check(case: LayerCase, draws: np.random.Generator) -> None:
            single, dy = _of_type(case, np.float32), _draw_dy(draws, case).astype(np.float32)
            y, gradients = _both_passes(_fresh(single), dy.copy())
            if hasattr(y, "dtype"):  # a loss may be a Python float, which has none
                assert y.dtype == np.float32, f"y is {y.dtype} where arguments are float32"
            for number, gradient in enumerate(gradients):
                assert gradient.dtype == np.float32, f"gradient {number} is {gradient.dtype} where all else is float32"
            # from the rounded arguments: ties that rounding makes are then the same in both
            expected_y, expected_gradients = _both_passes(_of_type(single, np.float64), dy.astype(np.float64))
            _demand_close([y], [expected_y], self.float32_tolerance, "y", "float64", floor=1.0)
            _demand_close(gradients, expected_gradients, self.float32_tolerance, "gradient", "float64", floor=1.0)

        self._for_each_case("float32_stays_float32", check)

    def test_nothing_is_written_to_and_a_cache_serves_twice(self) -> None:
        def check(case: LayerCase, draws: np.random.Generator) -> None:
            given_arrays = [_frozen(array) for array in (*case.arguments, *case.fixed)]
            with _kept(given_arrays, "forward writes to its arguments"):
                y, cache = _demand_pair(case.layer.forward(*given_arrays))
            dy = _frozen(_draw_dy(draws, case))
            arrays = list(_arrays_in((given_arrays, dy, cache, y)))
            with _kept(arrays, "backward writes to dy, to y, to forward's arguments or to the cache"):
                first = _demand_gradients(case.layer.backward(dy, cache))
            before = _copied(first)
            with _kept([*arrays, *first], "passes over other values write to what earlier passes were given or gave"):
                others = (np.flip(argument).copy() for argument in case.arguments)
                _, other_cache = case.layer.forward(*others, *case.fixed)
                case.layer.backward(dy, other_cache)
            with _kept(arrays, "a second backward pass writes to dy, to y, to forward's arguments or to the cache"):
                second = case.layer.backward(dy, cache)
            for number, (once, twice) in enumerate(zip(before, second, strict=True)):
                assert np.array_equal(once, twice, equal_nan=True), (
                    f"gradient {number} differs from that of an earlier backward pass with the same cache"
                )

        self._for_each_case("nothing_is_written_to_and_a_cache_serves_twice", check)

    @pytest.mark.parametrize("layout", ["transposed", "stepped", "reversed"])
    def test_memory_layout_changes_nothing(self, layout: str) -> None:
        laid_out = {"transposed": _transposed, "stepped": _stepped, "reversed": _reversed}[layout]

        def check(case: LayerCase, draws: np.random.Generator) -> None:
            dy = _draw_dy(draws, case)
            y, gradients = _both_passes(_mapped(case, laid_out), laid_out(dy))
            expected_y, expected_gradients = _both_passes(_fresh(case), dy.copy())
            _demand_close([y], [expected_y], self.reference_tolerance, "y", "contiguous arrays")
            _demand_close(gradients, expected_gradients, self.reference_tolerance, "gradient", "contiguous arrays")

        self._for_each_case(f"memory_layout_changes_nothing_{layout}", check)

    def test_backward_is_linear(self) -> None:
        def check(case: LayerCase, draws: np.random.Generator) -> None:
            dy, other_dy = _draw_dy(draws, case), _draw_dy(draws, case)
            factor, other_factor = draws.normal(size=2)
            both = np.asarray(factor * dy + other_factor * other_dy)
            passes = (_both_passes(_fresh(case), of.copy()) for of in (both, dy, other_dy))
            sums, parts, other_parts = (_copied(gradients) for _, gradients in passes)
            for number, (of_sum, part, other) in enumerate(zip(sums, parts, other_parts, strict=True)):
                terms = factor * part, other_factor * other
                floor = max(FLOOR, *(float(np.linalg.norm(term)) for term in terms))  # the two may cancel
                error = relative_error(of_sum, terms[0] + terms[1], floor)
                assert error <= self.reference_tolerance, (
                    f"gradient {number} of a·dy + b·dy' is off by {error:.1e} from a times that of dy + b times that "
                    "of dy': backward is not linear in dy"
                )

        self._for_each_case("backward_is_linear", check)

    def test_every_argument_has_one_gradient_of_its_shape(self) -> None:
        def check(case: LayerCase, draws: np.random.Generator) -> None:
            _, gradients = _both_passes(_fresh(case), _draw_dy(draws, case))
            assert isinstance(gradients, tuple), f"backward returned a {type(gradients).__name__}, not a tuple"
            shapes, expected = [np.shape(g) for g in gradients], [argument.shape for argument in case.arguments]
            assert shapes == expected, f"gradients have shapes {shapes}, arguments {expected}"

        self._for_each_case("every_argument_has_one_gradient_of_its_shape", check)

    def _for_each_case(self, promise: str, check: Callable[[LayerCase, np.random.Generator], None]) -> None:
        def drawn(case: LayerCase, seed: int) -> None:
            check(case, np.random.default_rng(seed))

        drawn.__name__ = f"{type(self).__name__}_{promise}"  # by which Hypothesis keeps what failed before
        slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
        decorate = settings(max_examples=self.examples, deadline=None, suppress_health_check=slow)
        decorate(given(case=self.cases(), seed=st.integers(0, 2**32 - 1))(drawn))()


def _draw_dy(draws: np.random.Generator, case: LayerCase) -> Array:
    """A gradient of y, drawn: ones would hide terms that sum to 0. For a loss, an array without axes."""
    y, _ = _forward(_fresh(case))
    return np.asarray(draws.normal(size=np.shape(y)))


def _forward(case: LayerCase) -> tuple[Any, Cache]:
    return _demand_pair(case.layer.forward(*case.arguments, *case.fixed))


def _both_passes(case: LayerCase, dy: Array) -> tuple[Any, Sequence[Array]]:
    y, cache = _forward(case)
    kept = y.copy() if isinstance(y, np.ndarray) else y
    return kept, _demand_gradients(case.layer.backward(dy, cache))


def _demand_pair(returned: Any) -> tuple[Any, Cache]:
    """What forward returned: not one array, whose two rows could be taken for y and cache."""
    assert isinstance(returned, tuple), f"forward must return (y, cache), got one {type(returned).__name__}"
    assert len(returned) == 2, f"forward must return (y, cache), got {len(returned)} things"
    return returned


def _demand_gradients(returned: Any) -> Sequence[Array]:
    """What backward returned: not one array, whose rows could be taken for gradients. A list fails one test only."""
    assert isinstance(returned, tuple | list), (
        f"backward must return a tuple with a gradient for each argument, such as (dx,), got one "
        f"{type(returned).__name__}"
    )
    return returned


def _by_torch(case: LayerCase, reference: Callable[..., torch.Tensor], dy: Array) -> tuple[Array, list[Array]]:
    import torch

    arguments = [torch.tensor(argument, requires_grad=True) for argument in case.arguments]
    fixed = [torch.tensor(value) if isinstance(value, np.ndarray) else value for value in case.fixed]
    y = reference(*arguments, *fixed)
    gradients = torch.autograd.grad(y, arguments, torch.tensor(dy), materialize_grads=True)
    return y.detach().numpy(), [gradient.numpy() for gradient in gradients]


def _demand_close(
    actual: Sequence[Array | float],
    expected: Sequence[Array],
    tolerance: float,
    what: str,
    than: str,
    floor: float = FLOOR,
) -> None:
    assert len(actual) == len(expected), f"number of gradients: {len(actual)}, by {than} {len(expected)}"
    for number, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        shape, expected_shape = np.shape(ours), np.shape(theirs)
        assert shape == expected_shape, f"{what} {number} has shape {shape}, that of {than} {expected_shape}"
        error = relative_error(ours, theirs, floor)
        assert error <= tolerance, f"{what} {number} is off by {error:.1e} from {than}, allowed is {tolerance:.0e}"


def _mapped(case: LayerCase, change: Callable[[Array], Array]) -> LayerCase:
    """The case with other arrays; what is not an array stays."""
    arguments = tuple(change(argument) for argument in case.arguments)
    fixed = tuple(change(value) if isinstance(value, np.ndarray) else value for value in case.fixed)
    return dataclasses.replace(case, arguments=arguments, fixed=fixed)


def _of_type(case: LayerCase, dtype: type[np.floating[Any]]) -> LayerCase:
    return _mapped(case, lambda array: array.astype(dtype) if array.dtype.kind == "f" else array)


def _fresh(case: LayerCase) -> LayerCase:
    """The case with copies, so that a layer that writes to its arguments is told of it by one test only."""
    return _mapped(case, np.array)


def _copied(arrays: Sequence[Array]) -> list[Array]:
    return [np.array(array) for array in arrays]


def _transposed(array: Array) -> Array:
    """The same values, the first axis fastest in memory."""
    return array.T.copy(order="C").T


def _stepped(array: Array) -> Array:
    """The same values as every second one along each axis, not-a-number or a wild one between."""
    between = np.nan if array.dtype.kind == "f" else 1
    room = np.full([2 * size + 1 for size in array.shape], between, dtype=array.dtype)
    view = room[tuple(slice(1, None, 2) for _ in array.shape)] if array.ndim else room
    view[...] = array
    return view


def _reversed(array: Array) -> Array:
    """The same values, backward in memory along each axis."""
    return np.flip(np.flip(array).copy()) if array.ndim else array.copy()


def _frozen(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    copy = value.copy()
    copy.flags.writeable = False
    return copy


@contextmanager
def _kept(values: Sequence[Any], otherwise: str) -> Iterator[None]:
    """Fail if what is done inside changes any of these arrays, or tries to write to one that is read-only."""
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    before = _copied(arrays)
    try:
        yield
    except ValueError as error:
        if "read-only" not in str(error) and "WRITEABLE" not in str(error):
            raise
        raise AssertionError(f"{otherwise}: {error}") from error
    for array, kept in zip(arrays, before, strict=True):
        assert np.array_equal(array, kept, equal_nan=kept.dtype.kind == "f"), otherwise


def _arrays_in(value: Cache) -> Iterator[Array]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Mapping):
        yield from _arrays_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _arrays_in(part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _arrays_in([getattr(value, field.name) for field in dataclasses.fields(value)])
