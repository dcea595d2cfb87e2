"""Class-activation maps: the right numbers at the right layer, and nothing of the model or the run changed."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from assay.metrics.class_activation import CLASS_ACTIVATION, class_activation_read, examples_to_explain
from assay.recipe.schema import Recipe
from assay.records import Predictions, Run
from assay.training.class_activation import (
    CLASS_ACTIVATION_SHEET,
    class_activation_files,
    class_activation_maps,
)
from assay.training.engines.choose import build_engine
from assay.training.engines.with_torch import TorchEngine
from assay.training.network import Network
from assay.training.prepare import PreparedData, prepare_data
from assay.training.run import run_recipe

CPU = torch.device("cpu")
DIGITS = {"data": {"source": "digits"}, "model": {"name": "lenet5"}, "train": {"epochs": 1, "batch_size": 256}}


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({**DIGITS, **sections})


def maps_of(model: nn.Module, x_BCHW: Tensor, classes_B: Tensor) -> tuple[str, Tensor] | None:
    return class_activation_maps(model.eval(), model, x_BCHW, classes_B)


class Pooled(nn.Module):
    """Convolutions, the mean over all places, a linear layer: what CAM was made for."""

    def __init__(self, channels: int = 5, classes: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(3, channels, 3))
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=(2, 3)))


@given(seed=st.integers(0, 1000), channels=st.integers(1, 8), classes=st.integers(2, 6), side=st.integers(5, 9))
@settings(max_examples=25, deadline=None)
def test_with_mean_pooling_and_a_linear_head_it_is_cam(seed: int, channels: int, classes: int, side: int) -> None:
    torch.manual_seed(seed)
    model = Pooled(channels, classes).eval()
    x_BCHW, classes_B = torch.randn(3, 2, side, side), torch.randint(classes, (3,))
    found = maps_of(model, x_BCHW, classes_B)
    assert found is not None
    name, maps_BHW = found
    with torch.no_grad():
        features_BCHW = model.body(x_BCHW)
        weight_BC = model.head.weight[classes_B]
        cam_BHW = torch.einsum("bc,bchw->bhw", weight_BC, features_BCHW)
    assert name == "body.2"
    places = features_BCHW.shape[2] * features_BCHW.shape[3]
    torch.testing.assert_close(maps_BHW, cam_BHW.relu() / places, rtol=1e-4, atol=1e-6)


def test_gradients_are_those_of_the_score_by_the_output_of_the_last_convolution() -> None:
    torch.manual_seed(1)
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 3))
    tail = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 8), nn.ReLU())
    model = nn.Sequential(body, tail, nn.Linear(8, 3)).eval()
    x_BCHW, classes_B = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    maps_BCHW = body(x_BCHW).detach().requires_grad_()
    score = model[2](tail(maps_BCHW.clone())).gather(1, classes_B[:, None]).sum()
    (gradient_BCHW,) = torch.autograd.grad(score, maps_BCHW)
    expected = (gradient_BCHW.mean(dim=(2, 3), keepdim=True) * maps_BCHW).sum(dim=1).relu().detach()
    found = maps_of(model, x_BCHW, classes_B)
    assert found is not None
    torch.testing.assert_close(found[1], expected)
    assert found[0] == "0.2"


def test_a_convolution_of_one_place_is_passed_over() -> None:
    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.squeeze = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.body(x)
            return (x * self.squeeze(x.mean(dim=(2, 3), keepdim=True)).sigmoid()).mean(dim=(2, 3))

    found = maps_of(Squeezed(), torch.randn(2, 1, 6, 6), torch.tensor([0, 3]))
    assert found is not None
    assert (found[0], found[1].shape) == ("body", (2, 4, 4))
    only = nn.Sequential(nn.Conv2d(1, 3, 6), nn.Flatten())
    assert maps_of(only, torch.randn(2, 1, 6, 6), torch.tensor([0, 1])) is None
    assert maps_of(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), torch.randn(2, 1, 6, 6), torch.tensor([0, 1])) is None


def test_a_model_that_looks_at_several_parts_of_an_image_has_no_map() -> None:
    class Parts(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            halves = torch.cat(x.chunk(2, dim=3))
            return sum(super().forward(halves).chunk(2))

    assert maps_of(Parts(), torch.randn(2, 2, 6, 12), torch.tensor([0, 3])) is None


@pytest.mark.parametrize("frozen", [False, True])
def test_nothing_of_the_model_changes(frozen: bool) -> None:
    model = Pooled().requires_grad_(not frozen)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert maps_of(model, torch.randn(2, 2, 6, 6), torch.tensor([0, 1])) is not None
    assert all(parameter.grad is None and parameter.requires_grad != frozen for parameter in model.parameters())
    assert all(not layer._forward_hooks for layer in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    with torch.no_grad():  # whoever asks, without gradients too
        assert maps_of(model, torch.randn(2, 2, 6, 6), torch.tensor([0, 1])) is not None


def test_hooks_go_also_when_the_model_breaks() -> None:
    class Breaks(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise IndexError("as ever")

    model = Breaks()
    with pytest.raises(IndexError):
        maps_of(model, torch.randn(1, 2, 6, 6), torch.tensor([0]))
    assert all(not layer._forward_hooks for layer in model.modules())


# --- as a run keeps it ------------------------------------------------------------------------------------------------


def engine_of(model: nn.Module, **sections: Any) -> tuple[TorchEngine, Predictions, PreparedData]:
    section = recipe(**sections)
    data = prepare_data(section, CPU)
    engine = build_engine(section, data, CPU, Network(model=model))
    assert isinstance(engine, TorchEngine)
    split = data.splits["test"]
    scores_NK = torch.randn(len(split), 10, generator=torch.Generator().manual_seed(0))
    return (
        engine,
        Predictions(
            probabilities_NC=scores_NK.softmax(dim=1).numpy(),
            labels_N=split.labels_N.numpy(),
            indices_N=split.indices_N,
        ),
        data,
    )


class Own(nn.Module):
    """A user's: it draws, warns, and has layers in different modes."""

    def __init__(self, wrong: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.convolution, self.drop, self.head = nn.Conv2d(1, 4, 3), nn.Dropout(0.5), nn.Linear(4, 10)
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(()) + random.random() + float(np.random.normal())
        x = self.drop(self.convolution(x + 0.01 * noise)).mean(dim=(2, 3))
        return self.head(x if self.wrong is None else self.wrong(x))


def test_generators_modes_and_gradients_are_as_before() -> None:
    model = Own()
    engine, predictions, data = engine_of(model)
    model.train()
    model.drop.eval()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    assert class_activation_files(engine, predictions, data).keys() == {CLASS_ACTIVATION, CLASS_ACTIVATION_SHEET}
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    assert [layer.training for layer in model.modules()] == [True, True, False, True]
    assert all(parameter.grad is None for parameter in model.parameters())


def raises(x: Tensor) -> Tensor:
    raise KeyError("no such example")


def complains(x: Tensor) -> Tensor:
    import warnings

    warnings.warn("as ever", stacklevel=1)
    return x


@pytest.mark.parametrize(
    ("wrong", "kept"),
    [
        (raises, False),
        (lambda x: x.detach(), False),
        (lambda x: x * float("nan"), False),
        (lambda x: x.requires_grad_(False) if x.is_leaf else x, True),
        (complains, True),
    ],
    ids=["raises", "detached", "no number", "leaf", "warns"],
)
def test_a_model_that_cannot_be_looked_into_ends_no_run(wrong: Callable[[Tensor], Tensor], kept: bool) -> None:
    model = Own(wrong)
    engine, predictions, data = engine_of(model)
    model.train()
    assert bool(class_activation_files(engine, predictions, data)) == kept
    assert all(layer.training for layer in model.modules())


def test_no_engine_and_no_images_keep_nothing() -> None:
    engine, predictions, data = engine_of(Own())
    assert class_activation_files(None, predictions, data) == {}
    lost = Predictions(
        probabilities_NC=np.full_like(predictions.probabilities_NC, np.nan),
        labels_N=predictions.labels_N,
        indices_N=predictions.indices_N,
    )
    assert class_activation_files(engine, lost, data) == {}


def run(**sections: Any) -> Run:
    return run_recipe(recipe(**sections), fingerprint="f00d")


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"train": {"epochs": 1, "precision": "float64"}},
        {"train": {"epochs": 1, "precision": "bfloat16", "channels_last": True}},
        {"averaging": {"name": "ema"}},
        {"freeze": {"all_but": ["head"]}},
        {"model": {"name": "own_models:AnySize"}},
        {"model": {"name": "cifar_resnet", "depth": 20}, "train": {"epochs": 0}},
    ],
    ids=["plain", "float64", "bfloat16", "averaged", "features", "own", "resnet"],
)
def test_runs_keep_maps_of_what_they_predict(sections: dict[str, Any]) -> None:
    found = run(**sections)
    kept = class_activation_read(found.artefacts[CLASS_ACTIVATION], classes=10)
    predictions = found.predictions["test"]
    chosen = examples_to_explain(predictions)
    assert [one.position for one in kept.examples] == predictions.indices_N[list(chosen)].tolist()
    with Image.open(io.BytesIO(found.artefacts[CLASS_ACTIVATION_SHEET])) as image:
        assert image.width == kept.tiles.columns * kept.tiles.width
        assert image.height == -(-2 * len(kept.examples) // kept.tiles.columns) * kept.tiles.height
    assert len(found.artefacts[CLASS_ACTIVATION_SHEET]) <= 60_000


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"name": "mlp", "widths": [8]}},
        {"train": {"epochs": 1, "engine": "numpy"}},
        {"model": {"name": "logistic_regression"}},
        {"data": {"source": "circles"}, "model": {"name": "mlp"}},
    ],
    ids=["no convolution", "numpy", "fitted at once", "points"],
)
def test_other_runs_keep_none(sections: dict[str, Any]) -> None:
    assert CLASS_ACTIVATION not in run(**sections).artefacts


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_networks_of_torchvision_can_be_looked_into(name: str) -> None:
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(num_classes=5)
    found = maps_of(model, torch.randn(2, 3, 64, 64), torch.tensor([1, 4]))
    assert found is not None
    assert found[1].shape[1] * found[1].shape[2] > 1
    assert torch.isfinite(found[1]).all()
    assert functional.relu(found[1]).equal(found[1])
