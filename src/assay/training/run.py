"""Recipe in, Run out.

Shape key: N examples of a split, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import torch

from assay.metrics.catalogue import CATALOGUE, CLASSIFICATION
from assay.metrics.classification import classification_report
from assay.metrics.evaluation import EVALUATION, ClassificationReport, reports_written
from assay.recipe.schema import FittedAtOnce, Recipe
from assay.records import EpochRecord, Predictions, Run, RunRecord, Split
from assay.training.artefacts import artefacts
from assay.training.checkpoint import CannotRestoreError, Checkpoints
from assay.training.classical import fit_at_once
from assay.training.engines.choose import build_engine
from assay.training.engines.engine import Engine
from assay.training.environment import environment
from assay.training.evaluate import Evaluation
from assay.training.fit import Trained, fit_in_epochs
from assay.training.isolation import isolated, torch_device
from assay.training.layer_table import layer_table
from assay.training.looking import closer_look
from assay.training.network import Network, build_network
from assay.training.prepare import PreparedData, prepare_data
from assay.training.state import State
from assay.training.telling import Tell, Telling

_KEPT: tuple[Split, ...] = ("val", "test")
"""Splits whose predictions are kept."""

_NOTES_OF_WARNINGS = 20


def run_recipe(
    recipe: Recipe,
    *,
    fingerprint: str,
    device: str = "cpu",
    checkpoints: Checkpoints | None = None,
    tell: Tell | None = None,
) -> Run:
    """Train one recipe at its seed and keep everything of it.

    The numbers depend on the recipe, the machine and the versions of the libraries alone: not on the process, what
    ran in it before, or what runs beside it. Threads and global random generators are put back afterwards; as they
    belong to the process, a process does one run at a time.

    Args:
        recipe: what to train.
        fingerprint: what the run will be known by.
        device: a torch device, such as ``cpu`` or ``cuda:0``.
        checkpoints: where they go, and whence the run goes on if it was interrupted; None keeps none. A run that went
            on equals one that was never interrupted, but for times and its log.
        tell: is told about once a second how far the run has come.

    Returns:
        The run; one whose loss was not finite has the status ``diverged``, the accuracies of its last predictions, and
        no final losses.

    Raises:
        InputError: the recipe does not fit its data or its model, or there is no such device.
    """
    checkpoints = checkpoints or Checkpoints()
    try:
        return _run(recipe, fingerprint, device, checkpoints, Telling(tell))
    except CannotRestoreError as error:  # such as a user's class whose base class, in another file, has changed
        checkpoints.start_anew(error)
        return _run(recipe, fingerprint, device, checkpoints, Telling(tell))


class _Clock:
    """When a run was begun, and how long it has taken; one that goes on counts what was kept of it before."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self._since = perf_counter()

    @property
    def seconds(self) -> float:
        return perf_counter() - self._since

    def state(self) -> State:
        return State(facts={"started": self.started, "seconds": self.seconds})

    def restore(self, state: State) -> None:
        self.started = state.facts["started"]
        self._since -= state.facts["seconds"]


def _run(recipe: Recipe, fingerprint: str, device: str, checkpoints: Checkpoints, telling: Telling) -> Run:
    clock = _Clock()
    at_once = isinstance(recipe.model, FittedAtOnce)
    where = torch_device("cpu" if at_once or recipe.train.engine == "numpy" else device)
    made_on = environment(where, fitted_by=("scikit-learn", "scipy") if at_once else ())
    checkpoints.begin(_deciding(recipe, fingerprint, made_on))
    with isolated(threads=recipe.train.threads, seed=recipe.seed, device=where) as surroundings:
        checkpoints.follow("surroundings", surroundings)
        checkpoints.follow("clock", clock)
        data = prepare_data(recipe, where)
        trained, network, engine = _trained(recipe, data, where, checkpoints, telling)
        predictions: dict[str, Predictions] = {
            name: _predictions(trained.evaluations[name], data, name) for name in _KEPT
        }
        pictures = artefacts(recipe, data)
        table = {} if network is None else layer_table(recipe, network.model, data.input_shape)
        look = closer_look(
            data, predictions["test"], trained.weights, network, engine, probabilistic=recipe.probabilistic
        )
    reports = {name: _report(recipe, predictions[name]) for name in _KEPT}
    figures = {**_metrics(trained), **_figures(reports), "near_zero_weights": look.near_zero_weights}
    notes = (network.notes if network else ()) + trained.notes + _notes(recipe, data, surroundings.warnings)
    record = RunRecord(
        fingerprint=fingerprint,
        status="diverged" if trained.diverged_at else "completed",
        recipe=recipe.resolved(),
        metrics={name: value for name, value in figures.items() if CATALOGUE[name].recorded_with(recipe)},
        examples={name: len(split) for name, split in data.splits.items()},
        classes=data.classes,
        parameters=trained.parameters,
        trainable_parameters=trained.trainable_parameters,
        environment=made_on,
        started_at=clock.started,
        seconds=clock.seconds,
        diverged_at=trained.diverged_at,
        notes=notes + checkpoints.notes,
        data=data.facts,
        pretrained={} if network is None else network.pretrained,
    )
    return Run(
        record=record,
        history=trained.history,
        predictions=predictions,
        weights=trained.weights,
        last_weights=trained.last_weights or {},
        preprocessing=data.preprocessing.facts,
        preprocessing_arrays=data.preprocessing.arrays,
        artefacts={**pictures, **table, **look.files, **trained.artefacts, EVALUATION: reports_written(reports)},
        log=_log(record, trained.history, checkpoints.continued),
    )


def _trained(
    recipe: Recipe, data: PreparedData, device: torch.device, checkpoints: Checkpoints, telling: Telling
) -> tuple[Trained, Network | None, Engine | None]:
    """What training came to, with the network it trained and what trained it, if it was one."""
    if isinstance(recipe.model, FittedAtOnce):
        return fit_at_once(recipe, data), None, None
    network = build_network(recipe, data)
    engine = build_engine(recipe, data, device, network)
    return fit_in_epochs(recipe, engine, data, checkpoints, telling), network, engine


def _deciding(recipe: Recipe, fingerprint: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What decides the bits of a run, and so whose checkpoint it may take up. Of the environment all but the operating
    system, whose kernel may be another after the very power cut that ended the run."""
    facts: dict[str, Any] = {key: value for key, value in environment.items() if key != "platform"}
    return {"fingerprint": fingerprint, **facts, "recipe": recipe.resolved()}


def _metrics(trained: Trained) -> dict[str, float | None]:
    """The catalogue's, of those that need a key only the ones asked for. A diverged run has no final losses, even those
    that were finite."""
    last = trained.history[-1]
    on_train, on_val, on_test = (trained.evaluations.get(name) for name in ("train", "val", "test"))
    if on_val is None or on_test is None:
        raise ValueError("A run measures its validation and test splits.")
    accuracies = [(record.val_accuracy or 0.0, -record.epoch) for record in trained.history]
    best_accuracy, minus_epoch = max(accuracies)
    kept = next((record for record in trained.history if record.epoch == trained.kept_epoch), last)
    return {
        "val_loss": None if trained.diverged_at else on_val.finite_loss,
        "test_loss": None if trained.diverged_at else on_test.finite_loss,
        "train_loss": kept.train_loss,
        "running_train_loss": last.running_train_loss,
        "val_accuracy": on_val.accuracy,
        "best_val_accuracy": best_accuracy,
        "best_epoch": float(-minus_epoch),
        "kept_epoch": float(trained.kept_epoch),
        "test_accuracy": on_test.accuracy,
        "train_accuracy": None if on_train is None else on_train.accuracy,
        "running_train_accuracy": last.running_train_accuracy,
        "accuracy_gap": None if on_train is None else on_train.accuracy - on_val.accuracy,
        "initial_loss": trained.initial_loss,
        "gradient_norm": last.gradient_norm,
        "weight_norm": last.weight_norm,
        "seconds": sum(record.seconds for record in trained.history),
        "inference_seconds": trained.inference_seconds,
        "parameters": float(trained.parameters),
        "trainable_parameters": float(trained.trainable_parameters),
        **trained.extra_metrics,
    }


def _report(recipe: Recipe, predictions: Predictions) -> ClassificationReport:
    return classification_report(predictions, probabilistic=recipe.probabilistic)


def _figures(reports: Mapping[Split, ClassificationReport]) -> dict[str, float | None]:
    """The catalogue's metrics of how each class was classified; of too few classes, and of a diverged run, some are
    missing."""
    found: dict[str, float | None] = {}
    for split, report in reports.items():
        for name in CLASSIFICATION:
            figure = report.figures.get(name)
            found[f"{split}_{name}"] = None if figure is None else figure.value
    return found


def _predictions(evaluation: Evaluation, data: PreparedData, name: Split) -> Predictions:
    split = data.splits[name]
    return Predictions(
        probabilities_NC=evaluation.probabilities_NK.cpu().numpy(),
        labels_N=split.labels_N.cpu().numpy(),
        indices_N=split.indices_N,
    )


def _notes(recipe: Recipe, data: PreparedData, warnings: Sequence[str]) -> tuple[str, ...]:
    notes = []
    constant = data.preprocessing.facts["constant"]
    if constant:
        positions = ", ".join(map(str, constant[:10])) + (", …" if len(constant) > 10 else "")
        notes.append(f"{len(constant)} input channels have one value throughout the training split: {positions}.")
    examples = len(data.splits["train"])
    if recipe.train.batch_size > examples and not isinstance(recipe.model, FittedAtOnce):
        notes.append(f"train.batch_size {recipe.train.batch_size} is more than the {examples} training examples.")
    skipped = data.facts["skipped"]
    if skipped:
        notes.append(f"{len(skipped)} examples left out as unreadable; record.json lists them. First: {skipped[0]}")
    notes += data.preprocessing.facts["remarks"]
    return (*notes, *data.facts["remarks"], *warnings[:_NOTES_OF_WARNINGS])


def _log(record: RunRecord, history: Sequence[EpochRecord], continued: Sequence[int]) -> str:
    """The run as a person would follow it: one line per epoch."""
    sizes = ", ".join(f"{count} {name}" for name, count in record.examples.items())
    lines = [f"{record.started_at} {record.fingerprint}", f"{sizes} examples; {record.parameters} parameters"]
    lines += [_epoch_line(epoch, diverged=record.diverged_at is not None) for epoch in history]
    lines += [f"interrupted, and continued after step {step}" for step in continued]
    lines += [f"note: {note}" for note in record.notes]
    lines.append(f"{record.status} in {record.seconds:.2f} s")
    return "\n".join(lines) + "\n"


def _epoch_line(epoch: EpochRecord, *, diverged: bool) -> str:
    parts = [f"lr {epoch.lr:.3g}"]
    measured = (("train", epoch.train_loss, epoch.train_accuracy), ("val", epoch.val_loss, epoch.val_accuracy))
    for name, loss, accuracy in measured:
        if accuracy is not None:
            said = f"{loss:.4f}" if loss is not None else "not finite" if diverged else "none"
            parts.append(f"{name} loss {said}, accuracy {accuracy:.4f}")
    return f"epoch {epoch.epoch}: {', '.join(parts)}, {epoch.seconds:.2f} s"
