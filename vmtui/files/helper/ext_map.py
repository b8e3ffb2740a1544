"""Where the blocks of an ext2, ext3 or ext4 file are.

Read here and not by dissect, which takes the hole at the end of a file without extents for block 0, and an
absent block of pointers for block 0 as well.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from vmtui.files.helper.node import Run, UnreadableError

ReadBlock = Callable[[int], bytes]

_HEADER = struct.Struct("<HHHHI")
_EXTENT = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIHH")
_MAGIC = 0xF30A
_DEPTH = 5
_UNWRITTEN = 0x8000
_DIRECT = 12


def extent_runs(root: bytes, read_block: ReadBlock, blocks: int) -> list[Run]:
    """Runs of a file with extents.

    Args:
        root: The 60 bytes in its inode.
        read_block: Gives a block of the volume.
        blocks: Length of the file.

    Raises:
        UnreadableError: The tree is damaged.
    """
    runs: list[Run] = []
    position = 0
    for logical, length, first in _extents(root, read_block, _DEPTH):
        if logical < position:
            raise UnreadableError("its extents are not in order")
        if logical > position:
            runs.append((None, logical - position))
        unwritten = length > _UNWRITTEN
        count = length - _UNWRITTEN if unwritten else length
        runs.append((None if unwritten else first, count))
        position = logical + count
    if position < blocks:
        runs.append((None, blocks - position))
    return runs


def _extents(node: bytes, read_block: ReadBlock, deepest: int) -> Iterator[tuple[int, int, int]]:
    """(first block of the file, length, first block on the volume) of all extents below a node."""
    magic, entries, _, depth, _ = _HEADER.unpack_from(node)
    if magic != _MAGIC or depth > deepest or _HEADER.size + entries * _EXTENT.size > len(node):
        raise UnreadableError("its tree of extents is damaged")
    for number in range(entries):
        place = _HEADER.size + number * _EXTENT.size
        if depth == 0:
            logical, length, high, low = _EXTENT.unpack_from(node, place)
            yield logical, length, high << 32 | low
        else:
            _, low, high, _ = _INDEX.unpack_from(node, place)
            yield from _extents(read_block(high << 32 | low), read_block, depth - 1)


def pointer_runs(root: bytes, read_block: ReadBlock, block_size: int, blocks: int) -> list[Run]:
    """Runs of a file with lists of block numbers, as ext2 and ext3 have them. Arguments as above."""
    pointers = struct.unpack("<15I", root)
    runs: list[Run] = []
    left = blocks
    for block in pointers[:_DIRECT][:left]:
        _add(runs, block or None, 1)
    left -= min(left, _DIRECT)
    for level, block in enumerate(pointers[_DIRECT:], 1):
        left -= _below(runs, block, level, read_block, block_size, left)
    return runs


def _below(runs: list[Run], block: int, level: int, read_block: ReadBlock, block_size: int, left: int) -> int:
    """Add the runs below a pointer; gives how many blocks of the file that were."""
    each: int = (block_size // 4) ** level
    if left <= 0 or block == 0 or level == 0:
        count = min(left, each)
        _add(runs, block or None, count)
        return count
    done = 0
    for pointer in struct.unpack(f"<{block_size // 4}I", read_block(block)):
        if done >= left:
            break
        done += _below(runs, pointer, level - 1, read_block, block_size, left - done)
    return done


def _add(runs: list[Run], first: int | None, count: int) -> None:
    if count <= 0:
        return
    if runs:
        before, length = runs[-1]
        if (before is None and first is None) or (
            before is not None and first is not None and before + length == first
        ):
            runs[-1] = (before, length + count)
            return
    runs.append((first, count))
