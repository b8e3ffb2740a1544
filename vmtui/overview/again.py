"""Running a job once more: what has to be said before, and which jobs are never repeated."""

from __future__ import annotations

from vmtui.model.job import JobKind, JobRecord
from vmtui.model.point import Mode

_WORDS = {
    JobKind.REPAIR: "It reads everything, makes the index anew, and saves what is whole from damaged packs.",
    JobKind.REHEARSE: "A throw-away copy of the VM starts on the host, is watched, and is destroyed.",
    JobKind.HOST_RESTORE: "The same parts are brought back; what was allowed to be replaced is replaced.",
    JobKind.GC: "What no restore point needs is deleted.",
    JobKind.REVERT: "The VM is shut down if it runs, and its old disks and definition come back.",
}


def what_again_does(record: JobRecord) -> str:
    """What has to be said before it runs again; empty where no guest and no data feel it. Pure."""
    if record.kind is not JobKind.BACKUP:
        return _WORDS.get(record.kind, "")
    mode = record.result.get("mode")
    if mode is None:  # it failed before it told of its mode
        return "If it was a cold or a paused backup, the guest stops for it."
    return "" if mode == Mode.HOT else f"It is a {mode} backup: the guest stops for it."


def object_of(record: JobRecord) -> str:
    """What a job is about. Pure."""
    return "/".join(part for part in (record.host, record.vm) if part) or "the repository"
