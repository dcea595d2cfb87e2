"""Mixed precision and memory layout: what is computed in which numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from assay.recipe.schema import Train
from assay.training.arithmetic import Arithmetic, number_type

CPU = torch.device("cpu")


def arithmetic(**keys) -> Arithmetic:
    return Arithmetic(Train(**keys), CPU)


class Seen(nn.Module):
    """Notes the type and layout of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.output = nn.Linear(8, 4)
        self.types: list[torch.dtype] = []
        self.channels_last = False

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        self.channels_last = x_BCHW.is_contiguous(memory_format=torch.channels_last)
        maps = self.conv(x_BCHW)
        self.types.append(maps.dtype)
        return self.output(maps.amax(dim=(2, 3)))


@pytest.mark.parametrize(
    ("precision", "inside", "weights"),
    [
        ("float32", torch.float32, torch.float32),
        ("float64", torch.float64, torch.float64),
        ("bfloat16", torch.bfloat16, torch.float32),
        ("float16", torch.float16, torch.float32),
    ],
)
def test_convolutions_compute_in_the_precision_and_weights_stay_wide(precision, inside, weights):
    own = arithmetic(precision=precision)
    model = own.prepared(Seen())
    scores = own.scores(model, torch.randn(2, 3, 6, 6, dtype=number_type(precision)))
    assert model.types == [inside]
    assert {parameter.dtype for parameter in model.parameters()} == {weights}
    assert scores.dtype == weights


def test_sixteen_bit_scores_are_near_those_of_thirty_two():
    torch.manual_seed(0)
    model = Seen()
    x_BCHW = torch.randn(4, 3, 6, 6)
    exact, rounded = (arithmetic(precision=name).scores(model, x_BCHW) for name in ("float32", "bfloat16"))
    assert not torch.equal(exact, rounded)
    assert torch.allclose(exact, rounded, atol=0.05)


def test_channels_last_is_a_layout_and_no_other_numbers():
    torch.manual_seed(0)
    model = Seen()
    x_BCHW = torch.randn(4, 3, 6, 6)
    before = arithmetic().scores(model, x_BCHW)
    assert not model.channels_last
    own = arithmetic(channels_last=True)
    after = own.scores(own.prepared(model), x_BCHW)
    assert model.channels_last
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(before, after, atol=1e-6)


def test_points_have_no_layout():
    x_BD = torch.randn(4, 7)
    assert arithmetic(channels_last=True).inputs(x_BD) is x_BD


def quadratic(own: Arithmetic, factor: float) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    own.backward((factor * weight * weight).sum(), optimizer)
    return weight, optimizer


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_gradients_are_those_of_what_is_minimised(precision):
    own = arithmetic(precision=precision)
    weight, optimizer = quadratic(own, 0.5)
    assert weight.grad.tolist() == [1.0, -2.0]
    own.step(optimizer)
    assert weight.tolist() == pytest.approx([0.9, -1.8])


def test_a_scaled_gradient_that_is_not_finite_lowers_the_scale_and_moves_nothing():
    own = arithmetic(precision="float16")
    before = own.state().facts["scaler"]["scale"] if own.state().facts["scaler"] else None
    weight, optimizer = quadratic(own, 1e36)
    own.step(optimizer)
    assert weight.tolist() == [1.0, -2.0]
    after = own.state().facts["scaler"]["scale"]
    assert before is None or after == before / 2


def test_the_scale_goes_on_where_it_was():
    own = arithmetic(precision="float16")
    weight, optimizer = quadratic(own, 1e36)
    own.step(optimizer)
    again = arithmetic(precision="float16")
    again.restore(own.state())
    assert again.state() == own.state()
    assert weight.tolist() == [1.0, -2.0]


def test_auto_must_be_settled_first():
    with pytest.raises(ValueError, match="auto is to be settled before a run starts"):
        arithmetic(precision="auto")
