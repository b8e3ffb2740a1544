"""Restore points: manifests, and the history that is kept beside them.

A manifest is `points/<vm uuid>.<point id>`; an event is `events/<vm uuid>.<point id>.<event id>.<kind>`.
A point exists from the moment its manifest is durable. Right after that a `committed` event is written:
an event without its manifest tells that the manifest was lost. Events are never changed, so a store that only lets objects be added can hold them.

Deleting begins with a mark, `points/<vm uuid>.<point id>.deleted`. From then on the point is gone for everybody;
its manifest, its events and the mark itself follow in this order. So after a crash at any step it is whole or
gone, and neither its damage nor a hold was lost before it. Who adds to a history looks afterwards whether the
point still stands, and who deletes looks at the history after the mark: of two that meet, one always sees the other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from vmtui.failpoint import failpoint
from vmtui.model.codec import format_instant, from_plain, to_plain
from vmtui.model.errors import DamageError, UsageError
from vmtui.model.ids import PointId, VmId, id_instant, is_id, new_id
from vmtui.model.point import EventKind, PointEvent, PointStatus, RestorePoint
from vmtui.model.rehearsal import Evidence, Rehearsal
from vmtui.repository.records import Records
from vmtui.repository.store import EVENTS, POINTS, damaged

_POINT = re.compile(r"(?P<vm>[0-9a-f-]{36})\.(?P<point>[0-9a-z]{16})")
_MARK = re.compile(_POINT.pattern + r"\.deleted")
_EVIDENCE = "evidence"
"""Kind of the entries that hold what a rehearsal saw. They are large, and read only when somebody wants to see it."""
_EVENT = re.compile(_POINT.pattern + r"\.(?P<event>[0-9a-z]{16})\.(?P<kind>[a-z]+)")


@dataclass(frozen=True, slots=True, order=True)
class PointName:
    """Which point of which VM; sorts by VM, then by time."""

    vm: VmId
    id: PointId

    @property
    def key(self) -> str:
        """Its object's name."""
        return f"{self.vm}.{self.id}"

    @property
    def mark(self) -> str:
        """Name of the object that says that it is deleted."""
        return f"{self.key}.deleted"


class Points:
    """The restore points of a repository.

    Args:
        records: Its framed objects.
        repository: Its id.
    """

    def __init__(self, records: Records, repository: str) -> None:
        self._records = records
        self._store = records.store
        self._repository = repository

    # -- which there are -------------------------------------------------------------------------

    def names(self) -> list[PointName]:
        """Points whose manifests are there and that are not being deleted, sorted by VM and time."""
        return sorted(self._listed()[0])

    def stored_names(self) -> set[PointName]:
        """Points whose manifests are there, marked or not, by one listing: a mark may be taken back at any time."""
        return _point_names(_POINT, (item.name for item in self._store.list(POINTS)))

    def lost(self) -> list[PointName]:
        """Points that were committed and whose manifests are gone, though nobody deleted them."""
        committed = self._with_events()
        there, marked = self._listed()
        lost = committed - there - marked
        # One that was deleted between the two looks has no events any more; and a listing may be old.
        return sorted(name for name in lost & self._with_events() if self._vanished(name)) if lost else []

    def _vanished(self, name: PointName) -> bool:
        """Whether neither a manifest nor a mark is there, whatever a listing showed."""
        return all(self._store.size(POINTS, key) is None for key in (name.key, name.mark))

    def marked(self) -> list[PointName]:
        """Points whose deletion began and did not come to its end."""
        return sorted(self._listed()[1])

    def _listed(self) -> tuple[set[PointName], set[PointName]]:
        """(points that are there, points that are marked as deleted)."""
        names = [item.name for item in self._store.list(POINTS)]
        marked = _point_names(_MARK, names)
        return _point_names(_POINT, names) - marked, marked

    def _with_events(self) -> set[PointName]:
        return _point_names(_EVENT, (item.name for item in self._store.list(EVENTS)))

    def of(self, vm: VmId) -> list[PointName]:
        """Points of one VM, oldest first."""
        return [name for name in self.names() if name.vm == vm]

    # -- one of them -----------------------------------------------------------------------------

    def load(self, name: PointName) -> RestorePoint:
        """A point's manifest.

        Raises:
            DamageError: It is missing or not as written.
        """
        point = self.parse(name, self._store.get(POINTS, name.key))
        if (point.vm_uuid, point.id) != (name.vm, name.id) or point.repository != self._repository:
            raise damaged(POINTS, name.key, "it is another point's manifest")
        return point

    def parse(self, name: PointName, data: bytes) -> RestorePoint:
        """The manifest of a point whose bytes were read already.

        Raises:
            DamageError: It is not as written.
        """
        try:
            return from_plain(RestorePoint, self._records.parse(POINTS, name.key, data))
        except ValueError as error:
            raise damaged(POINTS, name.key, str(error)) from error

    def commit(self, point: RestorePoint) -> None:
        """Make a point exist, durably. Its packs and index segments must be durable already. Safe to repeat.

        Raises:
            FailedError: No space is left.
            UnreachableError: The store cannot be written.
        """
        name = PointName(point.vm_uuid, point.id)
        data = self._records.put(POINTS, name.key, to_plain(point))
        failpoint("backup.committed")
        self._tell_committed(name, point, data)

    def load_committed(self, name: PointName) -> RestorePoint:
        """The manifest of a point that a run has put already; it may have died before it said so in the history.

        Raises:
            DamageError: As for `load`.
            FailedError, UnreachableError: As for `commit`.
        """
        point = self.load(name)
        self._tell_committed(name, point, self._store.get(POINTS, name.key))
        return point

    def _tell_committed(self, name: PointName, point: RestorePoint, data: bytes) -> None:
        if not any(_kind(key) == EventKind.COMMITTED for key in self._events(name)):
            digest = hashlib.sha256(data).hexdigest()
            who = f"{point.host}/{point.vm_name}"
            self.record(name, PointEvent(EventKind.COMMITTED, point.finished, who, manifest=digest))

    def exists(self, name: PointName) -> bool:
        """Whether a point was committed and not deleted."""
        return self._store.size(POINTS, name.key) is not None and self._store.size(POINTS, name.mark) is None

    def stored(self, name: PointName) -> bool:
        """Whether a point's manifest is there, even if its deletion has begun: it may still be taken back."""
        return self._store.size(POINTS, name.key) is not None

    # -- deleting --------------------------------------------------------------------------------

    def delete(self, name: PointName, now: datetime) -> None:
        """Make a point cease to exist, durably. Nothing is refused; its blocks stay. Safe to repeat.

        Raises:
            UnreachableError: The store cannot be written; the point is whole or gone.
        """
        self.mark(name, now)
        self.erase(name)

    def mark(self, name: PointName, now: datetime) -> None:
        """Mark a point as deleted, durably; from here on it is gone, until `unmark`."""
        self._records.put(POINTS, name.mark, {"time": format_instant(now)})
        failpoint("prune.marked")

    def unmark(self, name: PointName) -> bool:
        """Take the mark away, if the point is whole.

        Returns:
            Whether it is there again.
        """
        if self._store.size(POINTS, name.key) is None:
            return False
        self._store.delete(POINTS, name.mark)
        self._store.flush()
        return True

    def erase(self, name: PointName) -> None:
        """Delete what there is of a marked point: manifest, events, mark. Safe to repeat."""
        self._store.delete(POINTS, name.key)
        self._store.flush()
        failpoint("prune.unlisted")
        for key in self._events(name):
            self._store.delete(EVENTS, key)
        self._store.flush()
        failpoint("prune.forgotten")
        self._store.delete(POINTS, name.mark)
        self._store.flush()

    # -- its history -----------------------------------------------------------------------------

    def record(self, name: PointName, event: PointEvent, *, overrules: bool = False) -> bool:
        """Add an entry to a point's history, durably.

        Args:
            name: The point.
            event: The entry.
            overrules: It comes after all that was said before, whatever clock the others had.

        Returns:
            Whether the point still stands; the entry of one that was deleted meanwhile is taken back.
        """
        key = f"{name.key}.{new_id(self._after_all(name, event.time) if overrules else event.time)}.{event.kind}"
        self._records.put(EVENTS, key, to_plain(event))
        if self.exists(name):
            return True
        self._store.delete(EVENTS, key)
        self._store.flush()
        return False

    def hold(self, name: PointName, reason: str, now: datetime) -> None:
        """See to it that no rule prunes a point, until `release`.

        Raises:
            UsageError: The point was deleted meanwhile.
        """
        self._say(name, EventKind.HELD, reason, now)

    def release(self, name: PointName, now: datetime) -> None:
        """Leave a point to the rules again.

        Raises:
            UsageError: The point was deleted meanwhile.
        """
        self._say(name, EventKind.RELEASED, "", now)

    def _say(self, name: PointName, kind: EventKind, detail: str, now: datetime) -> None:
        if not self.record(name, PointEvent(kind, now, detail), overrules=True):
            raise UsageError("NAME-UNKNOWN", f"The point {name.id} was deleted meanwhile.", point=name.id)

    def _after_all(self, name: PointName, now: datetime) -> datetime:
        """Now, or an instant after all entries of a history, if that is later."""
        before = [at for key in self._events(name) if (at := _said_at(key)) is not None]
        return max([now, *(at + timedelta(milliseconds=1) for at in before)])

    def history(self, name: PointName) -> list[PointEvent]:
        """A point's history, oldest first.

        Raises:
            DamageError: An entry is not as written.
        """
        return [self._event(key) for key in self._events(name) if _kind(key) in list(EventKind)]

    def rehearsed(self, name: PointName, rehearsal: Rehearsal, evidence: Evidence) -> bool:
        """Add a rehearsal to a point's history, after what it saw; durable. Safe to repeat for one job.

        Returns:
            Whether the point still stands.
        """
        told = [event.rehearsal.job for event in self.history(name) if event.rehearsal is not None]
        if rehearsal.job in told:
            return self.exists(name)
        entry = rehearsal.evidence or new_id(rehearsal.time)
        key = f"{name.key}.{entry}.{_EVIDENCE}"
        self._records.put(EVENTS, key, to_plain(evidence))
        failpoint("rehearsal.kept")
        event = PointEvent(EventKind.REHEARSED, rehearsal.time, rehearsal=replace(rehearsal, evidence=entry))
        if self.record(name, event):
            return True
        self._store.delete(EVENTS, key)
        self._store.flush()
        return False

    def evidence(self, name: PointName, entry: str) -> Evidence:
        """What a rehearsal saw.

        Raises:
            DamageError: It is missing or not as written.
        """
        key = f"{name.key}.{entry}.{_EVIDENCE}"
        try:
            return from_plain(Evidence, self._records.get(EVENTS, key))
        except ValueError as error:
            raise damaged(EVENTS, key, str(error)) from error

    def statuses(self) -> dict[PointName, PointStatus]:
        """What the histories say about all points; an unreadable entry counts as damage."""
        result: dict[PointName, PointStatus] = {}
        for item in self._store.list(EVENTS):
            match = _EVENT.fullmatch(item.name)
            if match is not None:
                name = PointName(VmId(match["vm"]), PointId(match["point"]))
                result[name] = self._advance(result.get(name, PointStatus()), item.name)
        return result

    def mend_history(self) -> None:
        """Write entries that cannot be read anew, from what their names and manifests say; durable."""
        for item in self._store.list(EVENTS):
            match = _EVENT.fullmatch(item.name)
            if match is None or match["kind"] not in list(EventKind):
                continue
            try:
                self._event(item.name)
            except DamageError:
                self._mend(item.name, PointName(VmId(match["vm"]), PointId(match["point"])), EventKind(match["kind"]))
        self._store.flush()

    def _mend(self, key: str, name: PointName, kind: EventKind) -> None:
        """Write an entry anew; one that said that a point was verified or rehearsed goes, as that can be done again."""
        if kind in (EventKind.VERIFIED, EventKind.REHEARSED):
            self._records.delete(EVENTS, key)
            return
        event = PointEvent(kind, id_instant(name.id), "written anew by a repair")
        if kind is EventKind.COMMITTED:
            try:
                data = self._store.get(POINTS, name.key)
                point = self.parse(name, data)
            except DamageError:
                return  # it is all that tells of the point
            digest = hashlib.sha256(data).hexdigest()
            event = PointEvent(kind, point.finished, f"{point.host}/{point.vm_name}", manifest=digest)
        self._records.put(EVENTS, key, to_plain(event))

    def status(self, name: PointName) -> PointStatus:
        """What its history says about one point."""
        status = PointStatus()
        for key in self._events(name):
            status = self._advance(status, key)
        return status

    def history_keys(self) -> dict[PointName, list[str]]:
        """Names of all entries by point, oldest first: one listing instead of one for each point."""
        found: dict[PointName, list[str]] = {}
        for item in self._store.list(EVENTS):
            match = _EVENT.fullmatch(item.name)
            if match is not None:
                found.setdefault(PointName(VmId(match["vm"]), PointId(match["point"])), []).append(item.name)
        return found

    def was_doubted(self, name: PointName, entries: list[str] | None = None) -> bool:
        """Whether anybody ever called it damaged, by the names of its entries alone."""
        return any(_kind(key) == EventKind.DAMAGED for key in (self._events(name) if entries is None else entries))

    def check_manifest(self, name: PointName, entries: list[str] | None = None) -> None:
        """Compare a manifest with what was recorded when it was committed.

        Args:
            name: The point.
            entries: From `history_keys`, where many points are checked.

        Raises:
            DamageError: They differ, or either is damaged.
        """
        data = self._store.get(POINTS, name.key)
        self.parse(name, data)
        keys = self._events(name) if entries is None else entries
        for event in [self._event(key) for key in keys if _kind(key) in list(EventKind)]:
            if event.kind is EventKind.COMMITTED and event.manifest != hashlib.sha256(data).hexdigest():
                raise damaged(POINTS, name.key, "it is not the manifest that was committed")

    def _advance(self, status: PointStatus, key: str) -> PointStatus:
        if _kind(key) not in list(EventKind) or _kind(key) == EventKind.COMMITTED:
            return status  # says nothing about the point's health, so it need not be read
        try:
            event = self._event(key)
        except DamageError as error:
            held = "its hold cannot be read" if key.endswith(f".{EventKind.HELD}") else status.held
            return replace(status, damaged=error.cause, held=held)
        if event.kind is EventKind.VERIFIED:
            return replace(status, verified=event.time, damaged="")
        if event.kind is EventKind.DAMAGED:
            return replace(status, damaged=event.detail or "damaged")
        if event.kind is EventKind.HELD:
            return replace(status, held=event.detail or "no reason was given")
        if event.kind is EventKind.RELEASED:
            return replace(status, held=None)
        if event.kind is EventKind.REHEARSED and event.rehearsal is not None:
            proven = event.rehearsal if event.rehearsal.bootable else status.proven
            return replace(status, rehearsed=event.rehearsal, proven=proven)
        return status

    def _event(self, key: str) -> PointEvent:
        try:
            return from_plain(PointEvent, self._records.get(EVENTS, key))
        except ValueError as error:
            raise damaged(EVENTS, key, str(error)) from error

    def _events(self, name: PointName) -> list[str]:
        prefix = f"{name.key}."
        return [item.name for item in self._store.list(EVENTS) if item.name.startswith(prefix)]


def _kind(key: str) -> str:
    """The kind in an event's name. A newer vmtui may write some that this one does not know; they are left alone."""
    return key.rpartition(".")[2]


def _said_at(key: str) -> datetime | None:
    """The instant in an event's name; None for a name that no vmtui gave."""
    match = _EVENT.fullmatch(key)
    if match is None or not is_id(match["event"]):
        return None
    try:
        return id_instant(match["event"])
    except OverflowError:
        return None


def _point_names(form: re.Pattern[str], names: Iterable[str]) -> set[PointName]:
    matches = (form.fullmatch(name) for name in names)
    return {PointName(VmId(match["vm"]), PointId(match["point"])) for match in matches if match is not None}


def newest_good(names: Iterable[PointName], statuses: Mapping[PointName, PointStatus]) -> PointName | None:
    """The newest point without known damage."""
    good = [name for name in names if not statuses.get(name, PointStatus()).damaged]
    return max(good, key=lambda name: name.id, default=None)
