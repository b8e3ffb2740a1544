"""The queue: which jobs wait for others, which are listed, and which are never run again from their record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.alone import LonelyClient
from tests.support.client import wait_until
from vmtui import config, keyring
from vmtui.jobs import JobClient, handover, worker
from vmtui.jobs.database import AT_ONCE, QUEUE
from vmtui.model.errors import RefusedError
from vmtui.model.ids import JobId
from vmtui.model.job import JobKind, JobState


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LonelyClient]:
    made = LonelyClient(tmp_path / "client", {"standard": {"last": 1}})
    made.ok("verify", "--all", "--quick")
    yield made
    made.stop()


@pytest.fixture
def jobs(client: LonelyClient, monkeypatch: pytest.MonkeyPatch) -> JobClient:
    """A client of a queue that nobody serves."""
    client.stop()
    monkeypatch.setattr(worker, "ensure", lambda _: None)
    monkeypatch.setattr(handover, "hand_over", lambda _: True)
    return JobClient(config.load(client.config))


def row(jobs: JobClient, job: JobId) -> Any:
    (found,) = jobs._client().list_workflows(workflow_ids=[job])
    return found


@pytest.mark.parametrize("kind", JobKind)
def test_only_a_vm_that_is_wanted_at_once_waits_for_nobody(jobs: JobClient, kind: JobKind) -> None:
    waits = row(jobs, jobs.enqueue(kind, "", "web1", {})).queue_name
    assert waits == (AT_ONCE if kind is JobKind.INSTANT else QUEUE)


def test_a_job_that_has_not_ended_is_listed_however_old_it_is(jobs: JobClient) -> None:
    (ended,) = jobs.newest(10)
    made = [jobs.enqueue(JobKind.VERIFY, "", str(number), {}) for number in range(8)]
    now = datetime.now(UTC)
    assert [record.id for record in jobs.newest(3)] == made[:4:-1]
    assert [record.id for record in jobs.recent(now - timedelta(hours=1), limit=3)] == [*made[::-1], ended.id]
    assert [record.id for record in jobs.recent(now, limit=3)] == made[::-1]


@pytest.mark.parametrize(
    ("kind", "request_"),
    [
        *((kind, {}) for kind in (JobKind.RESTORE, JobKind.GROUP_RESTORE, JobKind.INSTANT, JobKind.PRUNE)),
        (JobKind.REVERT, {"discard": True}),
        (JobKind.REPAIR, {"give_up": [["vm", "point"]]}),
    ],
)
def test_what_was_agreed_to_once_is_not_run_again(jobs: JobClient, kind: JobKind, request_: dict[str, Any]) -> None:
    job = jobs.enqueue(kind, "", "web1", request_)
    with pytest.raises(RefusedError) as caught:
        jobs.again(job)
    assert caught.value.id == "CONFIRM-MISSING"
    assert jobs.newest(1)[0].id == job


def test_again_asks_where_the_job_itself_asked(client: LonelyClient) -> None:
    verified = client.ok("jobs", "--json").json[0]["id"]
    client.ok("gc")
    collected = client.ok("jobs", "--json").json[0]["id"]
    refused = client.run("job", "again", collected, "--json")
    assert (refused.code, refused.json["error"]["id"]) == (5, "CONFIRM-MISSING")
    assert len(client.ok("jobs", "--json").json) == 2
    for job, options in ((collected, ["--yes"]), (verified, [])):
        new = client.ok("job", "again", job, *options, "--json").json["job"]
        client.ok("job", "watch", new)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a worker outlives who started it
def test_after_a_killed_worker_a_new_one_is_only_ready_when_it_listens(
    client: LonelyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "_kept", {"kvm1": "typed"})
    settings = config.load(client.config)
    left = client.state / "worker.pid"
    for _ in range(3):
        client.kill_worker()
        wait_until(lambda: not worker.is_alive(settings), 10, "the last thread of the killed worker")
        assert left.exists()
        worker.ensure(settings)
        os.kill(int(left.read_text()), 0)
        assert handover.hand_over(settings.state)


def test_a_job_is_shown_with_times_of_its_place(client: LonelyClient) -> None:
    from vmtui.model.codec import parse_instant
    from vmtui.overview.words import local

    (record,) = client.ok("jobs", "--json").json
    assert record["state"] == JobState.OK
    said = client.ok("job", "show", record["id"]).out
    for phase in client.ok("job", "show", record["id"], "--json").json["phases"]:
        assert f"{local(parse_instant(phase['at']))}  {phase['phase']}" in said
