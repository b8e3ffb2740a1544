"""Proving a whole repository: each pack is looked at once, then all maps against the packs that were found right.

Packs in which damage is found are put into quarantine: nothing relies on them any longer, the next backup
stores their blobs anew, and points that needed them heal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from vmtui.model.ahead import ahead
from vmtui.model.errors import DamageError
from vmtui.model.pace import Pace
from vmtui.model.progress import Watch
from vmtui.repository import segments
from vmtui.repository.blocks import Kind, Unpacker
from vmtui.repository.health import quarantine, quarantined
from vmtui.repository.index import PackRecord
from vmtui.repository.keys import PLAIN
from vmtui.repository.packs import PackInfo, check_name, open_blob, parse_whole, read_directory
from vmtui.repository.points import PointName
from vmtui.repository.reach import Reach
from vmtui.repository.reader import bad_blob
from vmtui.repository.records import Records
from vmtui.repository.repository import MAIN, Repository
from vmtui.repository.store import CONFIG, INDEX, KEYS, PACKS, QUARANTINE, ObjectInfo, damaged, missing
from vmtui.repository.verify import Damage, Verdict, check_agreement, locations, record_outcome


@dataclass(frozen=True, slots=True)
class Scope:
    """How much of a repository is looked at."""

    quick: bool = False
    """Only that every object is there, with its size and directory."""
    not_since: datetime | None = None
    """Leave out packs that were read in full, from this machine, at or after this instant."""
    rate: int | None = None
    """Bytes a second; None for no limit."""
    record: bool = True
    """Whether the outcome is written down, beside the points and as quarantine."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A pack that is not as it was written."""

    error: DamageError
    entries: frozenset[int] | None = None
    """Which of its blobs are lost; None for all."""


def verify_all(repository: Repository, watch: Watch, now: datetime, scope: Scope | None = None) -> Verdict:
    """Look at everything; the outcome is recorded beside each point.

    Args:
        repository: Open; it is brought in step.
        watch: Progress and cancelling; what was found right so far is remembered when it stops.
        now: The clock [UTC].
        scope: How much.

    Raises:
        UnreachableError: The repository cannot be read.
    """
    scope = scope or Scope()
    verdict = Verdict()
    names = repository.points.names()  # first: of points that are committed later, not all packs are looked at
    repository.sync()
    _verify_openers(repository, verdict)
    _verify_segments(repository, watch, verdict)
    bad = _verify_packs(repository, watch, now, scope, verdict)
    unfinished = set(bad) - {record.name for record in repository.index.all_packs()}
    bad = {name: item for name, item in bad.items() if name not in unfinished}
    if scope.record:
        _update_quarantine(repository, bad, now)
    needed = _verify_points(repository, names, watch, bad, now, scope, verdict)
    for pack, item in bad.items():
        if pack in needed:
            verdict.note(item.error)
        else:
            away = "repo repair" if repository.store.size(PACKS, pack) is None else "gc"
            watch.note(f"{item.error.cause} No point needs what it lost; vmtui {away} takes it away.", warning=False)
    for name in repository.points.lost():
        cause = f"The point {name.id} was committed, and its manifest is gone."
        verdict.damage.append(Damage("POINT-MISSING", cause, (name.id,)))
    return verdict


def _verify_openers(repository: Repository, verdict: Verdict) -> None:
    """What is needed to open the repository; who has it open does not notice that it is damaged."""
    if repository.store.size(CONFIG, MAIN) is None:
        verdict.note(missing(CONFIG, MAIN))
    for namespace in (CONFIG, KEYS):
        for item in repository.store.list(namespace):
            try:
                value = Records(repository.store, PLAIN).get(namespace, item.name)
                if namespace == CONFIG and value.get("id") != repository.id:
                    raise damaged(CONFIG, item.name, "it is another repository's")
            except DamageError as error:
                if repository.store.size(namespace, item.name) is not None:  # else somebody took the key away
                    verdict.note(error)


def _verify_segments(repository: Repository, watch: Watch, verdict: Verdict) -> None:
    for item in repository.store.list(INDEX):
        watch.check()
        try:
            segments.read(repository.store, item.name, repository.keys)
        except DamageError as error:
            if repository.store.size(INDEX, item.name) is not None:  # else it was replaced meanwhile
                verdict.note(error)


# -- packs ---------------------------------------------------------------------------------------


def _verify_packs(
    repository: Repository, watch: Watch, now: datetime, scope: Scope, verdict: Verdict
) -> dict[str, Bad]:
    records = {record.name: record for record in repository.index.all_packs()}
    present = _packs(repository, records)
    bad = {name: Bad(missing(PACKS, name)) for name in records.keys() - {item.name for item in present}}
    skipped = {item.name for item in present if _is_fresh(repository, item, records, scope)}
    wanted = [item for item in present if item.name not in skipped]
    verdict.skipped = len(skipped)
    watch.phase("verify", total=sum(item.size for item in wanted))
    pace = Pace(scope.rate)

    def look(item: ObjectInfo) -> tuple[ObjectInfo, int, int, Bad | None]:
        watch.check()
        pace.spend(0 if scope.quick else item.size)
        return (item, *(_glance if scope.quick else _read)(repository, item.name, records.get(item.name)))

    threads = os.cpu_count() or 2
    with ThreadPoolExecutor(threads, thread_name_prefix="verify") as pool:
        for item, blobs, size, found in ahead(pool, look, wanted, threads + 1):
            if found is not None:
                bad[item.name] = found
            if not scope.quick:
                repository.index.set_checked(item.name, now if found is None else None)
            verdict.blobs += blobs
            verdict.read_bytes += size
            watch.advance(item.size)
    return _still_there(repository, bad) if bad else bad


def _packs(repository: Repository, records: Mapping[str, PackRecord]) -> list[ObjectInfo]:
    """All packs that are there, also those of the index that an old listing does not show."""
    listed = repository.store.list(PACKS)  # after the index, which another process may add to
    asked = {name: repository.store.size(PACKS, name) for name in records.keys() - {item.name for item in listed}}
    return listed + [ObjectInfo(name, size) for name, size in sorted(asked.items()) if size is not None]


def _is_fresh(repository: Repository, item: ObjectInfo, records: Mapping[str, PackRecord], scope: Scope) -> bool:
    """Whether a pack was read recently enough, and still has its size."""
    if scope.not_since is None or scope.quick:
        return False
    checked = repository.index.checked(item.name)
    record = records.get(item.name)
    return checked is not None and checked >= scope.not_since and (record is None or record.size == item.size)


def _still_there(repository: Repository, bad: dict[str, Bad]) -> dict[str, Bad]:
    """Without packs that were not damaged but deleted, by a garbage collection, since they were listed."""
    repository.sync()
    known = {record.name for record in repository.index.all_packs()}
    return {name: item for name, item in bad.items() if name in known or repository.store.size(PACKS, name) is not None}


def _glance(repository: Repository, name: str, record: PackRecord | None) -> tuple[int, int, Bad | None]:
    """Look at a pack's size, head and directory."""
    try:
        info = read_directory(repository.store, name, repository.keys)
        _check_index(repository, info, record)
    except DamageError as error:
        return 0, 0, Bad(error)
    return len(info.entries), 0, None


def _read(repository: Repository, name: str, record: PackRecord | None) -> tuple[int, int, Bad | None]:
    """Read a pack from its first byte to its last. Runs in the pool.

    Returns:
        Blobs and unpacked bytes that are right, and what is wrong.
    """
    try:
        data = repository.store.get(PACKS, name)
        info = parse_whole(name, data, repository.keys)
        _check_index(repository, info, record)
    except DamageError as error:
        return 0, 0, Bad(error)
    lost = frozenset(_bad_entries(repository, info, memoryview(data)))
    size = sum(entry.size for entry in info.entries if entry.number not in lost)
    good = len(info.entries) - len(lost)
    if lost:
        return good, size, Bad(bad_blob(info.entries[min(lost)].id, name), lost)
    try:
        check_name(name, data)
    except DamageError as error:
        return good, size, Bad(error, frozenset())
    return good, size, None


def _bad_entries(repository: Repository, info: PackInfo, data: memoryview) -> Iterator[int]:
    """Numbers of the blobs whose bytes are not those of their ids."""
    unpacker = Unpacker()
    box = repository.keys.box(info.salt)
    for entry in info.entries:
        payload = open_blob(box, entry, data[entry.offset : entry.offset + entry.length])
        blob = None if payload is None else unpacker.unpack(entry.codec, payload, entry.size)
        if blob is None or repository.keys.blob_id(Kind(entry.kind), blob) != entry.id:
            yield entry.number


def _check_index(repository: Repository, info: PackInfo, record: PackRecord | None) -> None:
    """Return if the index says of a pack what its own directory says."""
    if record is None:
        return
    places = repository.index.find([entry.id for entry in info.entries])
    check_agreement(info, record, [place.entry for place in places if place is not None and place.pack == record])
    if record.entries != len(info.entries):
        raise damaged(PACKS, info.name, "the index does not agree with it")


def _update_quarantine(repository: Repository, bad: Mapping[str, Bad], now: datetime) -> None:
    """Take damaged packs out of use, and those back into use that are whole again."""
    before = quarantined(repository.records)
    for name, item in bad.items():
        if name not in before and repository.store.size(PACKS, name) is not None:
            quarantine(repository.records, name, now, item.error.cause)
    for name in before - set(bad):
        checked = repository.index.checked(name)
        if checked == now:
            repository.store.delete(QUARANTINE, name)
    repository.store.flush()


# -- points --------------------------------------------------------------------------------------


def _verify_points(
    repository: Repository,
    names: list[PointName],
    watch: Watch,
    bad: Mapping[str, Bad],
    now: datetime,
    scope: Scope,
    verdict: Verdict,
) -> set[str]:
    """Look at points.

    Returns:
        Bad packs that a point needs, or may need; also one that was made meanwhile.
    """
    needed: set[str] = set()
    if bad:
        repository.prefer_reliable()
    watch.phase("maps", total=len(names))
    entries = repository.points.history_keys()
    verdicts = None if bad else _all_good(repository, names, entries, watch)
    for name in names:
        watch.check()
        own = verdicts[name] if verdicts is not None else _against_packs(repository, name, bad, needed)
        if own is None:
            continue  # it was deleted meanwhile
        if scope.record and not (scope.quick and not own.damage):
            told = entries.get(name, [])
            record_outcome(repository, name, own, now, proven=scope.not_since, entries=told)
        verdict.points += 1
        verdict.damage += own.damage
        watch.advance(1)
    if bad:
        repository.sync()
        for name in set(repository.points.names()) - set(names):
            _against_packs(repository, name, bad, needed)
    return needed if not repository.points.lost() else set(bad)


def _all_good(
    repository: Repository, names: list[PointName], entries: Mapping[PointName, list[str]], watch: Watch
) -> dict[PointName, Verdict | None] | None:
    """Walk all maps, what they share only once; None when something is wrong anywhere."""
    reach = Reach(repository, watch)
    try:
        for name in names:
            repository.points.check_manifest(name, entries.get(name, []))
            reach.add(name)
    except DamageError:
        return None
    return {name: Verdict(points=1) for name in names}


def _against_packs(repository: Repository, name: PointName, bad: Mapping[str, Bad], needed: set[str]) -> Verdict | None:
    """Check a point's manifest and maps by themselves; its blocks were read with the packs.

    Args:
        repository: In step.
        name: The point.
        bad: What is wrong with packs.
        needed: Takes the bad packs that the point needs; all, when that cannot be known.

    Returns:
        None when the point was deleted meanwhile.
    """
    own = Verdict(points=1)
    try:
        repository.points.check_manifest(name)
        for place in locations(repository, repository.points.load(name)):
            pack = bad.get(place.pack.name)
            if pack is not None and (pack.entries is None or place.entry.number in pack.entries):
                needed.add(place.pack.name)
                if not own.damage:
                    own.note(bad_blob(place.entry.id, place.pack.name), name.id)
    except DamageError as error:
        if not repository.points.exists(name) and name not in repository.points.lost():
            return None
        own.note(error, name.id)
        needed.update(bad)
    return own
