import pytest
import torch
from torch import nn

from assay.models.anatomy import ROOT_NAME, LayerRow, dissect
from assay.models.build import build_model
from assay.recipe.schema import DefaultInit, LeNet5Model, MlpModel


def build(model, input_shape):
    return build_model(model, DefaultInit(name="default"), seed=0, input_shape=input_shape, classes=10)


def test_the_table_of_classic_lenet5_is_the_one_of_the_textbook():
    anatomy = dissect(build(LeNet5Model(name="lenet5", activation="tanh"), (1, 32, 32)), (1, 32, 32))
    table = {row.name: (row.kind, row.output_shape, row.parameters, row.macs) for row in anatomy.rows}
    assert table == {
        "conv1": ("Conv2d", (6, 28, 28), 156, 117_600),
        "conv1_activation": ("Tanh", (6, 28, 28), 0, 0),
        "pool1": ("MaxPool2x2", (6, 14, 14), 0, 0),
        "conv2": ("Conv2d", (16, 10, 10), 2_416, 240_000),
        "conv2_activation": ("Tanh", (16, 10, 10), 0, 0),
        "pool2": ("MaxPool2x2", (16, 5, 5), 0, 0),
        "flatten": ("Flatten", (400,), 0, 0),
        "linear1": ("Linear", (120,), 48_120, 48_000),
        "linear1_activation": ("Tanh", (120,), 0, 0),
        "linear2": ("Linear", (84,), 10_164, 10_080),
        "linear2_activation": ("Tanh", (84,), 0, 0),
        "output": ("Linear", (10,), 850, 840),
    }
    assert list(table) == [row.name for row in anatomy.rows]
    assert (anatomy.parameters, anatomy.trainable_parameters, anatomy.macs) == (61_706, 61_706, 416_520)


def test_other_poolings_have_their_own_kinds_and_the_same_sizes():
    for pooling, kind in (("average", "AvgPool2d"), ("subsample", "Subsample2x2")):
        rows = dissect(build(LeNet5Model(name="lenet5", pooling=pooling), (1, 32, 32)), (1, 32, 32)).rows
        assert [(row.kind, row.output_shape, row.parameters) for row in rows if row.name.startswith("pool")] == [
            (kind, (6, 14, 14), 0),
            (kind, (16, 5, 5), 0),
        ]


def test_looking_changes_nothing():
    model = build(MlpModel(name="mlp", widths=(16,), norm="batch", dropout=0.5), (1, 8, 8))
    model.get_submodule("dropout1").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    dissect(model, (1, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Odd(nn.Module):
    """A layer used twice, a weight of the outermost module, an unused layer, a recurrent one, a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.block = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU())
        self.unused = nn.Linear(2, 3)
        self.recurrent = nn.GRU(4, 6, batch_first=True)
        self.projection = nn.Parameter(torch.ones(6, 5))
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.block[0].weight
        self.shared.bias.requires_grad_(False)

    def forward(self, x):
        h = self.tied(self.block(self.shared(self.shared(x))))
        return self.recurrent(h[:, None])[0][:, 0] @ self.projection


def test_odd_modules_are_described_too():
    anatomy = dissect(Odd(), (4,))
    rows = {row.name: row for row in anatomy.rows}
    assert rows["shared"] == LayerRow(name="shared", kind="Linear", output_shape=(4,), parameters=20, macs=32)
    assert rows["tied"] == LayerRow(name="tied", kind="Linear", output_shape=(4,), parameters=0, macs=16)
    assert rows[ROOT_NAME] == LayerRow(name=ROOT_NAME, kind="Odd", output_shape=(5,), parameters=30, macs=30)
    assert rows["unused"] == LayerRow(name="unused", kind="Linear", output_shape=None, parameters=9, macs=0)
    assert rows["recurrent"].output_shape == (1, 6)
    assert "block" not in rows
    assert anatomy.rows[-1].name == "unused"
    assert anatomy.parameters == sum(row.parameters for row in anatomy.rows) == anatomy.trainable_parameters + 4
    assert anatomy.macs == sum(row.macs for row in anatomy.rows)


def test_attention_is_counted():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    projections, tokens = 4 * 8 * 8, 5
    attention, feed_forward = 2 * tokens * 8, 2 * 8 * 16
    assert dissect(layer, (tokens, 8)).macs == tokens * (projections + attention + feed_forward)


def test_hooks_are_removed_when_the_model_raises():
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        dissect(model, (4,))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
