"""`assay inspect`"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.layer_table import print_layers, print_separable
from assay.cli.options import data_dir_option, json_option
from assay.errors import InputError, InvalidValueError, shown

if TYPE_CHECKING:
    from assay.models.anatomy import Anatomy


@click.command("inspect")
@click.argument("model")
@click.option("--arm", help="Which arm of the study file; by default its first.")
@click.option(
    "--input",
    "input_text",
    metavar="C,H,W",
    help="Shape of one input, for a model by name.  [default: 1,28,28; for torchvision's 3,224,224]",
)
@click.option(
    "--classes",
    type=click.IntRange(2, 1_000_000),
    help="Number of classes, for a model by name.  [default: 10; for torchvision's 1000]",
)
@click.option(
    "--depth", type=click.IntRange(min=1), metavar="N", help="Sum up rows by the first N parts of their names."
)
@click.option("--separable", is_flag=True, help="Also show what depthwise-separable convolutions would cost.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value, such as model.widths=[64]."
)
@data_dir_option
@json_option
def inspect_command(
    model: str,
    arm: str | None,
    input_text: str | None,
    classes: int | None,
    depth: int | None,
    separable: bool,
    overrides: tuple[str, ...],
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Show the layers of MODEL: output shapes, parameters, multiply-accumulates (MACs), receptive fields, memory.

    MODEL is a study or recipe file, a model's name, or a dotted path to a class of your own.

    \b
      assay inspect labs/digits/dropout.yaml --arm plain
      assay inspect lenet5 --input 3,32,32
      assay inspect torchvision:resnet18 --depth 1
      assay inspect lenet5 --separable
    """
    if Path(model).suffix in (".yaml", ".yml") or Path(model).is_file():
        if input_text or classes:
            raise InputError("--input and --classes belong to a model by name; a file's data decide its shape.")
        if data_dir is not None:
            from assay.data.places import use_data_folder

            use_data_folder(data_dir)
        name, anatomy = _of_file(Path(model), arm, overrides)
    else:
        if arm:
            raise InputError(f"--arm belongs to a study file, got the model {model!r}.")
        published = model.startswith("torchvision:")  # by default as their figures were published
        input_text = input_text or ("3,224,224" if published else "1,28,28")
        classes = classes or (1000 if published else 10)
        name, anatomy = f"{model}, input {input_text}", _of_name(model, overrides, _shape(input_text), classes)
    _show(name, anatomy, depth=depth, separable=separable, as_json=as_json)


def _show(name: str, anatomy: Anatomy, *, depth: int | None, separable: bool, as_json: bool) -> None:
    from assay.models.anatomy import folded
    from assay.models.separable import separable_costs

    rows = anatomy.rows if depth is None else folded(anatomy, depth)
    costs = separable_costs(anatomy) if separable else ()
    if as_json:
        facts = {"model": name, **asdict(anatomy), "rows": [asdict(row) for row in rows]}
        also = {"separable": [asdict(cost) for cost in costs]} if separable else {}
        click.echo(json.dumps({**facts, **also}, ensure_ascii=False))
        return
    print_layers(name, anatomy, rows)
    if separable:
        print_separable(anatomy, costs)


def _of_file(file: Path, arm: str | None, overrides: tuple[str, ...]) -> tuple[str, Anatomy]:
    from assay.api import load

    study = load(file, overrides)
    chosen = study.arm(arm) if arm is not None else study.arms[0]
    from assay.training.describe import model_anatomy  # imports torch, for which a mistake in the file need not wait

    return f"{study.name}: {chosen.name}", model_anatomy(chosen.recipe)


def _of_name(model: str, overrides: tuple[str, ...], input_shape: tuple[int, ...], classes: int) -> Anatomy:
    from assay.recipe.overrides import set_values
    from assay.recipe.reading import Document
    from assay.recipe.schema import Recipe
    from assay.training.describe import anatomy_of

    document = Document(f"model {model}", {"data": {"source": "digits"}, "model": {"name": model}})
    set_values(document, list(overrides))
    try:
        recipe = Recipe.model_validate(document.data)
    except InvalidValueError as error:
        raise document.located(error) from None
    return anatomy_of(recipe, input_shape=input_shape, classes=classes)


def _shape(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) not in (1, 3) or not all(part.strip().isdecimal() and 0 < int(part) <= 100_000 for part in parts):
        raise InputError(f"--input must be C,H,W for images or D for points, whole numbers from 1, got {shown(text)}.")
    return tuple(int(part) for part in parts)
