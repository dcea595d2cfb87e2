"""Depthwise-separable convolutions cost what the formula says, and stand where the plain ones stood."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from assay.models.anatomy import dissect
from assay.models.build import build_model
from assay.models.separable import separable, separable_costs
from assay.recipe.schema import CifarResNetModel, DefaultInit, LeNet5Model


def build(section, input_shape):
    return build_model(section, DefaultInit(name="default"), seed=0, input_shape=input_shape, classes=10)


@settings(deadline=None, max_examples=50)
@given(
    channels=st.integers(1, 9),
    maps=st.integers(1, 40),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)).filter(lambda kernel: kernel != (1, 1)),
    stride=st.integers(1, 3),
    bias=st.booleans(),
)
def test_what_they_would_cost_is_what_they_do_cost(channels, maps, kernel, stride, bias):
    model = nn.Conv2d(channels, maps, kernel, stride=stride, padding=(2, 1), bias=bias)
    shape = (channels, 9, 8)
    before, after = dissect(model, shape), dissect(separable(model), shape)
    (cost,) = separable_costs(before)
    assert (cost.plain_macs, cost.plain_parameters) == (before.macs, before.parameters)
    assert (cost.macs, cost.parameters) == (after.macs, after.parameters)
    assert after.rows[-1].output_shape == before.rows[-1].output_shape
    assert after.rows[-1].receptive_field == before.rows[-1].receptive_field
    window = kernel[0] * kernel[1]
    assert 1 / cost.macs_ratio == pytest.approx(1 / maps + 1 / window)


def test_many_channels_save_nearly_nine_times_the_products():
    (cost,) = separable_costs(dissect(nn.Conv2d(512, 512, 3, padding=1, bias=False), (512, 14, 14)))
    assert cost.macs_ratio == cost.parameters_ratio == pytest.approx(8.84, abs=0.01)


def test_each_plain_convolution_of_a_network_is_replaced_and_it_runs():
    model = build(CifarResNetModel(name="cifar_resnet", depth=8), (3, 32, 32)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = separable(model)
    names = dict(made.named_modules())
    assert type(names["conv1"]) is type(names["layer2.0.conv1"]) is nn.Sequential
    assert names["layer2.0.conv1.depthwise"].stride == (2, 2)
    x_BCHW = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert made(x_BCHW).shape == (2, 10)
    costs = {cost.name: cost for cost in separable_costs(dissect(model, (3, 32, 32)))}
    after = dissect(made, (3, 32, 32))
    assert len(costs) == 7
    for name, cost in costs.items():
        (block,) = [block for block in after.blocks if block.name == name]
        assert (block.macs, block.parameters) == (cost.macs, cost.parameters)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Choosy(nn.Module):
    """A shared convolution, one in groups, one of 1×1, one that is not called."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.again = self.shared
        self.in_groups = nn.Conv2d(4, 4, 3, groups=2)
        self.mixing = nn.Conv2d(4, 8, 1)
        self.unused = nn.Conv2d(4, 8, 3)

    def forward(self, x):
        return self.mixing(self.in_groups(self.again(self.shared(x))))


def test_what_is_not_plain_stays():
    model = Choosy().eval()
    made = separable(model)
    assert made.shared is made.again
    assert isinstance(made.shared, nn.Sequential)
    assert isinstance(made.unused, nn.Sequential)
    assert isinstance(made.in_groups, nn.Conv2d)
    assert isinstance(made.mixing, nn.Conv2d)
    assert not any(module.training for module in made.modules())
    (cost,) = separable_costs(dissect(model, (4, 6, 6)))
    assert (cost.name, cost.plain_macs) == ("shared", 2 * 36 * 9 * 16)
    assert cost.macs == 2 * 36 * (9 * 4 + 16)
    assert dissect(made, (4, 6, 6)).macs == dissect(model, (4, 6, 6)).macs - cost.plain_macs + cost.macs


def test_dilation_and_what_padding_is_filled_with_stay():
    plain = nn.Conv2d(3, 5, 3, padding="same", dilation=2, padding_mode="reflect")
    made = separable(plain)
    x_BCHW = torch.randn(1, 3, 9, 9)
    with torch.no_grad():
        mixed = torch.einsum("oi,ihw->oihw", made.pointwise.weight[:, :, 0, 0], made.depthwise.weight[:, 0])
        plain.weight.copy_(mixed)
        plain.bias.copy_(made.pointwise.bias)
        torch.testing.assert_close(made(x_BCHW), plain(x_BCHW))


def test_a_network_without_images_has_nothing_to_separate():
    assert separable_costs(dissect(nn.Linear(4, 2), (4,))) == ()
    costs = separable_costs(dissect(build(LeNet5Model(name="lenet5"), (1, 32, 32)), (1, 32, 32)))
    assert [cost.name for cost in costs] == ["conv1", "conv2"]
