"""`assay list`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.options import json_option, store_option
from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.studies.results import StudyResults
    from assay.studies.store.contract import Store

_DIGITS_SHOWN = 8
"""Of a run's fingerprint in the table: enough to find its folder; ``--json`` has them all."""


@click.command("list")
@click.argument("study", required=False)
@store_option
@json_option
def list_command(study: str | None, store: Path, as_json: bool) -> None:
    """Show the studies the store holds; with STUDY, its runs."""
    from assay.studies.archive import kept_results
    from assay.studies.store.folder import FolderStore

    keeper = FolderStore(store)
    if study is None:
        rows = [_study_row(name, keeper) for name in keeper.studies()]
    else:
        rows = _run_rows(kept_results(study, keeper))
    if as_json:
        key = "studies" if study is None else "runs"
        click.echo(json.dumps({key: rows}, ensure_ascii=False))
    elif not rows:
        click.echo(f"The store {store} holds no study yet. Start with: assay run FILE")
    elif study is None:
        for row in rows:
            click.echo(_study_lines(row))
    else:
        _print_table(rows)


def _study_row(name: str, store: Store) -> dict[str, object]:
    from assay.studies.archive import kept_results

    try:
        results = kept_results(name, store)
    except AssayError as error:  # one study that cannot be read does not hide the others
        return {"study": name, "error": str(error)}
    return {
        "study": name,
        "arms": len(results.study.arms),
        "runs": sum(map(len, results.runs.values())),
        "failed": results.failed,
        "claims": len(results.claims),
        "decided": sum(claim.verdict != "undecided" for claim in results.claims),
        "supported": sum(claim.supported for claim in results.claims),
        "question": results.study.question,
    }


def _study_lines(row: dict[str, object]) -> str:
    if "error" in row:
        return f"{row['study']}  cannot be read: {row['error']}"
    failed = f", {row['failed']} failed" if row["failed"] else ""
    return (
        f"{row['study']}  {row['question']}\n"
        f"  {row['arms']} arms, {row['runs']} runs{failed}; "
        f"{row['decided']} of {row['claims']} claims decided, {row['supported']} supported"
    )


def _run_rows(results: StudyResults) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for arm in results.study.arms:
        for seed, fingerprint in sorted(results.fingerprints[arm.name].items()):
            run = results.runs[arm.name].get(seed)
            failure = results.failures[arm.name].get(seed)
            rows.append(
                {
                    "arm": arm.name,
                    "seed": seed,
                    "run": fingerprint,
                    "status": run.record.status if run else f"failed: {failure.kind}" if failure else "missing",
                    "val_accuracy": run.record.metrics.get("val_accuracy") if run else None,
                    "test_accuracy": run.record.metrics.get("test_accuracy") if run else None,
                    "seconds": round(run.record.seconds, 2) if run else None,
                }
            )
    return rows


def _print_table(rows: list[dict[str, object]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE)
    for key in rows[0]:
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in {**row, "run": str(row["run"])[:_DIGITS_SHOWN]}.values()))
    Console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
