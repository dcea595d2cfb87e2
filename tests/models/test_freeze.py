"""Freezing freezes what was named, all of it and nothing else."""

import pytest
import torch
from torch import nn

from assay.errors import InvalidValueError
from assay.models.freeze import freeze
from assay.models.patterns import fits
from assay.recipe.schema import Freeze, Recipe


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.stem = nn.Conv2d(3, 4, 3)
        self.stem_norm = nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(Block(4), Block(4))
        self.attention = nn.MultiheadAttention(4, 2)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def frozen(**section):
    net = Net()
    freeze(net, Freeze(**section))
    return {name for name, parameter in net.named_parameters() if not parameter.requires_grad}


EVERYTHING = {name for name, _ in Net().named_parameters()}


def below(*layers):
    return {name for name in EVERYTHING if any(name == layer or name.startswith(layer + ".") for layer in layers)}


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, set()),
        ({"layers": ["stem"]}, {"stem.weight", "stem.bias"}),
        ({"layers": ["stem*"]}, below("stem", "stem_norm")),
        ({"layers": ["blocks.0", "token"]}, below("blocks.0", "token")),
        ({"layers": ["*.norm"]}, below("blocks.0.norm", "blocks.1.norm")),
        ({"layers": ["*.bias"]}, {name for name in EVERYTHING if name.endswith(".bias")}),
        ({"all_but": ["head"]}, EVERYTHING - below("classifier.3")),
        ({"all_but": ["head", "blocks.1.*"]}, EVERYTHING - below("classifier.3", "blocks.1")),
        ({"depth": 1}, below("token", "stem", "stem_norm")),
        ({"depth": 2}, below("token", "stem", "stem_norm", "blocks.0")),
        ({"depth": 3}, below("token", "stem", "stem_norm", "blocks")),
        ({"depth": 4}, below("token", "stem", "stem_norm", "blocks", "attention")),
        ({"depth": 5}, EVERYTHING - below("classifier.3")),
        ({"depth": 1, "layers": ["classifier.1"]}, below("token", "stem", "stem_norm", "classifier.1")),
    ],
    ids=str,
)
def test_what_is_frozen(section, expected):
    assert frozen(**section) == expected


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"layers": ["stem", "stemm"]},
            "freeze.layers must fit the names of layers or parameters of the model, got stemm, which fits none.\n"
            "  assay inspect lists the layers of a model.",
        ),
        (
            {"all_but": ["classifier.7"]},
            "freeze.all_but must fit the names of layers or parameters of the model, got classifier.7, which fits "
            "none.\n  assay inspect lists the layers of a model.",
        ),
        (
            {"depth": 7},
            "freeze.depth must be at most the number of the model's layers with weights, 6, got 7.\n"
            "  assay inspect lists the layers of a model.",
        ),
        (
            {"depth": 6},
            f"freeze.depth must leave something to train, and freezes all {len(EVERYTHING)} parameters of Net.\n"
            "  Freeze fewer layers, or set train.epochs to 0 to measure the network as it is.",
        ),
        (
            {"layers": ["*"]},
            f"freeze.layers must leave something to train, and freezes all {len(EVERYTHING)} parameters of Net.\n"
            "  Freeze fewer layers, or set train.epochs to 0 to measure the network as it is.",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_frozen_says_why(section, message):
    with pytest.raises(InvalidValueError) as caught:
        frozen(**section)
    assert str(caught.value) == message


def test_everything_may_be_frozen_where_nothing_is_trained():
    net = Net()
    freeze(net, Freeze(layers=["*"]), trains=False)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_a_parameter_that_a_constructor_froze_stays_frozen():
    net = Net()
    net.stem.requires_grad_(False)
    freeze(net, Freeze(layers=["token"]))
    assert not net.stem.weight.requires_grad


@pytest.mark.parametrize("beside", [{"layers": ["a"]}, {"depth": 2}])
def test_keys_that_contradict_each_other_are_refused_when_the_recipe_is_read(beside):
    section = {"all_but": ["head"], **beside}
    with pytest.raises(InvalidValueError) as caught:
        Recipe.model_validate({"data": {"source": "digits"}, "model": {"name": "mlp"}, "freeze": section})
    assert str(caught.value) == (
        f"freeze.{next(iter(beside))} must be left out where freeze.all_but is set, which freezes everything else "
        "already."
    )


def test_patterns_fit_whole_names_of_layers():
    assert fits("blocks.0.conv.weight", "blocks.0")
    assert fits("blocks.0.conv.weight", "*.weight")
    assert not fits("blocks.0.conv.weight", "block")
    assert not fits("blocks.0.conv.weight", "blocks.0.con")
    assert not fits("stem.weight", "weight")
