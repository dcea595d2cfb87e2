"""Recipe in, Run out.

Shape key: N examples of a split, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from time import perf_counter

import torch
from torch import nn

from assay.data.batches import batch_bounds, training_batches
from assay.errors import InvalidValueError
from assay.models.build import build_model
from assay.recipe.schema import Recipe
from assay.records import Array, EpochRecord, Predictions, Run, RunRecord, Split, StepRecord
from assay.training.artefacts import artefacts
from assay.training.environment import environment
from assay.training.evaluate import Evaluation, evaluate, seconds_per_example
from assay.training.isolation import isolated, torch_device
from assay.training.loop import global_norm, train
from assay.training.losses import cross_entropy
from assay.training.optimizers import build_optimizer
from assay.training.penalties import Penalty
from assay.training.prepare import PreparedData, prepare_data
from assay.training.schedules import build_schedule

_NOTES_OF_WARNINGS = 20


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What training came to: the model is the one handed in, with its last weights."""

    history: tuple[EpochRecord, ...]
    initial_loss: float | None
    evaluations: dict[Split, Evaluation]
    diverged_at: dict[str, int] | None


def run_recipe(recipe: Recipe, *, fingerprint: str, device: str = "cpu") -> Run:
    """Train one recipe at its seed and keep everything of it.

    The numbers depend on the recipe, the machine and the versions of the libraries alone: not on the process, what
    ran in it before, or what runs beside it. Threads and global random generators are put back afterwards; as they
    belong to the process, a process does one run at a time.

    Args:
        recipe: what to train.
        fingerprint: what the run will be known by.
        device: a torch device, such as ``cpu`` or ``cuda:0``.

    Returns:
        The run; one whose loss was not finite has the status ``diverged``, the accuracies of its last predictions, and
        no final losses.

    Raises:
        InputError: the recipe does not fit its data or its model, or there is no such device.
    """
    started, start = datetime.now(UTC), perf_counter()
    where = torch_device(device)
    with isolated(threads=recipe.train.threads, seed=recipe.seed, device=where) as warnings:
        data = prepare_data(recipe, where)
        model = build_model(
            recipe.model, recipe.init, seed=recipe.seed, input_shape=data.input_shape, classes=len(data.classes)
        )
        _refuse_batches_of_one(recipe, model)
        model.to(device=where, dtype=getattr(torch, recipe.train.precision))
        trained = _fit(recipe, model, data)
        inference_seconds = seconds_per_example(model, data.splits["test"])
        weights = {name: _array(tensor) for name, tensor in model.state_dict().items()}
        pictures = artefacts(recipe, data)
    parameters = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    notes = _notes(recipe, data, [f"{w.category.__name__}: {w.message}" for w in warnings])
    record = RunRecord(
        fingerprint=fingerprint,
        status="diverged" if trained.diverged_at else "completed",
        recipe=recipe.resolved(),
        metrics=_metrics(trained, inference_seconds, sum(count for count, _ in parameters)),
        examples={name: len(split) for name, split in data.splits.items()},
        classes=data.classes,
        parameters=sum(count for count, _ in parameters),
        trainable_parameters=sum(count for count, trainable in parameters if trainable),
        environment=environment(where),
        started_at=started.isoformat(timespec="seconds"),
        seconds=perf_counter() - start,
        diverged_at=trained.diverged_at,
        notes=notes,
        data=data.facts,
    )
    return Run(
        record=record,
        history=trained.history,
        predictions={name: _predictions(trained.evaluations[name], data, name) for name in ("val", "test")},
        weights=weights,
        preprocessing=data.preprocessing.facts,
        preprocessing_arrays=data.preprocessing.arrays,
        artefacts=pictures,
        log=_log(record, trained.history),
    )


def _fit(recipe: Recipe, model: nn.Module, data: PreparedData) -> _Trained:
    """Train the model in place, measuring it before the first epoch and after each."""
    train_data, val_data, test_data = (data.splits[name] for name in ("train", "val", "test"))
    epochs, batch_size = recipe.train.epochs, recipe.train.batch_size
    steps_per_epoch = len(batch_bounds(len(train_data), batch_size))
    steps = train(
        model,
        training_batches(
            train_data,
            recipe.augment,
            classes=len(data.classes),
            batch_size=batch_size,
            epochs=epochs,
            seed=recipe.seed,
        ),
        build_optimizer(recipe.optimizer, model),
        build_schedule(recipe.schedule, lr=recipe.optimizer.lr, epochs=epochs, steps_per_epoch=steps_per_epoch),
        cross_entropy(recipe.loss),
        Penalty(model, l1=recipe.loss.l1, l2=recipe.loss.l2),
    )
    initial = evaluate(model, train_data)
    history: list[EpochRecord] = []
    diverged_at = None
    for epoch in range(1, epochs + 1):
        start = perf_counter()
        records = list(islice(steps, steps_per_epoch))
        seconds = perf_counter() - start
        on_train = evaluate(model, train_data)
        on_val = evaluate(model, val_data)
        weight_norm = global_norm([parameter.detach() for parameter in model.parameters()])
        history.append(_epoch_record(epoch, records, on_train, on_val, weight_norm, seconds))
        if not all(map(math.isfinite, (records[-1].loss, on_train.loss, on_val.loss))):
            history[-1] = replace(history[-1], running_train_loss=None, train_loss=None, val_loss=None)
            diverged_at = {"epoch": epoch, "step": records[-1].step}
            break
    on_test = evaluate(model, test_data)
    return _Trained(
        history=tuple(history),
        initial_loss=initial.finite_loss,
        evaluations={"train": on_train, "val": on_val, "test": on_test},
        diverged_at=diverged_at,
    )


def _epoch_record(
    epoch: int,
    records: Sequence[StepRecord],
    on_train: Evaluation,
    on_val: Evaluation,
    weight_norm: float,
    seconds: float,
) -> EpochRecord:
    examples = sum(record.examples for record in records)
    return EpochRecord(
        epoch=epoch,
        step=records[-1].step,
        lr=records[-1].lr,
        running_train_loss=_finite(sum(record.loss * record.examples for record in records) / examples),
        running_train_accuracy=sum(record.correct for record in records) / examples,
        train_loss=on_train.finite_loss,
        train_accuracy=on_train.accuracy,
        val_loss=on_val.finite_loss,
        val_accuracy=on_val.accuracy,
        gradient_norm=_finite(sum(record.gradient_norm for record in records) / len(records)),
        weight_norm=_finite(weight_norm),
        seconds=seconds,
    )


def _metrics(trained: _Trained, inference_seconds: float, parameters: int) -> dict[str, float | None]:
    """Every metric of the catalogue. A diverged run has no final losses, even those that were finite."""
    last = trained.history[-1]
    on_train, on_val, on_test = (trained.evaluations[name] for name in ("train", "val", "test"))
    accuracies = [(record.val_accuracy or 0.0, -record.epoch) for record in trained.history]
    best_accuracy, minus_epoch = max(accuracies)
    return {
        "val_loss": last.val_loss,
        "test_loss": None if trained.diverged_at else on_test.finite_loss,
        "train_loss": last.train_loss,
        "running_train_loss": last.running_train_loss,
        "val_accuracy": on_val.accuracy,
        "best_val_accuracy": best_accuracy,
        "best_epoch": float(-minus_epoch),
        "test_accuracy": on_test.accuracy,
        "train_accuracy": on_train.accuracy,
        "running_train_accuracy": last.running_train_accuracy,
        "accuracy_gap": on_train.accuracy - on_val.accuracy,
        "initial_loss": trained.initial_loss,
        "gradient_norm": last.gradient_norm,
        "weight_norm": last.weight_norm,
        "seconds": sum(record.seconds for record in trained.history),
        "inference_seconds": inference_seconds,
        "parameters": float(parameters),
    }


def _predictions(evaluation: Evaluation, data: PreparedData, name: Split) -> Predictions:
    split = data.splits[name]
    return Predictions(
        probabilities_NC=evaluation.probabilities_NK.cpu().numpy(),
        labels_N=split.labels_N.cpu().numpy(),
        indices_N=split.indices_N,
    )


def _array(tensor: torch.Tensor) -> Array:
    """A copy as NumPy array of the same type, but for bfloat16, which NumPy lacks: float32 holds its every value."""
    host = tensor.detach().cpu()
    return (host.float() if host.dtype == torch.bfloat16 else host).numpy().copy()


def _refuse_batches_of_one(recipe: Recipe, model: nn.Module) -> None:
    if recipe.train.batch_size == 1 and any(
        isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules()
    ):
        raise InvalidValueError(
            ("train", "batch_size"),
            "must be at least 2 for a model with batch normalisation, got 1.",
            f"Raise train.batch_size, or choose another normalisation in model.name ({recipe.model.name}).",
        )


def _notes(recipe: Recipe, data: PreparedData, warnings: Sequence[str]) -> tuple[str, ...]:
    notes = []
    constant = data.preprocessing.facts["constant"]
    if constant:
        positions = ", ".join(map(str, constant[:10])) + (", …" if len(constant) > 10 else "")
        notes.append(f"{len(constant)} input channels have one value throughout the training split: {positions}.")
    examples = len(data.splits["train"])
    if recipe.train.batch_size > examples:
        notes.append(f"train.batch_size {recipe.train.batch_size} is more than the {examples} training examples.")
    skipped = data.facts["skipped"]
    if skipped:
        notes.append(f"{len(skipped)} examples left out as unreadable; record.json lists them. First: {skipped[0]}")
    notes += data.preprocessing.facts["remarks"]
    return (*notes, *data.facts["remarks"], *dict.fromkeys(warnings[:_NOTES_OF_WARNINGS]))


def _log(record: RunRecord, history: Sequence[EpochRecord]) -> str:
    """The run as a person would follow it: one line per epoch."""
    sizes = ", ".join(f"{count} {name}" for name, count in record.examples.items())
    lines = [f"{record.started_at} {record.fingerprint}", f"{sizes} examples; {record.parameters} parameters"]
    for epoch in history:
        loss = "not finite" if epoch.train_loss is None else f"{epoch.train_loss:.4f}"
        val_loss = "not finite" if epoch.val_loss is None else f"{epoch.val_loss:.4f}"
        lines.append(
            f"epoch {epoch.epoch}: lr {epoch.lr:.3g}, train loss {loss}, accuracy {epoch.train_accuracy:.4f}, "
            f"val loss {val_loss}, accuracy {epoch.val_accuracy:.4f}, {epoch.seconds:.2f} s"
        )
    lines += [f"note: {note}" for note in record.notes]
    lines.append(f"{record.status} in {record.seconds:.2f} s")
    return "\n".join(lines) + "\n"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
