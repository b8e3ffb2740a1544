"""The streams of bytes that a point consists of: its disks and captured files."""

from __future__ import annotations

from collections.abc import Iterator

from vmtui.model.errors import DamageError
from vmtui.model.point import RestorePoint
from vmtui.repository.blocks import ID_SIZE, ZERO_ID
from vmtui.repository.maps import FANOUT, MapBuilder, MapReader, block_count
from vmtui.repository.repository import Repository
from vmtui.repository.writer import BlobWriter


def streams(point: RestorePoint) -> Iterator[tuple[str, int, str]]:
    """(name, size [bytes], root [hex]) of every disk and captured file of a point."""
    for disk in point.disks:
        yield disk.name, disk.virtual_size, disk.root
    for item in point.files:
        yield item.label, item.size, item.root


def open_map(repository: Repository, size: int, root: str) -> MapReader:
    """The map of one stream.

    Raises:
        DamageError: The root is not an id.
    """
    return repository.reader().map(node_of(root), block_count(size, repository.block_size))


def node_of(root: str) -> bytes:
    """The id of a map's top node, as a manifest gives it.

    Raises:
        DamageError: It is not an id.
    """
    try:
        node = bytes.fromhex(root)
    except ValueError:
        node = b""
    if len(node) != ID_SIZE:
        raise DamageError("REPO-OBJECT-BAD", f"{root!r} is not the root of a disk map.")
    return node


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


def read_stream(repository: Repository, stream: str, size: int, root: str) -> bytes:
    """All bytes of a stream that fits into memory, each block checked against its id.

    Raises:
        DamageError: Something of it is missing or damaged.
    """
    data = bytearray(size)
    blobs = repository.reader()
    length = repository.block_size
    for first, ids in walk(open_map(repository, size, root), stream):
        for number, block in enumerate(blobs.blocks(ids), first):
            if block is not None:
                part = block[: max(0, size - number * length)]
                data[number * length : number * length + len(part)] = part
    return bytes(data)


def store_stream(data: bytes, writer: BlobWriter, block_size: int) -> bytes:
    """Store a file as a disk is stored.

    Returns:
        Its map's top node.
    """
    blocks = block_count(len(data), block_size)
    builder = MapBuilder(writer.store_node, blocks)
    padded = memoryview(data + bytes(-len(data) % block_size))
    span = FANOUT * block_size
    for leaf, start in enumerate(range(0, len(padded), span)):
        ids = writer.store_blocks(padded[start : start + span]).ids
        builder.set_leaf(leaf, writer.store_node(ids) if ids != bytes(len(ids)) else ZERO_ID)
    return builder.finish()
