"""Nonlinearities are seen whether a module or a function makes them, and measured as loops would."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from assay.metrics.vitals import Activity
from assay.training.activations import activity_of


class Functional(nn.Module):
    """One of each kind, without a module for any."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.last = nn.Linear(4 * 36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.first(x), inplace=True)
        return torch.tanh(torch.sigmoid(self.last(x.flatten(1))))


def observed(model: nn.Module, x: torch.Tensor) -> tuple[Activity, ...]:
    model.eval()
    with torch.inference_mode():
        return activity_of(model, lambda: model(x))


def test_modules_and_functions_are_seen_alike() -> None:
    torch.manual_seed(0)
    by_functions = Functional()
    by_modules = nn.Sequential(
        by_functions.first, nn.ReLU(inplace=True), nn.Flatten(), by_functions.last, nn.Sigmoid(), nn.Tanh()
    )
    x = torch.randn(7, 1, 8, 8)
    one, other = observed(by_functions, x), observed(by_modules, x)
    assert [(seen.operation, seen.kind, seen.units) for seen in one] == [
        ("relu", "rectifier", 4),
        ("sigmoid", "saturating", 5),
        ("tanh", "saturating", 5),
    ]
    for a, b in zip(one, other, strict=True):
        assert (a.dead, a.active, a.saturated, a.mean, a.deviation) == (
            b.dead,
            b.active,
            b.saturated,
            b.mean,
            b.deviation,
        )
    assert [seen.layer for seen in one] == ["", "#2", "#3"]
    assert [seen.layer for seen in other] == ["1", "4", "5"]


def test_shares_are_those_of_loops() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias[:2] = -100.0  # two dead channels
    x = torch.randn(5, 2, 6, 6)
    (seen,) = observed(model, x)
    output_BCHW = functional.relu(model[0](x)).detach().numpy()
    assert seen.dead == pytest.approx(sum((output_BCHW[:, c] <= 0).all() for c in range(6)) / 6, abs=1e-5)
    assert seen.dead >= 2 / 6 - 1e-5
    assert seen.active == pytest.approx((output_BCHW > 0).mean(), abs=1e-5)
    assert seen.mean == pytest.approx(output_BCHW.mean(), rel=1e-4)
    assert seen.deviation == pytest.approx(output_BCHW.std(), rel=1e-4)


@pytest.mark.parametrize(
    ("layer", "values", "saturated"),
    [
        (nn.Sigmoid(), [0.0, 3.0, 4.0, -4.0], 0.5),  # 4σ(1 − σ) is 0.18 at 3, and 0.07 at 4
        (nn.Tanh(), [0.0, 1.5, 2.0, -2.0], 0.5),  # 1 − tanh² is 0.18 at 1.5, and 0.07 at 2
        (nn.Hardtanh(), [0.0, 0.5, 1.0, -3.0], 0.5),
        (nn.ReLU6(), [0.0, 0.5, 1.0, -3.0], 0.0),
    ],
)
def test_saturation_is_a_slope_below_a_tenth_of_the_steepest(layer, values, saturated) -> None:
    (seen,) = observed(layer, torch.tensor([values]).T)
    assert seen.saturated == saturated
    assert seen.kind == ("rectifier" if isinstance(layer, nn.ReLU6) else "saturating")


def test_a_layer_that_is_called_twice_is_counted_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()
            self.inner = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(self.inner(self.relu(x)))

    seen = observed(Twice(), torch.randn(4, 3))
    assert [one.layer for one in seen] == ["relu", "relu#2"]


def test_what_is_not_a_number_has_no_mean() -> None:
    (seen,) = observed(nn.ReLU(), torch.full((2, 3), np.nan))
    assert (seen.mean, seen.deviation, seen.dead) == (None, None, 1.0)


def test_hooks_are_taken_off_even_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with pytest.raises(RuntimeError):
        observed(model, torch.randn(2, 4))
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("shape", "axis"), [((7, 3), 1), ((7, 3, 2, 2), 1), ((7, 2, 3), 2)], ids=str)
def test_a_unit_fires_if_it_does_for_any_example_at_any_place(shape, axis) -> None:
    x = -torch.ones(shape)
    x.select(axis, 2)[4] = 1.0
    (seen,) = observed(nn.ReLU(), x)
    assert (seen.units, seen.dead) == (3, pytest.approx(2 / 3, abs=1e-5))
