"""Which blocks of a disk can differ from a point: told by dirty bitmaps, and by the maps of two points."""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterable, Iterator, Sequence

from vmtui.model.errors import DamageError
from vmtui.nbd import DIRTY, NbdClient
from vmtui.repository import ZERO_ID, MapReader
from vmtui.repository.blocks import ID_SIZE
from vmtui.repository.maps import FANOUT, leaf_count

Stretch = tuple[int, int]
"""First block, number of blocks."""


def between(one: MapReader, other: MapReader) -> list[Stretch]:
    """Blocks that two maps of the same size tell apart, in order; only leaves that differ are read.

    Raises:
        DamageError: A node of a map is missing, damaged, or of the wrong shape.
    """
    try:
        return list(_joined(_single(one, other)))
    except ValueError as error:
        raise DamageError("REPO-OBJECT-BAD", f"A disk map does not fit its size: {error}.") from error


def _single(one: MapReader, other: MapReader) -> Iterator[int]:
    for leaf in range(leaf_count(one.blocks)):
        if one.leaf_id(leaf) == other.leaf_id(leaf):
            continue
        ours, theirs = one.leaf(leaf), other.leaf(leaf)
        for place in range(0, len(ours), ID_SIZE):
            if ours[place : place + ID_SIZE] != theirs[place : place + ID_SIZE]:
                yield leaf * FANOUT + place // ID_SIZE


def _joined(blocks: Iterable[int]) -> Iterator[Stretch]:
    first, count = 0, 0
    for block in blocks:
        if block == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = block, 1
    if count:
        yield first, count


def dirty(client: NbdClient, context: str, size: int, block_size: int) -> Iterator[Stretch]:
    """Blocks with a byte that a dirty bitmap names, in order."""
    position = 0
    for extent in client.extents([context], 0, size):
        if not extent.flags[0] & DIRTY:
            continue
        first = max(position, extent.offset // block_size)
        end = -(-(extent.offset + extent.length) // block_size)
        if end > first:
            yield first, end - first
            position = end


def without(stretches: Iterable[Stretch], taken: Sequence[Stretch]) -> Iterator[Stretch]:
    """What of some stretches is in none of the taken ones; both are in order. Pure."""
    place = 0
    for first, count in stretches:
        position, end = first, first + count
        while place < len(taken) and sum(taken[place]) <= position:
            place += 1
        look = place
        while position < end:
            if look == len(taken) or taken[look][0] >= end:
                yield position, end - position
                break
            start, length = taken[look]
            if start > position:
                yield position, start - position
            position = max(position, start + length)
            look += 1


def blocks_in(stretches: Iterable[Stretch]) -> int:
    """How many blocks they are. Pure."""
    return sum(count for _, count in stretches)


def sample_outside(stretches: Sequence[Stretch], disk_map: MapReader, count: int) -> list[int]:
    """Some blocks that hold data and are in none of the stretches, chosen anew each time."""
    leaves = [leaf for leaf in range(leaf_count(disk_map.blocks)) if disk_map.leaf_id(leaf) != ZERO_ID]
    if not leaves:
        return []
    chosen = set()
    for leaf in sorted(random.choices(leaves, k=count * 4)):  # noqa: S311  # a sample, not a secret
        block = min(leaf * FANOUT + random.randrange(FANOUT), disk_map.blocks - 1)  # noqa: S311
        if not _within(stretches, block) and disk_map.block(block) != ZERO_ID:
            chosen.add(block)
    return sorted(random.sample(sorted(chosen), min(count, len(chosen))))


def _within(stretches: Sequence[Stretch], block: int) -> bool:
    place = bisect.bisect_right(stretches, block, key=lambda stretch: stretch[0]) - 1
    return place >= 0 and block < sum(stretches[place])
