"""The layer table: what it counts is what is published, and it is true of any module, however odd."""

import pytest
import torch
import torchvision
from torch import nn

from assay.models.anatomy import ROOT_NAME, LayerRow, dissect, folded
from assay.models.build import build_model
from assay.recipe.schema import DefaultInit, LeNet5Model, MlpModel, StepByStepCnnModel

PUBLISHED = ["alexnet", "resnet18", "squeezenet1_1", "mobilenet_v3_small", "vit_b_16"]


def build(model, input_shape):
    return build_model(model, DefaultInit(name="default"), seed=0, input_shape=input_shape, classes=10)


def without_data(name):
    with torch.device("meta"):
        return torchvision.models.get_model(name)


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


def row(name, kind, output_shape, *, parameters, macs, output_bytes, trainable=None):
    return LayerRow(
        name=name,
        kind=kind,
        output_shape=output_shape,
        parameters=parameters,
        trainable_parameters=parameters if trainable is None else trainable,
        macs=macs,
        output_bytes=output_bytes,
    )


def test_odd_modules_are_described_too():
    anatomy = dissect(Odd(), (4,))
    rows = {row.name: row for row in anatomy.rows}
    assert rows["shared"] == row("shared", "Linear", (4,), parameters=20, trainable=16, macs=32, output_bytes=32)
    assert rows["tied"] == row("tied", "Linear", (4,), parameters=0, macs=16, output_bytes=16)
    assert rows[ROOT_NAME] == row(ROOT_NAME, "Odd", (5,), parameters=30, macs=30, output_bytes=20)
    assert rows["unused"] == row("unused", "Linear", None, parameters=9, macs=0, output_bytes=0)
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


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_costs_are_those_torchvision_publishes(name):
    published = torchvision.models.get_model_weights(name).DEFAULT.meta
    anatomy = dissect(without_data(name), (3, 224, 224))
    assert anatomy.parameters == published["num_params"]
    assert round(anatomy.macs / 1e9, 3) == published["_ops"]
    # Had it been run with data for some reason, nothing would be known of these.
    assert any(row.receptive_field == ("whole", "whole") for row in anatomy.rows)
    assert all(row.receptive_field != (None, None) for row in anatomy.rows)
    assert anatomy.training_bytes


def test_receptive_fields_of_the_cnn_of_the_lab():
    anatomy = dissect(build(StepByStepCnnModel(name="step_by_step_cnn"), (3, 32, 32)), (3, 32, 32))
    fields = {row.name: (row.receptive_field, row.stride) for row in anatomy.rows}
    assert {name: fields[name] for name in ("conv1", "pool1", "conv2", "pool2", "conv3", "pool3")} == {
        "conv1": ((5, 5), (1, 1)),
        "pool1": ((6, 6), (2, 2)),
        "conv2": ((14, 14), (2, 2)),
        "pool2": ((16, 16), (4, 4)),
        "conv3": ((32, 32), (4, 4)),
        "pool3": ((36, 36), (8, 8)),
    }
    assert fields["output"] == (("whole", "whole"), (None, None))
    assert [row.parameters for row in anatomy.rows if row.parameters] == [2_432, 51_264, 102_464, 1_025_000, 10_010]
    assert anatomy.parameters == 1_191_170


@pytest.mark.parametrize(("name", "layer", "field"), [("resnet18", "layer4", 435), ("vgg16", "features.30", 212)])
def test_receptive_fields_are_those_published(name, layer, field):
    """Those of Araujo et al. 2019, doi:10.23915/distill.00021, whose VGG-16 ends with its last pooling."""
    anatomy = dissect(without_data(name), (3, 224, 224))
    (row,) = [row for row in (*anatomy.rows, *anatomy.blocks) if row.name == layer]
    assert row.receptive_field == (field, field)
    assert row.stride == (32, 32)


def test_points_have_no_receptive_field():
    rows = dissect(build(MlpModel(name="mlp"), (2,)), (2,)).rows
    assert [(row.receptive_field, row.stride) for row in rows] == [(None, None)] * len(rows)


def test_outputs_are_counted_once_in_memory():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Dropout(), nn.Flatten())
            self.twice = nn.Linear(16, 16)

        def forward(self, x):
            return self.twice(self.twice(self.layers(x)))

    anatomy = dissect(InPlace().double(), (3, 4, 4))
    assert {row.name: row.output_bytes for row in anatomy.rows} == {
        "layers.0": 4 * 4 * 4,
        "layers.1": 0,
        "layers.2": 0,
        "layers.3": 0,
        "twice": 2 * 16 * 4,
    }
    assert anatomy.output_bytes == 192


def test_training_keeps_what_the_gradients_need():
    """The input and each activation for the weights' gradients, a ReLU's output for its own; of frozen layers before
    the first trained one, nothing."""
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 30), nn.Sigmoid(), nn.Linear(30, 5))
    assert dissect(model, (10,)).training_bytes == 4 * (10 + 20 + 30)
    model[:4].requires_grad_(False)
    assert dissect(model, (10,)).training_bytes == 4 * 30
    model.requires_grad_(False)
    assert dissect(model, (10,)).training_bytes == 0


def test_dropout_keeps_its_mask():
    plain, dropped = (
        dissect(build(MlpModel(name="mlp", widths=(20,), dropout=p), (1, 2, 5)), (1, 2, 5)).training_bytes
        for p in (0.0, 0.5)
    )
    # The mask, and the output, which is no longer the activation's.
    assert dropped - plain == 4 * 20 + 4 * 20


def test_frozen_parameters_are_told_apart():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    anatomy = dissect(model, (4,))
    assert [(row.parameters, row.trainable_parameters) for row in anatomy.rows] == [(20, 0), (20, 20)]
    assert (anatomy.parameters, anatomy.trainable_parameters) == (40, 20)


class Undecided(nn.Module):
    """Its way depends on values, and it keeps a tensor of its own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.other = nn.Conv2d(1, 2, 3)
        self.grid = None

    def forward(self, x):
        if self.grid is None:
            self.grid = torch.arange(4, device=x.device)
        return (self.conv if x.mean() == 0 else self.other)(x) + self.grid[:2].view(1, 2, 1, 1)


def test_a_model_that_needs_values_is_run_with_data_and_its_fields_are_unknown():
    model = Undecided()
    anatomy = dissect(model, (1, 5, 5))
    assert [row.name for row in anatomy.rows] == ["conv", "other"]
    rows = {row.name: row for row in anatomy.rows}
    assert rows["conv"].output_shape == (2, 3, 3)
    assert rows["conv"].receptive_field == (None, None)
    assert anatomy.macs == 9 * 9 * 2
    assert model.grid.device.type == "cpu"


def test_what_a_model_remembers_of_the_look_holds_no_data():
    class Remembering(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)
            self.seen = None

        def forward(self, x):
            self.seen = x
            return self.layer(x)

    model = Remembering()
    dissect(model, (4,))
    assert model.seen is None


def test_a_model_without_data_is_left_so():
    model = without_data("squeezenet1_1")
    dissect(model, (3, 224, 224))
    assert all(parameter.is_meta for parameter in model.parameters())


def test_looking_draws_from_no_generator():
    model = build(MlpModel(name="mlp", widths=(16,), dropout=0.5), (1, 8, 8))
    model.add_module("torchs_own", nn.Dropout(0.5))
    before = torch.random.get_rng_state()
    drawn = model.get_submodule("dropout1")._bits.state["state"]["counter"].copy()
    assert dissect(model, (1, 8, 8)).training_bytes
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (model.get_submodule("dropout1")._bits.state["state"]["counter"] == drawn).all()


def test_blocks_sum_up_their_rows():
    anatomy = dissect(without_data("resnet18"), (3, 224, 224))
    rows = folded(anatomy, 1)
    assert [row.name for row in rows] == [
        *("conv1", "bn1", "relu", "maxpool"),
        *("layer1", "layer2", "layer3", "layer4"),
        *("avgpool", "fc"),
    ]
    assert sum(row.parameters for row in rows) == anatomy.parameters
    assert sum(row.macs for row in rows) == anatomy.macs
    assert sum(row.output_bytes for row in rows) == anatomy.output_bytes
    layer2 = rows[5]
    assert (layer2.kind, layer2.output_shape, layer2.stride) == ("Sequential", (128, 28, 28), (8, 8))
    assert folded(anatomy, 9) == anatomy.rows


def test_a_block_that_holds_weights_itself_is_one_row():
    anatomy = dissect(without_data("vit_b_16"), (3, 224, 224))
    (encoder,) = [row for row in folded(anatomy, 1) if row.name == "encoder"]
    assert encoder.parameters == sum(row.parameters for row in anatomy.rows if row.name.startswith("encoder"))
