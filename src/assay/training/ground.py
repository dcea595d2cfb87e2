"""What a training stands on: images, or what frozen layers make of them, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from assay.data.batches import SplitData
from assay.recipe.schema import Recipe
from assay.training.engines.engine import Engine
from assay.training.engines.with_torch import TorchEngine
from assay.training.evaluate import Scores, evaluation_batch
from assay.training.frozen_features import MOST_BYTES, features_of, find_cut, kept_features
from assay.training.prepare import PreparedData


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The splits that training and its measurements take, and the scores of them.

    Attributes:
        train: to train on.
        val: to measure after an epoch.
        scores: of the inputs of both.
        of_images: whether these inputs are those of the data, and not features.
        seconds: spent on the training split's features, which is part of training.
        notes: for the run's record.
    """

    train: SplitData
    val: SplitData
    scores: Scores
    of_images: bool = True
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def ground_of(recipe: Recipe, engine: Engine, data: PreparedData) -> Ground:
    """Features where the recipe allows them, the network can be cut and memory suffices; images otherwise.

    An engine that is given features takes its steps on them from here on; its scores stay those of images.
    """
    train_data, val_data = data.splits["train"], data.splits["val"]
    images = Ground(train=train_data, val=val_data, scores=engine.scores)
    changed = recipe.augment.active or recipe.train.smaller_first
    asked = recipe.freeze.active and recipe.freeze.cache_features and recipe.train.epochs > 0
    if not asked or changed or not isinstance(engine, TorchEngine):
        return images
    cut = find_cut(engine.model, engine.arithmetic, train_data)
    if cut is None:
        return images
    left, spent = MOST_BYTES, {}
    features = {}
    for name, split in (("train", train_data), ("val", val_data)):
        start = perf_counter()
        batches = features_of(engine.model, cut, engine.arithmetic, split, evaluation_batch(split.input_shape))
        found_N = kept_features(batches, len(split), left)
        if isinstance(found_N, int):
            note = (
                f"What the frozen layers give was computed anew for each batch: of the {name} split alone it takes "
                f"{found_N / 2**30:.1f} GiB, and {left / 2**30:.1f} GiB may be kept."
            )
            return Ground(train=train_data, val=val_data, scores=engine.scores, notes=(note,))
        left -= found_N.nbytes
        spent[name] = perf_counter() - start
        features[name] = split.with_inputs(found_N)
    return Ground(
        train=features["train"],
        val=features["val"],
        scores=engine.start_at(cut),
        of_images=False,
        seconds=spent["train"],
    )
