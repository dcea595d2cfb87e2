"""`assay doctor`"""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.findings import finding_to_json, print_finding
from assay.cli.options import data_dir_option, device_option, json_option, store_option
from assay.cli.words import counted, visible
from assay.errors import AssayError, InputError, did_you_mean, shown

if TYPE_CHECKING:
    from assay.diagnosis.finding import Finding
    from assay.recipe.schema import Recipe
    from assay.studies.arms import Arm


@click.command("doctor")
@click.argument("target")
@click.option("--arm", help="Which arm of the study file; by default its first.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the file first. Repeatable."
)
@click.option("--profile", help="One of the file's profiles, whose changes are applied first.")
@click.option(
    "--study-of", "rule", metavar="RULE", help="Print only a study file that tries the cure of this rule's finding."
)
@store_option
@device_option
@data_dir_option
@json_option
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
def doctor_command(
    target: str,
    arm: str | None,
    overrides: tuple[str, ...],
    profile: str | None,
    rule: str | None,
    store: Path,
    device: str,
    data_dir: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say what is wrong with TARGET: a study or recipe file before it is trained, or a finished run.

    Of a file, data, network, gradients and learning rate of one arm are examined, in seconds. A run is the beginning of
    a fingerprint, or study:arm:seed; it is judged by what it left behind. Nothing is kept, and the file stays as it is.
    What is found does not change the exit code, which is 0.

    \b
      assay doctor labs/digits/dropout.yaml --arm plain
      assay doctor study.yaml --study-of learning_rate > cure.yaml
      assay doctor digits-dropout:plain:0
    """
    if data_dir is not None:
        from assay.data.places import use_data_folder

        use_data_folder(data_dir)
    file = Path(target)
    if not file.is_file() and file.suffix not in (".yaml", ".yml"):
        if ":" not in target and not set(target) <= set("0123456789abcdef"):
            raise InputError(
                f"there is no file {shown(target)}, nor can it be a run: those are named by the beginning of their "
                "fingerprint, or as study:arm:seed."
            )
        _of_run(target, store, rule, as_json=as_json)
        return
    from assay.api import load

    study = load(file, overrides, profile=profile)
    chosen = study.arm(arm) if arm is not None else study.arms[0]
    findings = _examined(chosen, device, quiet=quiet or as_json or rule is not None)
    if rule is not None:
        click.echo(_study_of(rule, findings, chosen.recipe), nl=False)
        return
    words = [_set_words(finding, file, overrides, profile, chosen) for finding in findings]
    if as_json:
        _print_json(study.name, chosen, findings, words)
        return
    click.echo(f"{visible(study.name)}: {visible(chosen.name)}{_of_how_many(len(study.arms), arm)}")
    for finding, of_it in zip(findings, words, strict=True):
        print_finding(finding, of_it)
    _print_end(findings, chosen.recipe)


def _of_run(name: str, store: Path, rule: str | None, *, as_json: bool) -> None:
    """What is wrong with a finished run: from what it left behind, without data or torch."""
    from assay.diagnosis.cure import set_words
    from assay.diagnosis.run import RULES, diagnose
    from assay.recipe.schema import Recipe
    from assay.studies.archive import find_run
    from assay.studies.store.folder import FolderStore

    run = find_run(name, FolderStore(store))
    recipe, findings = Recipe.model_validate(run.record.recipe), diagnose(run)
    if rule is not None:
        click.echo(_study_of(rule, findings, recipe), nl=False)
        return
    words = [set_words(finding, base=True) for finding in findings]
    if as_json:
        said = [finding_to_json(finding, of_it) for finding, of_it in zip(findings, words, strict=True)]
        content = {"run": run.fingerprint, "checked": len(RULES), "findings": said}
        click.echo(json.dumps(content, ensure_ascii=False, allow_nan=False))
        return
    click.echo(f"Run {run.fingerprint[:12]}, {run.record.status}")
    for finding, of_it in zip(findings, words, strict=True):
        print_finding(finding, of_it)
    click.echo(
        _counted(findings, f"{len(RULES)} rules were asked.") if findings else f"Nothing found: {len(RULES)} rules."
    )


def _of_how_many(arms: int, asked: str | None) -> str:
    return "" if arms == 1 or asked is not None else f", the first of {arms} arms; --arm chooses another"


def _examined(arm: Arm, device: str, *, quiet: bool) -> tuple[Finding, ...]:
    from assay.cli.steps import Steps, followed
    from assay.recipe.user_code import user_paths

    for path in user_paths(arm.recipe):
        click.echo(f"Uses your own class {path}: its module will be imported.", err=True)
    import torch

    from assay.diagnosis.recipe import examining

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with Steps(quiet=quiet) as steps:
        return followed(examining(arm.recipe, device), steps)


def _study_of(rule: str, findings: tuple[Finding, ...], recipe: Recipe) -> str:
    from assay.diagnosis.cure import study_of_cure

    of_rule = [finding for finding in findings if finding.rule == rule]
    if not of_rule:
        found = sorted({finding.rule for finding in findings})
        hint = did_you_mean(rule, found) or "Nothing was found."
        raise InputError(f"--study-of must name the rule of a finding, got {shown(rule)}. {hint}")
    text = study_of_cure(of_rule[0], recipe)
    if text is None:
        raise InputError(f"--study-of {rule}: no key of a recipe carries out this cure: {of_rule[0].cure}")
    return text


def _set_words(
    finding: Finding, file: Path, overrides: tuple[str, ...], profile: str | None, arm: Arm
) -> tuple[str, ...]:
    """What to add to the command line to have this arm cured; nothing where the file cannot say it."""
    from assay.api import load
    from assay.diagnosis.cure import set_words

    for words in (set_words(finding, base=False), set_words(finding, base=True)):
        values = [shlex.split(word)[0] for word in words[1::2]]
        with suppress(AssayError):
            if words and load(file, [*overrides, *values], profile=profile).arm(arm.name).recipe != arm.recipe:
                return words
    return ()


def _print_json(study: str, arm: Arm, findings: tuple[Finding, ...], words: list[tuple[str, ...]]) -> None:
    from assay.diagnosis.recipe import checks_of

    said = [finding_to_json(finding, of_it) for finding, of_it in zip(findings, words, strict=True)]
    content = {"study": study, "arm": arm.name, "checked": list(checks_of(arm.recipe)), "findings": said}
    click.echo(json.dumps(content, ensure_ascii=False, allow_nan=False))


def _print_end(findings: tuple[Finding, ...], recipe: Recipe) -> None:
    from assay.diagnosis.recipe import checks_of

    fine = [text for rule, text in checks_of(recipe).items() if rule not in {finding.rule for finding in findings}]
    if not findings:
        click.echo("Nothing found. Checked, and in order:")
        for text in fine:
            click.echo(f"  ✓ {text}")
        return
    click.echo(_counted(findings, f"{len(fine)} other checks found nothing."))


def _counted(findings: tuple[Finding, ...], rest: str) -> str:
    by_severity = [
        (name, sum(finding.severity == name for finding in findings)) for name in ("severe", "warning", "note")
    ]
    counts = ", ".join(f"{count} {name}" for name, count in by_severity if count)
    return f"\n{counted(len(findings), 'finding')}: {counts}. {rest}"
