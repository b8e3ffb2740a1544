"""What the jobs of one worker share: configuration, logins, the repository."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from vmtui import config
from vmtui.backup import BackupContext
from vmtui.hosts import HostSession, connect
from vmtui.model.errors import UnreachableError, UsageError
from vmtui.model.job import JobSpec
from vmtui.model.progress import Watch
from vmtui.model.settings import Settings
from vmtui.opening import open_repository
from vmtui.rehearsal import RehearsalContext
from vmtui.repository import Repository
from vmtui.restore import RestoreContext


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


class Logins:
    """Logins of one job, by host; a dead one is replaced."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sessions: dict[str, HostSession] = {}

    def get(self, host: str) -> HostSession:
        """A living login.

        Raises:
            UsageError: There is no host of that name.
            UnreachableError: It does not answer.
        """
        session = self._sessions.get(host)
        if session is not None and session.alive:
            return session
        if session is not None:
            session.close()
            del self._sessions[host]
        self._sessions[host] = connect(self._settings, host)
        return self._sessions[host]

    def get_if_reachable(self, host: str) -> HostSession | None:
        """A living login, or None when the host is not configured or does not answer."""
        if host not in self._settings.hosts:
            return None
        try:
            return self.get(host)
        except UnreachableError:
            return None

    def close(self) -> None:
        """End all."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()


class World:
    """The surroundings of the jobs of one worker.

    Args:
        path: The configuration file; read again for each job, so that new hosts are known.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: Settings | None = None
        """The configuration when it was last right."""
        self._slots: dict[str, threading.BoundedSemaphore] = {}
        self._logins: dict[str, Logins] = {}
        """By job."""
        self._lock = threading.Lock()

    def settings(self, *, or_last: bool = False) -> Settings:
        """The configuration as it is now.

        Args:
            or_last: If it is wrong now, give it as it was when it was last right.

        Raises:
            UsageError: It is wrong.
        """
        try:
            self._last = config.load(self._path)
        except UsageError:
            if not or_last or self._last is None:
                raise
        return self._last

    def repository(self, settings: Settings) -> Repository:
        """The repository.

        Raises:
            UsageError, DamageError, UnreachableError: It cannot be opened.
        """
        return open_repository(settings)

    @contextmanager
    def job(self, job: str) -> Iterator[None]:
        """A job runs: its logins live from step to step and end with it."""
        try:
            yield
        finally:
            self.leave(job)

    def logins(self, settings: Settings, job: str) -> Logins:
        """The logins of a job, made by its first step."""
        with self._lock:
            return self._logins.setdefault(job, Logins(settings))

    def leave(self, job: str) -> None:
        """End the logins of a job, if it has any; its next step makes new ones."""
        with self._lock:
            logins = self._logins.pop(job, None)
        if logins is not None:
            logins.close()

    @contextmanager
    def slot(self, settings: Settings, spec: JobSpec) -> Iterator[None]:
        """Waits until the host may run one more job; recovered jobs do not pass the queue's own limit."""
        host = settings.hosts.get(spec.host)
        with self._lock:
            slots = self._slots.setdefault(spec.host, threading.BoundedSemaphore(host.jobs if host is not None else 1))
        with slots:
            yield

    def backup_context(self, settings: Settings, spec: JobSpec, logins: Logins, watch: Watch) -> BackupContext:
        """What a backup works with."""
        return BackupContext(
            open_session=lambda: logins.get(spec.host),
            repository=self.repository(settings),
            level=settings.compression_level,
            state=settings.state,
            watch=watch,
            now=utc_now,
        )

    def restore_context(
        self, settings: Settings, host: str, origin: str, logins: Logins, watch: Watch
    ) -> RestoreContext:
        """What a restore works with."""
        return RestoreContext(
            open_session=lambda: logins.get(host),
            open_origin=lambda: logins.get_if_reachable(origin),
            repository=self.repository(settings),
            state=settings.state,
            watch=watch,
            now=utc_now,
        )

    def rehearsal_context(self, settings: Settings, spec: JobSpec, logins: Logins, watch: Watch) -> RehearsalContext:
        """What a rehearsal works with."""
        return RehearsalContext(
            open_session=lambda: logins.get(spec.host),
            repository=self.repository(settings),
            state=settings.state,
            watch=watch,
            asked=spec.asked,
            now=utc_now,
        )
