"""`assay schema`"""

from __future__ import annotations

import json

import click


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of study files, for editors.

    With it an editor completes keys and marks mistakes while you write:

      assay schema > assay.schema.json
    """
    from assay.studies.json_schema import study_schema

    click.echo(json.dumps(study_schema(), indent=2, ensure_ascii=False))
