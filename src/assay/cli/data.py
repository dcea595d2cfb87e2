"""`assay data`: what data there are, and what they are like."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from assay.cli.data_section import SOURCES, decode_ahead, recipe_of
from assay.cli.options import data_dir_option, json_option
from assay.cli.steps import Steps, followed
from assay.errors import InputError, shown

if TYPE_CHECKING:
    from assay.recipe.schema import Data

_ABOUT = {
    "digits": "scikit-learn's handwritten digits: 1,797 grey images of 8 × 8, 10 classes",
    "circles": "two noisy circles in the plane: points, 2 classes",
    "cifar10": "CIFAR-10: 60,000 colour images of 32 × 32, 10 classes",
    "cifar100": "CIFAR-100: 60,000 colour images of 32 × 32, 100 classes or 20 coarse ones",
    "mnist": "MNIST: 70,000 grey images of 28 × 28, 10 classes",
    "fashion_mnist": "Fashion-MNIST: 70,000 grey images of 28 × 28, 10 classes",
}
_BUILT_IN = {"digits": "comes with scikit-learn", "circles": "computed"}
_CLASSES_SHOWN = 20
_SHEET = Path("sheet.png")

Command = TypeVar("Command", bound=Callable[..., Any])


def _source_options(command: Command) -> Command:
    """What the commands that read a SOURCE share."""
    command = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")(command)
    command = json_option(data_dir_option(command))
    command = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set a key of the data section, such as size=64, or augment.KEY. Repeatable.",
    )(command)
    command = click.option("--arm", help="Which arm of a study file; by default its first.")(command)
    return click.argument("source")(command)


@click.group("data")
def data_command() -> None:
    """List, fetch, look at and check data.

    SOURCE is the name of a data source, the path of a folder of images (a folder per class) or of a .csv table of
    images, or a study file, whose data section is taken.

    \b
      assay data list
      assay data check photos/
      assay data show cifar10 --set augment.crop_padding=4 --augmented
    """


@data_command.command("list")
@data_dir_option
@json_option
def list_command(data_dir: Path | None, as_json: bool) -> None:
    """Show the data sources known by name, where they lie, and what is cached."""
    from assay.data.fetch import fetchable, place_of

    _look_in(data_dir)
    rows = []
    for name in SOURCES:
        place = str(place_of(name) or "") if name in fetchable() else _BUILT_IN[name]
        rows.append({"source": name, "what": _ABOUT[name], "place": place or None})
    caches = _caches()
    if as_json:
        click.echo(json.dumps({"sources": rows, "caches": caches}, ensure_ascii=False))
        return
    width = max(map(len, SOURCES))
    for row in rows:
        place = row["place"] or f"not here: assay data fetch {row['source']}"
        click.echo(f"{row['source']:<{width}}  {row['what']}\n{'':<{width}}  {place}")
    click.echo("\nFolders of images and .csv tables are named by their path.")
    if caches:
        total = sum(int(cache["bytes"]) for cache in caches)
        click.echo(f"Images decoded and kept, {_megabytes(total)} in all; delete any of these to free its space:")
        for cache in caches:
            click.echo(
                f"  {cache['images']:,} images of {cache['size']}, {_megabytes(cache['bytes'])}: {cache['place']}"
            )


def _caches() -> list[dict[str, Any]]:
    import numpy as np

    from assay.data.places import cache_folder

    found = []
    for array in sorted((cache_folder() / "images").glob("*/images.npy")):
        try:
            shape = np.load(array, mmap_mode="r", allow_pickle=False).shape
            size = array.stat().st_size
        except (OSError, ValueError):
            continue  # being removed just now, or damaged: it will be made anew
        side = " × ".join(map(str, shape[2:]))
        found.append({"place": str(array.parent), "images": shape[0], "size": side, "bytes": size})
    return found


@data_command.command("fetch")
@click.argument("name")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to put it into; by default the user cache.",
)
@json_option
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
def fetch_command(name: str, data_dir: Path | None, as_json: bool, quiet: bool) -> None:
    """Download the official files of NAME and verify them."""
    from assay.data.fetch import fetch, fetchable

    if name in _BUILT_IN:
        raise InputError(f"{name} needs no fetching: {_BUILT_IN[name]}. To fetch: {', '.join(fetchable())}.")
    with Steps(quiet=quiet, in_bytes=True) as steps:
        fetched = fetch(name, data_dir, steps)
    if as_json:
        click.echo(json.dumps({"source": name, "place": str(fetched.folder), "already": fetched.already}))
    else:
        click.echo(f"{name} {'was there already' if fetched.already else 'is there now'}: {fetched.folder}")


@data_command.command("show")
@_source_options
@click.option("--output", "-o", type=click.Path(path_type=Path), default=_SHEET, show_default=True, help="A PNG file.")
@click.option("--augmented", is_flag=True, help="Show images beside what augmentation makes of them.")
@click.option("--images", type=click.IntRange(1, 50), default=8, show_default=True, help="Images per class, or draws.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Which images, and which draws.  [default: 0]")
def show_command(
    source: str,
    overrides: Sequence[str],
    arm: str | None,
    data_dir: Path | None,
    output: Path,
    augmented: bool,
    images: int,
    seed: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw a contact sheet: some images of each class.

    With --augmented, each image beside what the first epochs of training make of it: an augment section comes from a
    study file, or from --set augment.KEY=VALUE.
    """
    from assay.cli.data_sheets import augmented_sheet, class_sheet

    if output.suffix.lower() != ".png":
        raise InputError(f"--output must end in .png, got {shown(str(output))}.")
    _look_in(data_dir)
    recipe = recipe_of(source, overrides, arm, seed)
    if augmented and not recipe.augment.active:
        raise InputError(
            f"--augmented needs an augmentation, and {shown(source)} has none switched on. "
            "Add one, such as --set augment.horizontal_flip=0.5"
        )
    with Steps(quiet=quiet or as_json) as steps:
        make = augmented_sheet if augmented else class_sheet
        sheet = make(recipe, images, _CLASSES_SHOWN, steps)
    _write(output, sheet.png)
    if as_json:
        click.echo(json.dumps({"source": recipe.data.source, "sheet": str(output), "rows": sheet.rows}))
    else:
        click.echo(f"{output}: {sheet.note}")


@data_command.command("stats")
@_source_options
def stats_command(
    source: str, overrides: Sequence[str], arm: str | None, data_dir: Path | None, as_json: bool, quiet: bool
) -> None:
    """Mean and standard deviation per channel of the training split, in one pass; sizes and class counts.

    Pixels are scaled to 0–1, and the deviation is the population's. Where there are no official splits, all examples
    are counted.
    """
    from assay.cli.data_words import print_statistics
    from assay.data.statistics import statistics_of

    _look_in(data_dir)
    data = recipe_of(source, overrides, arm).data
    with Steps(quiet=quiet or as_json) as steps:
        decode_ahead(data, steps)
        statistics = statistics_of(data)
        classes, counts = _class_counts(data)
    facts = {**statistics.to_json(), "classes": list(classes), "counts": counts}
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, allow_nan=False))
    else:
        print_statistics(source, facts)


@data_command.command("check")
@_source_options
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A PNG file with the pairs side by side.")
@click.option("--no-mirrored", is_flag=True, help="Do not look for near copies that are mirrored.")
def check_command(
    source: str,
    overrides: Sequence[str],
    arm: str | None,
    data_dir: Path | None,
    output: Path | None,
    no_mirrored: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Look for copies and near copies of images, contradicting labels, imbalance, odd sizes, unreadable files.

    Near copies are the same image saved again, resized, brightened, moved by a pixel or two, or mirrored. Ends with 0
    whatever is found.
    """
    from assay.cli.data_words import print_findings
    from assay.data.check import check, to_json

    if output is not None and output.suffix.lower() != ".png":
        raise InputError(f"--output must end in .png, got {shown(str(output))}.")
    _look_in(data_dir)
    data = recipe_of(source, overrides, arm).data
    with Steps(quiet=quiet or as_json) as steps:
        findings = followed(check(data, mirrored=not no_mirrored), steps)
    drawn = None
    if output is not None and findings.pairs:
        from assay.cli.data_sheets import pair_sheet

        drawn = pair_sheet(data, findings)
        _write(output, drawn.png)
    if as_json:
        click.echo(json.dumps(to_json(findings), ensure_ascii=False, allow_nan=False))
        return
    print_findings(source, findings)
    if output is not None:
        click.echo(f"{output}: {drawn.note}" if drawn else f"{output} was not written: there are no pairs.")


def _class_counts(data: Data) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """Class names, and how many examples of each there are in each official split, or in all."""
    import numpy as np

    from assay.data.load import load_source, source_of
    from assay.recipe.schema import CsvData, FolderData

    if isinstance(data, FolderData | CsvData) and data.size is None:
        files = source_of(data).files()  # type: ignore[attr-defined]
        labels_N, classes = files.labels_N, files.classes
        official = {split: files.in_split(split) for split in ("train", "val", "test")}
        chosen = {split: places for split, places in official.items() if places is not None}
    else:
        examples = load_source(data)
        labels_N, classes = examples.labels_N, tuple(examples.classes)
        official = {"val": examples.val_indices, "test": examples.test_indices}
        chosen = {split: places for split, places in official.items() if places is not None}
        if chosen:
            rest = np.setdiff1d(np.arange(len(labels_N)), np.concatenate(list(chosen.values())))
            chosen = {"train": rest, **chosen}
    chosen = chosen or {"all": np.arange(len(labels_N))}
    counts = {split: np.bincount(labels_N[at], minlength=len(classes)).tolist() for split, at in chosen.items()}
    return tuple(classes), counts


def _look_in(data_dir: Path | None) -> None:
    if data_dir is not None:
        from assay.data.places import use_data_folder

        use_data_folder(data_dir)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def _write(path: Path, content: bytes) -> None:
    """Write a file aside and rename it, so that a reader never meets half of it."""
    import os
    import tempfile

    try:
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(aside).chmod(0o644)
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None
