"""Frames of the decision boundary: what they hold is what the model says, and keeping them changes no number."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from assay.data.normalize import apply
from assay.recipe.schema import Recipe
from assay.records import Run
from assay.training import fit
from assay.training.boundary import (
    GRID,
    LARGEST_LEAD,
    MOST_BYTES,
    MOST_FRAMES,
    NO_NUMBER,
    BoundaryFrames,
    boundary_at_once,
    frame_epochs,
    winners,
)
from assay.training.evaluate import evaluate
from assay.training.prepare import prepare_data
from assay.training.run import run_recipe

CIRCLES = {
    "data": {"source": "circles"},
    "model": {"name": "mlp", "widths": [8], "activation": "tanh"},
    "optimizer": {"name": "sgd", "lr": 0.03},
    "train": {"epochs": 6, "batch_size": 10},
}
ENGINES = ["torch", "numpy", "autograd", "modules"]


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({**CIRCLES, **sections})


def run(**sections: Any) -> Run:
    return run_recipe(recipe(**sections), fingerprint="f00d")


def kept(found: Run) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(found.artefacts["decision_boundary.json"])
    return content


def unpacked(content: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Winners and leads, decoded from the description in the module's docstring and not by its code."""
    shape = (2, len(content["epochs"]), content["grid"], content["grid"])
    blocks = np.frombuffer(zlib.decompress(base64.b64decode(content["frames"])), dtype=np.uint8).reshape(shape)
    byte_FYX = np.cumsum(np.cumsum(blocks[1].astype(int), axis=1), axis=2) % 256
    return blocks[0], np.array(content["largest_leads"])[:, None, None] * (byte_FYX / 255) ** 2


class NoFrames:
    def __init__(self, *_: Any) -> None: ...
    def take(self, *_: Any, **__: Any) -> None: ...
    def artefacts(self) -> Mapping[str, bytes]:
        return {}


def numbers(found: Run) -> dict[str, Any]:
    return {
        "history": [replace(epoch, seconds=0.0) for epoch in found.history],
        "weights": {name: array.tobytes() for name, array in found.weights.items()},
        "probabilities": {name: p.probabilities_NC.tobytes() for name, p in found.predictions.items()},
        "metrics": {name: value for name, value in found.record.metrics.items() if "seconds" not in name},
        "notes": found.record.notes,
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_the_last_frame_is_what_the_trained_network_says(engine: str) -> None:
    found = run(train={**CIRCLES["train"], "engine": engine})  # type: ignore[dict-item]
    content = kept(found)
    x_low, x_high, y_low, y_high = content["extent"]
    x_YX, y_YX = np.meshgrid(np.linspace(x_low, x_high, GRID), np.linspace(y_low, y_high, GRID))
    points_P2 = np.stack([x_YX.ravel(), y_YX.ravel()], axis=1).astype(np.float32)
    weights = list(found.weights.values())  # hidden layer, then output
    inputs_P2 = apply(prepare_data(recipe(), torch.device("cpu")).preprocessing, points_P2).reshape(-1, 2)
    logits_PK = np.tanh(inputs_P2 @ weights[0].T + weights[1]) @ weights[2].T + weights[3]
    lead_P = np.abs(logits_PK[:, 1] - logits_PK[:, 0])
    winner_FYX, lead_FYX = unpacked(content)
    sure_P = lead_P > 1e-4
    assert sure_P.mean() > 0.99
    assert np.array_equal(winner_FYX[-1].ravel()[sure_P], logits_PK.argmax(axis=1)[sure_P])
    # Half a byte in the scale that goes by the square root.
    half_a_byte = np.sqrt(content["largest_leads"][-1]) / 255 / 2
    assert np.abs(np.sqrt(lead_FYX[-1].ravel()) - np.sqrt(np.minimum(lead_P, 8))).max() < half_a_byte + 2e-3
    assert lead_FYX[-1].max() == pytest.approx(min(lead_P.max(), 8), rel=1e-4)


def test_the_frames_hold_the_run_s_epochs_accuracies_and_points() -> None:
    found = run()
    content = kept(found)
    assert content["version"] == 1
    assert content["kind"] == "probabilities"
    assert content["epochs"] == list(range(7))
    assert content["train_accuracy"][1:] == [epoch.train_accuracy for epoch in found.history]
    assert content["val_accuracy"][1:] == [epoch.val_accuracy for epoch in found.history]
    data = prepare_data(recipe(), torch.device("cpu"))
    assert content["val_accuracy"][0] == pytest.approx(0.5, abs=0.3)
    train = data.splits["train"]
    points_N2, labels_N = train.raw(np.arange(len(train))).numpy(), train.labels_N.numpy()
    assert content["points_in_all"] == len(train) == len(content["points"])
    assert np.allclose(np.array(content["points"])[:, :2], points_N2, atol=2e-4)
    assert [point[2] for point in content["points"]] == labels_N.tolist()
    x_low, x_high, y_low, y_high = content["extent"]
    assert x_low < points_N2[:, 0].min() < points_N2[:, 0].max() < x_high
    assert y_low < points_N2[:, 1].min() < points_N2[:, 1].max() < y_high
    assert x_high - x_low == pytest.approx(y_high - y_low)  # a circle looks like one


@pytest.mark.parametrize("engine", ENGINES)
def test_taking_frames_changes_no_number(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = {"train": {"epochs": 40, "batch_size": 10, "engine": engine}}
    with_frames = run(**sections)
    monkeypatch.setattr(fit, "BoundaryFrames", NoFrames)
    without = run(**sections)
    assert "decision_boundary.json" in with_frames.artefacts
    assert "decision_boundary.json" not in without.artefacts
    assert numbers(with_frames) == numbers(without)


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"name": "mlp", "widths": [8], "norm": "batch", "dropout": 0.3}},
        {"model": {"name": "own_models:DrawsWhenMeasured"}},
    ],
    ids=["running statistics and masks", "drawing when measured"],
)
def test_nor_does_it_where_there_is_something_to_disturb(
    sections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_frames = run(**sections)
    monkeypatch.setattr(fit, "BoundaryFrames", NoFrames)
    assert numbers(with_frames) == numbers(run(**sections))
    assert "decision_boundary.json" in with_frames.artefacts


def test_two_runs_keep_the_same_bytes() -> None:
    assert run().artefacts == run().artefacts


def test_early_epochs_are_kept_closely_and_the_last_one_always() -> None:
    assert frame_epochs(1) == [0, 1]
    assert frame_epochs(MOST_FRAMES - 1) == list(range(MOST_FRAMES))
    for epochs in (MOST_FRAMES, 60, 150, 10_000):
        chosen = frame_epochs(epochs)
        assert chosen[:4] == [0, 1, 2, 3]
        assert chosen[-1] == epochs
        assert len(chosen) <= MOST_FRAMES
        steps = np.diff(chosen)
        assert (steps > 0).all()
        assert (np.diff(steps) >= -1).all()  # but for rounding


def test_three_classes_of_a_user_s_own_source() -> None:
    found = run(data={"source": "own_models:Points"}, train={"epochs": 40, "batch_size": 10})
    content = kept(found)
    winner_FYX, _ = unpacked(content)
    assert set(np.unique(winner_FYX[-1])) == {0, 1, 2}
    x_low, x_high, y_low, y_high = content["extent"]
    right = 0
    for x, y, label in content["points"]:
        column = round((x - x_low) / (x_high - x_low) * (GRID - 1))
        row = round((y - y_low) / (y_high - y_low) * (GRID - 1))
        right += winner_FYX[-1, row, column] == label
    # The nearest point of the grid says what the model says of the point itself, but for those on the line.
    assert right / len(content["points"]) == pytest.approx(found.history[-1].train_accuracy, abs=0.05)


def test_features_of_very_different_size_fill_the_picture() -> None:
    content = kept(run(data={"source": "own_models:Points", "options": {"scale": [1000.0, 0.01]}}))
    x_low, x_high, y_low, y_high = content["extent"]
    assert x_high - x_low > 1e4 * (y_high - y_low)
    assert all(y_low < y < y_high for _, y, _ in content["points"])


def test_a_feature_that_never_changes_is_drawn_in_the_middle() -> None:
    content = kept(run(data={"source": "own_models:Points", "options": {"scale": [1.0, 0.0]}}))
    _, _, y_low, y_high = content["extent"]
    assert y_low < 0 < y_high
    assert all(point[1] == 0 for point in content["points"])


def test_many_points_and_frames_stay_small() -> None:
    content = run(
        data={"source": "own_models:Points", "options": {"points": 5000, "classes": 100}},
        train={"epochs": 30, "batch_size": 50},
        optimizer={"name": "sgd", "lr": 0.5},
    ).artefacts["decision_boundary.json"]
    facts = json.loads(content)
    assert len(facts["points"]) == 400 < facts["points_in_all"]
    assert len(content) <= MOST_BYTES


def test_noise_is_kept_in_fewer_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    ruled = recipe(train={"epochs": 20, "batch_size": 10})
    data = prepare_data(ruled, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    frames = BoundaryFrames(ruled, lambda x_B: 9 * torch.randn(len(x_B), 2, generator=generator), data)
    on_train = evaluate(lambda x_B: x_B, data.splits["train"])
    for epoch in range(21):
        frames.take(epoch, on_train, on_train)
    content = frames.artefacts()["decision_boundary.json"]
    epochs = json.loads(content)["epochs"]
    assert len(content) <= MOST_BYTES
    assert epochs[0] == 0
    assert epochs[-1] == 20
    assert 2 < len(epochs) < 21


def test_a_diverged_run_ends_with_the_epoch_it_diverged_in() -> None:
    found = run(
        model={"name": "mlp", "widths": [64, 64, 64, 64]},
        optimizer={"name": "sgd", "lr": 100.0, "momentum": 0.9},
        train={"epochs": 400, "batch_size": 10},
    )
    assert found.record.status == "diverged"
    content = kept(found)
    assert content["epochs"][-1] == found.history[-1].epoch < 400
    winner_FYX, _ = unpacked(content)
    assert (winner_FYX[-1] == NO_NUMBER).mean() > 0.9
    assert (winner_FYX[0] != NO_NUMBER).all()


def test_winners_and_leads() -> None:
    nan, inf = np.nan, np.inf
    scores_PK = np.array([[1.0, 3.0, 2.0], [0, 0, 0], [5, -inf, -inf], [19, 1, 0], [2, 1, 2]], dtype=np.float32)
    winner_P, lead_P = winners(scores_PK)
    assert winner_P.tolist() == [1, 0, 0, 0, 0]
    assert lead_P.tolist() == [1.0, 0.0, LARGEST_LEAD, LARGEST_LEAD, 0.0]
    lost_PK = np.array([[nan, 1, 2], [1, nan, 0], [1, 0, nan], [inf, 0, 0], [-inf, -inf, -inf]], dtype=np.float32)
    winner_P, lead_P = winners(lost_PK)
    assert (winner_P == NO_NUMBER).all()
    assert (lead_P == 0).all()


def test_a_model_that_says_nothing_yet_keeps_leads_of_zero() -> None:
    ruled = recipe()
    data = prepare_data(ruled, torch.device("cpu"))
    frames = BoundaryFrames(ruled, lambda x_B: torch.zeros(len(x_B), 2), data)
    frames.take(0, evaluate(lambda x_B: x_B, data.splits["train"]))
    winner_FYX, lead_FYX = unpacked(json.loads(frames.artefacts()["decision_boundary.json"]))
    assert not winner_FYX.any()
    assert not lead_FYX.any()


def test_only_data_of_two_features_are_drawn() -> None:
    assert "decision_boundary.json" not in run(data={"source": "digits"}, train={"epochs": 1}).artefacts


@pytest.mark.parametrize("largest", [3e38, 3.3e38], ids=["in the grid", "beyond the grid"])
def test_points_at_the_end_of_float32_bring_no_overflow(largest: float) -> None:
    at_one = kept(run(data={"source": "own_models:Points"}))["points"]
    scale = largest / max(abs(value) for *point, _ in at_one for value in point)
    found = run(data={"source": "own_models:Points", "options": {"scale": [scale, 1.0]}})
    assert ("decision_boundary.json" in found.artefacts) == (largest == 3e38)
    assert not any("boundary" in note for note in found.record.notes)


def test_a_model_that_breaks_between_the_points_ends_no_run() -> None:
    found = run(model={"name": "own_models:KnowsOnlyItsExamples"})
    assert found.record.status == "completed"
    assert "decision_boundary.json" not in found.artefacts
    (note,) = [note for note in found.record.notes if "boundary" in note]
    assert note.endswith("No decision boundary was kept: between training points, IndexError: no such example")


def test_a_model_fitted_at_once_has_one_frame() -> None:
    ruled = recipe()
    data = prepare_data(ruled, torch.device("cpu"))

    def scores(x_B: torch.Tensor) -> torch.Tensor:
        distance_B = 1.0 - x_B.norm(dim=1)
        return torch.stack([torch.zeros_like(distance_B), distance_B], dim=1)

    evaluations = {name: evaluate(scores, split) for name, split in data.splits.items()}
    content = json.loads(boundary_at_once(ruled, scores, data, evaluations, kind="decisions")["decision_boundary.json"])
    assert content["kind"] == "decisions"
    assert content["epochs"] == [1]
    assert content["val_accuracy"] == [evaluations["val"].accuracy]
    winner_FYX, _ = unpacked(content)
    assert winner_FYX[0, GRID // 2, GRID // 2] == 1
    assert winner_FYX[0, 0, 0] == 0


@pytest.mark.parametrize("data", [{"source": "circles"}, {"source": "own_models:Points", "options": {"classes": 4}}])
@pytest.mark.parametrize(
    "model",
    [{"name": "svm", "kernel": "rbf"}, {"name": "svm", "kernel": "linear"}, {"name": "logistic_regression"}],
    ids=["rbf", "linear", "logistic regression"],
)
def test_classical_models_draw_what_scikit_learn_predicts(model: dict[str, Any], data: dict[str, Any]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC, LinearSVC

    ruled = recipe(model=model, data=data, train={})
    content = kept(run_recipe(ruled, fingerprint="f00d"))
    assert content["kind"] == ("decisions" if model["name"] == "svm" else "probabilities")
    assert content["epochs"] == [1]
    prepared = prepare_data(ruled, torch.device("cpu"))
    train = prepared.splits["train"]
    x_N2 = train.inputs(np.arange(len(train))).double().numpy()
    fitted = {
        "rbf": lambda: SVC(C=ruled.model.C),  # type: ignore[union-attr]
        "linear": lambda: LinearSVC(C=ruled.model.C, dual=False),  # type: ignore[union-attr]
        "": lambda: LogisticRegression(C=ruled.model.C),  # type: ignore[union-attr]
    }[model.get("kernel", "")]().fit(x_N2, train.labels_N.numpy())
    x_low, x_high, y_low, y_high = content["extent"]
    x_YX, y_YX = np.meshgrid(np.linspace(x_low, x_high, GRID), np.linspace(y_low, y_high, GRID))
    grid_P2 = apply(prepared.preprocessing, np.stack([x_YX.ravel(), y_YX.ravel()], axis=1).astype(np.float32))
    winner_FYX, lead_FYX = unpacked(content)
    agree_P = winner_FYX[0].ravel() == fitted.predict(grid_P2.reshape(-1, 2).astype(np.float64))
    assert agree_P.mean() > 0.995
    assert lead_FYX[0].ravel()[~agree_P].max(initial=0) < 0.05  # on the line
