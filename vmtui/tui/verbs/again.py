"""The command that runs a job once more; it is asked about as the job itself was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtui.model.ids import JobId
from vmtui.model.job import JobKind, JobRecord
from vmtui.overview.again import object_of, what_again_does
from vmtui.tui.dialogs.base import Confirm, Typed, word_to_type
from vmtui.tui.verbs.backups import read_only
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.verbs.upkeep import GC_WORD

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp
_ANEW = {
    JobKind.RESTORE: "a restore starts with a fresh plan: r on its point",
    JobKind.INSTANT: "a restore starts with a fresh plan: r on its point",
    JobKind.GROUP_RESTORE: "a restore starts with a fresh plan: mark the VMs, then r",
    JobKind.PRUNE: "a prune starts with a fresh plan: 6, then f",
}


def no_again(app: VmtuiApp, focus: Focus) -> str:
    """Why the job cannot be run again."""
    if not focus.jobs or not focus.jobs[0].state.final:
        return "choose a job that has ended"
    record = focus.jobs[0]
    if record.kind in _ANEW:
        return _ANEW[record.kind]
    return read_only(app, [record.host]) if record.kind.changes else ""


def again(app: VmtuiApp, focus: Focus) -> None:
    """Put the same job into the queue again, after the question that it began with."""
    record = focus.jobs[0]
    words = what_again_does(record)
    if not words:
        _run(app, record)
        return
    title = f"Run the {record.kind} of {object_of(record)} again?"

    def answered(yes: bool | None) -> None:
        if yes:
            _run(app, record)

    word = _word(record)
    lines = [[(words, "warn")]]
    if word:
        app.push_screen(Typed(title, lines, word=word, opened_by=("a",)), answered)
    else:
        app.push_screen(Confirm(title, lines, yes="Run it", opened_by=("a",)), answered)


def _word(record: JobRecord) -> str:
    """What must be typed; empty where yes is enough. Pure."""
    if record.kind is JobKind.GC:
        return GC_WORD
    return word_to_type(record.vm, record.id) if record.kind is JobKind.REVERT else ""


def _run(app: VmtuiApp, record: JobRecord) -> None:
    def done(job: JobId) -> None:
        app.say(f"job {job[-8:]}: {record.kind} of {object_of(record)} queued again", job=job)
        app.jobs_feed.poke()

    app.in_background(lambda: app.client.again(record.id), done)
