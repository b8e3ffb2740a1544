"""What the threads left becomes the picture, the log, and a word to the operator."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vmtui.model.errors import VmtuiError
from vmtui.model.host import HostState
from vmtui.model.settings import Settings
from vmtui.overview import journal
from vmtui.overview.journal import LogEntry
from vmtui.tui import cache, clock, events, picture
from vmtui.tui.picture import HostView, Picture
from vmtui.tui.verbs.upkeep import unlock_if_needed

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp


def first_picture(settings: Settings) -> Picture:
    """What was seen last time, with the hosts of today, not asked yet."""
    kept = cache.load_picture(settings.state) or Picture()
    now = clock.now()
    hosts = {}
    for name in settings.hypervisors:
        view = kept.hosts.get(name) or HostView(name, HostState.CONNECTING, now)
        hosts[name] = replace(view, state=HostState.CONNECTING, since=now, error=None)
    first = Picture(hosts=hosts, catalogue=replace(kept.catalogue, error=None), cached=kept.cached)
    return picture.with_log(first, journal.tail(settings.state))


def matters(known: Picture) -> tuple[Any, ...]:
    """What the list of VMs is made of; that hosts answered once more changes nothing in it."""
    hosts = tuple((name, id(view.vms), view.away, view.as_of is None) for name, view in known.hosts.items())
    return hosts, id(known.catalogue.points), known.catalogue.error is None, known.catalogue.as_of is None


def take(app: VmtuiApp, sender: str, letter: Any) -> None:
    """Take one letter: change the picture, log what is new, tell what is important."""
    now = clock.now()
    known = app.picture
    entries: list[LogEntry] = []
    if isinstance(letter, HostView):
        entries = events.of_host(known.hosts.get(letter.name), letter, now)
        app.picture = picture.with_host(known, letter)
    elif sender == "catalogue":
        entries = events.of_catalogue(known.catalogue, letter, now)
        app.picture = picture.with_catalogue(known, letter)
        unlock_if_needed(app, known.catalogue.error, letter.error)
    elif sender == "jobs":
        entries = events.of_jobs(known.jobs, letter, now)
        app.picture = picture.with_jobs(known, letter)
        if any(entry.job for entry in entries):
            app.catalogue_feed.poke()
    elif sender == "rows":
        app.picture = picture.with_rows(known, letter)
    elif isinstance(letter, VmtuiError):
        entries = [LogEntry(now, "error", "vmtui", letter.cause, letter.id, letter.next_step)]
    app.log_events(*entries)
    for entry in entries:
        if entry.job or entry.level == "error":
            app.notify(
                f"{entry.source}: {entry.text}",
                severity={"info": "information"}.get(entry.level, entry.level),
                markup=False,
            )
