"""The command line: one file per command, heavy imports inside the commands."""

from __future__ import annotations

import errno
import sys
from typing import NoReturn

import click

from assay import __version__
from assay.cli.data import data_command
from assay.cli.doctor import doctor_command
from assay.cli.inspect import inspect_command
from assay.cli.list import list_command
from assay.cli.lr import lr_command
from assay.cli.predict import predict_command
from assay.cli.report import report_command
from assay.cli.run import run_command
from assay.cli.schema import schema_command
from assay.cli.words import visible
from assay.errors import AssayError, InterruptedStudyError, did_you_mean


class Commands(click.Group):
    """A group that names the nearest command when it is given an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise click.UsageError(f"there is no command {name!r}. {did_you_mean(name, self.commands)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="assay")
def cli() -> None:
    """Find out what each ingredient of an image classifier's training recipe is worth.

    A study file asks a question; `assay run` trains every arm over as many seeds as the answer needs, keeps every run,
    and writes a lab report in which every claim has a verdict and an error bar.

    Exit codes: 0 done, 1 a run failed, 2 bad input, 3 --check and a claim is not supported,
    130 stopped by Ctrl-C.
    """


for command in (
    run_command, report_command, list_command, data_command, inspect_command, lr_command, doctor_command,
    predict_command, schema_command,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Entry point: errors assay raises on purpose become one message and their exit code."""
    for output in (sys.stdout, sys.stderr):
        if hasattr(output, "reconfigure"):
            output.reconfigure(errors="replace")  # a terminal without ± or − still shows the rest
    try:
        cli(prog_name="assay", standalone_mode=False)
    except AssayError as error:
        _end(error)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:  # what click makes of Ctrl-C
        _end(InterruptedStudyError("stopped."))
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_LOST:
            raise
        click.echo(f"assay: the output could not be written: {error.strerror}. What was computed is kept.", err=True)
        sys.exit(1)


_OUTPUT_LOST = {errno.ENOSPC, errno.EIO, errno.EBADF}


def _end(error: AssayError) -> NoReturn:
    click.echo(f"assay: {visible(str(error))}", err=True)
    sys.exit(error.exit_code)
