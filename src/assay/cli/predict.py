"""`assay predict`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.options import device_option, json_option, store_option
from assay.cli.words import counted, one_line
from assay.errors import InputError, StoreError

if TYPE_CHECKING:
    from assay.studies.store.contract import StoredRun
    from assay.training.predict import ClassifiedImages

_LISTED = 20
"""Unreadable files that are named on the terminal."""


@click.command("predict")
@click.argument("run")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("predictions.csv"),
    show_default=True,
    help="The table to write; - is standard output.",
)
@click.option("--force", is_flag=True, help="Replace the table if there is one already.")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Classes listed of each image.")
@click.option(
    "--numbered", is_flag=True, help="Write id,label instead, for competitions: the number in each file's name."
)
@store_option
@device_option
@json_option
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
def predict_command(
    run: str,
    paths: tuple[Path, ...],
    output: Path,
    force: bool,
    top: int,
    numbered: bool,
    store: Path,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Classify images with the trained model of RUN: files, and folders with whatever is below them.

    RUN is the beginning of a fingerprint, or study:arm:seed. Images are prepared as the run's own were. Those that
    cannot be read are listed and left out.

    \b
      assay predict fast-cifar10:full:0 holiday/ cat.png -o predictions.csv
    """
    from assay.studies.archive import find_run
    from assay.studies.store.folder import FolderStore

    to_stdout = str(output) == "-"
    if to_stdout and as_json:
        raise InputError("--json and --output - both want standard output; choose one.")
    if output.exists() and not force and not to_stdout:
        raise InputError(f"{output} exists already. Give another --output, or --force to replace it.")
    stored = find_run(run, FolderStore(store))
    found = _classified(stored, paths, device, quiet=quiet or as_json)
    table = found.numbered_csv() if numbered else found.csv(top)
    if to_stdout:
        click.echo(table, nl=False)
    else:
        _write(output, table)
    for path, reason in found.unreadable[:_LISTED]:
        click.echo(f"Left out: {path}: {one_line(reason)}", err=True)
    if len(found.unreadable) > _LISTED:
        click.echo(f"  … and {len(found.unreadable) - _LISTED} more", err=True)
    if as_json:
        outcome = {
            "run": stored.fingerprint,
            "images": len(found.paths),
            "unreadable": [{"path": str(path), "reason": reason} for path, reason in found.unreadable],
            "output": str(output),
        }
        click.echo(json.dumps(outcome, ensure_ascii=False))
    elif not to_stdout:
        left_out = f", {len(found.unreadable)} left out" if found.unreadable else ""
        click.echo(f"{counted(len(found.paths), 'image')} classified{left_out}: {output}")


def _classified(stored: StoredRun, paths: tuple[Path, ...], device: str, *, quiet: bool) -> ClassifiedImages:
    from assay.cli.steps import Steps, followed
    from assay.data.image_paths import form_of, image_paths
    from assay.recipe.schema import Recipe
    from assay.recipe.user_code import user_paths

    recipe = Recipe.model_validate(stored.record.recipe)
    form = form_of(recipe, stored.record.data.get("shape", ()))
    files = image_paths(paths)
    for path in user_paths(recipe):
        click.echo(f"Uses your own class {path}: its module will be imported.", err=True)
    import torch

    from assay.training.predict import classifying
    from assay.training.predictor import Predictor

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    predictor = Predictor(stored.record, stored.weights(), stored.preprocessing(), device)
    if not quiet and form.size is not None:
        height, width = form.size
        how = {"crop": "scaled and cut", "stretch": "stretched", "pad": "scaled and padded"}[form.fit]
        click.echo(
            f"Run {stored.fingerprint[:12]}: {len(predictor.classes)} classes, {width}×{height} "
            f"{'colour' if form.color == 'rgb' else 'grey'}; images of other sizes are {how}.",
            err=True,
        )
    with Steps(quiet=quiet) as shown:
        return followed(classifying(predictor, files, form), shown)


def _write(path: Path, text: str) -> None:
    """Aside first, so that a table is there whole or not at all."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        aside.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        aside.unlink(missing_ok=True)
