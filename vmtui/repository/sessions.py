"""Records of running writers, so that a garbage collection waits for those that may rely on what it named.

A collection names garbage first, then looks for sessions, and deletes only when none is left that does not
say it has *seen* that record. A writer puts its session first, then looks for records, and stores anew what
they name. Whichever came first, one of the two knows of the other; no clock takes part in it.
A run must not say that it has seen a record when its parent point may rely on what that record names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from vmtui.model.codec import format_instant, parse_instant
from vmtui.model.errors import DamageError, FailedError, RefusedError
from vmtui.model.ids import JobId, id_instant, is_id, new_id
from vmtui.model.point import RestorePoint
from vmtui.repository.health import Named
from vmtui.repository.records import Records
from vmtui.repository.store import SESSIONS

EXPIRY = timedelta(hours=24)
"""A run that did not renew its session for this long must not commit."""
ABANDONED = EXPIRY + timedelta(hours=2)
"""A collection takes a session for ended after this long: clocks may differ by up to two hours."""
_DUE = timedelta(minutes=20)


Clock = Callable[[], datetime]
"""Gives the instant [UTC]."""


class WriterSession:
    """The session of one run: records, each under a name of its own, of which the newest counts.

    Args:
        records: The repository's framed objects.
        run: The run; names the session.
    """

    def __init__(self, records: Records, run: JobId) -> None:
        self._records = records
        self._run = run
        self._renewed: datetime | None = None

    def begin(self, now: datetime) -> None:
        """Put it, durably, before anything is stored or relied on; one that is there already goes on.

        Raises:
            FailedError: No space is left.
            UnreachableError: The store cannot be written.
        """
        if self._newest() is None:
            self._put({"began": format_instant(now), "renewed": format_instant(now), "saw": None}, now)

    def declare(self, named: Iterable[Named], parent: RestorePoint | None) -> tuple[str, ...]:
        """Say which records of garbage this run has seen. When it was said already, that stays.

        Args:
            named: Records that were read after `begin`, and whose packs the run will not rely on.
            parent: The point whose blobs the run carries over without looking at them.

        Returns:
            Those that it could say so of.

        Raises:
            FailedError: The session ended, or what it said earlier does not hold for this parent.
        """
        value = self._newest()
        if value is None:
            raise self._interrupted()
        named = list(named)
        if value["saw"] is None:
            value["saw"] = sorted(item.id for item in named if _independent(item, parent))
            self._put(value, parse_instant(value["renewed"]))
        elif any(item.id in value["saw"] and not _independent(item, parent) for item in named):
            raise self._interrupted()
        return tuple(value["saw"])

    def renew(self, now: datetime) -> None:
        """Tell that the run goes on; at least every hour.

        Raises:
            FailedError: The session ended or expired: what the run stored may have been collected.
        """
        value = self._standing(now)
        value["renewed"] = format_instant(now)
        self._put(value, now)
        self._renewed = now

    def keep(self, now: datetime) -> None:
        """Renew it when that is due; cheap enough to be called for each object.

        Raises:
            FailedError: As for `renew`.
        """
        if self._renewed is None or now - self._renewed > _DUE:
            self.renew(now)

    def require(self, now: datetime) -> None:
        """Return if the session still stands, so that what the run stored cannot have been collected.

        Raises:
            FailedError: It ended or expired.
        """
        self._standing(now)

    def close(self, now: datetime) -> None:
        """End it; safe to repeat.

        A last record says when, where nothing may be deleted, and where listings may be old: there a session that
        is gone tells nobody whether its point can be seen yet. A collection removes it later.
        """
        if self._records.store.exact_listings:
            try:
                for name in self._names():
                    self._records.delete(SESSIONS, name)
                return
            except RefusedError:
                pass  # then it is said instead
        value = self._newest()
        if value is not None:
            self._put(value | {"ended": True, "renewed": format_instant(now)}, now)

    def _standing(self, now: datetime) -> Any:
        value = self._newest()
        if value is None or now - parse_instant(value["renewed"]) > EXPIRY:
            raise self._interrupted()
        return value

    def _put(self, value: Any, now: datetime) -> None:
        """A newer record, durably; then away with the older ones, where that is allowed."""
        old = self._names()
        after = max([now, *(id_instant(name.rpartition(".")[2]) + timedelta(milliseconds=1) for name in old)])
        self._records.put(SESSIONS, f"{self._run}.{new_id(after)}", value)
        try:
            for name in old:
                self._records.delete(SESSIONS, name)
        except RefusedError:
            return

    def _names(self) -> list[str]:
        return _by_run(self._records).get(self._run, [])

    def _newest(self) -> Any:
        """The newest record; None when there is none, when it says that the run ended, or when it is damaged."""
        names = self._names()
        if not names:
            return None
        try:
            value = self._records.get(SESSIONS, names[-1])
        except DamageError:
            return None  # a damaged record protects nothing
        return None if value.get("ended") else value

    @staticmethod
    def _interrupted() -> FailedError:
        return FailedError(
            "JOB-INTERRUPTED", "The run was interrupted for so long that its data may have been collected."
        )


def _by_run(records: Records) -> dict[str, list[str]]:
    """Names of the records of each run, oldest first."""
    found: dict[str, list[str]] = {}
    for item in records.list(SESSIONS):
        run, dot, number = item.name.rpartition(".")
        if dot and is_id(number):
            found.setdefault(run, []).append(item.name)
    return found


def _independent(named: Named, parent: RestorePoint | None) -> bool:
    """Whether nothing that a parent point consists of can be among what was named."""
    return parent is None or f"{parent.vm_uuid}.{parent.id}" in named.points or named.id in parent.saw


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A writer as others see it."""

    run: str
    renewed: datetime | None
    """None when its newest record cannot be read: it is then taken for a running one."""
    saw: frozenset[str]
    closed: bool = False
    """Whether it says itself that it has ended, at `renewed`."""

    def ended(self, now: datetime) -> bool:
        """Whether it cannot commit any more."""
        return self.closed or (self.renewed is not None and now - self.renewed > ABANDONED)

    def settled(self, now: datetime, patience: timedelta) -> bool:
        """Whether it has ended for so long that whatever it committed is seen by everybody."""
        return self.ended(now) and self.renewed is not None and now - self.renewed >= patience


def sessions(records: Records) -> list[SessionInfo]:
    """All sessions that are there."""
    found = []
    for run, names in _by_run(records).items():
        try:
            value = records.get(SESSIONS, names[-1])
            saw = frozenset(value["saw"] or ())
            info = SessionInfo(run, parse_instant(value["renewed"]), saw, bool(value.get("ended")))
        except DamageError:
            if run not in _by_run(records):
                continue  # it ended since it was listed
            info = SessionInfo(run, None, frozenset())
        found.append(info)
    return found


def forget(records: Records, run: str) -> None:
    """Remove the records of a session that has ended."""
    for name in _by_run(records).get(run, []):
        records.delete(SESSIONS, name)
