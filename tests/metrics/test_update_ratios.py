"""What is computed of a watched training, and how far its file is trusted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.errors import StoreError
from assay.metrics.vitals import (
    Stretch,
    Vitals,
    WeightSample,
    gradients_of,
    update_ratio_by_epoch,
    update_ratios_of,
    vitals_read,
    vitals_written,
)


def watched(*samples: WeightSample, steps_per_epoch: int = 10) -> Vitals:
    stretch = Stretch(step=0, steps=10, loss=1.0, highest_loss=1.0, gradient_norm=1.0, highest_gradient_norm=1.0)
    return Vitals(
        steps_per_epoch=steps_per_epoch, stretches=(stretch,), weights=("a", "b", "c"), samples=samples, activity=()
    )


def sample(step: int, updates: tuple[float | None, ...], weights: tuple[float | None, ...] = (1.0, 1.0, 1.0)):
    return WeightSample(step=step, gradient_L=(1.0, None, 3.0), weight_L=weights, update_L=updates)


def test_update_ratios_are_relative_to_the_weights() -> None:
    ratio_SL = update_ratios_of(watched(sample(0, (0.1, None, 0.3), (2.0, 1.0, 0.0))))
    np.testing.assert_array_equal(ratio_SL, [[0.05, math.nan, math.nan]])
    np.testing.assert_array_equal(gradients_of(watched(sample(0, (1, 1, 1)))), [[1.0, math.nan, 3.0]])


def test_without_samples_there_are_no_rows() -> None:
    assert update_ratios_of(watched()).shape == (0, 3)
    assert np.isnan(update_ratio_by_epoch(watched(), 4)).all()


def test_by_epoch_it_is_the_median_tensor_averaged_over_samples() -> None:
    of = watched(sample(0, (0.1, 0.2, 0.9)), sample(9, (0.3, 0.4, 0.5)), sample(25, (0.7, None, None)))
    np.testing.assert_allclose(update_ratio_by_epoch(of, 4), [0.3, math.nan, 0.7, math.nan])
    assert update_ratio_by_epoch(of, 2).shape == (2,)  # a run that ended in its second epoch


def test_samples_of_other_tensors_than_named_are_refused() -> None:
    short = WeightSample(step=7, gradient_L=(1.0,), weight_L=(1.0,), update_L=(1.0,))
    with pytest.raises(StoreError, match=r"is damaged at step 7: 1 values of 3\."):
        vitals_read(vitals_written(watched(short)))
