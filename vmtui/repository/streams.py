"""The streams of bytes that a point consists of: its disks and captured files."""

from __future__ import annotations

from collections.abc import Iterator

from vmtui.model.errors import DamageError
from vmtui.model.point import RestorePoint
from vmtui.repository.blocks import ID_SIZE
from vmtui.repository.maps import FANOUT, MapReader, block_count
from vmtui.repository.repository import Repository


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


def read_stream(repository: Repository, name: str, size: int, root: str) -> list[bytes]:
    """A small captured file, in pieces, every block checked."""
    reader = open_map(repository, size, root)
    blobs = repository.reader()
    zero = bytes(repository.block_size)
    blocks: dict[int, bytes] = {}
    for first, ids in walk(reader, name):
        for place, block in enumerate(blobs.blocks(ids)):
            if block is not None:
                blocks[first + place] = block
    pieces = [blocks.get(number, zero) for number in range(reader.blocks)]
    if pieces and size % repository.block_size:
        pieces[-1] = pieces[-1][: size % repository.block_size]
    return pieces
