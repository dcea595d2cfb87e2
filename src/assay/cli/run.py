"""`assay run`"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.options import CHECKPOINT_EVERY, DEFAULT_STORE, data_dir_option, device_option, json_option, store_option
from assay.cli.words import counted, one_line
from assay.errors import ClaimNotSupportedError, InterruptedStudyError, RunFailedError

if TYPE_CHECKING:
    from assay.api import Settings
    from assay.studies.design import Study
    from assay.studies.events import StudyEnded
    from assay.studies.results import StudyResults

_FAILURES_SHOWN = 5


@click.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the file, by its dotted path; always wins. Repeatable.",
)
@click.option("--profile", metavar="NAME", help="Apply one of the file's profiles, such as smoke, before --set.")
@store_option
@data_dir_option
@click.option("--jobs", type=click.IntRange(min=1), help="Runs side by side; by default as many as the cores allow.")
@click.option(
    "--executor",
    type=click.Choice(["processes", "inline"]),
    default="processes",
    show_default=True,
    help="Where runs happen; inline is this very process, for a debugger.",
)
@device_option
@click.option("--time-limit", type=click.FloatRange(min=0, min_open=True), help="Seconds after which a run fails.")
@click.option(
    "--checkpoint-every",
    default=CHECKPOINT_EVERY,
    show_default=True,
    metavar="TIME",
    help="How often a run under way is kept, to go on from there: 30s, 5min, 2h, 500steps, or never.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first run that fails.")
@click.option("--check", is_flag=True, help="Exit with 3 unless every claim is supported.")
@json_option
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
def run_command(
    file: Path,
    overrides: Sequence[str],
    profile: str | None,
    store: Path,
    data_dir: Path | None,
    jobs: int | None,
    executor: str,
    device: str,
    time_limit: float | None,
    checkpoint_every: str,
    fail_fast: bool,
    check: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run the study (or single recipe) in FILE, judge its claims, and write its report.

    Run it again to continue: only what is missing is computed, and a run that was interrupted goes on from its last
    checkpoint.

    \b
      assay run labs/digits/dropout.yaml
      assay run labs/digits/dropout.yaml --set base.train.epochs=10 --set seeds.at_most=5
    """
    from assay.api import Settings, load
    from assay.cli.outcome import outcome
    from assay.training.every import Every

    Every.parse(checkpoint_every, "--checkpoint-every")
    study = load(file, overrides, profile=profile)
    settings = Settings(
        store=store,
        data_dir=data_dir,
        jobs=jobs,
        executor="inline" if executor == "inline" else "processes",
        device=device,
        time_limit=time_limit,
        fail_fast=fail_fast,
        checkpoint_every=checkpoint_every,
    )
    again = _command(file, overrides, profile, settings)
    if not quiet:
        _announce(study, settings)
    try:
        ended = _conduct(study, settings, again, quiet=quiet or as_json)
        page = _report(ended, store, to_stderr=as_json)
    except KeyboardInterrupt:
        raise InterruptedStudyError(f"stopped. Finished runs are kept. To continue:\n  {again}") from None
    if ended.failed:
        _list_failures(ended, again, store)
    if as_json:
        result = outcome(ended.results, page, done=ended.done, cached=ended.cached, failed=ended.failed)
        click.echo(json.dumps(result, ensure_ascii=False, allow_nan=False))
    if ended.failed:
        raise RunFailedError(f"{ended.failed} of the study's runs failed; everything else was kept.")
    unsupported = [str(claim.comparison) for claim in ended.results.claims if not claim.supported]
    if check and unsupported:
        raise ClaimNotSupportedError(f"not supported: {'; '.join(unsupported[:5])}{' …' if unsupported[5:] else ''}")


def _command(file: Path, overrides: Sequence[str], profile: str | None, settings: Settings) -> str:
    """The command line that continues this study in the same way."""
    words = ["assay", "run", str(file)]
    for override in overrides:
        words += ["--set", override]
    if profile is not None:
        words += ["--profile", profile]
    if settings.store != DEFAULT_STORE:
        words += ["--store", str(settings.store)]
    if settings.data_dir is not None:
        words += ["--data-dir", str(settings.data_dir)]
    if settings.jobs is not None:
        words += ["--jobs", str(settings.jobs)]
    if settings.executor != "processes":
        words += ["--executor", settings.executor]
    if settings.device != "auto":
        words += ["--device", settings.device]
    if settings.time_limit is not None:
        words += ["--time-limit", f"{settings.time_limit:.12g}"]
    if settings.checkpoint_every != CHECKPOINT_EVERY:
        words += ["--checkpoint-every", settings.checkpoint_every]
    return shlex.join(words)


def _announce(study: Study, settings: Settings) -> None:
    from assay.api import jobs_for, study_user_paths
    from assay.studies.power import smallest_effect_at

    def say(text: str) -> None:
        click.echo(text, err=True)

    say(study.question or study.name)
    seeds, claims = study.seeds, len(study.comparisons)
    most = seeds.at_most if claims else seeds.at_least
    span = counted(most, "seed") if seeds.at_least == most else f"{seeds.at_least} to {most} seeds"
    say(f"{counted(len(study.arms), 'arm')}, {span} each, {counted(claims, 'claim')}.")
    smallest = smallest_effect_at(seeds.at_least, seeds.at_most, claims) if claims else None
    if smallest is not None:
        say(
            f"At {seeds.at_most} seeds a claim can show (80 % power) an effect of {smallest:.2f} standard deviations "
            "of the paired difference."
        )
    elif claims:
        say(f"With at most {counted(seeds.at_most, 'seed')} no claim can be decided: the first look is at 3.")
    for path in study_user_paths(study):
        say(f"Uses your own class {path}: its module will be imported.")
    jobs = jobs_for(study, settings.jobs)
    if study.times_runs:
        say("A claim is about time, so runs go one at a time.")
    elif settings.jobs is not None and jobs < settings.jobs:
        say(f"--jobs {settings.jobs} would need more cores than there are; {jobs} at a time.")


def _conduct(study: Study, settings: Settings, again: str, *, quiet: bool) -> StudyEnded:
    from assay.api import start
    from assay.cli.progress import progress_for
    from assay.studies.events import RunFinished, StudyEnded

    finished = 0
    events = start(study, settings)
    try:
        with progress_for(quiet=quiet) as progress:
            for event in events:
                progress.show(event)
                finished += isinstance(event, RunFinished)
                if isinstance(event, StudyEnded):
                    return event
    except KeyboardInterrupt:
        events.close()
        raise InterruptedStudyError(
            f"stopped. {counted(finished, 'run')} finished and kept. To continue:\n  {again}"
        ) from None
    raise RunFailedError(f"study {study.name} ended without a result")


def _report(ended: StudyEnded, store: Path, *, to_stderr: bool) -> Path:
    """Write the report and print its summary; with ``--json`` standard output is left to the object."""
    from rich.console import Console

    from assay.api import report
    from assay.reports.summary import summary

    page = report(ended.results, store)
    Console(stderr=to_stderr).print(summary(ended.results))
    for line in _left_out(ended.results):
        click.echo(line, err=to_stderr)
    click.echo(f"Runs: {ended.done} done, {ended.cached} cached, {ended.failed} failed.", err=to_stderr)
    click.echo(f"Report: {page}", err=to_stderr)
    return page


def _left_out(results: StudyResults) -> list[str]:
    """A line for each data set of which examples were skipped; their list is in the report."""
    first_runs = [next(iter(runs.values())) for runs in results.runs.values() if runs]
    of_data = {str(run.record.data.get("identity")): run.record.data for run in first_runs}
    return [
        f"{data['source']}: {counted(len(data['skipped']), 'example')} could not be read and took no part."
        for data in of_data.values()
        if data.get("skipped")
    ]


def _list_failures(ended: StudyEnded, again: str, store: Path) -> None:
    failures = [(arm, seed, failure) for arm, by in ended.results.failures.items() for seed, failure in by.items()]
    for arm, seed, failure in failures[:_FAILURES_SHOWN]:
        click.echo(f"Failed: {arm}, seed {seed} ({failure.kind}): {one_line(failure.message)}", err=True)
        click.echo(f"  traceback: {store / 'failed' / failure.fingerprint}", err=True)
    if len(failures) > _FAILURES_SHOWN:
        click.echo(f"  … and {len(failures) - _FAILURES_SHOWN} more", err=True)
    click.echo(f"To retry:\n  {again}", err=True)
