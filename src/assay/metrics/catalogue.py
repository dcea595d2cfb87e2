"""Every metric a run records, with its direction: what claims may be made about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from assay.errors import InputError, did_you_mean
from assay.records import EpochRecord, Split


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One recorded number of a run.

    ``fraction_of`` names the split whose examples the metric counts, if it is an accuracy: such a metric moves in
    steps of one example. ``per_epoch`` metrics can also be asked for at an epoch: ``val_accuracy@5``.
    """

    name: str
    better: Literal["higher", "lower"]
    unit: Literal["fraction", "nats", "seconds", "count", "norm"]
    meaning: str
    fraction_of: Split | None = None
    predictions_of: Split | None = None
    """The split whose stored predictions determine the metric example by example, if any."""
    per_epoch: bool = False
    timing: bool = False
    epoch: int | None = None

    def value(self, metrics: Mapping[str, float | None], history: Sequence[EpochRecord]) -> float | None:
        """This metric of one run; None when it is missing, as a loss that was not finite."""
        if self.epoch is None:
            return metrics.get(self.name)
        for record in history:
            if record.epoch == self.epoch:
                value: float | None = getattr(record, self.name.partition("@")[0])
                return value
        return None


def _metric(
    name: str,
    better: Literal["higher", "lower"],
    unit: Literal["fraction", "nats", "seconds", "count", "norm"],
    meaning: str,
    *,
    fraction_of: Split | None = None,
    predictions_of: Split | None = None,
    per_epoch: bool = False,
    timing: bool = False,
) -> tuple[str, Metric]:
    return name, Metric(
        name=name,
        better=better,
        unit=unit,
        meaning=meaning,
        fraction_of=fraction_of,
        predictions_of=predictions_of,
        per_epoch=per_epoch,
        timing=timing,
    )


CATALOGUE: Mapping[str, Metric] = dict(
    [
        _metric("val_accuracy", "higher", "fraction", "validation accuracy after the last epoch",
                fraction_of="val", predictions_of="val", per_epoch=True),
        _metric("val_loss", "lower", "nats", "validation loss after the last epoch",
                predictions_of="val", per_epoch=True),
        _metric("best_val_accuracy", "higher", "fraction", "best validation accuracy over all epochs", fraction_of="val"),
        _metric("best_epoch", "lower", "count", "epoch of the best validation accuracy, the first one when tied"),
        _metric("test_accuracy", "higher", "fraction", "test accuracy after the last epoch",
                fraction_of="test", predictions_of="test"),
        _metric("test_loss", "lower", "nats", "test loss after the last epoch", predictions_of="test"),
        _metric("train_accuracy", "higher", "fraction", "training accuracy measured after the last epoch",
                fraction_of="train", per_epoch=True),
        _metric("train_loss", "lower", "nats", "training loss measured after the last epoch", per_epoch=True),
        _metric("running_train_accuracy", "higher", "fraction", "training accuracy averaged while the last epoch trained",
                fraction_of="train", per_epoch=True),
        _metric("running_train_loss", "lower", "nats", "training loss averaged while the last epoch trained", per_epoch=True),
        _metric("accuracy_gap", "lower", "fraction", "training minus validation accuracy after the last epoch",
                fraction_of="val"),
        _metric("initial_loss", "lower", "nats", "training loss before the first step"),
        _metric("gradient_norm", "lower", "norm", "mean global gradient norm over the last epoch", per_epoch=True),
        _metric("weight_norm", "lower", "norm", "global norm of all parameters after the last epoch", per_epoch=True),
        _metric("seconds", "lower", "seconds", "time spent training, without measuring", timing=True),
        _metric("inference_seconds", "lower", "seconds", "time to classify one image, in test batches", timing=True),
        _metric("parameters", "lower", "count", "number of parameters"),
    ]
)  # fmt: skip


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
    if not metric.per_epoch or not epoch_text.isdecimal() or not 1 <= int(epoch_text[:9]) <= 1_000_000:
        raise InputError(
            f"asks for {name!r}; after @ stands an epoch from 1 on, and only metrics kept per epoch have one. "
            f"Valid: {', '.join(m.name for m in CATALOGUE.values() if m.per_epoch)}."
        )
    return Metric(
        name=name,
        better=metric.better,
        unit=metric.unit,
        meaning=f"{metric.meaning.replace(' after the last epoch', '').replace(' the last epoch', ' the epoch')}, epoch {int(epoch_text)}",
        fraction_of=metric.fraction_of,
        per_epoch=True,
        epoch=int(epoch_text),
    )
