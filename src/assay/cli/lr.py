"""`assay lr`"""

from __future__ import annotations

import json
import math
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.options import data_dir_option, device_option, json_option
from assay.cli.words import counted
from assay.errors import AssayError, InputError

if TYPE_CHECKING:
    from assay.studies.arms import Arm
    from assay.training.rate_finder import RateSweep

_HEIGHT = 8
_WIDTH = 70
_SMALL_FALL = 0.1
_BLOCKS = " ▁▂▃▄▅▆▇█"


@click.command("lr")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--arm", help="Which arm of the study file; by default its first.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the file first. Repeatable."
)
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="How many sweeps.")
@click.option("--steps", type=click.IntRange(10, 100_000), default=100, show_default=True, help="Steps of one sweep.")
@click.option(
    "--lowest",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-6,
    show_default=True,
    help="Rate of the first step.",
)
@click.option(
    "--highest",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Rate of the last step.",
)
@device_option
@data_dir_option
@json_option
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
def lr_command(
    file: Path,
    arm: str | None,
    overrides: tuple[str, ...],
    seeds: int,
    steps: int,
    lowest: float,
    highest: float,
    device: str,
    data_dir: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Suggest a learning rate for the recipe in FILE, from short sweeps.

    In a sweep the rate grows at each step until the loss explodes; a tenth of the rate at which the loss was lowest is
    suggested. Nothing is kept, and the file stays as it is.

    \b
      assay lr labs/digits/dropout.yaml --arm plain
    """
    if data_dir is not None:
        from assay.data.places import use_data_folder

        use_data_folder(data_dir)
    from assay.api import load

    study = load(file, overrides)
    chosen = study.arm(arm) if arm is not None else study.arms[0]
    sweep = _swept(chosen, seeds, steps, lowest, highest, device, quiet=quiet or as_json)
    words = _to_set(file, overrides, chosen, sweep)
    if as_json:
        found = {"study": study.name, "arm": chosen.name, **sweep.to_json(), "set": words}
        click.echo(json.dumps(found, ensure_ascii=False, allow_nan=False))
        return
    click.echo(f"{study.name}: {chosen.name}, batches of {chosen.recipe.train.batch_size}")
    click.echo("\n".join(chart(sweep)))
    click.echo(described(sweep))
    if words:
        click.echo("To use it:  " + " ".join(f"--set {shlex.quote(word)}" for word in words))


def _swept(arm: Arm, seeds: int, steps: int, lowest: float, highest: float, device: str, *, quiet: bool) -> RateSweep:
    from assay.cli.steps import Steps, followed
    from assay.recipe.hardware import settled
    from assay.recipe.user_code import user_paths

    for path in user_paths(arm.recipe):
        click.echo(f"Uses your own class {path}: its module will be imported.", err=True)
    if not lowest < highest < math.inf:
        raise InputError(f"--lowest must be less than --highest, and that finite, got {lowest:g} and {highest:g}.")
    import torch

    from assay.training.rate_finder import sweeping

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    work = sweeping(settled(arm.recipe, device), seeds, steps=steps, lowest=lowest, highest=highest, device=device)
    with Steps(quiet=quiet) as shown:
        return followed(work, shown)


def _to_set(file: Path, overrides: tuple[str, ...], arm: Arm, sweep: RateSweep) -> list[str]:
    """The words after ``--set`` that give the arm its suggested rate; none where the file cannot say it of this arm."""
    from assay.api import load

    if sweep.suggestion is None:
        return []
    rate = rounded(sweep.suggestion)
    values = {"lr": rate, **{key: rounded(rate * by) for key, by in sweep.overrides_per_rate.items()}}
    wanted = arm.recipe.optimizer.model_copy(update=values)
    for before in ("", "base.", f"arms.{arm.name}."):
        words = [f"{before}optimizer.{key}={value:g}" for key, value in values.items()]
        with suppress(AssayError):
            if load(file, [*overrides, *words]).arm(arm.name).recipe.optimizer == wanted:
                return words
    return []


def rounded(rate: float) -> float:
    """To two digits: more would promise what a sweep cannot keep."""
    return float(f"{rate:.1e}")


def described(sweep: RateSweep) -> str:
    """What the sweeps say, with how far they agree."""
    if sweep.suggestion is None or sweep.steepest is None:
        bounds = f"{sweep.rates_T[0]:g} to {sweep.rates_T[-1]:g}"
        return (
            f"The loss hardly fell at any rate from {bounds}, so none is suggested. Try more --steps, or other bounds."
        )
    found = [rounded(rate) for rate in sweep.suggestions if rate is not None]
    sweeps = counted(len(sweep.seeds), "sweep")
    span = f"{found[0]:g}" if len(set(found)) == 1 else f"{min(found, default=0):g} to {max(found, default=0):g}"
    each = f"Each alone would suggest {span}." if found else "None alone fell enough to say."
    lines = [
        f"Suggested: {rounded(sweep.suggestion):g}, a tenth of the rate at which the mean loss of {sweeps} was lowest.",
        f"{each} The loss fell most steeply at {rounded(sweep.steepest):g}: the upper end of what is worth trying.",
    ]
    if sweep.fall < _SMALL_FALL:
        lines.append(f"It fell by {sweep.fall:.1%} only: with more --steps the sweeps would tell more.")
    if not sweep.bounded:
        lines.append(
            "It was lowest near the highest rate: with a greater --highest the suggestion may turn out higher."
        )
    return "\n".join(lines)


def chart(sweep: RateSweep, *, width: int = _WIDTH, height: int = _HEIGHT) -> list[str]:
    """The mean loss over the rate in blocks, with decades below, and a mark at the suggestion."""
    import numpy as np

    mean_T, rates_T = sweep.mean_T, sweep.rates_T
    known_T = np.isfinite(mean_T)
    if not known_T.any():
        return ["The loss exploded at the first step."]
    places_T = (np.arange(len(rates_T)) * (width - 1)) // (len(rates_T) - 1)
    means = [mean_T[(places_T == place) & known_T] for place in range(width)]
    top, bottom = float(mean_T[known_T][0]) * 1.1, float(mean_T[known_T].min())
    bottom -= 0.1 * (top - bottom)
    heights = [
        None if not len(some) else min(1.0, max(0.0, (float(some.mean()) - bottom) / (top - bottom))) for some in means
    ]
    if len(rates_T) < width:  # a column between two steps repeats the one before it
        for place in range(1, width):
            if heights[place] is None and not (places_T == place).any():
                heights[place] = heights[place - 1]
    rows = []
    for row in reversed(range(height)):
        fills = [0 if share is None else round(min(1.0, max(0.0, share * height - row)) * 8) for share in heights]
        label = {height - 1: f"{top:.3g}", 0: f"{bottom:.3g}"}.get(row, "")
        rows.append(f"{label:>8} │" + "".join(_BLOCKS[fill] for fill in fills))
    return [*rows, *_axis(sweep, width)]


def _axis(sweep: RateSweep, width: int) -> list[str]:
    low, high = math.log10(sweep.rates_T[0]), math.log10(sweep.rates_T[-1])

    def place(rate: float) -> int:
        return round((math.log10(rate) - low) / (high - low) * (width - 1))

    decades = [10.0**power for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    line, labels = ["─"] * width, [" "] * (width + 8)
    for decade in decades:
        at = place(decade)
        text = f"{decade:g}"
        line[at] = "┴"
        if not any(letter.strip() for letter in labels[max(0, at - 1) : at + len(text) + 1]):
            labels[at : at + len(text)] = text
    mark = "" if sweep.suggestion is None else " " * (10 + place(sweep.suggestion)) + "▲"
    return [" " * 8 + " └" + "".join(line), mark, " " * 10 + "".join(labels).rstrip()]
