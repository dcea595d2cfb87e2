"""The trained model of a stored run, ready to classify.

Shape key: B examples in a batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from assay.data.normalize import Preprocessing
from assay.data.on_device import Normalizer
from assay.errors import InputError, StoreError
from assay.models.build import build_model
from assay.recipe.schema import FittedAtOnce, Recipe
from assay.records import Array, RunRecord
from assay.training.arithmetic import Arithmetic, number_type
from assay.training.classical_scores import scores_of_stored
from assay.training.engines.with_torch import scores_of
from assay.training.evaluate import Scores, evaluation_batch
from assay.training.isolation import isolated, torch_device
from assay.training.network import expect_inputs_of
from assay.training.views import seen_from


class Predictor:
    """Gives the probabilities that the run's own evaluation gave: its normalisation, arithmetic, threads and views.

    On the machine of the run they are the same numbers, example by example, if the examples come in the same batches;
    of models that NumPy or scikit-learn trained, but for rounding.

    Args:
        record: of the run.
        weights: of the run.
        preprocessing: of the run, its facts and its arrays.
        device: a torch device, such as ``cpu`` or ``cuda:0``.

    Raises:
        InputError: the run's recipe names a class of the user's own that is not to be found here, or no such device is.
        StoreError: the run's parts do not fit together.
    """

    def __init__(
        self,
        record: RunRecord,
        weights: Mapping[str, Array],
        preprocessing: tuple[Mapping[str, Any], Mapping[str, Array]],
        device: str = "cpu",
    ) -> None:
        self._recipe = recipe = Recipe.model_validate(record.recipe)
        self._fingerprint = record.fingerprint
        self.classes = record.classes
        self._preprocessing = Preprocessing(facts=preprocessing[0], arrays=preprocessing[1])
        self._device = torch_device("cpu" if isinstance(recipe.model, FittedAtOnce) else device)
        self._normalizer = Normalizer(
            self._preprocessing, dtype=number_type(recipe.train.precision), device=self._device
        )
        with self._surroundings():
            self._scores = seen_from(recipe.evaluate.views, self._rebuilt(weights))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one raw example: (C, H, W), or (D,) for points."""
        return tuple(self._preprocessing.facts["shape"])

    @property
    def batch_size(self) -> int:
        """How many examples the run's evaluation took at a time."""
        return evaluation_batch(self._preprocessing.output_shape)

    def probabilities(self, raw_B: Array) -> NDArray[np.float32]:
        """The probability of each class, (B, K), of raw examples: uint8 images (B, C, H, W) or points (B, D)."""
        if raw_B.shape[1:] != self.input_shape:
            raise InputError(f"Run {self._fingerprint[:12]} takes inputs {self.input_shape}, got {raw_B.shape[1:]}.")
        with self._surroundings(), torch.inference_mode():
            raw = torch.from_numpy(np.ascontiguousarray(raw_B)).to(self._device)
            log_p_BK = self._scores(self._normalizer(raw)).log_softmax(dim=1)
            found: NDArray[np.float32] = log_p_BK.exp().to(torch.float32).cpu().numpy()
        return found

    def _surroundings(self) -> AbstractContextManager[object]:
        return isolated(threads=self._recipe.train.threads, seed=self._recipe.seed, device=self._device)

    def _rebuilt(self, weights: Mapping[str, Array]) -> Scores:
        recipe = self._recipe
        try:
            if isinstance(recipe.model, FittedAtOnce):
                return scores_of_stored(recipe.model, weights, len(self.classes))
            model = build_model(
                recipe.model,
                recipe.init,
                seed=recipe.seed,
                input_shape=self._preprocessing.output_shape,
                classes=len(self.classes),
            )
            expect_inputs_of(model, recipe.pretrained)
            arithmetic = Arithmetic(recipe.train, self._device)
            arithmetic.prepared(model)
            model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
        except (KeyError, RuntimeError, ValueError) as error:
            raise StoreError(
                f"The weights of run {self._fingerprint[:12]} do not fit its recipe: {' '.join(str(error).split())}. "
                "Have it computed again."
            ) from error
        return lambda x_B: scores_of(model, arithmetic, x_B)
