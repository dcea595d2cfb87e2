"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_STORE = Path("assay-runs")
CHECKPOINT_EVERY = "2min"

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_STORE,
    show_default=True,
    help="Folder of the run store.",
)

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that holds the data; by default those of $ASSAY_DATA, then the user cache.",
)

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where tensors live; auto takes a CUDA GPU if there is one.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="End with one JSON object on one line.")
