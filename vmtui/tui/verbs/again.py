"""The command that runs a job once more; it is asked about as the job itself was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtui.model.ids import JobId
from vmtui.model.job import JobKind, JobRecord
from vmtui.model.point import Mode
from vmtui.tui.dialogs.base import Confirm, Typed, word_to_type
from vmtui.tui.verbs.backups import read_only
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.verbs.upkeep import GC_WORD

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp

_WORDS = {
    JobKind.REPAIR: "It reads everything, makes the index anew, and saves what is whole from damaged packs.",
    JobKind.REHEARSE: "A throw-away copy of the VM starts on the host, is watched, and is destroyed.",
    JobKind.HOST_RESTORE: "The same parts are brought back; what was allowed to be replaced is replaced.",
    JobKind.GC: "What no restore point needs is deleted.",
    JobKind.REVERT: "The VM is shut down if it runs, and its old disks and definition come back.",
}


def no_again(app: VmtuiApp, focus: Focus) -> str:
    """Why the job cannot be run again."""
    if not focus.jobs or not focus.jobs[0].state.final:
        return "choose a job that has ended"
    record = focus.jobs[0]
    if record.kind in (JobKind.RESTORE, JobKind.INSTANT):
        return "a restore starts with a fresh plan: r on its point"
    if record.kind is JobKind.GROUP_RESTORE:
        return "a restore starts with a fresh plan: mark the VMs, then r"
    if record.kind is JobKind.PRUNE:
        return "a prune starts with a fresh plan: 6, then f"
    return read_only(app, [record.host]) if record.kind.changes else ""


def again(app: VmtuiApp, focus: Focus) -> None:
    """Put the same job into the queue again, after the question that it began with."""
    record = focus.jobs[0]
    words = _question(record)
    if not words:
        _run(app, record)
        return
    title = f"Run the {record.kind} of {_object(record)} again?"

    def answered(yes: bool | None) -> None:
        if yes:
            _run(app, record)

    word = _word(record)
    lines = [[(words, "warn")]]
    if word:
        app.push_screen(Typed(title, lines, word=word, opened_by=("a",)), answered)
    else:
        app.push_screen(Confirm(title, lines, yes="Run it", opened_by=("a",)), answered)


def _object(record: JobRecord) -> str:
    return "/".join(part for part in (record.host, record.vm) if part) or "the repository"


def _question(record: JobRecord) -> str:
    """What has to be said before it runs again; empty where no guest and no data feel it. Pure."""
    if record.kind is not JobKind.BACKUP:
        return _WORDS.get(record.kind, "")
    mode = record.result.get("mode")
    if mode is None:  # it failed before it told of its mode
        return "If it was a cold or a paused backup, the guest stops for it."
    return "" if mode == Mode.HOT else f"It is a {mode} backup: the guest stops for it."


def _word(record: JobRecord) -> str:
    """What must be typed; empty where yes is enough. Pure."""
    if record.kind is JobKind.GC:
        return GC_WORD
    return word_to_type(record.vm, record.id) if record.kind is JobKind.REVERT else ""


def _run(app: VmtuiApp, record: JobRecord) -> None:
    def done(job: JobId) -> None:
        app.say(f"job {job[-8:]}: {record.kind} of {_object(record)} queued again", job=job)
        app.jobs_feed.poke()

    app.in_background(lambda: app.client.again(record.id), done)
