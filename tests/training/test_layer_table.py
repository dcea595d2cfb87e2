"""The table of layers a run keeps: what the network is, once for all seeds, and never at the cost of the run."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from assay.models.anatomy import dissect
from assay.models.build import build_model
from assay.recipe.schema import Recipe
from assay.reports.networks import _read
from assay.training import layer_table as tables
from assay.training.layer_table import LAYERS, MOST_ROWS, layer_table
from assay.training.run import run_recipe

DIGITS = {"data": {"source": "digits"}, "train": {"epochs": 1, "batch_size": 256}}


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({**DIGITS, "model": {"name": "lenet5"}, **sections})


def kept(**sections: Any) -> dict[str, Any]:
    run = run_recipe(recipe(**sections), fingerprint="f00d")
    content: dict[str, Any] = json.loads(run.artefacts[LAYERS])
    return content


def network(section: Recipe, shape: tuple[int, ...] = (1, 8, 8)) -> nn.Module:
    return build_model(section.model, section.init, seed=0, input_shape=shape, classes=10)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_kept", type(tables._kept)())


def test_a_run_keeps_the_layers_of_its_network() -> None:
    facts = kept()
    anatomy = dissect(network(recipe()), (1, 8, 8))
    assert [row[0] for row in facts["rows"]] == [row.name for row in anatomy.rows]
    assert facts["rows"][0] == ["conv1", "Conv2d 5×5", [6, 8, 8], 156, 156, 9_600, 1_536, [5, 5], [1, 1]]
    assert facts["rows"][-1][7:] == [["whole", "whole"], [None, None]]
    assert (facts["parameters"], facts["macs"]) == (anatomy.parameters, anatomy.macs)
    assert (facts["largest_window"], facts["layers"], facts["depth"]) == ([16, 16], 12, None)
    assert facts["training_bytes"] == anatomy.training_bytes


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"name": "mlp", "norm": "batch", "dropout": 0.5}},
        {"freeze": {"layers": ["conv1"]}},
        {"train": {"epochs": 1, "batch_size": 256, "precision": "float64"}},
        {"model": {"name": "cifar_resnet", "depth": 56}, "train": {"epochs": 0}},
        {"model": {"name": "own_models:Frozen"}, "train": {"epochs": 0}},
    ],
    ids=["plain", "mlp", "frozen", "float64", "deep", "own"],
)
def test_the_report_can_read_it(sections: dict[str, Any]) -> None:
    section = recipe(**sections)
    model = network(section)
    if section.freeze.layers:
        model.get_submodule("conv1").requires_grad_(False)
    table = _read(layer_table(section, model, (1, 8, 8))[LAYERS])
    assert table is not None
    assert table.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert table.frozen == sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    assert sum(row.macs for row in table.rows) == table.macs
    assert len(table.rows) <= MOST_ROWS
    assert (table.depth is not None) == (len(dissect(model, (1, 8, 8)).rows) > MOST_ROWS)


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_every_engine_keeps_the_same_table(engine: str) -> None:
    model = {"name": "mlp", "widths": [8]}
    assert kept(model=model, train={"epochs": 1, "batch_size": 256, "engine": engine})["parameters"] == 610


def test_a_model_fitted_at_once_keeps_none() -> None:
    run = run_recipe(recipe(model={"name": "logistic_regression"}, train={}), fingerprint="f00d")
    assert LAYERS not in run.artefacts


def test_it_is_worked_out_once_for_all_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(model: nn.Module, shape: tuple[int, ...]) -> Any:
        asked.append(shape)
        return dissect(model, shape)

    monkeypatch.setattr(tables, "dissect", counted)
    first = layer_table(recipe(seed=1), network(recipe()), (1, 8, 8))
    assert layer_table(recipe(seed=2), network(recipe()), (1, 8, 8)) == first
    assert len(asked) == 1
    frozen = network(recipe())
    frozen.get_submodule("conv1").requires_grad_(False)
    assert layer_table(recipe(seed=3), frozen, (1, 8, 8)) != first
    layer_table(recipe(model={"name": "lenet5", "activation": "tanh"}), network(recipe()), (1, 8, 8))
    assert len(asked) == 3
    for _ in range(2):  # code of one's own may change between two studies of a process
        own = recipe(model={"name": "own_models:Frozen"})
        layer_table(own, network(own), (1, 8, 8))
    assert len(asked) == 5


def test_it_changes_no_number_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    section = recipe(model={"name": "mlp", "dropout": 0.5})
    with_table = run_recipe(section, fingerprint="f00d")
    monkeypatch.setattr("assay.training.run.layer_table", lambda *_: {})
    without = run_recipe(section, fingerprint="f00d")
    assert LAYERS not in without.artefacts
    for name, weight in with_table.weights.items():
        assert (weight == without.weights[name]).all()


def test_a_model_that_cannot_be_looked_into_ends_no_run() -> None:
    class Particular(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise IndexError("no such example")

    assert layer_table(recipe(), Particular(), (1, 8, 8)) == {}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_KEPT", 2)
    for width in (1, 2, 3):
        section = recipe(model={"name": "mlp", "widths": [width]})
        layer_table(section, network(section), (1, 8, 8))
    assert len(tables._kept) == 2
