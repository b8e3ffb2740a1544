"""Records of running writers, so that a later garbage collection can wait for them.

What a run has stored is garbage until its manifest exists. A collection therefore names the garbage, waits
until every session that began before has ended or expired, and deletes what is garbage still. So a
session MUST span the whole run, be renewed, and be there when the manifest is written.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from vmtui.model.codec import format_instant, parse_instant
from vmtui.model.errors import DamageError, FailedError, RefusedError
from vmtui.model.ids import JobId
from vmtui.repository import frame
from vmtui.repository.store import SESSIONS, ObjectStore

EXPIRY = timedelta(hours=24)
"""A session that was not renewed for this long has ended."""


class WriterSession:
    """The session of one run.

    Args:
        store: The repository's objects.
        run: The run; names the session.
    """

    def __init__(self, store: ObjectStore, run: JobId) -> None:
        self._store = store
        self._run = run

    def open(self, now: datetime) -> None:
        """Begin it, durably, before anything is stored, or renew it: an older beginning stays.

        A store that refuses to overwrite keeps it as it began, so there it stands for as long as one renewal.

        Raises:
            FailedError: No space is left.
            UnreachableError: The store cannot be written.
        """
        began = self._began()
        try:
            self._put(began or now, now)
        except RefusedError:
            if began is None:
                raise

    def require(self, now: datetime) -> None:
        """Return if the session still stands, so that what the run stored cannot have been collected.

        Raises:
            FailedError: It ended or expired.
        """
        value = self._value()
        if value is None or now - parse_instant(value["renewed"]) > EXPIRY:
            raise FailedError(
                "JOB-INTERRUPTED", "The run was interrupted for so long that its data may have been collected."
            )

    def close(self) -> bool:
        """End it; safe to repeat.

        Returns:
            False when the store refuses to delete; the session ends by itself then, when it expires.
        """
        try:
            self._store.delete(SESSIONS, self._run)
        except RefusedError:
            return False
        return True

    def _put(self, began: datetime, now: datetime) -> None:
        value = {"began": format_instant(began), "renewed": format_instant(now)}
        self._store.put(SESSIONS, self._run, frame.seal(SESSIONS, self._run, value))
        self._store.flush()

    def _began(self) -> datetime | None:
        value = self._value()
        return None if value is None else parse_instant(value["began"])

    def _value(self) -> Any:
        if self._store.size(SESSIONS, self._run) is None:
            return None
        try:
            return frame.unseal(SESSIONS, self._run, self._store.get(SESSIONS, self._run))
        except DamageError:
            return None  # it is written anew; a damaged session protects nothing
