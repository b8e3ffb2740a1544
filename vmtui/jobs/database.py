"""Where DBOS keeps queue, steps and events."""

from __future__ import annotations

from vmtui.model.settings import Settings

APPLICATION = "vmtui"
QUEUE = "hosts"
AT_ONCE = "at once"
"""The queue of jobs that wait for no others."""
JOB_FORMAT = "1"
"""Version of what waits in the queue and of what steps return. It changes when old jobs cannot be gone on
with; an upgrade that leaves it alone takes running jobs up."""


def database_url(settings: Settings) -> str:
    """SQLite in the state folder."""
    return f"sqlite:///{settings.state / 'jobs.sqlite'}"


def partition(host: str, vm: str, jobs: int) -> str:
    """The queue partition of a job; each runs one at a time, and a host has as many as jobs may run on it."""
    return f"{host or 'repository'}/{sum(vm.encode()) % max(1, jobs)}"
