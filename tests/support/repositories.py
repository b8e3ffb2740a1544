"""Repositories made without a VM: real objects in a real folder, filled with blocks of one's own."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vmtui.model.ids import JobId, PointId, VmId, new_id
from vmtui.model.point import Consistency, DiskKind, FullReason, Mode, PointDisk, RestorePoint
from vmtui.repository import FANOUT, ID_SIZE, ZERO_ID, BlobWriter, MapBuilder, PointName, Repository, leaf_count

BLOCK = 4096
"""The smallest block size: much structure for few bytes."""
VM = VmId("11111111-2222-3333-4444-555555555555")
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


PASSPHRASE = "correct horse battery staple"  # noqa: S105  # of throw-away repositories


def phrase() -> str:
    """The passphrase of sealed repositories."""
    return PASSPHRASE


def copy_repository(repository: Path, to: Path) -> Path:
    """Copy the folder of a repository, without the space that is set aside on its disk."""
    return Path(shutil.copytree(repository, to, ignore=shutil.ignore_patterns("reserve")))


def create(folder: Path, block_size: int = BLOCK, *, sealed: bool = False, cache: Path | None = None) -> Repository:
    """A new repository, with its local index beside it unless it is told elsewhere."""
    url = f"file://{folder / 'repository'}"
    return Repository.create(
        url, cache or folder / "cache", block_size=block_size, passphrase=phrase if sealed else None
    )


def reopen(folder: Path, cache: str = "other cache") -> Repository:
    """The same repository as another machine sees it: with an index made from its segments."""
    repository = Repository(f"file://{folder / 'repository'}", folder / cache, phrase)
    repository.sync()
    return repository


def noise(seed: int, blocks: int, block_size: int = BLOCK) -> bytes:
    """Blocks that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(blocks * block_size)


def store_disk(writer: BlobWriter, data: bytes, block_size: int = BLOCK) -> bytes:
    """Store a whole disk and give its map's root."""
    padded = data + bytes(-len(data) % block_size)
    ids = writer.store_blocks(memoryview(padded)).ids if padded else b""
    return store_map(writer, [ids[start : start + ID_SIZE] for start in range(0, len(ids), ID_SIZE)])


def store_map(writer: BlobWriter, ids: Sequence[bytes]) -> bytes:
    """Store the map of these block ids."""
    builder = MapBuilder(writer.store_node, len(ids))
    for leaf in range(leaf_count(len(ids))):
        content = b"".join(ids[leaf * FANOUT : (leaf + 1) * FANOUT])
        builder.set_leaf(leaf, writer.store_node(content) if any(content) else ZERO_ID)
    return builder.finish()


def read_disk(repository: Repository, root: bytes | str, size: int) -> bytes:
    """A disk's bytes, through its map."""
    block_size = repository.block_size
    reader = repository.reader()
    node = bytes.fromhex(root) if isinstance(root, str) else root
    disk_map = reader.map(node, -(-size // block_size))
    ids = [disk_map.block(block) for block in range(disk_map.blocks)]
    return b"".join(block or bytes(block_size) for block in reader.blocks(ids))[:size]


def make_point(repository: Repository, disks: Mapping[str, tuple[bytes, int]], number: int = 0) -> RestorePoint:
    """A manifest for disks given as target: (root, size [bytes]); not yet committed."""
    at = START + timedelta(hours=number)
    return RestorePoint(
        id=PointId(new_id(at)),
        repository=repository.id,
        vm_uuid=VM,
        vm_name="db [1]",
        host="north",
        time=at,
        mode=Mode.HOT,
        consistency=Consistency.CRASH,
        consistency_reason="no guest agent",
        disks=tuple(
            PointDisk(name, "qcow2", size, root.hex(), DiskKind.FULL, FullReason.FIRST, size, size, size)
            for name, (root, size) in disks.items()
        ),
        left_out=(),
        files=(),
        xml_inactive="<domain/>",
        xml_live="",
        checkpoint=None,
        parent=None,
        job=JobId(new_id(at)),
        autostart=False,
        frozen_ms=0,
        started=at,
        finished=at + timedelta(minutes=1),
    )


def commit_disk(repository: Repository, data: bytes, number: int = 0) -> PointName:
    """Back a disk up as the program does: packs, index, then the manifest."""
    repository.sync()
    writer = repository.writer(1)
    try:
        root = store_disk(writer, data, repository.block_size)
        writer.settle()
    finally:
        writer.close()
    point = make_point(repository, {"vda": (root, len(data))}, number)
    repository.points.commit(point)
    return PointName(point.vm_uuid, point.id)


def at_start() -> datetime:
    """The clock that stands still."""
    return START


def backup(
    repository: Repository,
    data: bytes,
    number: int,
    *,
    parent: PointName | None = None,
    now: Callable[[], datetime] = at_start,
) -> PointName:
    """Back a disk up as a job does: with a session, and with what it saw.

    Args:
        repository: Any.
        data: The disk.
        number: Of the point, in time.
        parent: An earlier point of as many blocks: what did not change since is carried over, not looked at.
        now: The clock of its session.
    """
    run = JobId(new_id(START + timedelta(hours=number)))
    session = repository.session(run)
    session.begin(now())
    repository.sync()
    earlier = repository.points.load(parent) if parent is not None else None
    saw = repository.declare(run, earlier)
    writer = repository.writer(1)
    try:
        root = (
            store_changes(repository, writer, data, earlier)
            if earlier
            else store_disk(writer, data, repository.block_size)
        )
        writer.settle()
    finally:
        writer.close()
    point = replace(make_point(repository, {"vda": (root, len(data))}, number), saw=saw)
    session.require(now())
    repository.points.commit(point)
    session.close(now())
    return PointName(point.vm_uuid, point.id)


def store_changes(repository: Repository, writer: BlobWriter, data: bytes, parent: RestorePoint) -> bytes:
    """Store the leaves of a disk that differ from its parent's; the others are carried over."""
    size = repository.block_size
    blocks = -(-len(data) // size)
    old = repository.reader().map(bytes.fromhex(parent.disks[0].root), blocks)
    builder = MapBuilder(writer.store_node, blocks)
    for leaf in range(leaf_count(blocks)):
        part = data[leaf * FANOUT * size : (leaf + 1) * FANOUT * size]
        views = [memoryview(part)[start : start + size] for start in range(0, len(part), size)]
        ids = b"".join(writer.id_of(view) for view in views)
        if ids == old.leaf(leaf):
            builder.set_leaf(leaf, old.leaf_id(leaf))
            continue
        was = old.leaf(leaf)
        for place, view in enumerate(views):
            if ids[place * ID_SIZE : (place + 1) * ID_SIZE] != was[place * ID_SIZE : (place + 1) * ID_SIZE]:
                writer.store_blocks(view)
        builder.set_leaf(leaf, writer.store_node(ids) if any(ids) else ZERO_ID)
    return builder.finish()


def as_vm(point: RestorePoint, vm: str) -> RestorePoint:
    """The same point of another VM."""
    return replace(point, vm_uuid=VmId(vm))
