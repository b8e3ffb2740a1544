"""Which points jobs work with, by what waits in the queue."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from tests.support.repositories import VM
from vmtui.backup import BackupRequest
from vmtui.jobs.usage import points_in_use
from vmtui.model.codec import to_plain
from vmtui.model.ids import PointId, VmId
from vmtui.model.job import JobKind, JobSpec
from vmtui.model.point import Mode
from vmtui.repository import PointName
from vmtui.restore import RestoreRequest
from vmtui.restore.export import ExportRequest
from vmtui.restore.group import GroupRequest
from vmtui.retention import ChosenPoint, PruneRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OTHER = VmId("99999999-2222-3333-4444-555555555555")


def row(kind: JobKind, request: Any, job: str) -> Any:
    spec = JobSpec(kind, "north", "web1", to_plain(request), "ops@console", NOW)
    return SimpleNamespace(name=kind.value, workflow_id=job, input={"args": [to_plain(spec)]})


def test_what_jobs_were_asked_for_is_in_use() -> None:
    one, two, three, four, five, six = (PointId(f"{number:016d}") for number in range(6))
    group = GroupRequest((RestoreRequest(VM, six, "north"), RestoreRequest(OTHER, one, "north")))
    rows = [
        row(JobKind.RESTORE, RestoreRequest(VM, one, "north"), "a"),
        row(JobKind.INSTANT, RestoreRequest(VM, five, "north", instant=True), "i"),
        row(JobKind.GROUP_RESTORE, group, "r"),
        row(JobKind.EXPORT, ExportRequest(VM, two, "vda", "/tmp/x", "raw"), "b"),
        row(JobKind.VERIFY, {"points": [[VM, three], [VM, one]], "all": False}, "c"),
        row(JobKind.VERIFY, {"points": [], "all": True}, "d"),
        row(JobKind.BACKUP, BackupRequest("north", VM, "web1", Mode.HOT), "e"),
        row(JobKind.PRUNE, PruneRequest(NOW, (ChosenPoint(VM, four),)), "f"),
        SimpleNamespace(name="somebody else's", workflow_id="g", input=None),
    ]
    assert points_in_use(rows) == {
        PointName(VM, one): "in use by the restore job a",
        PointName(VM, five): "in use by the instant job i",
        PointName(VM, six): "in use by the group restore job r",
        PointName(OTHER, one): "in use by the group restore job r",
        PointName(VM, two): "in use by the export job b",
        PointName(VM, three): "in use by the verify job c",
    }
