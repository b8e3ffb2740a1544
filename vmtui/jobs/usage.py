"""Which restore points the jobs of this machine work with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vmtui.model.codec import from_plain
from vmtui.model.ids import PointId, VmId
from vmtui.model.job import JobKind, JobSpec
from vmtui.repository import PointName

ACTIVE = ["ENQUEUED", "DELAYED", "PENDING"]
"""DBOS's words for workflows that have not ended."""
_USERS = frozenset(
    {
        JobKind.RESTORE,
        JobKind.GROUP_RESTORE,
        JobKind.INSTANT,
        JobKind.EXPORT,
        JobKind.VERIFY,
        JobKind.HOST_RESTORE,
        JobKind.REHEARSE,
    }
)


def points_in_use(rows: Iterable[Any]) -> dict[PointName, str]:
    """Points that must stay for now, and the words for it.

    A backup is not among the users: it compares with the newest good point, which no rule lets go. Nor is the
    verification of everything: it never runs beside a prune, as both wait in the repository's own queue.

    Args:
        rows: DBOS's statuses of workflows that have not ended.
    """
    used: dict[PointName, str] = {}
    for row in rows:
        if row.name in _USERS:
            spec = from_plain(JobSpec, dict(row.input["args"][0]))
            for name in _points(spec):
                used.setdefault(name, f"in use by the {spec.kind} job {row.workflow_id}")
    return used


def _points(spec: JobSpec) -> list[PointName]:
    request = spec.request
    if spec.kind is JobKind.VERIFY:
        return [PointName(VmId(vm), PointId(point)) for vm, point in request["points"]]
    members = request["members"] if spec.kind is JobKind.GROUP_RESTORE else [request]
    return [PointName(VmId(member["vm"]), PointId(member["point"])) for member in members]
