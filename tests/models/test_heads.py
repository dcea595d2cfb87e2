"""The layer that gives the scores and the one that sees the images are found in any network."""

from __future__ import annotations

import pytest
from torch import nn

from assay.errors import InvalidValueError
from assay.models.heads import first_layer_of, head_of


def _nested() -> nn.Module:
    block = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(block, nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 10))


def test_the_head_is_the_last_linear_layer_and_the_first_layer_a_convolution():
    assert head_of(_nested()) == "4"
    assert first_layer_of(_nested()) == "0.0"


def test_without_a_linear_layer_the_last_convolution_gives_the_scores():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert head_of(model) == "2"


def test_a_linear_layer_is_preferred_to_a_later_convolution():
    class MadeBackwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Linear(8, 10)
            self.features = nn.Conv2d(3, 8, 3)

    assert head_of(MadeBackwards()) == "scores"


def test_the_number_of_classes_tells_scores_from_a_later_layer():
    assert head_of(_nested(), classes=4) == "2"


def test_the_projection_inside_attention_is_no_head():
    model = nn.Sequential(nn.Linear(4, 10), nn.MultiheadAttention(10, 2))
    assert head_of(model) == "0"


@pytest.mark.parametrize("classes", [None, 10])
def test_a_network_without_weights_has_neither(classes: int | None):
    with pytest.raises(InvalidValueError) as caught:
        head_of(nn.Sequential(nn.ReLU()), classes=classes)
    outputs = " with 10 outputs" if classes else ""
    assert f"must hold a linear layer or a convolution{outputs}, which gives the scores; Sequential" in str(
        caught.value
    )
    with pytest.raises(InvalidValueError, match="which sees the images; Sequential holds none"):
        first_layer_of(nn.Sequential(nn.ReLU()))


def test_a_layer_without_that_many_outputs_is_no_head():
    with pytest.raises(InvalidValueError, match="with 7 outputs"):
        head_of(_nested(), classes=7)
