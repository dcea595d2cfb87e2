"""Every metric a run records, with its direction: what claims may be made about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from assay.errors import InputError, did_you_mean
from assay.records import EpochRecord, Split

if TYPE_CHECKING:
    from assay.recipe.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One recorded number of a run.

    ``fraction_of`` names the split whose examples the metric counts, if it is an accuracy: such a metric moves in
    steps of one example, or in smaller ones where an example counts several times; verdicts take a whole one for the
    least spread either way, which errs on the careful side. ``per_epoch`` metrics can also be asked for at an epoch:
    ``val_accuracy@5``.
    """

    name: str
    better: Literal["higher", "lower"]
    unit: Literal["fraction", "nats", "seconds", "count", "norm", "score"]
    meaning: str
    fraction_of: Split | None = None
    predictions_of: Split | None = None
    """The split whose stored predictions determine the metric example by example, if any."""
    per_epoch: bool = False
    timing: bool = False
    needs: str | None = None
    """Dotted key of the recipe that must not be off for a run to have the metric at all, if there is one."""
    measured: bool = False
    """Whether it takes a measurement of its own, which not every epoch may have."""
    least_classes: int = 2
    """With fewer the metric says nothing, and runs do not have it."""
    epoch: int | None = None

    def recorded_with(self, recipe: Recipe) -> bool:
        """Whether runs of this recipe have the metric: nothing that it needs is off."""
        return self.needs is None or attrgetter(self.needs)(recipe) not in _OFF

    @property
    def stays(self) -> bool:
        """Whether a run that ended before an epoch counts there with what it had at its end."""
        return self.unit in ("fraction", "nats")

    def value(self, metrics: Mapping[str, float | None], history: Sequence[EpochRecord]) -> float | None:
        """This metric of one run; None when it is missing, as a loss that was not finite.

        A run that stopped before the epoch asked for has what was measured after its last one, for its weights stayed
        as they were. One that diverged there has an accuracy, for its last predictions count, and no loss.
        """
        if self.epoch is None:
            return metrics.get(self.name)
        for record in history:
            last = record is history[-1] and self.stays
            if record.epoch == self.epoch or (last and record.epoch < self.epoch):
                value: float | None = getattr(record, self.name.partition("@")[0])
                return value
        return None


_OFF = (0, False, "one")
"""Values of a key that leave out what it is about."""


def _classification(split: Split, called: str) -> tuple[Metric, ...]:
    """What `assay.metrics.classification` says of the predictions of a split, beside accuracy and loss."""
    return (
        Metric(
            name=f"{split}_balanced_accuracy",
            better="higher",
            unit="fraction",
            meaning=f"mean over the classes of the share of their {called} examples that is right",
            fraction_of=split,
        ),
        Metric(
            name=f"{split}_top3_accuracy",
            better="higher",
            unit="fraction",
            meaning=f"share of {called} examples whose class is among the three most probable",
            fraction_of=split,
            least_classes=4,
        ),
        Metric(
            name=f"{split}_top5_accuracy",
            better="higher",
            unit="fraction",
            meaning=f"share of {called} examples whose class is among the five most probable",
            fraction_of=split,
            least_classes=6,
        ),
        Metric(
            name=f"{split}_macro_f1",
            better="higher",
            unit="fraction",
            meaning=f"mean over the classes of their F1 on {called} examples",
            fraction_of=split,
        ),
        Metric(
            name=f"{split}_weighted_f1",
            better="higher",
            unit="fraction",
            meaning=f"the same, each class as heavy as its share of the {called} examples",
            fraction_of=split,
        ),
        Metric(
            name=f"{split}_roc_auc",
            better="higher",
            unit="score",
            meaning=f"area under the ROC curve of {called} examples, each class against the rest, mean of the classes",
        ),
        Metric(
            name=f"{split}_brier",
            better="lower",
            unit="score",
            meaning=f"Brier score of {called} examples: squared distance of the probabilities from the truth, 0 to 2",
        ),
        Metric(
            name=f"{split}_calibration_error",
            better="lower",
            unit="fraction",
            meaning=f"expected calibration error on {called} examples: how far confidence and accuracy lie apart",
        ),
    )


_METRICS = (
    Metric(
        name="val_accuracy",
        better="higher",
        unit="fraction",
        meaning="validation accuracy of the trained model",
        fraction_of="val",
        predictions_of="val",
        per_epoch=True,
        measured=True,
    ),
    Metric(
        name="val_loss",
        better="lower",
        unit="nats",
        meaning="validation loss of the trained model",
        predictions_of="val",
        per_epoch=True,
        measured=True,
    ),
    Metric(
        name="best_val_accuracy",
        better="higher",
        unit="fraction",
        meaning="best validation accuracy over all epochs",
        fraction_of="val",
    ),
    Metric(
        name="best_epoch",
        better="lower",
        unit="count",
        meaning="epoch of the best validation accuracy, the first one when tied",
    ),
    Metric(
        name="test_accuracy",
        better="higher",
        unit="fraction",
        meaning="test accuracy of the trained model",
        fraction_of="test",
        predictions_of="test",
    ),
    Metric(
        name="test_loss",
        better="lower",
        unit="nats",
        meaning="test loss of the trained model",
        predictions_of="test",
    ),
    Metric(
        name="train_accuracy",
        better="higher",
        unit="fraction",
        meaning="training accuracy of the trained model",
        fraction_of="train",
        per_epoch=True,
        measured=True,
        needs="evaluate.train_split",
    ),
    Metric(
        name="train_loss",
        better="lower",
        unit="nats",
        meaning="training loss of the trained model",
        per_epoch=True,
        measured=True,
        needs="evaluate.train_split",
    ),
    Metric(
        name="running_train_accuracy",
        better="higher",
        unit="fraction",
        meaning="training accuracy averaged while the last epoch trained",
        fraction_of="train",
        per_epoch=True,
        needs="train.epochs",
    ),
    Metric(
        name="running_train_loss",
        better="lower",
        unit="nats",
        meaning="training loss averaged while the last epoch trained",
        per_epoch=True,
        needs="train.epochs",
    ),
    Metric(
        name="accuracy_gap",
        better="lower",
        unit="fraction",
        meaning="training minus validation accuracy of the trained model",
        fraction_of="val",
        needs="evaluate.train_split",
    ),
    Metric(
        name="initial_loss",
        better="lower",
        unit="nats",
        meaning="training loss before the first step",
        needs="evaluate.train_split",
    ),
    Metric(
        name="gradient_norm",
        better="lower",
        unit="norm",
        meaning="mean global gradient norm over the last epoch",
        per_epoch=True,
        needs="train.epochs",
    ),
    Metric(
        name="weight_norm",
        better="lower",
        unit="norm",
        meaning="global norm of all parameters after the last epoch",
        per_epoch=True,
    ),
    Metric(
        name="seconds",
        better="lower",
        unit="seconds",
        meaning="time spent training, without measuring",
        timing=True,
    ),
    Metric(
        name="inference_seconds",
        better="lower",
        unit="seconds",
        meaning="time to classify one image, in test batches",
        timing=True,
    ),
    Metric(
        name="shifted_test_accuracy",
        better="higher",
        unit="fraction",
        meaning="test accuracy on images shifted by evaluate.shift pixels, mean of eight directions",
        fraction_of="test",
        needs="evaluate.shift",
    ),
    Metric(
        name="shift_consistency",
        better="higher",
        unit="fraction",
        meaning="share of test images shifted by evaluate.shift pixels, in eight directions, that keep their class",
        fraction_of="test",
        needs="evaluate.shift",
    ),
    Metric(
        name="one_view_test_accuracy",
        better="higher",
        unit="fraction",
        meaning="test accuracy without the test-time augmentation of evaluate.views",
        fraction_of="test",
        needs="evaluate.views",
    ),
    Metric(
        name="kept_epoch",
        better="lower",
        unit="count",
        meaning="epoch after which the weights were as they are kept: by default the last",
    ),
    Metric(
        name="near_zero_weights",
        better="higher",
        unit="fraction",
        meaning="share of weights, biases and normalisation aside, closer to zero than 0.001",
    ),
    Metric(name="parameters", better="lower", unit="count", meaning="number of parameters"),
    Metric(
        name="trainable_parameters", better="lower", unit="count", meaning="number of parameters that are not frozen"
    ),
    *_classification("val", "validation"),
    *_classification("test", "test"),
)

CATALOGUE: Mapping[str, Metric] = {metric.name: metric for metric in _METRICS}

CLASSIFICATION: tuple[str, ...] = tuple(
    metric.name.removeprefix("val_") for metric in _classification("val", "validation")
)
"""The metrics of how classes are classified, without the split before them."""


_EPOCH = re.compile("[1-9][0-9]{0,6}")
"""One spelling for each epoch, so that no claim can be declared twice under two names."""


def metric_named(name: str) -> Metric:
    """Look a metric up; ``val_accuracy@5`` is the one after epoch 5.

    Raises:
        InputError: the name is unknown, or the metric is not kept per epoch. The message is a predicate
            (``is not a recorded metric …``) so that the caller can put the key before it.
    """
    base, at, epoch_text = name.partition("@")
    metric = CATALOGUE.get(base)
    if metric is None:
        raise InputError(f"names no recorded metric, got {name!r}. {did_you_mean(base, CATALOGUE)}")
    if not at:
        return metric
    if not metric.per_epoch or not _EPOCH.fullmatch(epoch_text):
        raise InputError(
            f"asks for {name!r}; after @ stands an epoch from 1 on, and only metrics kept per epoch have one. "
            f"Valid: {', '.join(m.name for m in CATALOGUE.values() if m.per_epoch)}."
        )
    epoch = int(epoch_text)
    meaning = metric.meaning.replace(" after the last epoch", "").replace(" of the trained model", "")
    meaning = meaning.replace(" the last epoch", " the epoch")
    return replace(metric, name=name, meaning=f"{meaning}, epoch {epoch}", predictions_of=None, epoch=epoch)
