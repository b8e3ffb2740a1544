"""Proving that points can be restored: every byte is read and compared with its id.

Two ways lead there. One point: walk its maps and read its blocks. Everything: read each pack once, from
its first byte to its last, then walk all maps against the packs that were found whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from vmtui.model.errors import DamageError
from vmtui.model.point import EventKind, PointEvent, RestorePoint
from vmtui.model.progress import Watch
from vmtui.repository import segments
from vmtui.repository.blocks import ID_SIZE, ZERO_ID, Kind, Unpacker
from vmtui.repository.index import Location, PackRecord
from vmtui.repository.maps import FANOUT, MapReader, block_count
from vmtui.repository.packs import Entry, PackInfo, check_whole, open_blob, read_directory
from vmtui.repository.points import PointName
from vmtui.repository.reader import bad_blob, lost_blob
from vmtui.repository.repository import Repository
from vmtui.repository.store import INDEX, PACKS, damaged, missing

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
    read_bytes: int = 0
    """Unpacked bytes that were read and found right."""
    damage: list[Damage] = field(default_factory=list)

    def note(self, error: DamageError, *points: str) -> None:
        """Add a finding."""
        self.damage.append(Damage(error.id, error.cause, points))


def streams(point: RestorePoint) -> Iterator[tuple[str, int, str]]:
    """(name, size [bytes], root [hex]) of every disk and captured file of a point."""
    for disk in point.disks:
        yield disk.name, disk.virtual_size, disk.root
    for item in point.files:
        yield item.role, item.size, item.root


def open_map(repository: Repository, size: int, root: str) -> MapReader:
    """The map of one stream.

    Raises:
        DamageError: The root is not an id.
    """
    try:
        node = bytes.fromhex(root)
    except ValueError:
        node = b""
    if len(node) != ID_SIZE:
        raise DamageError("REPO-OBJECT-BAD", f"{root!r} is not the root of a disk map.")
    return repository.reader().map(node, block_count(size, repository.block_size))


def walk(reader: MapReader, stream: str) -> Iterator[tuple[int, list[bytes]]]:
    """(first block, ids) of every leaf that is not all zero.

    Raises:
        DamageError: A node is missing, damaged, or of the wrong shape.
    """
    try:
        for leaf, ids in reader.leaves():
            yield leaf * FANOUT, [ids[start : start + ID_SIZE] for start in range(0, len(ids), ID_SIZE)]
    except ValueError as error:
        raise DamageError("REPO-OBJECT-BAD", f"The map of {stream} does not fit its size: {error}.") from error


# -- one point -----------------------------------------------------------------------------------


def verify_point(repository: Repository, name: PointName, watch: Watch, now: datetime) -> Verdict:
    """Read every byte of one point; the outcome is recorded beside it.

    Args:
        repository: In step (`sync`).
        name: The point.
        watch: Progress and cancelling.
        now: The clock [UTC].

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
    _record(repository, name, verdict, now)
    return verdict


def _read_stream(repository: Repository, reader: MapReader, stream: str, watch: Watch, verdict: Verdict) -> None:
    blobs = repository.reader()
    position = 0
    for first, ids in walk(reader, stream):
        watch.advance((first - position) * repository.block_size)
        position = first + len(ids)
        for start in range(0, len(ids), _CHUNK):
            watch.check()
            part = ids[start : start + _CHUNK]
            found = sum(block is not None for block in blobs.blocks(part))
            verdict.blobs += found
            verdict.read_bytes += found * repository.block_size
            watch.advance(len(part) * repository.block_size)
    watch.advance((reader.blocks - position) * repository.block_size)


def check_containers(repository: Repository, point: RestorePoint, watch: Watch) -> int:
    """Check what surrounds a point's blobs: its packs' heads, directories and sizes, and its index segments.

    Reads no block, so a restore can afford it before it writes a byte.

    Returns:
        Number of packs that the point needs.

    Raises:
        DamageError: Something is missing or not as written, or index and pack do not agree.
    """
    used: dict[str, tuple[PackRecord, list[Entry]]] = {}
    for place in _locations(repository, point):
        used.setdefault(place.pack.name, (place.pack, []))[1].append(place.entry)
    for segment in sorted({record.segment for record, _ in used.values()}):
        watch.check()
        segments.check_name(segment, repository.store.get(INDEX, segment))
    for record, entries in used.values():
        watch.check()
        check_agreement(read_directory(repository.store, record.name, repository.keys), record, entries)
    return len(used)


def _locations(repository: Repository, point: RestorePoint) -> Iterator[Location]:
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


# -- everything ----------------------------------------------------------------------------------


def verify_all(repository: Repository, watch: Watch, now: datetime) -> Verdict:
    """Read every byte of the repository; the outcome is recorded beside each point.

    Raises:
        UnreachableError: The repository cannot be read.
    """
    verdict = Verdict()
    _verify_segments(repository, watch, verdict)
    whole = _verify_packs(repository, watch, verdict)
    for name in repository.points.names():
        watch.check()
        own = Verdict(points=1)
        try:
            _verify_against_packs(repository, name, whole)
        except DamageError as error:
            own.note(error, name.id)
        _record(repository, name, own, now)
        verdict.points += 1
        verdict.damage += own.damage
    for name in repository.points.lost():
        cause = f"The point {name.id} was committed, and its manifest is gone."
        verdict.damage.append(Damage("POINT-MISSING", cause, (name.id,)))
    return verdict


def _verify_segments(repository: Repository, watch: Watch, verdict: Verdict) -> None:
    for item in repository.store.list(INDEX):
        watch.check()
        try:
            segments.check_name(item.name, repository.store.get(INDEX, item.name))
        except DamageError as error:
            verdict.note(error)


def _verify_packs(repository: Repository, watch: Watch, verdict: Verdict) -> set[str]:
    """Read all packs.

    Returns:
        Names of those that are whole and agree with the index.
    """
    present = repository.store.list(PACKS)
    watch.phase("verify", total=sum(item.size for item in present))
    whole = set()
    for item in present:
        watch.check()
        try:
            _verify_pack(repository, item.name, verdict)
            whole.add(item.name)
        except DamageError as error:
            verdict.note(error)
        watch.advance(item.size)
    for name in {record.name for record in repository.index.all_packs()} - {item.name for item in present}:
        verdict.note(missing(PACKS, name))
    return whole


def _verify_pack(repository: Repository, name: str, verdict: Verdict) -> None:
    data = repository.store.get(PACKS, name)
    view = memoryview(data)
    unpacker = Unpacker()
    info = check_whole(name, data, repository.keys)
    box = repository.keys.box(info.salt)
    for entry in info.entries:
        payload = open_blob(box, entry, view[entry.offset : entry.offset + entry.length])
        blob = None if payload is None else unpacker.unpack(entry.codec, payload, entry.size)
        if blob is None or repository.keys.blob_id(Kind(entry.kind), blob) != entry.id:
            raise bad_blob(entry.id, name)
        verdict.blobs += 1
        verdict.read_bytes += entry.size
    places = repository.index.find([entry.id for entry in info.entries])
    for place in places:
        if place is not None and place.pack.name == name:
            check_agreement(info, place.pack, [place.entry])


def _verify_against_packs(repository: Repository, name: PointName, whole: set[str]) -> None:
    """Check a point's manifest and maps; its blocks were read with the packs."""
    repository.points.check_manifest(name)
    for place in _locations(repository, repository.points.load(name)):
        if place.pack.name not in whole:
            raise bad_blob(place.entry.id, place.pack.name)


def _record(repository: Repository, name: PointName, verdict: Verdict, now: datetime) -> None:
    """Write down the outcome, unless the point's manifest is gone or it is known already."""
    if not repository.points.exists(name):
        return
    if verdict.damage:
        detail = verdict.damage[0].cause
        if repository.points.status(name).damaged != detail:
            repository.points.record(name, PointEvent(EventKind.DAMAGED, now, detail))
    else:
        repository.points.record(name, PointEvent(EventKind.VERIFIED, now))
