"""What training hands to everyone else.

A `Run` is the whole outcome of one recipe at one seed. Its parts are plain data and NumPy arrays, so that studies,
the store and the report can read them without torch.

Shape key: N examples of a split, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Split = Literal["train", "val", "test"]
Status = Literal["completed", "diverged"]
FailureKind = Literal["raised", "killed", "timeout"]


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One optimizer step. ``loss`` is the mean over the batch, without penalties; ``step`` counts from 0."""

    step: int
    lr: float
    loss: float
    correct: int
    examples: int
    gradient_norm: float


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch. Losses are nats per example, accuracies fractions, times seconds; None where it was not finite, or
    where a model has no such number: a support vector machine has no losses.

    ``running_*`` is averaged over the epoch's batches while the weights still move; ``train_*`` is measured on the
    whole training split after the epoch, in evaluation mode. ``gradient_norm`` is the mean over the epoch's steps of
    the global L2 norm; ``weight_norm`` the global L2 norm of all parameters after it. ``seconds`` is training alone,
    without measuring.
    """

    epoch: int
    step: int
    lr: float
    running_train_loss: float | None
    running_train_accuracy: float | None
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    gradient_norm: float | None
    weight_norm: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """How far a run under way has come. ``epoch`` counts from 1, ``step`` is how many of all ``steps`` are done."""

    epoch: int
    epochs: int
    step: int
    steps: int
    val_accuracy: float | None = None
    """As last measured."""
    seconds_left: float | None = None
    """About; None until there is a step to judge by."""
    continued_after: int | None = None
    """The step after which it was taken up, if it had been interrupted."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What the trained model says of every example of one split, in a fixed order."""

    probabilities_NC: NDArray[np.float32]
    labels_N: NDArray[np.int64]
    indices_N: NDArray[np.int64]
    """Position of each example in its data source, the same across seeds for the test split."""

    def predicted_N(self) -> NDArray[np.int64]:
        """The most probable class of each example; -1 where a probability is not a number."""
        bad_N: NDArray[np.bool_] = np.logical_not(np.isfinite(self.probabilities_NC).all(axis=1))
        predicted_N = np.where(bad_N[:, None], 0.0, self.probabilities_NC).argmax(axis=1)
        return np.where(bad_N, -1, predicted_N)

    def correct_N(self) -> NDArray[np.bool_]:
        """Whether each example is classified rightly; not-a-number counts as wrong."""
        correct_N: NDArray[np.bool_] = self.predicted_N() == self.labels_N
        return correct_N


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The facts of a run that fit on one page; ``record.json`` in the store.

    ``metrics`` holds every metric of `assay.metrics.catalogue` that the run has, None where it is missing (a loss that
    is not finite, or that its model does not have). ``examples`` counts each split. ``environment`` says what the run
    was made on and with; it never decides numbers on one machine, and a contrast that mixes environments is flagged.
    """

    fingerprint: str
    status: Status
    recipe: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    examples: Mapping[str, int]
    classes: tuple[str, ...]
    parameters: int
    trainable_parameters: int
    environment: Mapping[str, str]
    started_at: str
    """UTC, ISO 8601, to the second."""
    seconds: float
    """Wall time of the whole run: data, training, evaluation."""
    diverged_at: Mapping[str, int] | None = None
    """``{"epoch": …, "step": …}`` of the first loss that was not finite."""
    notes: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the data were: ``source``, ``identity`` (equal for the same examples), ``shape`` of one raw input,
    ``counts`` (examples of each class, by split), ``skipped`` (each example left out as unreadable, with the
    reason), ``remarks``."""
    pretrained: Mapping[str, Any] = field(default_factory=dict)
    """The weights it started from, if they were trained before: ``file``, ``sha256``, ``head`` (``layer``, and whether
    its weights were ``loaded``), and names of tensors: ``loaded``, ``missing``, ``unexpected``, ``other_shape`` (in the
    file, and in the model), ``adapted`` (how)."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunRecord:
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        for name in ("classes", "notes"):
            values[name] = tuple(values.get(name, ()))
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One recipe trained at one seed: everything that is kept of it."""

    record: RunRecord
    history: tuple[EpochRecord, ...] = ()
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    """By split name: ``val`` and ``test``."""
    weights: Mapping[str, Array] = field(default_factory=dict)
    last_weights: Mapping[str, Array] = field(default_factory=dict)
    """Those after the last epoch, where ``weights`` are better ones of an earlier epoch."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """What turns a raw image into the network's input; plain JSON."""
    preprocessing_arrays: Mapping[str, Array] = field(default_factory=dict)
    """What of that is too large for JSON: mean images, whitening matrices."""
    artefacts: Mapping[str, bytes] = field(default_factory=dict)
    """Pictures and tables for people, by file name, such as ``augmented.png``."""
    log: str = ""

    @property
    def fingerprint(self) -> str:
        return self.record.fingerprint


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """A run that raised, was killed or ran out of time. Running the study again retries it."""

    fingerprint: str
    recipe: Mapping[str, Any]
    kind: FailureKind
    message: str
    traceback: str
    failed_at: str
    seconds: float
