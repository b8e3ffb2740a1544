"""Daemon threads that listen to hosts, repository and jobs, each at its own pace.

A hung host hangs its own thread and nothing else; what is shown of it grows old and says so.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtui.model.errors import FailedError, VmtuiError
from vmtui.model.host import Host, HostState
from vmtui.model.ids import VmId, is_host_subject
from vmtui.model.settings import Settings
from vmtui.overview.catalogue import KnownVm
from vmtui.overview.points import PointView, load_view, with_status
from vmtui.overview.vms import vm_rows
from vmtui.overview.words import host_state
from vmtui.tui import clock
from vmtui.tui.mailbox import Mailbox
from vmtui.tui.picture import CatalogueView, HostView, JobsView, PoolSpace

if TYPE_CHECKING:
    from vmtui.hosts import HostSession
    from vmtui.jobs import JobClient
    from vmtui.repository import PointName, Repository

HOST_PERIOD_S = 15.0
_BACK_OFF_S = (2.0, 5.0, 10.0, 20.0, 40.0)
_SLOW_FACTS_S = 60.0
"""Capabilities and pools are asked this often."""
CATALOGUE_PERIOD_S = 10.0
_STATS_S = 60.0
_KEPT = timedelta(hours=24)
"""Jobs that ended since then are all shown; of older ones, the newest."""
_JOBS_BUSY_S = 0.5
_JOBS_IDLE_S = 3.0
_ROWS_S = 20.0
"""Ages are put in order anew this often, when nothing else happens."""


class Feed(threading.Thread):
    """A daemon thread that looks, tells, and waits; `poke` shortens the wait."""

    def __init__(self, name: str, mailbox: Mailbox) -> None:
        super().__init__(name=name, daemon=True)
        self.mailbox = mailbox
        self._wake = threading.Event()
        self._ended = False

    def poke(self) -> None:
        """Look now."""
        self._wake.set()

    def end(self) -> None:
        """Stop after the present look; nobody waits for it."""
        self._ended = True
        self._wake.set()

    def run(self) -> None:
        """Look until the end."""
        while not self._ended:
            pause = guarded(self.name, self.look, self.mailbox)
            self._wake.wait(pause)
            self._wake.clear()

    @abstractmethod
    def look(self) -> float:
        """Look once.

        Returns:
            How long to wait [s].
        """


class HostFeed(Feed):
    """Listens to one host.

    Args:
        settings: The configuration.
        host: The host.
        mailbox: Where its views go, under `host:NAME`.
        before: What was known of it.
    """

    def __init__(self, settings: Settings, host: Host, mailbox: Mailbox, before: HostView | None) -> None:
        super().__init__(f"feed {host.name}", mailbox)
        self._settings = settings
        self._host = host
        self._view = before or HostView(host.name, HostState.CONNECTING, clock.now())
        self._view = replace(self._view, read_only=host.read_only or settings.read_only)
        self._session: HostSession | None = None
        self._failures = 0
        self._slow_at = 0.0

    def look(self) -> float:
        """Ask for all VMs; log in first where that is needed."""
        started = time.monotonic()
        try:
            self._tell(self._ask(started))
        except VmtuiError as error:
            return self._failed(error)
        self._failures = 0
        return HOST_PERIOD_S

    def _ask(self, started: float) -> HostView:
        from vmtui.hosts import connect
        from vmtui.hosts.inventory import list_vms

        if self._session is None or not self._session.alive:
            self._drop()
            self._session = connect(self._settings, self._host.name)
        with_metadata = any(rule.metadata is not None for rule in self._settings.rules)
        vms = tuple(list_vms(self._session, with_metadata=with_metadata))
        view = replace(
            self._view,
            vms=self._view.vms if vms == self._view.vms else vms,
            as_of=clock.now(),
            seconds=time.monotonic() - started,
            error=None,
            next_try=None,
        )
        if time.monotonic() - self._slow_at > _SLOW_FACTS_S or not self._slow_at:
            view = self._with_slow_facts(view, self._session)
            self._slow_at = time.monotonic()
        return view

    @staticmethod
    def _with_slow_facts(view: HostView, session: HostSession) -> HostView:
        from vmtui.hosts.capabilities import probe
        from vmtui.hosts.storage import pools

        found = tuple(PoolSpace(pool.name, pool.free, pool.size) for pool in pools(session) if pool.usable)
        return replace(view, capabilities=probe(session), pools=found)

    def _tell(self, view: HostView) -> None:
        if view.state is not HostState.CONNECTED:
            view = replace(view, state=HostState.CONNECTED, since=clock.now())
        self._view = view
        self.mailbox.put(f"host:{view.name}", view)

    def _failed(self, error: VmtuiError) -> float:
        self._drop()
        pause = _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)]
        self._failures += 1
        state = host_state(error)
        since = self._view.since if self._view.state is state else clock.now()
        self._view = replace(
            self._view,
            state=state,
            since=since,
            error=error.to_json(),
            next_try=clock.now() + timedelta(seconds=pause),
            seconds=None,
        )
        self.mailbox.put(f"host:{self._view.name}", self._view)
        return pause

    def _drop(self) -> None:
        session, self._session = self._session, None
        self._slow_at = 0.0
        if session is not None:
            session.close()


class CatalogueFeed(Feed):
    """Listens to the repository: points and what is known of them, under `catalogue`.

    Args:
        settings: The configuration.
        mailbox: Where its views go.
        before: What was known of it; stands until it is read.
    """

    def __init__(self, settings: Settings, mailbox: Mailbox, before: CatalogueView) -> None:
        super().__init__("feed repository", mailbox)
        self._settings = settings
        self._repository: Repository | None = None
        self._views: dict[PointName, PointView] = {}
        self._view = before
        self._stats_at = 0.0

    def look(self) -> float:
        """List points; read those that are new."""
        try:
            self._view = self._read()
        except VmtuiError as error:
            self._repository = None
            self._view = replace(self._view, error=error.to_json())
        self.mailbox.put("catalogue", self._view)
        return CATALOGUE_PERIOD_S

    def _read(self) -> CatalogueView:
        from vmtui.model.point import PointStatus
        from vmtui.opening import open_repository

        if self._repository is None:
            self._repository = open_repository(self._settings)
        repository = self._repository
        statuses = repository.points.statuses()
        lost = set(repository.points.lost())
        names = set(repository.points.names()) | lost
        for gone in [name for name in self._views if name not in names]:
            del self._views[gone]
        for name in sorted(names, key=lambda name: name.id, reverse=True):
            status = statuses.get(name, PointStatus())
            old = self._views.get(name)
            if old is None or not old.mode:
                new = load_view(repository, name, status)
                if new.mode or name in lost or repository.points.exists(name):  # else it was pruned just now
                    self._views[name] = new
            else:
                self._views[name] = with_status(old, status)
        newest_first = sorted(self._views.values(), key=lambda view: view.id, reverse=True)
        points = tuple(view for view in newest_first if not is_host_subject(view.uuid))
        of_hosts = tuple(view for view in newest_first if is_host_subject(view.uuid))
        view = replace(
            self._view,
            points=self._view.points if points == self._view.points else points,
            host_points=self._view.host_points if of_hosts == self._view.host_points else of_hosts,
            as_of=clock.now(),
            error=None,
            repository=repository.id,
            block_size=repository.block_size,
        )
        if not self._stats_at or time.monotonic() - self._stats_at > _STATS_S or points != self._view.points:
            stats = repository.stats()
            self._stats_at = time.monotonic()
            view = replace(
                view,
                packs=stats.packs,
                blobs=stats.blobs,
                stored_bytes=stats.stored_bytes,
                free_bytes=stats.free_bytes,
            )
        return view


class JobsFeed(Feed):
    """Listens to the job database, under `jobs`."""

    def __init__(self, settings: Settings, client: JobClient, mailbox: Mailbox) -> None:
        super().__init__("feed jobs", mailbox)
        self._settings = settings
        self._client = client
        self._seen: tuple[Any, ...] = ()
        self._view = JobsView()

    def look(self) -> float:
        """List jobs, unless the database was not touched."""
        from vmtui.jobs.worker import is_alive

        try:
            worker = is_alive(self._settings)
            marks = _marks(self._settings.state)
            if marks != self._seen or self._view.error is not None:
                records = tuple(self._client.recent(clock.now() - _KEPT))
                self._seen = marks
                self._view = replace(self._view, records=records, error=None)
            self._view = replace(self._view, worker=worker, as_of=clock.now())
        except VmtuiError as error:
            self._view = replace(self._view, error=error.to_json())
        self.mailbox.put("jobs", self._view)
        return _JOBS_BUSY_S if self._view.active else _JOBS_IDLE_S


def _marks(state: Path) -> tuple[Any, ...]:
    """Changes whenever the database does."""
    marks: list[Any] = []
    for name in ("jobs.sqlite", "jobs.sqlite-wal"):
        path = state / name
        if path.exists():
            stat = path.stat()
            marks.append((stat.st_mtime_ns, stat.st_size))
    return tuple(marks)


class Composer(Feed):
    """Puts VMs and points together off the screens' loop, under `rows`.

    Args:
        settings: Rules and tiers.
        mailbox: Where the rows go.
    """

    def __init__(self, settings: Settings, mailbox: Mailbox) -> None:
        super().__init__("composer", mailbox)
        self._settings = settings
        self._lock = threading.Lock()
        self._hosts: Mapping[str, HostView] = {}
        self._catalogue = CatalogueView()
        self._has_points = False

    def give(self, hosts: Mapping[str, HostView], catalogue: CatalogueView) -> None:
        """What to put together; the work begins at once."""
        with self._lock:
            self._hosts, self._catalogue = hosts, catalogue
        self.poke()

    def look(self) -> float:
        """Put together what was given last."""
        with self._lock:
            hosts, catalogue = self._hosts, self._catalogue
        rows = vm_rows(
            self._settings,
            [vm for view in hosts.values() for vm in view.vms],
            {name: _why_away(view) for name, view in hosts.items() if view.away or view.as_of is None},
            known_from(catalogue.points),
            clock.now(),
            catalogue.unknown_why,
        )
        self.mailbox.put("rows", tuple(rows))
        return _ROWS_S


def _why_away(view: HostView) -> str:
    return str(view.error["cause"]) if view.error is not None else f"{view.name} has not answered yet"


def known_from(points: tuple[PointView, ...]) -> dict[VmId, KnownVm]:
    """VMs that have points. Pure.

    Args:
        points: Newest first.
    """
    counts: dict[VmId, int] = {}
    first: dict[VmId, PointView] = {}
    good: dict[VmId, PointView] = {}
    for point in points:
        counts[point.uuid] = counts.get(point.uuid, 0) + 1
        first.setdefault(point.uuid, point)
        if point.good:
            good.setdefault(point.uuid, point)
    return {
        uuid: KnownVm(
            uuid=uuid,
            name=view.vm,
            host=view.host,
            points=counts[uuid],
            newest_good=good[uuid].time if uuid in good else None,
            newest_good_id=good[uuid].id if uuid in good else None,
        )
        for uuid, view in first.items()
    }


def guarded(name: str, look: Callable[[], float], mailbox: Mailbox) -> float:
    """Look, and report a fault of ours instead of losing the thread."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001  # the edge of the thread: a fault is shown in the log
        fault = FailedError("INTERNAL", f"a fault in vmtui itself: {type(error).__name__}: {error}")
        mailbox.put(f"fault:{name}", fault)
        return _BACK_OFF_S[-1]
