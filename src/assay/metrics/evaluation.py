"""How a model did on sets of examples, and the file in which a run keeps it: ``evaluation.json``, a report by split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import FiniteFloat, TypeAdapter

from assay.metrics.kept_json import Count, Share, read_json
from assay.records import Split

EVALUATION = "evaluation.json"
"""The artefact that a run keeps."""


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """A figure with its 95 % interval over examples: what another test set of the same size would move."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """One class. ``support`` counts its examples, ``predicted`` those taken for it.

    As in scikit-learn, precision is 0 where nothing was taken for the class, and recall where it has no example; such a
    figure rests on nothing, and its interval, from 0 to 1, says so. ``roc_auc`` is of this class against all others;
    None where one side has no example, or there are no probabilities.
    """

    support: Count
    predicted: Count
    precision: Estimated
    recall: Estimated
    f1: Estimated
    roc_auc: Estimated | None


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Examples by their confidence, in bins of equal width over 0 to 1, the upper edge belonging to a bin: how many
    there are, how confident the model is of them on average, and what share of them is right. Empty bins have zeros."""

    counts: tuple[Count, ...]
    confidence: tuple[Share, ...]
    accuracy: tuple[Share, ...]


@dataclass(frozen=True, kw_only=True)
class ClassificationReport:
    """``figures`` by name, in reading order; those that are not defined are left out."""

    examples: Count
    figures: Mapping[str, Estimated]
    classes: tuple[ClassScores, ...]
    reliability: Reliability | None


Reports = Mapping[Split, ClassificationReport]

_REPORTS: TypeAdapter[Reports] = TypeAdapter(dict[Split, ClassificationReport])


def reports_written(reports: Reports) -> bytes:
    """The file."""
    return _REPORTS.dump_json(dict(reports))


def reports_read(content: bytes) -> Reports:
    """What `reports_written` gave.

    Raises:
        StoreError: the file is damaged; the message begins with a verb, for the caller to name the file.
    """
    return read_json(_REPORTS, content)
