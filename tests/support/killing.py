"""Workers that die at a failpoint, and those that take up what they left."""

from __future__ import annotations

from typing import Any

from tests.support.client import Client


def start_and_die(client: Client, failpoint: str, *command: str) -> str:
    """Run a command whose worker dies at the failpoint; gives the job's id."""
    client.stop()
    result = client.ok(*command, "--detach", "--json", failpoint=f"{failpoint}=kill")
    job = str(result.json["job"])
    pid = client.worker_pid
    assert pid is not None
    client.wait_worker_gone(pid, 180)
    record = client.ok("job", "show", job, "--json").json
    assert record["state"] == "running", record
    return job


def finish(client: Client, job: str) -> dict[str, Any]:
    """A new worker takes the job up; gives the job as it ended."""
    client.run("job", "watch", job, timeout=180)
    record: dict[str, Any] = client.ok("job", "show", job, "--json").json
    assert record["state"] in ("ok", "ok with warnings", "failed", "cancelled"), record
    return record
