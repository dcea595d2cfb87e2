"""`assay report`"""

from __future__ import annotations

import json
from pathlib import Path

import click

from assay.cli.options import json_option, store_option
from assay.errors import InputError


@click.command("report")
@click.argument("study", required=False)
@store_option
@click.option("--csv", "as_csv", is_flag=True, help="Print the claims as CSV; more tables lie beside the page.")
@json_option
def report_command(study: str | None, store: Path, as_csv: bool, as_json: bool) -> None:
    """Rebuild the report of STUDY from the store; of every study when none is named.

    The page is report.html, with its tables as CSV in a folder beside it. Trains nothing and needs no data, so it works
    on a copied store too.
    """
    from assay.api import report
    from assay.cli.outcome import outcome
    from assay.reports.tables import tables
    from assay.studies.archive import kept_results
    from assay.studies.store.folder import FolderStore

    if as_csv and as_json:
        raise InputError(
            "--csv and --json both want standard output; choose one. CSV tables lie beside the page anyway."
        )
    keeper = FolderStore(store)
    names = [study] if study is not None else list(keeper.studies())
    if not names:
        raise InputError(f"the store {store} holds no study yet: start with `assay run FILE`.")
    outcomes = []
    for name in names:
        results = kept_results(name, keeper)
        page = report(results, store)
        stored = sum(map(len, results.runs.values()))
        outcomes.append(outcome(results, page, done=0, cached=stored, failed=results.failed))
        if as_csv:
            click.echo(tables(results)["claims.csv"], nl=False)
        elif not as_json:
            click.echo(page)
    if as_json:
        click.echo(json.dumps(outcomes[0] if study is not None else {"studies": outcomes}, ensure_ascii=False))
