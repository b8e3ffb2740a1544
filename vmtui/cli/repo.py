"""repo init, repo stats."""

from __future__ import annotations

import click

from vmtui.cli.shared import Cli, now, pass_cli, refuse_read_only
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
@pass_cli
def init(cli: Cli, block_size: str | None) -> int:
    """Make the repository that the configuration names. One that is there already stays as it is."""
    from vmtui.config.fields import size_bytes
    from vmtui.repository import DEFAULT_BLOCK_SIZE, Repository

    refuse_read_only(cli, "Making a repository")
    try:
        wanted = size_bytes(block_size) if block_size is not None else DEFAULT_BLOCK_SIZE
    except ValueError as error:
        raise UsageError(
            "NAME-BAD", f"--block-size {block_size!r}: {error}.", next_step="Example: --block-size 64K"
        ) from error
    made = True
    try:
        repository = Repository(cli.settings.repository, cli.settings.state / "cache")
        made = False
    except UsageError as error:
        if error.id != "REPO-NOT-INITIALISED":
            raise
        repository = Repository.create(cli.settings.repository, cli.settings.state / "cache", block_size=wanted)
    result = {"id": repository.id, "url": cli.settings.repository, "block_size": repository.block_size, "made": made}
    if cli.output.as_json:
        cli.output.document(result)
    else:
        what = "made" if made else "is there already; nothing was changed"
        cli.output.text(printable(f"repository {repository.id[:8]} at {cli.settings.repository}: {what}"))
    return ExitCode.DONE


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
    cli.output.text(f"points      {result.points}")
    cli.output.text(
        f"packs       {result.packs} with {result.blobs} blocks and map nodes, block size {size(result.block_size)}"
    )
    cli.output.text(f"stored      {size(result.stored_bytes)}, {size(result.free_bytes)} free")
    cli.output.text(f"full in     {forecast_words(ahead)}")
    return ExitCode.DONE
