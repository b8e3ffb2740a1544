"""Read-only mode is kept where work is asked for and again where it is done, whatever the screens say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.alone import LonelyClient
from tests.support.client import wait_until
from tests.support.pictures import job, settings
from vmtui import config
from vmtui.jobs import JobClient, worker
from vmtui.model.errors import ExitCode, RefusedError
from vmtui.model.job import JobKind, JobRecord, JobState

CHANGING = {
    JobKind.BACKUP,
    JobKind.RESTORE,
    JobKind.GROUP_RESTORE,
    JobKind.INSTANT,
    JobKind.REVERT,
    JobKind.REHEARSE,
    JobKind.PRUNE,
    JobKind.GC,
    JobKind.REPAIR,
    JobKind.SYNC,
    JobKind.HOST_BACKUP,
    JobKind.HOST_RESTORE,
}
LOOKING = {JobKind.VERIFY, JobKind.EXPORT}
"""They read the repository; an export writes a file that is not there yet, on this machine."""


def test_every_kind_is_one_or_the_other() -> None:
    assert set(JobKind) == CHANGING | LOOKING
    assert not CHANGING & LOOKING
    assert {kind for kind in JobKind if kind.changes} == CHANGING


class GotThroughError(Exception):
    """The request was not refused."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Workers that a client wanted; none is started."""
    wanted: list[Any] = []

    def ensure(asked: Any) -> None:
        wanted.append(asked)
        raise GotThroughError

    monkeypatch.setattr(worker, "ensure", ensure)
    return wanted


def refused(client: JobClient, kind: JobKind, host: str) -> bool:
    with pytest.raises((RefusedError, GotThroughError)) as caught:
        client.enqueue(kind, host, "web1", {})
    if not isinstance(caught.value, RefusedError):
        return False
    assert (caught.value.id, caught.value.exit_code) == ("READ-ONLY", ExitCode.REFUSED)
    return True


@pytest.mark.parametrize("kind", JobKind)
def test_the_client_refuses_what_changes(tmp_path: Path, started: list[Any], kind: JobKind) -> None:
    writable = settings(tmp_path)
    for client in (JobClient(replace(writable, read_only=True)), JobClient(writable, read_only=True)):
        assert refused(client, kind, "kvm1") == (kind in CHANGING)
    assert refused(JobClient(writable), kind, "kvm2") == (kind in CHANGING), "kvm2 is set to read-only"
    assert not refused(JobClient(writable), kind, "kvm1")
    assert len(started) == (1 if kind in CHANGING else 4)


PHASES = ({"phase": "moving", "disk": "", "at": "2026-03-14T11:59:00.000000Z"},)
BACKUP = job(1, JobState.RUNNING, host="kvm2")
ON_CLOSED_HOST = job(2, JobState.RUNNING, kind=JobKind.INSTANT, host="kvm2", phases=PHASES)
ON_OPEN_HOST = job(3, JobState.RUNNING, kind=JobKind.INSTANT, host="kvm1", phases=PHASES)


@pytest.mark.parametrize(
    ("record", "discard", "read_only", "stops"),
    [
        (BACKUP, False, True, False),
        (BACKUP, False, False, True),  # a host that was set to read-only meanwhile is still cleaned up
        (ON_OPEN_HOST, True, True, False),
        (ON_OPEN_HOST, True, False, True),
        (ON_CLOSED_HOST, True, False, False),
    ],
)
def test_stopping_a_job_is_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: JobRecord, discard: bool, read_only: bool, stops: bool
) -> None:
    """Nobody who only looks stops the work of others, or throws away a VM of a host that keeps its VMs."""
    client = JobClient(settings(tmp_path), read_only=read_only)
    told: list[Any] = []
    monkeypatch.setattr(client, "get", lambda _: record)
    monkeypatch.setattr(client, "_client", lambda: _Told(told))
    monkeypatch.setattr(worker, "ensure", lambda _: None)
    if stops:
        client.cancel(record.id, discard=discard)
    else:
        with pytest.raises(RefusedError, match="read-only"):
            client.cancel(record.id, discard=discard)
    assert bool(told) is stops


class _Told:
    def __init__(self, told: list[Any]) -> None:
        self._told = told

    def update_workflow_attributes(self, *arguments: Any, **_: Any) -> None:
        self._told.append(arguments)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LonelyClient]:
    made = LonelyClient(tmp_path / "client", {"standard": {"last": 1}})
    yield made
    made.stop()


def test_the_worker_refuses_what_changes(client: LonelyClient) -> None:
    """Jobs of a client that knows of no read-only mode: the worker reads the configuration anew, and does none of it."""
    jobs = JobClient(config.load(client.config))
    client.ok("repo", "check")
    client.config.write_text("read_only = true\n" + client.config.read_text())
    asked = {jobs.enqueue(kind, "", "", {}): kind for kind in sorted(CHANGING)}

    def record(id_: Any) -> JobRecord:
        wait_until(lambda: jobs.get(id_).state.final, 60, "the job's end")
        return jobs.get(id_)

    for id_, kind in asked.items():
        ended = record(id_)
        assert ended.state is JobState.FAILED
        assert ended.error is not None
        assert (kind, ended.error["id"]) == (kind, "READ-ONLY"), ended.error
