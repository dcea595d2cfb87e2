"""What SOURCE means to `assay data`: a source's name, a folder of images, a table of images, or a study file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.errors import DataError, InputError, InvalidValueError, did_you_mean, shown

if TYPE_CHECKING:
    from assay.cli.steps import Steps
    from assay.recipe.schema import Data, Recipe

SOURCES = ("digits", "circles", "cifar10", "cifar100", "mnist", "fashion_mnist")
"""Sources that need nothing but their name."""

_STUDY_FILES = (".yaml", ".yml")
_SECTIONS = ("data.", "augment.")


def recipe_of(source: str, overrides: Sequence[str], arm: str | None, seed: int | None = None) -> Recipe:
    """A recipe with the data section that is meant, and the augmentation that goes with it.

    Args:
        source: as written on the command line.
        overrides: ``KEY=VALUE`` words: keys of the data section, or ``augment.`` and a key of that one.
        arm: which arm of a study file; by default its first.
        seed: in place of the recipe's own.

    Raises:
        InputError: there is no such source, or an override does not fit it.
    """
    from assay.recipe.overrides import set_values
    from assay.recipe.reading import Document
    from assay.recipe.schema import Recipe

    path = Path(source)
    if path.suffix.lower() in _STUDY_FILES:
        sections = _sections_of_study(path, arm)
    elif arm is not None:
        raise InputError(f"--arm belongs to a study file, got the source {shown(source)}.")
    else:
        sections = {"data": _data_of(source)}
    document = Document(source, {"model": {"name": "mlp"}, **sections, **({} if seed is None else {"seed": seed})})
    set_values(document, [words if words.startswith(_SECTIONS) else f"data.{words}" for words in overrides])
    try:
        return Recipe.model_validate(document.data)
    except InvalidValueError as error:
        raise document.located(error) from None


def _sections_of_study(file: Path, arm: str | None) -> dict[str, Any]:
    from assay.api import load

    study = load(file)
    recipe = (study.arm(arm) if arm is not None else study.arms[0]).recipe
    sections = recipe.model_dump(mode="json", exclude_unset=True)
    return {name: sections[name] for name in ("data", "augment", "seed") if name in sections}


def _data_of(source: str) -> dict[str, Any]:
    if source in SOURCES:
        return {"source": source}
    if ":" in source and not Path(source).exists():
        from assay.recipe.user_code import look_in

        look_in(Path.cwd())
        return {"source": source}
    path = _found(source)
    if path.is_dir():
        return {"source": "folder", "root": str(path)}
    if path.suffix.lower() == ".csv":
        return {"source": "csv", "file": str(path)}
    raise InputError(f"{shown(source)} is a file of another kind: a table ends in .csv, a study file in .yaml.")


def _found(source: str) -> Path:
    """A folder or table, in the current folder or among the data folders."""
    from assay.data.places import find

    path = Path(source).expanduser()
    if path.exists():
        return path.absolute()
    try:
        return find(source, "SOURCE")
    except DataError:
        raise InputError(
            f"There is no data source, folder or table {shown(source)}. {did_you_mean(source, SOURCES)}\n"
            "  Folders and tables are looked for here, in --data-dir, $ASSAY_DATA and the user cache."
        ) from None


def decode_ahead(data: Data, steps: Steps) -> None:
    """Decode image files into the cache, unless they are there or are read at their own sizes."""
    from assay.data.load import source_of
    from assay.recipe.schema import CsvData, FolderData

    if not isinstance(data, FolderData | CsvData) or data.size is None:
        return
    source = source_of(data)
    for progress in source.prepare() if hasattr(source, "prepare") else ():
        steps.tell("decoding", progress.done, progress.total)
