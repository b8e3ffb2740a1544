"""Garbage collection: freeing what no point needs, beside running backups, without a lock.

Two phases, each safe to break off anywhere. *Naming*: find the packs that no point needs, and announce them.
*Sweeping*: when no writer is left that may rely on them, look again, and delete those that still no point
needs. Packs that are mostly garbage are written anew first, so that the old ones become garbage as a whole.

What makes it safe, in this order: a writer puts its session before it looks for names; a collection puts
its names before it looks for sessions; and it reads the points after the sessions. So a point that is
committed later comes from a writer that knew the names, or that the collection waits for.

Collections wait for each other as well: of a blob that is in two packs each may keep another one. So a
collection's session never says that it has seen a name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vmtui.failpoint import failpoint
from vmtui.model.errors import DamageError, RefusedError
from vmtui.model.ids import JobId, new_id
from vmtui.model.progress import Watch
from vmtui.repository.blocks import Blob, Codec, Kind
from vmtui.repository.health import Health, Named, name_garbage, named_garbage, quarantined
from vmtui.repository.packs import PackInfo, read_directory
from vmtui.repository.points import PointName
from vmtui.repository.reach import Reach
from vmtui.repository.renaming import drop_packs
from vmtui.repository.repository import Repository
from vmtui.repository.sessions import Clock, forget, sessions
from vmtui.repository.store import GARBAGE, PACKS, QUARANTINE

PATIENCE = timedelta(hours=1)
"""How long named packs wait at least, on stores whose listings may be old, and after the end of a run that may rely
on them: listings may be ten minutes old, for the writer and for the collection, and their clocks 40 minutes apart."""
_MOSTLY = 0.5
"""A pack is written anew when less than this part of it is needed."""


@dataclass(slots=True)
class Collected:
    """What a collection did."""

    named: int = 0
    """Packs that were named as garbage."""
    named_bytes: int = 0
    deleted: int = 0
    """Packs that were deleted."""
    deleted_bytes: int = 0
    rewritten: int = 0
    """Packs whose needed blobs were written anew."""
    rewritten_bytes: int = 0
    kept: int = 0
    """Packs that were named and turned out to be needed."""
    waiting_for: list[str] = field(default_factory=list)
    """Runs that may rely on what was named."""
    waiting_until: datetime | None = None
    """When named packs may be deleted, on stores whose listings may be old."""


def collect(repository: Repository, run: JobId, watch: Watch, clock: Clock, *, dry_run: bool = False) -> Collected:
    """Free what no point needs.

    Args:
        repository: Open; it is brought in step.
        run: Names this collection's own session.
        watch: Progress and cancelling.
        clock: Gives the instant [UTC].
        dry_run: Only count.

    Raises:
        DamageError: Something that a point needs is missing or damaged: then it is not known what is garbage.
        FailedError: No space is left.
        UnreachableError: The repository cannot be read or written.
    """
    if dry_run:
        work = _Collection(repository, run, watch, clock)
        work.count()
        return work.result
    session = repository.session(run)
    with repository.store.making_room():
        session.begin(clock())
        try:
            work = _Collection(repository, run, watch, clock)
            work.run()
            return work.result
        finally:
            session.close(clock())
            repository.store.flush()


class _Collection:
    def __init__(self, repository: Repository, run: JobId, watch: Watch, clock: Clock) -> None:
        self._repository = repository
        self._records = repository.records
        self._store = repository.store
        self._run = run
        self._watch = watch
        self._now = clock()
        self._session = repository.session(run)
        self._clock = clock
        self._reach = Reach(repository, watch)
        self.result = Collected()

    def count(self) -> None:
        """What would be named, and what is waiting."""
        self._look()
        pending = list(named_garbage(self._records))
        waiting = {pack for item in pending for pack in item.packs}
        sizes = self._pack_sizes()
        garbage = set(sizes) - set(self._reach.packs)
        self.result.named = len(garbage)
        self.result.named_bytes = sum(sizes[pack] for pack in garbage)
        self._ready(pending)
        rewrite = self._mostly_garbage(sizes, waiting)
        self.result.rewritten = len(rewrite)
        self.result.rewritten_bytes = sum(sizes[pack] - self._reach.live_bytes[pack] for pack in rewrite)

    def run(self) -> None:
        """Sweep what was named earlier, name what is garbage now, and sweep that too if nobody may rely on it."""
        self._sweep(self._survey(list(named_garbage(self._records))))
        named = self._name()
        if named is not None:
            self._sweep(self._survey([named]))
        self._forget_sessions()

    def _survey(self, pending: list[Named]) -> list[Named]:
        """Those of the names that no writer may rely on, once all points are marked that were committed before.

        None when a point went meanwhile: a writer that began after the sessions were listed may carry over what
        only that point still needed.
        """
        before = self._repository.points.stored_names()
        ready = self._ready(pending)
        return ready if before <= self._look() else []

    def _keep(self) -> None:
        self._session.keep(self._clock())

    # -- what is needed --------------------------------------------------------------------------

    def _look(self) -> set[PointName]:
        """Mark what the points need that were not looked at yet.

        Returns:
            The points that are there.
        """
        points = self._repository.points
        lost = set(points.lost()) & set(points.lost())  # a prune in between looks like a loss, once
        names = points.stored_names()
        if lost:
            raise DamageError(
                "POINT-MISSING",
                f"The manifest of the point {min(lost).id} is gone, so it is not known what it needs. Nothing was deleted.",
                next_step="Bring it back from a copy, or give it up: vmtui repo repair --give-up",
                point=min(lost).id,
            )
        self._watch.phase("mark", total=len(names))
        self._repository.sync()  # after the points were listed, so that what they need is known
        self._prefer_reliable()
        for name in sorted(names):
            if name not in self._reach.points:
                self._add(self._reach, name)
            self._watch.advance(1)
        listed = {item.name: item.size for item in self._store.list(PACKS)}
        for pack, record in self._reach.packs.items():
            if listed.get(pack) != record.size and self._store.size(PACKS, pack) != record.size:
                raise DamageError(
                    "REPO-OBJECT-MISSING",
                    f"The pack {pack[:16]}… is needed, and is not there as it should be. Nothing was deleted.",
                    next_step="Run: vmtui verify --all, then: vmtui repo repair",
                    object=f"{PACKS}/{pack}",
                )
        return names

    def _prefer_reliable(self) -> None:
        """Let blobs be found in packs that stay, where there is a choice."""
        avoided = {pack for item in named_garbage(self._records) for pack in item.packs} | quarantined(self._records)
        if avoided:
            self._repository.prefer_reliable()

    def _pack_sizes(self) -> dict[str, int]:
        """Sizes [bytes] of all packs, with those that are needed and that an old listing does not show."""
        needed = {name: record.size for name, record in self._reach.packs.items()}
        return needed | {item.name: item.size for item in self._store.list(PACKS)}

    def _mostly_garbage(self, sizes: dict[str, int], waiting: set[str]) -> list[str]:
        """Packs of which little is needed."""
        live = self._reach.live_bytes
        return sorted(pack for pack in live if pack not in waiting and live[pack] < _MOSTLY * sizes[pack])

    # -- naming ----------------------------------------------------------------------------------

    def _name(self) -> Named | None:
        """Write anew what is mostly garbage, then name all packs that no point needs."""
        sizes = self._pack_sizes()
        waiting = {pack for item in named_garbage(self._records) for pack in item.packs}
        rewritten = self._rewrite(self._mostly_garbage(sizes, waiting))
        garbage = (set(sizes) - set(self._reach.packs) - waiting) | rewritten
        if not garbage:
            return None
        points = frozenset(name.key for name in self._reach.points)
        named = Named(new_id(self._now), self._now, frozenset(garbage), points)
        name_garbage(self._records, named)
        failpoint("gc.named")
        self.result.named = len(garbage)
        self.result.named_bytes = sum(sizes[pack] for pack in garbage)
        return named

    def _rewrite(self, packs: list[str]) -> set[str]:
        """Store the needed blobs of some packs in new ones, durably."""
        if not packs:
            return set()
        health = Health(self._store, frozenset(packs) | quarantined(self._records))
        writer = self._repository.writer(1, health)
        self._watch.phase("repack", total=len(packs))
        try:
            for pack in packs:
                self._watch.check()
                self._keep()
                writer.adopt(self._needed(read_directory(self._store, pack, self._repository.keys)))
                self._watch.advance(1)
            writer.settle()
        finally:
            writer.close()
        failpoint("gc.repacked")
        self.result.rewritten = len(packs)
        self.result.rewritten_bytes = sum(self._reach.live_bytes[pack] for pack in packs)
        self._reach = self._reach_anew()
        return set(packs) - set(self._reach.packs)

    def _reach_anew(self) -> Reach:
        """The same points, with their blobs where they are now."""
        reach = Reach(self._repository, self._watch)
        for name in sorted(self._reach.points):
            self._add(reach, name)
        return reach

    def _add(self, reach: Reach, name: PointName) -> None:
        """Mark a point, unless it was deleted meanwhile."""
        try:
            reach.add(name)
        except DamageError:
            if self._repository.points.stored(name):
                raise

    def _needed(self, info: PackInfo) -> list[Blob]:
        """The blobs of a pack that are needed from there, read and compared with their ids."""
        places = self._repository.index.find([entry.id for entry in info.entries])
        needed = [
            place for place in places if place is not None and place.pack.name == info.name and self._reach.needs(place)
        ]
        return [
            Blob(entry.id, Kind(entry.kind), Codec(entry.codec), entry.size, payload)
            for entry, payload in self._repository.reader().payloads(needed)
        ]

    # -- sweeping --------------------------------------------------------------------------------

    def _ready(self, pending: list[Named]) -> list[Named]:
        """Those that no writer may rely on any more; to be asked before the points are read."""
        others = [item for item in sessions(self._records) if item.run != self._run]
        ready = []
        for named in pending:
            relying = [item for item in others if named.id not in item.saw]
            waits = [item.run for item in relying if not item.ended(self._now)]
            settled = max([named.at, *(item.renewed for item in relying if item.renewed is not None)]) + PATIENCE
            if waits:
                self.result.waiting_for = sorted({*self.result.waiting_for, *waits})
            elif self._now < settled and not self._store.exact_listings:
                self.result.waiting_until = settled
            else:
                ready.append(named)
        return ready

    def _forget_sessions(self) -> None:
        """Remove the records of runs that nobody has to wait for."""
        patience = timedelta() if self._store.exact_listings else PATIENCE
        try:
            for session in sessions(self._records):
                if session.settled(self._now, patience):
                    forget(self._records, session.run)
        except RefusedError:
            return  # nothing can be deleted here
        self._store.flush()

    def _sweep(self, ready: list[Named]) -> None:
        """Delete what was named and is needed by no point; then the names."""
        if not ready:
            return
        sizes = self._pack_sizes()
        named = {pack for item in ready for pack in item.packs}
        doomed = {pack for pack in named if pack in sizes and pack not in self._reach.packs}
        self.result.kept += len({pack for pack in named if pack in self._reach.packs})
        self._watch.phase("sweep", total=len(doomed))
        drop_packs(self._repository, named - set(self._reach.packs), self._watch, self._keep)
        for pack in sorted(doomed):
            self._watch.check()
            self._keep()
            self._store.delete(PACKS, pack)
            self._store.delete(QUARANTINE, pack)
            self.result.deleted += 1
            self.result.deleted_bytes += sizes[pack]
            self._watch.advance(1)
        self._store.flush()
        failpoint("gc.deleted")
        for item in ready:
            self._records.delete(GARBAGE, item.id)
        self._store.flush()
        self._repository.sync()
