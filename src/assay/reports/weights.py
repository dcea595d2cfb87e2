"""How the weights of a study's arms are distributed, layer by layer, arms side by side.

What a run kept is described in `assay.metrics.weight_statistics`; of each arm the first run is shown. It is read with
distrust: a file that breaks a rule is not shown, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.metrics.catalogue import CATALOGUE
from assay.metrics.weight_statistics import WEIGHTS, WeightStatistics, weights_read
from assay.reports.estimates import Estimate, estimate
from assay.reports.evidence import Evidence
from assay.reports.kept_files import kept_by_first_runs

MOST_COLUMNS = 12
MOST_CELLS = 600
"""Each has a chart of some 700 bytes."""
_LARGEST = 1e30
"""A weight beyond it is no more drawn than one that is not finite."""


@dataclass(frozen=True, kw_only=True)
class WeightColumn:
    """An arm; ``near_zero`` is the metric over its seeds."""

    arm: str
    position: int
    seed: int
    near_zero: Estimate


@dataclass(frozen=True, kw_only=True)
class WeightCell:
    """The weights of one tensor in one arm. Bins are of equal width from ``low`` to ``high``."""

    size: int
    near_zero: float
    not_finite: int
    low: float
    high: float
    deviation: float
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class WeightRow:
    """A tensor of that name in the arms that have it, drawn over one range. A cell is None in arms that do not have
    it, and where its numbers are not finite, or nearly so."""

    name: str
    low: float
    high: float
    cells: tuple[WeightCell | None, ...]


@dataclass(frozen=True, kw_only=True)
class Weights:
    columns: tuple[WeightColumn, ...]
    rows: tuple[WeightRow, ...]
    remarks: tuple[str, ...]


def weights(evidence: Evidence) -> Weights:
    """The tensors of all arms, in the order in which they first occur.

    Raises:
        StoreError: a stored file cannot be read.
    """
    found, remarks = kept_by_first_runs(evidence, WEIGHTS, weights_read, most=MOST_COLUMNS)
    columns = tuple(
        WeightColumn(
            arm=arm.name,
            position=position,
            seed=arm.runs[0].seed,
            near_zero=estimate(arm.values(CATALOGUE["near_zero_weights"])),
        )
        for position, arm, _ in found
    )
    kept = [{tensor.name: tensor for tensor in tensors} for _, _, tensors in found]
    names = list(dict.fromkeys(name for tensors in kept for name in tensors))
    most_rows = MOST_CELLS // max(1, len(columns))
    if len(names) > most_rows:
        remarks.append(f"The first {most_rows} of {len(names)} tensors are shown; all are in {WEIGHTS} of each run.")
    rows = tuple(_row(name, [tensors.get(name) for tensors in kept]) for name in names[:most_rows])
    return Weights(columns=columns, rows=rows, remarks=tuple(remarks))


def _row(name: str, tensors: list[WeightStatistics | None]) -> WeightRow:
    cells = tuple(None if tensor is None else _cell(tensor) for tensor in tensors)
    low = min((cell.low for cell in cells if cell is not None), default=0.0)
    high = max((cell.high for cell in cells if cell is not None), default=0.0)
    return WeightRow(name=name, low=low, high=high, cells=cells)


def _cell(tensor: WeightStatistics) -> WeightCell | None:
    low, high, deviation = tensor.low, tensor.high, tensor.deviation
    if low is None or high is None or deviation is None or not tensor.size or not sum(tensor.counts):
        return None
    if not -_LARGEST <= low <= high <= _LARGEST:
        return None
    return WeightCell(
        size=tensor.size,
        near_zero=min(1.0, tensor.near_zero / tensor.size),
        not_finite=tensor.not_finite,
        low=low,
        high=high,
        deviation=deviation,
        counts=tensor.counts,
    )
