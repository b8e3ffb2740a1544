"""A prune as a job: killed in every phase and taken up again, refused when the plan moved, kept off points in use."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.alone import LonelyClient
from tests.support.client import wait_until
from vmtui import config
from vmtui.failpoint import NAMES
from vmtui.jobs import JobClient
from vmtui.model.errors import RefusedError
from vmtui.model.ids import JobId
from vmtui.model.job import JobKind, JobState
from vmtui.retention import ChosenPoint, PruneRequest

DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LonelyClient]:
    made = LonelyClient(tmp_path / "client", {"standard": {"last": 1}})
    yield made
    made.stop()


@pytest.mark.parametrize("phase", sorted(name for name in NAMES if name.startswith("prune.")))
def test_a_killed_prune_is_taken_up(client: LonelyClient, phase: str) -> None:
    points = [client.add(NOW - DAY * age) for age in range(3)]
    repository = client.open()
    repository.points.hold(points[2], "x", NOW)
    repository.points.release(points[2], NOW)
    job = client.ok("prune", "--yes", "--detach", "--json", failpoint=f"{phase}=kill").json["job"]
    pid = client.worker_pid
    assert pid is not None
    client.wait_worker_gone(pid)
    assert repository.points.lost() == []
    assert set(repository.points.names()) in ({points[0], points[1]}, {points[0], points[2]})
    client.ok("job", "watch", job)
    record = client.ok("job", "show", job, "--json").json
    assert record["state"] == "ok"
    assert record["result"]["deleted"] >= 1
    assert repository.points.names() == [points[0]]
    assert (repository.points.lost(), repository.points.marked()) == ([], [])


def ended(jobs: JobClient, job: JobId) -> JobState:
    wait_until(lambda: jobs.get(job).state.final, 60, "the job's end")
    return jobs.get(job).state


def test_a_plan_that_moved_is_refused(client: LonelyClient) -> None:
    points = [client.add(NOW - DAY * age) for age in range(3)]
    jobs = JobClient(config.load(client.config))
    request = PruneRequest(NOW, tuple(ChosenPoint(name.vm, name.id) for name in points[1:]))
    client.ok("verify", "--all")  # its worker is nobody's child
    client.ok("hold", points[1].id, "--reason", "wait")
    job = jobs.enqueue(JobKind.PRUNE, "", "", request)
    assert ended(jobs, job) is JobState.FAILED
    error = jobs.get(job).error
    assert error is not None
    assert (error["id"], error["exit_code"]) == ("PLAN-CHANGED", 5)
    assert client.open().points.names() == sorted(points)


def test_read_only_mode_is_refused_where_jobs_are_made_and_where_they_run(client: LonelyClient) -> None:
    points = [client.add(NOW - DAY * age) for age in range(2)]
    request = PruneRequest(NOW, (ChosenPoint(points[1].vm, points[1].id),))
    client.ok("verify", "--all")  # its worker is nobody's child
    settings = config.load(client.config)
    with pytest.raises(RefusedError):
        JobClient(settings, read_only=True).enqueue(JobKind.PRUNE, "", "", request)
    client.settings["read_only"] = True
    client.save()
    jobs = JobClient(settings)  # one that has not heard of it
    job = jobs.enqueue(JobKind.PRUNE, "", "", request)
    assert ended(jobs, job) is JobState.FAILED
    assert client.open().points.names() == sorted(points)


def test_points_that_a_restore_works_with_stay(client: LonelyClient) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client.settings["hosts"] = {
            "kvm1": {"address": "127.0.0.1", "port": silent.getsockname()[1], "deadline": 120.0}
        }
        client.save()
        points = [client.add(NOW - DAY * age) for age in range(3)]
        job = client.ok("restore", points[2].id, "--detach", "--json").json["job"]
        shown = {point["id"]: point for point in client.ok("prune", "--dry-run", "--json").json["points"]}
        assert shown[points[2].id]["reasons"] == [f"in use by the restore job {job}"]
        assert client.ok("prune", "--yes", "--json").json["deleted"] == 1
        assert client.open().points.names() == sorted([points[0], points[2]])
