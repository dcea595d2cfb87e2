"""What came out of the nonlinearities of a study's networks, layer by layer, arms side by side.

What a run kept is described in `assay.metrics.vitals`; of each arm the first run is shown. It is read with distrust: a
file that breaks a rule is not shown, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.metrics.vitals import VITALS, Activity, Nonlinearity, Vitals, vitals_read
from assay.reports.evidence import Evidence
from assay.reports.kept_files import kept_by_first_runs

MOST_COLUMNS = 12
MOST_CELLS = 400
"""Each has a chart of some 500 bytes."""


@dataclass(frozen=True, kw_only=True)
class ActivationColumn:
    """An arm; ``epochs`` are those after which its network was looked at, 0 before training."""

    arm: str
    position: int
    seed: int
    epochs: tuple[int, ...]
    examples: int


@dataclass(frozen=True, kw_only=True)
class ActivationCell:
    """One nonlinearity of one arm; shares by the epochs of its column, None where it was not called. The numbers are
    those of the last epoch."""

    operation: str
    kind: Nonlinearity
    units: int
    active: tuple[float | None, ...]
    spoilt: tuple[float | None, ...]
    """Dead units of a rectifier, saturated outputs of sigmoid and tanh; empty for others."""
    mean: float | None
    deviation: float | None


@dataclass(frozen=True, kw_only=True)
class ActivationRow:
    """What stands at one place of the network, in the arms that have it; a cell is None in those that do not."""

    layer: str
    cells: tuple[ActivationCell | None, ...]


@dataclass(frozen=True, kw_only=True)
class Activations:
    columns: tuple[ActivationColumn, ...]
    rows: tuple[ActivationRow, ...]
    remarks: tuple[str, ...]


def activations(evidence: Evidence) -> Activations:
    """The nonlinearities of all arms, in the order in which they first occur.

    Raises:
        StoreError: a stored file cannot be read.
    """
    found, remarks = kept_by_first_runs(evidence, VITALS, vitals_read, most=MOST_COLUMNS)
    found = [(position, arm, vitals) for position, arm, vitals in found if any(one.layers for one in vitals.activity)]
    columns = tuple(
        ActivationColumn(
            arm=arm.name,
            position=position,
            seed=arm.runs[0].seed,
            epochs=tuple(sample.epoch for sample in vitals.activity),
            examples=vitals.activity[-1].examples,
        )
        for position, arm, vitals in found
    )
    kept = [vitals for _, _, vitals in found]
    names = list(dict.fromkeys(one.layer for vitals in kept for sample in vitals.activity for one in sample.layers))
    most_rows = MOST_CELLS // max(1, len(columns))
    if len(names) > most_rows:
        remarks.append(f"The first {most_rows} of {len(names)} activations are shown; all are in {VITALS} of each run.")
    return Activations(
        columns=columns, rows=tuple(_row(name, kept) for name in names[:most_rows]), remarks=tuple(remarks)
    )


def _row(name: str, kept: list[Vitals]) -> ActivationRow:
    found = [[_found(name, sample.layers) for sample in vitals.activity] for vitals in kept]
    return ActivationRow(layer=name, cells=tuple(_cell(of_arm) for of_arm in found))


def _found(name: str, layers: tuple[Activity, ...]) -> Activity | None:
    return next((one for one in layers if one.layer == name), None)


def _cell(samples: list[Activity | None]) -> ActivationCell | None:
    known = [one for one in samples if one is not None]
    if not known:
        return None
    last = known[-1]
    share = {"rectifier": "dead", "saturating": "saturated"}.get(last.kind)
    return ActivationCell(
        operation=last.operation,
        kind=last.kind,
        units=last.units,
        active=tuple(None if one is None else one.active for one in samples),
        spoilt=tuple(None if one is None else float(getattr(one, share)) for one in samples) if share else (),
        mean=last.mean,
        deviation=last.deviation,
    )
