"""lab up, lab down, lab info."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.shared import Cli, pass_cli
from vmtui.model.errors import ExitCode
from vmtui.overview.words import printable

if TYPE_CHECKING:
    from vmtui.lab import LabInfo

_root = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder of this lab; keeps several apart.",
)


@click.group()
def lab() -> None:
    """A practice site: two hosts with real VMs, which cannot hurt anything."""


@lab.command("up")
@_root
@pass_cli
def up(cli: Cli, root: Path | None) -> int:
    """Start the lab. When it runs already, nothing happens."""
    from vmtui import config
    from vmtui.lab import default_root
    from vmtui.lab import up as start
    from vmtui.opening import make_repository

    info = start(root or default_root(), cli.output.say)
    settings = config.load(Path(info.config))
    if not Path(info.repository).exists():
        make_repository(settings)
    _print(cli, info)
    return ExitCode.DONE


@lab.command("down")
@_root
@pass_cli
def down(cli: Cli, root: Path | None) -> int:
    """Stop the lab and remove every file of it."""
    from vmtui.lab import default_root
    from vmtui.lab import down as stop

    was_up = stop(root or default_root())
    if cli.output.as_json:
        cli.output.document({"was_up": was_up})
    else:
        cli.output.text("the lab is gone" if was_up else "there was no lab")
    return ExitCode.DONE


@lab.command("info")
@_root
@pass_cli
def info(cli: Cli, root: Path | None) -> int:
    """Show how to reach the lab."""
    from vmtui.lab import default_root
    from vmtui.lab import info as look

    _print(cli, look(root or default_root()))
    return ExitCode.DONE


def _print(cli: Cli, info: LabInfo) -> None:
    if cli.output.as_json:
        cli.output.document(info)
        return
    say: Any = cli.output.text
    say(printable(f"config      {info.config}"))
    say(printable(f"repository  {info.repository}"))
    say(printable(f"account     {info.user}"))
    for site in info.sites:
        say(printable(f"{site.name:11} VMs {', '.join(site.vms)}"))
        say(printable(f"            virsh -c '{site.uri}' list --all"))
        say(printable(f"            {site.ssh}, images in {site.images}"))
    say(printable(f"try:        vmtui --config {info.config} vms"))
