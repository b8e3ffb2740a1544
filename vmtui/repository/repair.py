"""Mending a damaged repository: the index is made anew from the packs, and whatever is whole is saved from damaged packs.

What is lost is said, with the points that need it. Nothing is deleted but objects that cannot be read and
whose content is elsewhere; points go only when the operator gives them up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vmtui.model.errors import DamageError
from vmtui.model.ids import JobId
from vmtui.model.progress import Watch
from vmtui.repository import segments
from vmtui.repository.blocks import Blob, Codec, Kind
from vmtui.repository.health import quarantine, quarantined
from vmtui.repository.index import Location, PackRecord
from vmtui.repository.packs import PackInfo, read_directory
from vmtui.repository.points import PointName
from vmtui.repository.renaming import SEGMENT_PACKS, drop_packs, put_segments
from vmtui.repository.repository import Repository
from vmtui.repository.scrub import Scope, verify_all
from vmtui.repository.sessions import Clock
from vmtui.repository.store import GARBAGE, INDEX, PACKS, SESSIONS
from vmtui.repository.verify import Damage, Verdict


@dataclass(slots=True)
class Repaired:
    """What a repair did, and what is still wrong."""

    indexed: int = 0
    """Packs that no readable index segment named and that are found again."""
    forgotten: int = 0
    """Packs that the index named and that are gone."""
    saved: int = 0
    """Blobs that were stored anew from damaged packs."""
    given_up: list[str] = field(default_factory=list)
    """Points that were deleted because they cannot be restored."""
    damage: list[Damage] = field(default_factory=list)
    """What is left."""


def repair(
    repository: Repository, run: JobId, watch: Watch, clock: Clock, *, give_up: Sequence[PointName] = ()
) -> Repaired:
    """Mend what can be mended. Safe to repeat and to break off.

    Args:
        repository: Open; it need not be in step.
        run: Names its session.
        watch: Progress and cancelling.
        clock: Gives the instant [UTC].
        give_up: Points to delete if they are still damaged or lost in the end.

    Raises:
        FailedError: No space is left.
        UnreachableError: The repository cannot be read or written.
    """
    result = Repaired()
    session = repository.session(run)
    now = clock()
    session.begin(now)
    try:
        repository.declare(run, None)
        _drop_unreadable(repository, run)
        repository.points.mend_history()
        _mend_index(repository, watch, now, result)
        repository.sync()
        verify_all(repository, watch, clock())
        session.renew(clock())
        _save_blobs(repository, watch, result, lambda: session.keep(clock()))
        _forget_missing(repository, watch, result, lambda: session.keep(clock()))
        verdict = verify_all(repository, watch, clock(), Scope(not_since=now))
        result.given_up = _give_up(repository, verdict, give_up, now)
        result.damage = [item for item in verdict.damage if not set(item.points) & set(result.given_up)]
    finally:
        session.close(clock())
        repository.store.flush()
    return result


def _drop_unreadable(repository: Repository, run: JobId) -> None:
    """Records that nobody can read protect nothing and name nothing."""
    for namespace in (GARBAGE, SESSIONS):
        for item in repository.records.list(namespace):
            try:
                repository.records.get(namespace, item.name)
            except DamageError:
                if not item.name.startswith(f"{run}."):
                    repository.records.delete(namespace, item.name)
    repository.store.flush()


# -- the index -----------------------------------------------------------------------------------


def _mend_index(repository: Repository, watch: Watch, now: datetime, result: Repaired) -> None:
    """Index packs that no readable segment names; then drop the segments that cannot be read."""
    store = repository.store
    watch.phase("index")
    named: set[str] = set()
    unreadable = []
    for item in store.list(INDEX):
        watch.check()
        try:
            named |= {pack.name for pack in segments.read(store, item.name, repository.keys)}
        except DamageError:
            unreadable.append(item.name)
    found: list[PackInfo] = []
    for item in store.list(PACKS):
        watch.check()
        if item.name not in named:
            try:
                found.append(read_directory(store, item.name, repository.keys))
            except DamageError as error:
                quarantine(repository.records, item.name, now, error.cause)
                continue
            result.indexed += 1
            if len(found) == SEGMENT_PACKS:  # memory does not hold all entries of a large repository
                put_segments(repository, found)
                found = []
    put_segments(repository, found)
    for name in unreadable:
        store.delete(INDEX, name)
    store.flush()


def _forget_missing(repository: Repository, watch: Watch, result: Repaired, keep: Callable[[], None]) -> None:
    """Let the index not name packs that are gone."""
    named = {record.name for record in repository.index.all_packs()}  # first: others settle meanwhile
    unlisted = named - {item.name for item in repository.store.list(PACKS)}
    missing = {name for name in unlisted if repository.store.size(PACKS, name) is None}  # a listing may be old
    if missing:
        drop_packs(repository, missing, watch, keep)
        repository.sync()
    result.forgotten = len(missing)


# -- blobs ---------------------------------------------------------------------------------------


def _save_blobs(repository: Repository, watch: Watch, result: Repaired, keep: Callable[[], None]) -> None:
    """Store anew what is whole in packs that are in quarantine."""
    bad = quarantined(repository.records)
    records = [record for record in repository.index.all_packs() if record.name in bad]
    if not records:
        return
    watch.phase("salvage", total=len(records))
    writer = repository.writer(1)
    try:
        for record in records:
            keep()
            for place in _places(repository, record):
                watch.check()
                result.saved += writer.adopt(_whole(repository, place)) > 0
            watch.advance(1)
        writer.settle()
    finally:
        writer.close()
    repository.sync()


def _places(repository: Repository, record: PackRecord) -> list[Location]:
    """What the index, or else the pack itself, says is in a pack."""
    try:
        packs: Sequence[PackInfo] = segments.read(repository.store, record.segment, repository.keys)
    except DamageError:
        packs = []
    return [Location(record, entry) for pack in packs if pack.name == record.name for entry in pack.entries]


def _whole(repository: Repository, place: Location) -> list[Blob]:
    """A blob, if its bytes are right."""
    try:
        return [
            Blob(entry.id, Kind(entry.kind), Codec(entry.codec), entry.size, payload)
            for entry, payload in repository.reader().payloads([place])
        ]
    except DamageError:
        return []


# -- points --------------------------------------------------------------------------------------


def _give_up(repository: Repository, verdict: Verdict, wanted: Sequence[PointName], now: datetime) -> list[str]:
    """Delete those of the wanted points that are damaged or lost."""
    hopeless = {point for item in verdict.damage for point in item.points}
    gone = [name for name in wanted if name.id in hopeless]
    for name in gone:
        repository.points.delete(name, now)
    return [name.id for name in gone]
