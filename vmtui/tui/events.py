"""What is worth a line in the log, found by comparing two pictures. Pure."""

from __future__ import annotations

from datetime import datetime

from vmtui.model.host import HostState
from vmtui.model.job import JobRecord, JobState
from vmtui.overview.journal import LogEntry
from vmtui.tui.picture import CatalogueView, HostView, JobsView


def of_host(before: HostView | None, after: HostView, now: datetime) -> list[LogEntry]:
    """A host came or went."""
    if before is None or before.state is after.state:
        return []
    if after.state is HostState.CONNECTED:
        return [
            LogEntry(now, "info", after.name, "answers" if before.state is HostState.CONNECTING else "answers again")
        ]
    error = after.error or {}
    return [
        LogEntry(
            now,
            "error",
            after.name,
            str(error.get("cause", after.state)),
            error_id=str(error.get("id", "")),
            next_step=str(error.get("next_step", "")),
        )
    ]


def of_catalogue(before: CatalogueView, after: CatalogueView, now: datetime) -> list[LogEntry]:
    """The repository came or went, or a point is damaged."""
    entries = []
    if after.error is not None and before.error is None:
        entries.append(_error(now, "repository", after.error))
    if after.error is None and before.error is not None:
        entries.append(LogEntry(now, "info", "repository", "can be read again"))
    if before.as_of is not None and (after.points, after.host_points) != (before.points, before.host_points):
        known = {point.id: point.damaged for point in (*before.points, *before.host_points)}
        entries += [
            LogEntry(
                now,
                "error",
                f"{point.host}/{point.vm}",
                f"point {point.id} is damaged: {point.damaged}",
                "POINT-DAMAGED",
            )
            for point in (*after.points, *after.host_points)
            if point.damaged and not known.get(point.id, "")
        ]
    return entries


def of_jobs(before: JobsView, after: JobsView, now: datetime) -> list[LogEntry]:
    """Jobs ended."""
    if before.as_of is None:
        return []
    known = {record.id: record for record in before.records}
    entries = []
    for record in after.records:
        was = known.get(record.id)
        if record.state.final and (was is None or not was.state.final):
            entries.append(_of_job(record, now))
    return entries


def _of_job(record: JobRecord, now: datetime) -> LogEntry:
    who = "/".join(part for part in (record.host, record.vm) if part) or "repository"
    if record.state is JobState.FAILED and record.error is not None:
        entry = _error(now, who, record.error)
        return LogEntry(
            now, "error", who, f"{record.kind} failed: {entry.text}", entry.error_id, entry.next_step, record.id
        )
    level = "warning" if record.state in (JobState.WARNINGS, JobState.CANCELLED) else "info"
    note = f": {record.notes[-1]}" if record.notes and record.state is JobState.WARNINGS else ""
    return LogEntry(now, level, who, f"{record.kind} {record.state}{note}", job=record.id)


def _error(now: datetime, source: str, error: object) -> LogEntry:
    data = error if isinstance(error, dict) else {}
    return LogEntry(
        now, "error", source, str(data.get("cause", "")), str(data.get("id", "")), str(data.get("next_step", ""))
    )
