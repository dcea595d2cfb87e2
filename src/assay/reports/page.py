"""What a lab report says, as plain data: numbers and strings, no markup.

`assay.reports.build.build_page` computes a `Page`; `assay.reports.render.render` sets it as HTML. Whatever can be wrong
about a number can so be tested without reading HTML. Effects and metrics are in the metric's own unit (accuracies as
fractions, times in seconds).
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.metrics.catalogue import Metric
from assay.records import FailureKind, Split, Status
from assay.reports.classification import Classification
from assay.reports.estimates import Estimate
from assay.reports.looking import Looking
from assay.reports.networks import Networks
from assay.reports.pictures import Picture
from assay.studies.claims import ClaimKind, Verdict


def phrase(numbers: tuple[str, ...]) -> str:
    """``−12.3 points [−14.1, −10.5], n = 5 seeds; margin ±1.0 point`` of its parts."""
    text = numbers[0]
    for part in numbers[1:]:
        text += {"[": " ", "m": "; "}.get(part[0], ", ") + part
    return text


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A dotted key of a recipe, or a fact of the environment, and its value as text."""

    key: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What would settle an undecided claim: a sentence, and what it says to add to the command line, if anything."""

    sentence: str
    command: str | None


@dataclass(frozen=True, kw_only=True)
class ClaimEntry:
    """One claim with its verdict, in words and in numbers."""

    claim: str
    kind: ClaimKind
    metric: Metric
    verdict: Verdict
    supported: bool
    statement: str
    """The verdict as half a sentence: ``dropout 0.95 hurts against plain``."""
    numbers: tuple[str, ...]
    """Effect, interval, direction if lower is better, n and margin, each a phrase; empty before the first pair."""
    standing: str
    """What was claimed, and whether it is supported."""
    effect: float | None
    low: float | None
    high: float | None
    low_fixed: float | None
    high_fixed: float | None
    low_new: float | None
    high_new: float | None
    margin: float | None
    n: int
    level: float | None
    decided_at: int | None
    correlation: float | None
    details: tuple[str, ...]
    """The other intervals and the look that decided, each a sentence."""
    notes: tuple[str, ...]
    """What a reader must know to trust the verdict, such as dropped pairs, each a sentence."""
    advice: Advice | None

    @property
    def sentence(self) -> str:
        """The verdict with its numbers: ``… hurts against plain: val_accuracy −12.3 points [−14.1, −10.5], n = …``."""
        return f"{self.statement}: {self.metric.name} {phrase(self.numbers)}." if self.numbers else f"{self.statement}."


@dataclass(frozen=True, kw_only=True)
class ArmEntry:
    """One arm. ``estimates`` stand in the order of `Page.metrics`; ``position`` picks its colour."""

    name: str
    position: int
    changes: tuple[Setting, ...]
    n: int
    """Runs in the store."""
    estimates: tuple[Estimate, ...]
    parameters: int | None
    """Of its network; None where they vary, and where there is no run."""
    trainable_parameters: int | None
    """Of these, how many are not frozen."""
    seconds: Estimate
    inference_seconds: Estimate
    diverged: int
    failed: int
    missing: int
    """Runs the study asked for that are neither stored nor failed."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A metric of one arm by epoch: mean and standard deviation over the seeds that have it; None where none has."""

    arm: str
    position: int
    epochs: tuple[int, ...]
    mean: tuple[float | None, ...]
    deviation: tuple[float | None, ...]
    n: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CurvePanel:
    metric: Metric
    curves: tuple[Curve, ...]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """``panels`` are shown at once, ``folded`` on request; ``remarks`` say what was left out of the drawing."""

    panels: tuple[CurvePanel, ...]
    folded: tuple[CurvePanel, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BoundaryFrame:
    """What a model said after an epoch: accuracies, and paths in units of the drawing (`assay.reports.boundary`).

    ``shades[label][i]`` outlines where that class leads with at least probability ``LEVELS[i]``; ``line`` is where two
    classes meet.
    """

    epoch: int
    train_accuracy: float | None
    val_accuracy: float | None
    shades: tuple[tuple[str, ...], ...]
    line: str


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """The decision boundary of one run in the plane of its two features."""

    arm: str
    position: int
    seed: int
    diverged: bool
    decides: bool
    """The model gives no probabilities: there is one shade."""
    at_once: bool
    """It was fitted at once: the one frame belongs to no epoch."""
    classes: tuple[str, ...]
    extent: tuple[float, float, float, float]
    """x low, x high, y low, y high."""
    points: tuple[tuple[tuple[int, int], ...], ...]
    """Training points of each class, in units of the drawing."""
    lost: bool
    """In some place, after some epoch, a score is not a number."""
    frames: tuple[BoundaryFrame, ...]


@dataclass(frozen=True, kw_only=True)
class Boundaries:
    """``epochs`` are those at which any panel has a frame; ``remarks`` say what is not drawn."""

    panels: tuple[Boundary, ...]
    epochs: tuple[int, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One run on a distribution chart."""

    seed: int
    value: float
    fingerprint: str
    diverged: bool


@dataclass(frozen=True, kw_only=True)
class DistributionRow:
    arm: str
    position: int
    estimate: Estimate
    dots: tuple[Dot, ...]
    without: int
    """Runs that lack the metric."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    metric: Metric
    rows: tuple[DistributionRow, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """How often one class was taken for another; ``rate`` is the share of the actual class's examples."""

    actual: str
    predicted: str
    count: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often each class was taken for each, summed over the seeds of one arm.

    ``counts[i][j]`` counts examples of class i predicted as class j; it is empty where there are too many classes to
    draw. ``totals[i]`` counts all examples of class i, among them those whose prediction was not a number, of which
    there are ``unclassified`` in all.
    """

    arm: str
    position: int
    split: Split
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    totals: tuple[int, ...]
    unclassified: int
    correct: int
    seeds: int
    frequent: tuple[ConfusedPair, ...]


@dataclass(frozen=True, kw_only=True)
class Confusions:
    matrices: tuple[Confusion, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SplitSize:
    """How many examples a split has, and how many its smallest and largest class."""

    split: str
    examples: int
    fewest: int
    most: int


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """Examples of a class, by split in the order of `DataEntry.splits`."""

    name: str
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class DataEntry:
    """The data that some arms were trained on."""

    arms: tuple[str, ...]
    source: str
    shape: str
    splits: tuple[SplitSize, ...]
    classes: tuple[ClassCount, ...]
    """The first of them."""
    classes_in_all: int
    skipped: tuple[str, ...]
    """The first examples left out, with reasons."""
    skipped_in_all: int
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AugmentedSheet:
    """A picture of images beside what augmentation made of them."""

    arms: tuple[str, ...]
    settings: tuple[Setting, ...]
    """What is switched on, and how."""
    seed: int
    picture: Picture


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Both are empty for runs that kept neither facts nor pictures."""

    entries: tuple[DataEntry, ...]
    sheets: tuple[AugmentedSheet, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunEntry:
    """One stored run. ``values`` stand in the order of `Page.run_metrics`."""

    arm: str
    seed: int
    fingerprint: str
    status: Status
    values: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class FailureEntry:
    arm: str
    seed: int
    fingerprint: str
    kind: FailureKind
    message: str
    traceback: str
    failed_at: str


@dataclass(frozen=True, kw_only=True)
class EnvironmentFact:
    """One fact of the environment with every value it took, each with the number of runs that had it."""

    key: str
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the study holds altogether. Times are seconds; dates ISO 8601, None before the first run."""

    runs: int
    diverged: int
    failed: int
    missing: int
    arms: int
    fewest_seeds: int
    most_seeds: int
    training_seconds: float
    wall_seconds: float
    first_started: str | None
    last_started: str | None


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report, in reading order."""

    study: str
    question: str
    source: str | None
    lead: str
    """The verdicts in one or two sentences."""
    claims: tuple[ClaimEntry, ...]
    claim_remarks: tuple[str, ...]
    metrics: tuple[Metric, ...]
    metric_remarks: tuple[str, ...]
    notes: tuple[str, ...]
    """What runs noted of themselves."""
    arms: tuple[ArmEntry, ...]
    curves: Curves
    boundaries: Boundaries
    distributions: tuple[Distribution, ...]
    classification: Classification
    confusions: Confusions
    networks: Networks
    looking: Looking
    data: DataSection
    common: tuple[Setting, ...]
    """Recipe settings that all arms share."""
    varied: tuple[str, ...]
    """Recipe keys in which arms differ."""
    examples: tuple[Setting, ...]
    environment: tuple[EnvironmentFact, ...]
    totals: Totals
    failures: tuple[FailureEntry, ...]
    diverged: tuple[str, ...]
    """A sentence for each diverged run."""
    run_remarks: tuple[str, ...]
    retry: str | None
    """The command that runs what is missing or failed; None when nothing is."""
    method: tuple[str, ...]
    """How verdicts were reached, a sentence each."""
    run_metrics: tuple[Metric, ...]
    runs: tuple[RunEntry, ...]
