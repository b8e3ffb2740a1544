"""repo init, repo stats."""

from __future__ import annotations

import click

from vmtui.cli.shared import Cli, pass_cli
from vmtui.model.errors import ExitCode, RefusedError, UsageError
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
    from vmtui.opening import make_repository, open_repository
    from vmtui.repository import DEFAULT_BLOCK_SIZE

    if cli.settings.read_only:
        raise RefusedError("READ-ONLY", "Making a repository was refused: vmtui runs in read-only mode.")
    try:
        wanted = size_bytes(block_size) if block_size is not None else DEFAULT_BLOCK_SIZE
    except ValueError as error:
        raise UsageError(
            "NAME-BAD", f"--block-size {block_size!r}: {error}.", next_step="Example: --block-size 64K"
        ) from error
    made = True
    try:
        repository = open_repository(cli.settings)
        made = False
    except UsageError as error:
        if error.id != "REPO-NOT-INITIALISED":
            raise
        repository = make_repository(cli.settings, wanted)
    result = {"id": repository.id, "url": repository.store.url, "block_size": repository.block_size, "made": made}
    if cli.output.as_json:
        cli.output.document(result)
    else:
        what = "made" if made else "is there already; nothing was changed"
        cli.output.text(printable(f"repository {repository.id[:8]} at {repository.store.url}: {what}"))
    return ExitCode.DONE


@repo.command("stats")
@pass_cli
def stats(cli: Cli) -> int:
    """Show sizes and counts."""
    cli.repository.sync()
    result = cli.repository.stats()
    if cli.output.as_json:
        cli.output.document(result)
        return ExitCode.DONE
    cli.output.text(printable(f"repository  {result.id[:8]} at {result.url}"))
    cli.output.text(f"points      {result.points}")
    cli.output.text(
        f"packs       {result.packs} with {result.blobs} blocks and map nodes, block size {size(result.block_size)}"
    )
    free = "the store does not say how much is free" if result.free_bytes is None else f"{size(result.free_bytes)} free"
    cli.output.text(f"stored      {size(result.stored_bytes)}, {free}")
    return ExitCode.DONE
