"""explain."""

from __future__ import annotations

import click

from vmtui.cli.shared import Cli, pass_cli
from vmtui.model.errors import CATALOG, ExitCode
from vmtui.overview.words import unknown


@click.command()
@click.argument("id_", metavar="[ID]", required=False)
@pass_cli
def explain(cli: Cli, id_: str | None) -> int:
    """Say what an error id means and what to do; without an id, list all."""
    if id_ is not None and id_.upper() not in CATALOG:
        raise unknown("error id", id_, CATALOG)
    kinds = [CATALOG[id_.upper()]] if id_ is not None else list(CATALOG.values())
    if cli.output.as_json:
        cli.output.document(kinds[0] if id_ is not None else kinds)
        return ExitCode.DONE
    for kind in kinds:
        cli.output.text(f"{kind.id}\n  {kind.meaning}\n  {kind.next_step}")
    return ExitCode.DONE
