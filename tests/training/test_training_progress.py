"""How far a training has come is put back as it was, to the last bit and type."""

import json
import math
from dataclasses import astuple

import numpy as np
import pytest

from assay.records import EpochRecord, StepRecord
from assay.training.progress import BestEpoch, Progress
from assay.training.state import State


def epoch(number: int, **values: float | None) -> EpochRecord:
    blank = dict.fromkeys(EpochRecord.__dataclass_fields__)
    known = {"lr": 0.1, "weight_norm": 2.0, "gradient_norm": None, "seconds": 0.5}
    return EpochRecord(**{**blank, **known, "epoch": number, "step": 3 * number - 1, **values})


def step(number: int, gradient_norm: float) -> StepRecord:
    return StepRecord(step=number, lr=0.1, loss=1 / 3, correct=2, examples=5, gradient_norm=gradient_norm)


def restored(progress: Progress) -> Progress:
    state = progress.state()
    fresh = Progress(best=BestEpoch("val_accuracy"))
    copies = {name: tensor.clone() for name, tensor in state.tensors.items()}
    fresh.restore(State(tensors=copies, facts=json.loads(json.dumps(state.facts))))
    return fresh


@pytest.mark.parametrize("gradient_norm", [0.1, math.inf, math.nan])
def test_records_come_back_with_their_types(gradient_norm):
    progress = Progress(best=BestEpoch("val_accuracy"), seconds=1.5, initial_loss=2.25)
    for number in (1, 2):
        progress.end_epoch(epoch(number, val_accuracy=0.1 * number, val_loss=None))
    progress.records = [step(6, gradient_norm), step(7, 0.2)]
    progress.seconds = 0.75
    fresh = restored(progress)
    assert repr(fresh.history) == repr(progress.history)  # in which 1 is not 1.0, and NaN is NaN
    assert repr(fresh.records) == repr(progress.records)
    assert (fresh.seconds, fresh.initial_loss) == (0.75, 2.25)
    assert fresh.steps_done(3) == 8
    assert (fresh.epoch, fresh.last_accuracy) == (3, 0.2)
    assert [type(value) for value in astuple(fresh.records[0])] == [int, float, float, int, int, float]


def test_a_training_that_has_not_begun_comes_back_too():
    fresh = restored(Progress(best=BestEpoch("val_accuracy")))
    assert (fresh.history, fresh.records, fresh.initial_loss, fresh.epoch) == ([], [], None, 1)
    assert fresh.last_accuracy is None


def test_the_best_epoch_is_still_the_best():
    progress = Progress(best=BestEpoch("val_accuracy"))
    for number, accuracy in ((1, 0.5), (2, 0.7), (3, 0.6)):
        progress.best.improved_by(epoch(number, val_accuracy=accuracy))
    progress.best.weights = {"layer.weight": np.arange(3.0, dtype=np.float32)}
    best = restored(progress).best
    assert (best.epoch, best.waited, best.since) == (2, 1, 2)
    assert best.weights is not None
    assert best.weights["layer.weight"].tolist() == [0, 1, 2]
    assert not best.improved_by(epoch(4, val_accuracy=0.7))
    assert (best.waited, best.improved_by(epoch(5, val_accuracy=0.71)), best.waited) == (2, True, 0)
