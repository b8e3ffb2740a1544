"""repo init, stats."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from vmtui import keyring
from vmtui.cli.shared import Cli, new_passphrase, now, option_value, pass_cli, refuse_read_only
from vmtui.model.codec import to_plain
from vmtui.model.errors import ExitCode, UsageError
from vmtui.overview.room import forecast_words, look_ahead
from vmtui.overview.words import printable, size


@click.group()
def repo() -> None:
    """Make and look at the repository."""


@repo.command("init")
@click.option(
    "--block-size", "block_size", default=None, metavar="SIZE", help="Bytes in a block, like 64K; a power of two."
)
@click.option(
    "--encryption",
    type=click.Choice(["yes", "no"]),
    default=None,
    help="Whether to encrypt; else vmtui asks, or encrypts when the configuration gives a passphrase.",
)
@pass_cli
def init(cli: Cli, block_size: str | None, encryption: str | None) -> int:
    """Make the repository that the configuration names. One that is there already stays as it is."""
    from vmtui.config.fields import size_bytes
    from vmtui.opening import make_repository
    from vmtui.repository import DEFAULT_BLOCK_SIZE

    refuse_read_only(cli, "Making a repository")
    wanted = option_value("--block-size", block_size, size_bytes) or DEFAULT_BLOCK_SIZE
    made = True
    try:
        repository = cli.repository
        made = False
    except UsageError as error:
        if error.id != "REPO-NOT-INITIALISED":
            raise
        passphrase = _chosen_passphrase(cli, encryption)
        repository = make_repository(cli.settings, wanted, passphrase)
    result = {
        "id": repository.id,
        "url": repository.store.url,
        "block_size": repository.block_size,
        "encrypted": repository.identity.encrypted,
        "made": made,
    }
    if cli.output.as_json:
        cli.output.document(result)
    else:
        what = "made" if made else "is there already; nothing was changed"
        what += ", encrypted" if repository.identity.encrypted else ", not encrypted"
        cli.output.text(printable(f"repository {repository.id[:8]} at {repository.store.url}: {what}"))
    return ExitCode.DONE


def _chosen_passphrase(cli: Cli, encryption: str | None) -> Callable[[], str] | None:
    """Where the first passphrase comes from; None when nothing is to be encrypted."""
    configured = cli.settings.passphrase_file is not None or bool(cli.settings.passphrase_command)
    asks = sys.stdin.isatty() and not cli.output.as_json
    if encryption is None and not configured and asks:
        cli.output.say("Encrypted, only who has the passphrase can read the backups; if it is lost, they are lost.")
        encryption = "yes" if click.confirm("Encrypt the repository?", default=True, err=True) else "no"
    if encryption == "no" or (encryption is None and not configured):
        return None
    if configured:
        return cli.passphrase

    def typed() -> str:
        keyring.keep(keyring.REPOSITORY, new_passphrase(cli, None))
        return cli.passphrase()

    return typed


@repo.command("stats")
@pass_cli
def stats(cli: Cli) -> int:
    """Show sizes and counts."""
    cli.repository.sync()
    result = cli.repository.stats()
    ahead = look_ahead(cli.repository, result.free_bytes, now())
    if cli.output.as_json:
        cli.output.document(
            to_plain(result)
            | {
                "stored_per_day_bytes": ahead.per_day_bytes,
                "days_to_full": None if ahead.days is None else round(ahead.days, 1),
                "forecast_reason": ahead.reason,
            }
        )
        return ExitCode.DONE
    cli.output.text(printable(f"repository  {result.id[:8]} at {result.url}"))
    of_hosts = f", and {result.host_points} of hosts" if result.host_points else ""
    cli.output.text(f"points      {result.points}{of_hosts}")
    cli.output.text(
        f"packs       {result.packs} with {result.blobs} blocks and map nodes, block size {size(result.block_size)}"
    )
    free = "the store does not say how much is free" if result.free_bytes is None else f"{size(result.free_bytes)} free"
    cli.output.text(f"stored      {size(result.stored_bytes)}, {free}")
    cli.output.text(f"full in     {forecast_words(ahead)}")
    return ExitCode.DONE
