"""The picture a run keeps of its augmentation shows what training draws, and changes nothing."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from assay.data.augment.epoch import EpochAugmentation
from assay.recipe.schema import Recipe
from assay.training.artefacts import artefacts, augmented_rows, first_of_classes
from assay.training.prepare import PreparedData, prepare_data
from assay.training.run import run_recipe

CPU = torch.device("cpu")
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "moved": {"crop_padding": 2, "horizontal_flip": 0.5, "vertical_flip": 0.5},
    "alternating": {"alternating_flip": True},
    "policy": {"policy": "rand_augment"},
    "window": {"resized_crop_area": [0.3, 1.0], "rotation": 25.0},
    "colours": {"brightness": 0.4, "contrast": 0.4, "noise": 0.1},
    "erased": {"erasing": 0.9},
    "mixed": {"mixup": 1.0, "cutmix": 1.0},
}


def prepared(augment: dict[str, Any], **data: Any) -> tuple[Recipe, PreparedData]:
    recipe = Recipe.model_validate(
        {"data": {"source": "digits", **data}, "augment": augment, "model": {"name": "mlp"}, "train": {"epochs": 1}}
    )
    return recipe, prepare_data(recipe, CPU)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_picture_shows_what_training_draws(name: str) -> None:
    recipe, data = prepared(AUGMENTATIONS[name])
    split = data.splits["train"]
    chosen_B = first_of_classes(split, 6)
    rows = augmented_rows(recipe, data, chosen_B, draws=2)
    scale, shift = data.preprocessing.affine()
    for epoch in (1, 2):
        whole = EpochAugmentation(recipe.augment, examples=len(split), classes=10, seed=recipe.seed, epoch=epoch)
        x_BCHW, _ = split.augmented(chosen_B, whole)
        seen = np.clip((x_BCHW.numpy() - shift) / scale, 0, 255)
        shown = np.stack([row.images[epoch] for row in rows])
        assert np.abs(seen - shown).max() <= 0.51  # rounded to whole grey levels
    assert all(np.array_equal(row.images[0], split.raw(chosen_B)[at].numpy()) for at, row in enumerate(rows))
    assert [row.name for row in rows] == [data.classes[label] for label in split.labels_of(chosen_B).tolist()]


@pytest.mark.parametrize("normalize", ["none", "pixel", "standard", "pca", "zca"])
def test_images_are_shown_as_they_are_whatever_the_normalisation(normalize: str) -> None:
    recipe, data = prepared({"horizontal_flip": 1.0}, normalize=normalize)
    for row in augmented_rows(recipe, data, first_of_classes(data.splits["train"], 6), draws=1):
        assert np.array_equal(row.images[1], row.images[0][:, :, ::-1])


def test_a_run_keeps_a_small_picture_only_if_it_augments() -> None:
    recipe, _ = prepared({"crop_padding": 1})
    run = run_recipe(recipe, fingerprint="0" * 64)
    with Image.open(io.BytesIO(run.artefacts["augmented.png"])) as image:
        assert image.format == "PNG"
    plain = run_recipe(recipe.model_copy(update={"augment": type(recipe.augment)()}), fingerprint="0" * 64)
    assert "augmented.png" not in plain.artefacts


def test_pictures_of_large_images_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, data = prepared({"crop_padding": 1})
    noise = torch.randint(0, 256, (6, 3, 200, 200), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(type(data.splits["train"]), "raw", lambda _, chosen_B: noise[: len(chosen_B)].clone())
    data.preprocessing.facts["shape"][:] = [3, 200, 200]  # type: ignore[index]
    data.preprocessing.facts["mean"][:] = [0.5] * 3  # type: ignore[index]
    data.preprocessing.facts["deviation"][:] = [0.5] * 3  # type: ignore[index]
    data.preprocessing.facts["output_shape"][:] = [3, 200, 200]  # type: ignore[index]
    assert len(artefacts(recipe, data)["augmented.png"]) <= 100_000  # noise, which hardly compresses


def test_making_the_picture_draws_from_no_global_generator() -> None:
    recipe, data = prepared({"crop_padding": 1, "noise": 0.1, "policy": "trivial_augment", "mixup": 1.0})
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = artefacts(recipe, data)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert artefacts(recipe, data) == first
