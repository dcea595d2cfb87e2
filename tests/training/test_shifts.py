"""Shifted test images: what is made of them, and what of a model's answers."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
import torch
from splits_of_arrays import scores_of, split_of
from torch import nn

import assay
from assay.data.batches import SplitData
from assay.data.normalize import fit
from assay.data.on_device import Normalizer, RawExamples
from assay.errors import InputError, InvalidValueError
from assay.metrics.catalogue import CATALOGUE
from assay.recipe.schema import Recipe
from assay.reports.tables import tables
from assay.training.evaluate import evaluate
from assay.training.run import run_recipe
from assay.training.shifts import DIRECTIONS, shift_metrics, shifted

SHIFT_METRICS = {name for name, metric in CATALOGUE.items() if metric.needs == "evaluate.shift"}


def run(**sections):
    base = {"data": {"source": "digits"}, "model": {"name": "lenet5"}, "train": {"epochs": 2}}
    return run_recipe(Recipe.model_validate({**base, **sections}), fingerprint="f00d")


def images(examples=40, channels=2, height=5, width=4):
    generator = torch.Generator().manual_seed(1)
    x_NCHW = torch.randint(0, 256, (examples, channels, height, width), generator=generator).to(torch.uint8)
    return x_NCHW, torch.randint(0, 3, (examples,), generator=generator)


def metrics_of(scores, x_NCHW, labels_N, shift=1):
    split = split_of(x_NCHW, labels_N)
    return shift_metrics(scores, split, evaluate(scores, split), shift)


# --- the images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [1, 2, 3])
@pytest.mark.parametrize(("down", "right"), DIRECTIONS)
def test_every_pixel_moves_and_the_border_repeats_itself(down, right, distance):
    x_NCHW, _ = images()
    down, right = down * distance, right * distance
    padded = np.pad(x_NCHW.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="edge")
    expected = padded[:, :, 3 - down : 8 - down, 3 - right : 7 - right]
    moved = shifted(x_NCHW, down=down, right=right)
    assert moved.dtype == torch.uint8
    assert np.array_equal(moved.numpy(), expected)


def test_a_positive_shift_is_down_and_to_the_right():
    x = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3)
    assert shifted(x, down=1, right=0).tolist() == [[[[0, 1, 2], [0, 1, 2]]]]
    assert shifted(x, down=0, right=1).tolist() == [[[[0, 0, 1], [3, 3, 4]]]]


def test_the_directions_are_the_eight_neighbours():
    assert len(set(DIRECTIONS)) == 8
    assert {max(map(abs, direction)) for direction in DIRECTIONS} == {1}


# --- the metrics -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [1, 3])
def test_both_are_their_definitions(shift):
    x_NCHW, labels_N = images()
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 5 * 4, 3)).requires_grad_(False)
    nn.init.normal_(model[1].weight, generator=torch.Generator().manual_seed(2))  # some draws give one class to all

    def classes(x):
        return model(x.float() / 255).argmax(dim=1)

    moved = [shifted(x_NCHW, down=shift * down, right=shift * right) for down, right in DIRECTIONS]
    found = metrics_of(scores_of(model), x_NCHW, labels_N, shift)
    assert found == {
        "shifted_test_accuracy": np.mean([(classes(x) == labels_N).numpy() for x in moved]),
        "shift_consistency": np.mean([(classes(x) == classes(x_NCHW)).numpy() for x in moved]),
    }
    assert 0 < found["shift_consistency"] < 1


def test_a_model_that_sees_no_shift_is_consistent_and_as_accurate_as_ever():
    x_NCHW, labels_N = images()
    x_NCHW[:] = x_NCHW[:, :, :1, :1]  # images of one colour look the same wherever they are moved
    scores = scores_of(nn.Sequential(nn.Flatten(), nn.Linear(2 * 5 * 4, 3)))
    accuracy = evaluate(scores, split_of(x_NCHW, labels_N)).accuracy
    assert metrics_of(scores, x_NCHW, labels_N) == {"shifted_test_accuracy": accuracy, "shift_consistency": 1.0}


def test_an_answer_that_is_not_a_number_is_wrong_and_consistent_with_nothing():
    x_NCHW, labels_N = images()

    def scores(x_BCHW):
        logits_BK = torch.zeros(len(x_BCHW), 3)
        logits_BK[:, 0] = math.nan
        return logits_BK

    assert metrics_of(scores, x_NCHW, labels_N) == {"shifted_test_accuracy": 0.0, "shift_consistency": 0.0}


def test_an_image_whose_shifts_alone_are_not_a_number_is_not_consistent_with_them():
    x_NCHW = torch.zeros(4, 1, 3, 3, dtype=torch.uint8)
    x_NCHW[:, 0, 1, 1] = 255

    def scores(x_BCHW):
        away_B = x_BCHW[:, 0, 1, 1] == 0
        return torch.where(away_B[:, None], math.nan, torch.tensor([1.0, 0.0]))

    found = metrics_of(scores, x_NCHW, torch.zeros(4, dtype=torch.int64))
    assert found == {"shifted_test_accuracy": 0.0, "shift_consistency": 0.0}


def test_images_are_shifted_before_they_are_normalised():
    x_NCHW, labels_N = images()
    places_N, cpu = np.arange(len(labels_N)), torch.device("cpu")
    preprocessing = fit(x_NCHW.numpy(), places_N, "pixel", 1e-3)  # after which a moved image has another mean image
    normalizer = Normalizer(preprocessing, dtype=torch.float64, device=cpu)
    split = SplitData(RawExamples(x_NCHW.numpy(), cpu), normalizer, places_N, labels_N)
    seen = []

    def scores(x_BCHW):
        seen.append(x_BCHW)
        return x_BCHW.flatten(1)[:, :3]

    shift_metrics(scores, split, evaluate(scores, split), 2)
    pixels = x_NCHW.double() / 255
    assert len(seen) == 9
    for (down, right), given in zip([(0, 0), *DIRECTIONS], seen, strict=True):
        torch.testing.assert_close(given, shifted(pixels, down=2 * down, right=2 * right) - pixels.mean(dim=0))


# --- in a run --------------------------------------------------------------------------------------------------------


def test_a_run_has_them_when_asked_and_is_otherwise_the_same():
    plain, asked = run(), run(evaluate={"shift": 1})
    assert set(asked.record.metrics) == set(plain.record.metrics) | SHIFT_METRICS
    assert not SHIFT_METRICS & set(plain.record.metrics)
    for name, value in plain.record.metrics.items():
        assert "seconds" in name or asked.record.metrics[name] == value
    assert all(np.array_equal(asked.weights[name], array) for name, array in plain.weights.items())
    assert 0.1 < asked.record.metrics["shifted_test_accuracy"] < asked.record.metrics["test_accuracy"]


def test_reports_show_the_arms_that_have_them_and_nothing_where_none_has(tmp_path):
    base = {"data": {"source": "digits"}, "model": {"name": "mlp"}, "train": {"epochs": 1}}
    arms = {"asked": {"evaluate.shift": 1}, "plain": {"model.widths": [8]}}
    study = assay.Study(question="?", base=base, arms=arms, seeds=1)
    results = assay.run(study, store=tmp_path, executor="inline", device="cpu")
    asked, plain = csv.DictReader(io.StringIO(tables(results)["arms.csv"]))
    consistency = results.runs["asked"][0].record.metrics["shift_consistency"]
    assert (float(asked["shift_consistency_mean"]), asked["shift_consistency_n"]) == (consistency, "1")
    assert (plain["shift_consistency_mean"], plain["shift_consistency_n"]) == ("", "0")
    assert assay.report(results).exists()
    without = assay.Study(question="? again", base=base, arms={"plain": arms["plain"]}, seeds=1)
    (row,) = csv.DictReader(io.StringIO(tables(assay.run(without, store=tmp_path, executor="inline"))["runs.csv"]))
    assert not SHIFT_METRICS & set(row)


def test_a_run_that_diverged_has_them_too():
    record = run(
        model={"name": "mlp", "widths": [64] * 30},
        init={"name": "normal", "scale": 100.0},
        train={"epochs": 2},
        evaluate={"shift": 1},
    ).record
    assert record.status == "diverged"
    assert {record.metrics[name] for name in SHIFT_METRICS} == {0.0}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"data": {"source": "own_models:Spiked"}, "model": {"name": "mlp"}, "evaluate": {"shift": 1}},
            r"^evaluate\.shift needs images, and data\.source own_models:Spiked gives points\.\n  Leave it out\.$",
        ),
        (
            {"data": {"source": "circles"}, "model": {"name": "mlp"}, "evaluate": {"shift": 1}},
            r"^evaluate\.shift needs images, and data\.source circles gives points\.\n  Leave it out\.$",
        ),
        (
            {"evaluate": {"shift": 8}},
            r"^evaluate\.shift must be less than the image's sides, of which the shorter has 8 pixels, got 8\.$",
        ),
    ],
)
def test_what_cannot_be_shifted_is_refused(sections, message):
    with pytest.raises(InvalidValueError, match=message):
        run(**sections)


@pytest.mark.parametrize("asked", [{"evaluate": {"shift": 1}}, {"augment": {"horizontal_flip": 0.5}}])
def test_points_of_an_own_source_are_refused_before_the_first_run(tmp_path, asked):
    base = {"data": {"source": "own_models:Points"}, "model": {"name": "mlp", "widths": [4]}, **asked}
    study = assay.Study(question="Moved?", base=base, arms={"a": {}, "b": {"train.epochs": 2}})
    with pytest.raises(InputError, match=r"^arm a: .* needs images, and data\.source own_models:Points gives points\."):
        assay.run(study, store=tmp_path, executor="inline")
    assert not any((tmp_path / "failed").glob("*"))
