"""Proving that one point can be restored: its maps are walked, and every block is read and compared with its id."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from vmtui.model.ahead import ahead
from vmtui.model.errors import DamageError
from vmtui.model.point import EventKind, PointEvent, RestorePoint
from vmtui.model.progress import Watch
from vmtui.repository import segments
from vmtui.repository.blocks import ZERO_ID
from vmtui.repository.index import Location, PackRecord
from vmtui.repository.maps import MapReader
from vmtui.repository.packs import Entry, PackInfo, read_directory
from vmtui.repository.points import PointName
from vmtui.repository.reader import lost_blob
from vmtui.repository.repository import Repository
from vmtui.repository.store import INDEX, PACKS, damaged
from vmtui.repository.streams import open_map, streams, walk

_CHUNK = 64
"""Blocks that are read together."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong."""

    error_id: str
    cause: str
    points: tuple[str, ...] = ()
    """Ids of the points that it touches, where that is known."""


@dataclass(slots=True)
class Verdict:
    """What a verification found."""

    points: int = 0
    blobs: int = 0
    skipped: int = 0
    """Packs that were left out, as they were read recently enough."""
    read_bytes: int = 0
    """Unpacked bytes that were read and found right."""
    damage: list[Damage] = field(default_factory=list)

    def note(self, error: DamageError, *points: str) -> None:
        """Add a finding."""
        self.damage.append(Damage(error.id, error.cause, points))


# -- one point -----------------------------------------------------------------------------------


def verify_point(
    repository: Repository, name: PointName, watch: Watch, now: datetime, *, record: bool = True
) -> Verdict:
    """Read every byte of one point; the outcome is recorded beside it.

    Args:
        repository: In step (`sync`).
        name: The point.
        watch: Progress and cancelling.
        now: The clock [UTC].
        record: Whether the outcome is written down.

    Raises:
        UnreachableError: The repository cannot be read.
    """
    verdict = Verdict(points=1)
    try:
        repository.points.check_manifest(name)
        point = repository.points.load(name)
        watch.phase("verify", total=sum(size for _, size, _ in streams(point)))
        for stream, size, root in streams(point):
            _read_stream(repository, open_map(repository, size, root), stream, watch, verdict)
        check_containers(repository, point, watch)
    except DamageError as error:
        verdict.note(error, name.id)
    if record:
        record_outcome(repository, name, verdict, now)
    return verdict


def _read_stream(repository: Repository, reader: MapReader, stream: str, watch: Watch, verdict: Verdict) -> None:
    blobs = repository.reader()
    position = 0

    def read(chunk: tuple[int, list[bytes]]) -> tuple[int, int]:
        first, ids = chunk
        return first + len(ids), sum(block is not None for block in blobs.blocks(ids))

    threads = os.cpu_count() or 2
    with ThreadPoolExecutor(threads, thread_name_prefix="verify") as pool:
        for end, found in ahead(pool, read, _chunks(reader, stream), 2 * threads):
            watch.check()
            verdict.blobs += found
            verdict.read_bytes += found * repository.block_size
            watch.advance((end - position) * repository.block_size)
            position = end
    watch.advance((reader.blocks - position) * repository.block_size)


def _chunks(reader: MapReader, stream: str) -> Iterator[tuple[int, list[bytes]]]:
    """(first block, ids) of what is read together; leaves without data are left out."""
    for first, ids in walk(reader, stream):
        for start in range(0, len(ids), _CHUNK):
            yield first + start, ids[start : start + _CHUNK]


def check_containers(repository: Repository, point: RestorePoint, watch: Watch) -> int:
    """Check what surrounds a point's blobs: its packs' heads, directories and sizes, and its index segments.

    Reads no block, so a restore can afford it before it writes a byte.

    Returns:
        Number of packs that the point needs.

    Raises:
        DamageError: Something is missing or not as written, or index and pack do not agree.
    """
    used: dict[str, tuple[PackRecord, bytearray]] = {}
    for place in locations(repository, point):
        record, needed = used.setdefault(place.pack.name, (place.pack, bytearray(place.pack.entries)))
        needed[place.entry.number] = 1
    for segment in sorted({record.segment for record, _ in used.values()}):
        watch.check()
        segments.check_name(segment, repository.store.get(INDEX, segment))
    for record, needed in used.values():
        watch.check()
        info = read_directory(repository.store, record.name, repository.keys)
        check_agreement(info, record, _as_indexed(repository, info, record, needed))
    return len(used)


def _as_indexed(repository: Repository, info: PackInfo, record: PackRecord, needed: bytearray) -> Iterator[Entry]:
    """What the index says of the blobs that are needed from a pack, by the ids that its directory gives them.

    Raises:
        DamageError: The index does not know one of them.
    """
    if len(info.entries) != len(needed):
        raise damaged(PACKS, info.name, "the index does not agree with it")
    wanted = [entry for entry in info.entries if needed[entry.number]]
    for entry, place in zip(wanted, repository.index.find([entry.id for entry in wanted]), strict=True):
        if place is None:
            raise damaged(PACKS, info.name, "the index does not agree with it")
        if place.pack.number != record.number:
            continue  # a collection has just moved it; whoever reads it compares it with its id
        if place.entry != entry:
            raise damaged(PACKS, info.name, "the index does not agree with it")
        yield place.entry


def locations(repository: Repository, point: RestorePoint) -> Iterator[Location]:
    """The place of every blob of a point, nodes included; a blob may come twice."""
    for stream, size, root in streams(point):
        reader = open_map(repository, size, root)
        for _, ids in walk(reader, stream):
            yield from _located(repository, [item for item in ids if item != ZERO_ID])
        yield from _located(repository, reader.loaded)


def _located(repository: Repository, ids: list[bytes]) -> Iterator[Location]:
    for item, place in zip(ids, repository.index.find(ids), strict=True):
        if place is None:
            raise lost_blob(item)
        yield place


def check_agreement(info: PackInfo, record: PackRecord, entries: Iterable[Entry]) -> None:
    """Return if a pack's own directory says of these blobs what the index says.

    Raises:
        DamageError: They do not agree.
    """
    same = info.salt == record.salt and info.size == record.size
    if not same or any(entry.number >= len(info.entries) or info.entries[entry.number] != entry for entry in entries):
        raise damaged(PACKS, info.name, "the index does not agree with it")


def record_outcome(
    repository: Repository,
    name: PointName,
    verdict: Verdict,
    now: datetime,
    *,
    proven: datetime | None = None,
    entries: list[str] | None = None,
) -> None:
    """Write down the outcome beside a point, unless the point's manifest is gone or it is known already.

    Args:
        repository: The point's.
        name: The point.
        verdict: The outcome.
        now: The clock [UTC].
        proven: Since when all of it is known to be right, if that was not read just now.
        entries: Of its history, from `history_keys`, where many points are told of.
    """
    if not repository.points.exists(name):
        return
    if not verdict.damage:
        doubted = repository.points.was_doubted(name, entries)
        repository.points.record(name, PointEvent(EventKind.VERIFIED, proven or now), overrules=doubted)
    elif repository.points.status(name).damaged != verdict.damage[0].cause:
        repository.points.record(name, PointEvent(EventKind.DAMAGED, now, verdict.damage[0].cause), overrules=True)
