"""A copy of a repository at a second place: the same objects under the same names.

Objects never change, so only what is missing is sent, and a copy that was broken off goes on where it was.
The order is that of a backup: packs, then index segments, then manifests, each proven before the next, so
the copy is a whole repository at every instant. What was deleted at the source stays in the copy until the
copy itself is pruned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vmtui.model.errors import DamageError, FailedError, RefusedError, UsageError
from vmtui.model.ids import JobId
from vmtui.model.pace import Pace
from vmtui.model.point import EventKind
from vmtui.model.progress import Watch
from vmtui.repository import segments
from vmtui.repository.health import named_garbage, quarantined
from vmtui.repository.keys import PLAIN
from vmtui.repository.packs import check_name
from vmtui.repository.points import PointName
from vmtui.repository.reach import Reach
from vmtui.repository.records import Records
from vmtui.repository.repository import Repository
from vmtui.repository.sessions import Clock
from vmtui.repository.store import CONFIG, EVENTS, INDEX, KEYS, PACKS, POINTS, QUARANTINE, ObjectStore, damaged

_TRIES = 5
"""How often a copy begins anew because a collection at the source changed what it was copying."""


@dataclass(slots=True)
class Mirrored:
    """What was sent."""

    packs: int = 0
    sent_bytes: int = 0
    points: int = 0
    damage: list[str] = field(default_factory=list)
    """What could not be copied, because it is damaged at the source."""


def open_copy(source: Repository, store: ObjectStore, open_at: Callable[[], Repository]) -> Repository:
    """The copy at a place; begun there when the place is new.

    Args:
        source: What is copied.
        store: The place.
        open_at: Opens the repository at that place.

    Raises:
        RefusedError: Something else is there.
    """
    try:
        copy = open_at()
    except UsageError as error:
        if error.id != "REPO-NOT-INITIALISED":
            raise
        _begin(source, store)
        copy = open_at()
    if copy.id != source.id:
        raise RefusedError(
            "TARGET-EXISTS",
            f"Another repository is at {store.url}.",
            next_step="A copy needs a place of its own.",
        )
    return copy


def _begin(source: Repository, store: ObjectStore) -> None:
    """Make the place, and say what repository it holds; all else follows when it is brought up to date."""
    store.create()
    for item in source.store.list(CONFIG):
        data = source.store.get(CONFIG, item.name)
        Records(source.store, PLAIN).parse(CONFIG, item.name, data)
        store.put(CONFIG, item.name, data)
    store.flush()


@dataclass(frozen=True, slots=True)
class _Pack:
    """A pack that is to be at the copy; what is in it is not kept in memory."""

    name: str
    size: int


def mirror(
    source: Repository, copy: Repository, run: JobId, watch: Watch, clock: Clock, *, rate: int | None = None
) -> Mirrored:
    """Bring a copy up to date.

    Args:
        source: Open.
        copy: Of the same repository, open.
        run: Names the session at the copy.
        watch: Progress and cancelling.
        clock: Gives the instant [UTC].
        rate: Bytes a second; None for no limit.

    Raises:
        RefusedError: A collection at the copy is about to delete what is needed.
        FailedError: No space is left.
        UnreachableError: One of the two does not answer.
    """
    session = copy.session(run)
    session.begin(clock())
    try:
        copy.declare(run, None)
        work = _Mirror(source, copy, watch, Pace(rate), lambda: session.keep(clock()))
        for _ in range(_TRIES):
            if work.run():
                break
        else:
            raise FailedError("REPO-BUSY", "The source was collected again and again while it was copied.")
        return work.result
    finally:
        session.close(clock())
        copy.store.flush()


class _Mirror:
    def __init__(
        self, source: Repository, copy: Repository, watch: Watch, pace: Pace, keep: Callable[[], None]
    ) -> None:
        self._source = source
        self._copy = copy
        self._watch = watch
        self._pace = pace
        self._keep = keep
        self._bad: set[str] = set()
        self.result = Mirrored()

    def run(self) -> bool:
        """Copy what is missing.

        Returns:
            False when a collection at the source moved blobs meanwhile, so that it must begin anew.
        """
        self._copy_keys()
        points = self._source.points.names()
        wanted = self._segments()
        self._refuse_condemned(wanted)
        if not self._copy_packs(wanted) or not self._copy_segments(wanted):
            return False
        self._copy.sync()
        return self._copy_points(points)

    def _segments(self) -> dict[str, list[_Pack]]:
        """What each index segment of the source names."""
        found = {}
        for item in self._source.store.list(INDEX):
            self._watch.check()
            try:
                packs = segments.read(self._source.store, item.name, self._source.keys)
                found[item.name] = [_Pack(pack.name, pack.size) for pack in packs]
            except DamageError as error:
                if self._source.store.size(INDEX, item.name) is not None:
                    self._note(error)
        return found

    def _refuse_condemned(self, wanted: dict[str, list[_Pack]]) -> None:
        """A pack that a collection at the copy has named must not be put there again under the same name."""
        needed = {pack.name for packs in wanted.values() for pack in packs}
        for named in named_garbage(self._copy.records):
            if named.packs & needed:
                raise _condemned()

    # -- packs -----------------------------------------------------------------------------------

    def _copy_packs(self, wanted: dict[str, list[_Pack]]) -> bool:
        there = self._sizes(self._copy, PACKS)
        broken = quarantined(self._copy.records)
        packs = {pack.name: pack for packs in wanted.values() for pack in packs}
        missing = [pack for pack in packs.values() if there.get(pack.name) != pack.size or pack.name in broken]
        self._watch.phase("copy", total=sum(pack.size for pack in missing))
        for pack in missing:
            self._watch.check()
            try:
                data = self._source.store.get(PACKS, pack.name)
                check_name(pack.name, data)
            except DamageError as error:
                if not self._still_named(pack.name):
                    return False
                self._bad.add(pack.name)
                self._note(error)
                continue
            self._pace.spend(len(data))
            if not self._put_pack(pack.name, data, replaces=pack.name in there):
                continue
            if pack.name in broken:
                self._delete(QUARANTINE, pack.name)
            self._keep()
            self.result.packs += 1
            self.result.sent_bytes += len(data)
            self._watch.advance(len(data), new=len(data), stored=len(data))
        self._copy.store.flush()
        return True

    def _put_pack(self, pack: str, data: bytes, *, replaces: bool) -> bool:
        """Send a pack; False when the copy keeps a damaged one in its place, as nothing may be replaced there."""
        if not replaces:
            self._copy.store.put(PACKS, pack, data)
        elif not self._replace(PACKS, pack, data):
            self._bad.add(pack)
            return False
        return True

    def _replace(self, namespace: str, name: str, data: bytes) -> bool:
        """Put an object whose bytes are right; False when the copy keeps a damaged one in its place."""
        try:
            self._copy.store.put(namespace, name, data)
        except RefusedError:
            if self._copy.store.size(namespace, name) is None:
                raise
            self._note(damaged(namespace, name, "at the copy, which lets nobody replace it"))
            return False
        return True

    def _delete(self, namespace: str, name: str) -> None:
        """Remove an object of the copy, if it lets us."""
        try:
            self._copy.store.delete(namespace, name)
        except RefusedError:
            self._watch.note(f"The copy does not let {namespace}/{name} go; remove it there.")

    def _still_named(self, pack: str) -> bool:
        return any(info.name == pack for packs in self._segments().values() for info in packs)

    def _copy_segments(self, wanted: dict[str, list[_Pack]]) -> bool:
        here, there = self._sizes(self._source, INDEX), self._sizes(self._copy, INDEX)
        rotten = {str(error.facts.get("object", "")).rpartition("/")[2] for error in self._copy.sync()}
        for name in sorted(name for name in wanted if here.get(name) != there.get(name) or name in rotten):
            try:
                self._copy_segment(name, whole=not any(pack.name in self._bad for pack in wanted[name]))
            except DamageError:
                if self._source.store.size(INDEX, name) is not None:
                    raise
                return False  # it was replaced meanwhile
        self._copy.store.flush()
        return True

    def _copy_segment(self, name: str, *, whole: bool) -> None:
        """Send an index segment, or what it names that can be sent and that the copy does not know yet."""
        if whole:
            data = self._source.store.get(INDEX, name)
            segments.check_name(name, data)
            self._replace(INDEX, name, data)
            return
        without = self._bad | {record.name for record in self._copy.index.all_packs()}
        packs = segments.read(self._source.store, name, self._source.keys)
        rest = [pack for pack in packs if pack.name not in without]
        if rest:
            self._copy.store.put(INDEX, *segments.build(rest, self._source.keys))

    # -- points ----------------------------------------------------------------------------------

    def _copy_points(self, points: list[PointName]) -> bool:
        here, there = self._sizes(self._source, POINTS), self._sizes(self._copy, POINTS)
        rotten = self._rotten_manifests()
        reach = Reach(self._copy, self._watch)
        condemned = {pack for named in named_garbage(self._copy.records) for pack in named.packs}
        broken = self._bad | quarantined(self._copy.records)
        if condemned | broken:
            self._copy.prefer_reliable()
        for name in points:
            self._watch.check()
            if here.get(name.key) == there.get(name.key) and name not in rotten:
                continue
            try:
                data = self._source.store.get(POINTS, name.key)
                if broken:
                    reach = Reach(self._copy, self._watch)  # so that it tells what this point needs
                reach.add_point(name, self._source.points.parse(name, data))
                _require_whole(reach, broken)
            except DamageError as error:
                if not self._source.points.exists(name):
                    continue  # it was deleted meanwhile
                if not self._bad and error.id == "REPO-OBJECT-MISSING" and self._moved():
                    return False
                self._note(error, name)
                continue
            if condemned & reach.packs.keys():
                raise _condemned()
            self._keep()
            self.result.points += self._replace(POINTS, name.key, data)
            self._copy.store.flush()
        self._copy_events({name.key for name in self._copy.points.names()})
        return True

    def _rotten_manifests(self) -> set[PointName]:
        """Manifests at the copy that are not as written, among those of which somebody said that they are damaged."""
        found = set()
        for name, entries in self._copy.points.history_keys().items():
            if any(key.endswith(f".{EventKind.DAMAGED}") for key in entries) and self._copy.points.exists(name):
                try:
                    self._copy.points.load(name)
                except DamageError:
                    found.add(name)
        return found

    def _moved(self) -> bool:
        """Whether the source has packs that the copy does not know."""
        known = {record.name for record in self._copy.index.all_packs()}
        return any(pack.name not in known for packs in self._segments().values() for pack in packs)

    def _copy_events(self, points: set[str]) -> None:
        there = self._sizes(self._copy, EVENTS)
        for item in self._source.store.list(EVENTS):
            if item.size != there.get(item.name) and item.name.rsplit(".", 2)[0] in points:
                try:
                    data = self._source.store.get(EVENTS, item.name)
                    self._source.records.parse(EVENTS, item.name, data)
                except DamageError as error:
                    self._note(error)
                    continue
                self._copy.store.put(EVENTS, item.name, data)
        self._copy.store.flush()

    @staticmethod
    def _sizes(repository: Repository, namespace: str) -> dict[str, int]:
        """What is there. Objects never change, so what has its size is right, or for `verify` to find."""
        return {item.name: item.size for item in repository.store.list(namespace)}

    def _copy_keys(self) -> None:
        """Who can open the source can open the copy, and nobody else; damage here takes no key away there."""
        listed = {item.name for item in self._source.store.list(KEYS)}
        here = {name: data for name in sorted(listed) if (data := self._whole_key(name)) is not None}
        there = {item.name for item in self._copy.store.list(KEYS)}
        for name in here.keys() - there:
            self._copy.store.put(KEYS, name, here[name])
        self._copy.store.flush()
        for name in sorted(there - listed) if here and len(here) == len(listed) else ():
            self._delete(KEYS, name)
        self._copy.store.flush()

    def _whole_key(self, name: str) -> bytes | None:
        """The bytes of a key slot of the source; None when they are not those that were written."""
        try:
            data = self._source.store.get(KEYS, name)
            Records(self._source.store, PLAIN).parse(KEYS, name, data)
        except DamageError as error:
            self._note(error)
            return None
        return data

    def _note(self, error: DamageError, name: PointName | None = None) -> None:
        text = error.cause if name is None else f"The point {name.id} was not copied: {error.cause}"
        if text not in self.result.damage:
            self.result.damage.append(text)
            self._watch.note(text)


def _require_whole(reach: Reach, broken: set[str]) -> None:
    """Return if a point needs none of these packs.

    Raises:
        DamageError: It does.
    """
    needed = broken & reach.packs.keys()
    if needed:
        raise damaged(PACKS, min(needed), "here and at the copy")


def _condemned() -> RefusedError:
    return RefusedError(
        "REPO-BUSY",
        "A collection at the copy is about to delete packs that are needed.",
        next_step="End it first: run vmtui gc with the copy as the repository, then copy again.",
    )
