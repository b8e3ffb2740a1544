"""gc, repo check, repo repair, repo sync: keeping a repository in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.points import verify
from vmtui.cli.repo import repo
from vmtui.cli.shared import Cli, Wanted, confirm, enqueue, follow, now, pass_cli, raise_unless_ok, refuse_read_only
from vmtui.model.codec import to_plain
from vmtui.model.errors import ExitCode
from vmtui.model.ids import JobId, new_id
from vmtui.model.job import JobKind
from vmtui.overview.words import local, printable, size

if TYPE_CHECKING:
    from collections.abc import Mapping

_detach = click.option("--detach", is_flag=True, help="Do not wait for the end.")


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only count what would be freed.")
@_detach
@pass_cli
def gc(cli: Cli, dry_run: bool, detach: bool) -> int:
    """Free what no restore point needs. Safe beside running backups, also of other machines.

    What runs at the same time may still rely on what was found: then it is named now, and deleted by the next gc.
    """
    if dry_run:
        from vmtui.cli.watching import TerminalWatch
        from vmtui.repository.collect import collect

        watch = TerminalWatch(cli.output)
        result = to_plain(collect(cli.repository, JobId(new_id(now())), watch, now, dry_run=True))
        cli.output.clear_live()
        if cli.output.as_json:
            cli.output.document(result)
        else:
            cli.output.text(f"{result['named']} packs with {size(result['named_bytes'])} could go now or later")
            cli.output.text(
                f"{result['rewritten']} packs are mostly garbage: {size(result['rewritten_bytes'])} of them"
            )
            _tell_waiting(cli, result)
        return ExitCode.DONE
    refuse_read_only(cli, "A garbage collection")
    finished = _run(cli, Wanted(JobKind.GC, "", "", {}), detach=detach)
    if finished is not None and not cli.output.as_json:
        cli.output.text(f"{finished['deleted']} packs deleted, {size(finished['deleted_bytes'])} freed")
        if finished["rewritten"]:
            cli.output.text(f"{finished['rewritten']} packs that were mostly garbage were written anew")
        _tell_waiting(cli, finished)
    return ExitCode.DONE


def _tell_waiting(cli: Cli, result: Mapping[str, Any]) -> None:
    if result["waiting_for"]:
        runs = ", ".join(result["waiting_for"])
        cli.output.text(printable(f"more is named and waits for the end of: {runs}; then run gc again"))
    if result["waiting_until"]:
        cli.output.text(f"more is named and may be deleted from {local(result['waiting_until'])}; then run gc again")


@repo.command("check")
@_detach
@click.pass_context
def check(context: click.Context, detach: bool) -> int:
    """Look whether every object is there, with its size and directory. Short for: verify --all --quick."""
    code: int = context.invoke(verify, points=(), everything=True, quick=True, detach=detach)
    return code


@repo.command("repair")
@click.option("--give-up", "give_up", is_flag=True, help="Delete the points that cannot be restored in the end.")
@click.option("--yes", is_flag=True, help="Your word for --give-up.")
@_detach
@pass_cli
def repair(cli: Cli, give_up: bool, yes: bool, detach: bool) -> int:
    """Mend what can be mended: read everything, make the index anew, save what is whole from damaged packs.

    Without --give-up no point is deleted: what is lost is named. Blocks that are lost come back by themselves when
    a backup finds them on a disk again, or from a copy.
    """
    refuse_read_only(cli, "A repair")
    names = []
    if give_up:
        points = cli.repository.points
        names = sorted({*points.names(), *points.lost()})
        confirm(cli, "Points that are still damaged or lost after the repair are deleted for good.", yes=yes)
    request = {"give_up": [[name.vm, name.id] for name in names]}
    finished = _run(cli, Wanted(JobKind.REPAIR, "", "", request), detach=detach)
    if finished is None:
        return ExitCode.DONE
    if not cli.output.as_json:
        cli.output.text(f"{finished['indexed']} packs indexed again, {finished['forgotten']} that are gone forgotten")
        cli.output.text(f"{finished['saved']} blocks and map nodes saved from damaged packs")
        for point in finished["given_up"]:
            cli.output.text(f"given up: point {point}")
        for item in finished["damage"]:
            where = f" (points {', '.join(item['points'])})" if item["points"] else ""
            cli.output.text(printable(f"LOST: {item['cause']}{where} [{item['error_id']}]"))
    return ExitCode.DAMAGE if finished["damage"] else ExitCode.DONE


@repo.command("sync")
@click.argument("copy")
@_detach
@pass_cli
def sync(cli: Cli, copy: str, detach: bool) -> int:
    """Bring a copy up to date: send what is missing there, prove it, then let its points appear.

    COPY is the name of a [copies.NAME] of the configuration. Broken off, it goes on where it was.
    """
    refuse_read_only(cli, "A copy")
    finished = _run(cli, Wanted(JobKind.SYNC, "", copy, {"copy": copy}), detach=detach)
    if finished is None:
        return ExitCode.DONE
    if not cli.output.as_json:
        cli.output.text(
            f"{finished['points']} points and {finished['packs']} packs with {size(finished['sent_bytes'])} were sent"
        )
        for cause in finished["damage"]:
            cli.output.text(printable(f"NOT COPIED: {cause}"))
    return ExitCode.DAMAGE if finished["damage"] else ExitCode.DONE


def _run(cli: Cli, wanted: Wanted, *, detach: bool) -> dict[str, Any] | None:
    """Run a job to its end; None when nobody waits for it."""
    assert cli.repository.id  # opens it, and asks for its passphrase, before a job is made of it
    job = enqueue(cli, wanted)
    if detach:
        cli.output.document({"job": job}) if cli.output.as_json else cli.output.text(job)
        return None
    record = follow(cli, job)
    raise_unless_ok(record)
    result = dict(record.result)
    if cli.output.as_json:
        cli.output.document(result | {"job": job})
    return result
