"""explain."""

from __future__ import annotations

import click

from vmtui.cli.shared import Cli, pass_cli
from vmtui.model.errors import CATALOG, ExitCode
from vmtui.overview.explain import STATES, explanation
from vmtui.overview.words import unknown


@click.command()
@click.argument("id_", metavar="[ID]", required=False)
@pass_cli
def explain(cli: Cli, id_: str | None) -> int:
    """Say what a state or an error id means and what to do; without an id, list all."""
    ids = [id_] if id_ is not None else [*STATES, *CATALOG]
    found = [(item, explanation(item)) for item in ids]
    for item, words in found:
        if words is None:
            raise unknown("state or error id", item, [*STATES, *CATALOG])
    explained = [words for _, words in found if words is not None]
    if cli.output.as_json:
        cli.output.document(explained[0] if id_ is not None else explained)
        return ExitCode.DONE
    for words in explained:
        cli.output.text(f"{words.id}\n  {words.means}")
        if words.otherwise:
            cli.output.text(f"  Otherwise: {words.otherwise}")
        for step in words.tries:
            cli.output.text(f"  Try: {step.text}" + (f"  ({step.command})" if step.command else ""))
    return ExitCode.DONE
