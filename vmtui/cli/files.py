"""files ls, find, get, put."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.shared import Cli, confirm, now, pass_cli, refuse_read_only
from vmtui.model.errors import ExitCode, UsageError
from vmtui.overview.files import entry_cells, entry_json, safe, volume_cells, volume_json
from vmtui.overview.words import printable, size

if TYPE_CHECKING:
    from vmtui.files import Browser
    from vmtui.files.entries import Place
    from vmtui.files.walk import Problem

_ENTRY_HEADINGS = ("Mode", "Owner", "Size", "Changed", "Name")


@click.group()
def files() -> None:
    """Look at the files inside a point, take them out, put them back.

    A PATH begins with a volume, as `ls POINT` names it: /vda1/etc/hosts, /vg0-root/home.
    """


@contextmanager
def _browsing(cli: Cli, point: str) -> Iterator[Browser]:
    from vmtui.cli.choosing import chosen_point
    from vmtui.files import Browser

    repository = cli.repository
    repository.sync()
    with Browser(repository, repository.points.load(chosen_point(cli, point))) as browser:
        yield browser


@files.command("ls")
@click.argument("point")
@click.argument("path", default="/")
@pass_cli
def files_ls(cli: Cli, point: str, path: str) -> int:
    """List a folder of a point; without PATH, its volumes."""
    from vmtui.files.entries import Kind, Place

    with _browsing(cli, point) as browser:
        place = Place.parse(path)
        if not place.volume:
            if cli.output.as_json:
                cli.output.document([volume_json(item) for item in browser.volumes])
            else:
                headings = ("Volume", "Size", "Files", "Label", "Note")
                cli.output.table(headings, [volume_cells(item) for item in browser.volumes], "The point has no disks.")
            return ExitCode.DONE
        place, entry = browser.look(place, follow=True)
        entries = browser.folder(place) if entry.kind is Kind.FOLDER else [entry]
        _tell_notes(cli, browser, [place])
        if cli.output.as_json:
            parent = place if entry.kind is Kind.FOLDER else place.parent
            cli.output.document([entry_json(parent.child(item.name), item) for item in entries])
        else:
            rows = [entry_cells(item) for item in sorted(entries, key=lambda item: item.name)]
            cli.output.table(_ENTRY_HEADINGS, rows, "The folder is empty.")
    return ExitCode.DONE


@files.command("find")
@click.argument("point")
@click.argument("pattern")
@click.option("--in", "path", default="/", metavar="PATH", help="Search below this folder only.")
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="Stop after so many.")
@pass_cli
def files_find(cli: Cli, point: str, pattern: str, path: str, limit: int) -> int:
    """Search the names in a point: a part of a name, or a pattern with * and ?.

    A pattern without capitals does not look at the case; one with a slash is compared with the whole path.
    """
    from vmtui.cli.watching import TerminalWatch
    from vmtui.files.entries import Place
    from vmtui.files.walk import find

    problems: list[Problem] = []
    found: list[dict[str, Any]] = []
    with _browsing(cli, point) as browser:
        top = Place.parse(path)
        top = browser.look(top, follow=True)[0] if top.volume else top
        notes = _tell_notes(cli, browser, [top])
        count = 0
        for place, entry in find(browser, top, pattern, TerminalWatch(cli.output), problems.append):
            count += 1
            if count > limit:
                cli.output.say(f"More than {limit} were found; say --limit to see more.")
                break
            if cli.output.as_json:
                found.append(entry_json(place, entry))
            else:
                cli.output.text(printable(str(place)))
    if cli.output.as_json:
        cli.output.document(
            {"found": found, "notes": notes, "problems": [_problem_json(problem) for problem in problems]}
        )
    elif count == 0:
        cli.output.say(f"Nothing is named like {pattern!r}.")
    return _told(cli, problems)


@files.command("get")
@click.argument("point")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.option("--no-owner", is_flag=True, help="Do not set owner and group.")
@pass_cli
def files_get(cli: Cli, point: str, paths: tuple[str, ...], target: Path, overwrite: bool, no_owner: bool) -> int:
    """Take files and folders of a point into the local folder TARGET, which is made when it is not there.

    Modes and times are taken over, and owners where this account may set them. Devices are never made, and nothing
    is written outside TARGET, whatever names the guest has chosen.
    """
    from vmtui.cli.watching import TerminalWatch
    from vmtui.files.entries import Place
    from vmtui.files.take import take
    from vmtui.files.target import Rules

    places = [Place.parse(path) for path in paths]
    for place in places:
        if not place.volume:
            raise UsageError("NAME-BAD", "Name what to take, like /vda1/etc.", next_step="See: vmtui files ls POINT")
    started = now()
    watch = TerminalWatch(cli.output)
    with _browsing(cli, point) as browser:
        notes = _tell_notes(cli, browser, places)
        watch.phase("take")
        taken = take(browser, places, str(target), Rules(overwrite=overwrite, owner=not no_owner), watch)
        read_bytes = browser.pieces.read_bytes
    if cli.output.as_json:
        cli.output.document(
            {
                "target": str(target),
                "files": taken.files,
                "folders": taken.folders,
                "links": taken.links,
                "bytes": taken.size_bytes,
                "read_bytes": read_bytes,
                "seconds": round((now() - started).total_seconds(), 3),
                "left_out": taken.left_out,
                "notes": notes,
                "problems": [_problem_json(problem) for problem in taken.problems],
            }
        )
    else:
        cli.output.text(
            printable(
                f"{target}: {taken.files} files, {taken.folders} folders, {taken.links} links, {size(taken.size_bytes)}; "
                f"{size(read_bytes)} read from the repository, every block compared with its hash"
            )
        )
    for item in taken.left_out:
        cli.output.say(f"left out: {item}")
    return _told(cli, taken.problems)


@files.command("put")
@click.argument("point")
@click.argument("path")
@click.argument("target", metavar="VM:PATH")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def files_put(cli: Cli, point: str, path: str, target: str, overwrite: bool, yes: bool) -> int:
    """Put one file of a point back into a running guest, through its guest agent.

    VM:PATH is where: the VM's name or host/name, and an absolute path in the guest; with a slash at its end, a folder.
    """
    from vmtui.cli.watching import TerminalWatch
    from vmtui.files.entries import Place
    from vmtui.files.put import guest_of, put
    from vmtui.overview.fleet import find_vms

    refuse_read_only(cli, "Putting a file into a guest")
    vm, colon, destination = target.partition(":")
    if not colon or not destination.startswith("/"):
        raise UsageError("NAME-BAD", f"{target!r} is not VM:/path.", next_step="Example: web1:/etc/hosts")
    found = find_vms(cli.settings, [vm])[0]
    watch = TerminalWatch(cli.output)
    with _browsing(cli, point) as browser:
        place, entry = browser.look(Place.parse(path), follow=True)
        if destination.endswith("/"):
            destination += place.name
        with guest_of(cli.settings, found.host, found.uuid, found.name) as guest:
            question = (
                f"{place} ({size(entry.size)}) of point {browser.point.id} goes to {destination} in {guest.name}."
            )
            confirm(cli, question, yes=yes)
            outcome = put(browser, place, entry, guest, destination, overwrite=overwrite, watch=watch)
    if cli.output.as_json:
        cli.output.document(outcome)
    else:
        cli.output.text(printable(f"{guest.name}:{destination}: {size(entry.size)}, {outcome.proof}"))
    return ExitCode.DONE


def _tell_notes(cli: Cli, browser: Browser, places: Sequence[Place]) -> list[str]:
    """Tell what one should know of the volumes of some places, or of all for the topmost one."""
    wanted = {place.volume for place in places}
    notes = [
        f"{volume.name}: {volume.note}"
        for volume in browser.volumes
        if volume.note and (volume.name in wanted or "" in wanted)
    ]
    for note in notes:
        cli.output.say(f"! {note}")
    return [safe(note) for note in notes]


def _problem_json(problem: Problem) -> dict[str, str]:
    return {"path": problem.path, "error_id": problem.error_id, "cause": problem.cause}


def _told(cli: Cli, problems: list[Problem]) -> int:
    """Tell what could not be done; the exit code that follows."""
    for problem in problems:
        cli.output.say(f"NOT TAKEN {problem.path}: {problem.cause} [{problem.error_id}]")
    if any(problem.damage for problem in problems):
        return ExitCode.DAMAGE
    return ExitCode.FAILED if problems else ExitCode.DONE
