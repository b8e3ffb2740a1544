"""key list, add, change, remove, export, import: who can open an encrypted repository."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vmtui.cli.shared import Cli, confirm, new_passphrase, now, pass_cli, refuse_read_only
from vmtui.model.errors import ExitCode, RefusedError, UsageError
from vmtui.overview.words import printable

if TYPE_CHECKING:
    from vmtui.repository import Repository

_new_file = click.option(
    "--new-passphrase-file",
    "new_file",
    type=click.Path(path_type=Path),
    default=None,
    help="Take the new passphrase from the first line of this file; else vmtui asks.",
)


@click.group()
def key() -> None:
    """Who can open an encrypted repository."""


@key.command("list")
@pass_cli
def list_(cli: Cli) -> int:
    """List the key slots."""
    slots = _encrypted(cli).key_slots()
    if cli.output.as_json:
        cli.output.document(slots)
    else:
        rows = [[slot.id, slot.label, slot.created] for slot in slots]
        cli.output.table(["slot", "label", "made"], rows, "no key slot is left; use the paper key: vmtui key import")
    return ExitCode.DONE


@key.command("add")
@click.option("--label", default="", help="Whose it is.")
@_new_file
@pass_cli
def add(cli: Cli, label: str, new_file: Path | None) -> int:
    """Let a further passphrase open the repository."""
    refuse_read_only(cli, "Changing keys")
    repository = _encrypted(cli)
    slot = repository.add_key(new_passphrase(cli, new_file), label, now())
    cli.output.say(f"slot {slot.id} opens the repository as well")
    return ExitCode.DONE


@key.command("change")
@_new_file
@pass_cli
def change(cli: Cli, new_file: Path | None) -> int:
    """Replace the passphrase with which you open the repository now. What it holds is not written again."""
    refuse_read_only(cli, "Changing keys")
    repository = _encrypted(cli)
    old = repository.key_slot(cli.passphrase())
    label = next(slot.label for slot in repository.key_slots() if slot.id == old)
    slot = repository.add_key(new_passphrase(cli, new_file), label, now())
    repository.remove_key(old)
    cli.output.say(f"slot {slot.id} has replaced {old}; put the new passphrase where the configuration looks for it")
    return ExitCode.DONE


@key.command("remove")
@click.argument("slot")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def remove(cli: Cli, slot: str, yes: bool) -> int:
    """Take a slot's passphrase away. The last slot stays."""
    refuse_read_only(cli, "Changing keys")
    repository = _encrypted(cli)
    found = [item for item in repository.key_slots() if item.id.startswith(slot)]
    if len(found) != 1:
        raise UsageError("NAME-UNKNOWN", f"{len(found)} key slots answer to {slot!r}.", next_step="Run: vmtui key list")
    if len(repository.key_slots()) == 1:
        raise RefusedError("CONFIRM-MISSING", "It is the last slot.", next_step="Add another first: vmtui key add")
    confirm(
        cli, f"The passphrase of slot {found[0].id} {found[0].label} will not open the repository any more.", yes=yes
    )
    repository.remove_key(found[0].id)
    cli.output.say(f"slot {found[0].id} is gone")
    return ExitCode.DONE


@key.command("export")
@click.option("--qr", is_flag=True, help="As a QR code for paper, besides the text.")
@pass_cli
def export(cli: Cli, qr: bool) -> int:
    """Print the paper key: it opens the repository when every passphrase is lost. Whoever holds it can read all backups."""
    repository = _encrypted(cli)
    text = repository.paper_key()
    if cli.output.as_json:
        cli.output.document({"repository": repository.id, "paper_key": text})
        return ExitCode.DONE
    if qr:
        import segno

        cli.output.text(_qr(segno.make(text, error="m").matrix))
    cli.output.text(text.rstrip())
    cli.output.say("Print it, put it in a safe, keep no copy on the machines that are backed up.")
    return ExitCode.DONE


def _qr(matrix: tuple[bytearray, ...]) -> str:
    """A QR code in half blocks, with its quiet zone; dark modules are printed as dark on a light ground."""
    width = len(matrix[0]) + 8
    light = [0] * width
    rows = [light] * 4 + [[0] * 4 + list(row) + [0] * 4 for row in matrix] + [light] * 5
    shape = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
    return "\n".join(
        "".join(shape[bool(upper), bool(lower)] for upper, lower in zip(rows[place], rows[place + 1], strict=True))
        for place in range(0, len(rows) - 1, 2)
    )


@key.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@_new_file
@pass_cli
def import_(cli: Cli, file: Path, new_file: Path | None) -> int:
    """Open the repository by its paper key (FILE, or - to type it), and give it a new passphrase."""
    from vmtui.opening import adopt_paper_key

    refuse_read_only(cli, "Changing keys")
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("PAPER-KEY-BAD", f"{file} cannot be read: {error}.") from error
    repository = adopt_paper_key(cli.settings, text)
    slot = repository.add_key(new_passphrase(cli, new_file), "from the paper key", now())
    cli.output.say(f"the paper key is right; slot {slot.id} opens the repository now")
    return ExitCode.DONE


def _encrypted(cli: Cli) -> Repository:
    if not cli.repository.identity.encrypted:
        raise UsageError(
            "REPO-NOT-ENCRYPTED",
            printable(f"The repository {cli.settings.repository} is not encrypted, so it has no keys."),
        )
    return cli.repository
