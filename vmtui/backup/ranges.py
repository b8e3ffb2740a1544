"""From extents to blocks: which blocks to keep from the parent, which are zero, which to read. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from enum import IntEnum


class Fate(IntEnum):
    """What becomes of a block."""

    KEEP = 0
    """Unchanged since the parent point."""
    ZERO = 1
    """Reads as zeroes now, whatever it was before."""
    READ = 2
    """Must be read."""


_FATE_BITS = 2


class Runs:
    """Runs of blocks with the same fate, in order and without gaps; eight bytes each."""

    def __init__(self) -> None:
        self._starts = array("Q")
        self.blocks = 0
        """Blocks covered so far."""

    def add(self, count: int, fate: Fate) -> None:
        """Append `count` blocks."""
        if count and (not self._starts or self._starts[-1] & ((1 << _FATE_BITS) - 1) != fate):
            self._starts.append(self.blocks << _FATE_BITS | fate)
        self.blocks += count

    def __iter__(self) -> Iterator[tuple[int, int, Fate]]:
        """(first block, count, fate)."""
        for place, word in enumerate(self._starts):
            start = word >> _FATE_BITS
            end = self._starts[place + 1] >> _FATE_BITS if place + 1 < len(self._starts) else self.blocks
            yield start, end - start, Fate(word & ((1 << _FATE_BITS) - 1))

    def __len__(self) -> int:
        return len(self._starts)

    def count(self, fate: Fate) -> int:
        """Blocks of one fate."""
        return sum(count for _, count, item in self if item is fate)


def extent_fate(*, zero: bool, dirty: bool, below_parent: bool) -> Fate:
    """The fate of a stretch: **dirty and zero means now zero**; only what is clean comes from the parent.

    Args:
        zero: It reads as zeroes.
        dirty: It was written since the checkpoint, or there is no checkpoint.
        below_parent: The parent's disk reached that far; a grown tail is not marked dirty.
    """
    if not dirty and below_parent:
        return Fate.KEEP
    return Fate.ZERO if zero else Fate.READ


def classify(extents: Iterable[tuple[int, Fate]], size: int, block_size: int) -> Runs:
    """Merge stretches into blocks.

    A block whose stretches do not agree is read: part of it may be zero or unchanged, but the export has
    all of it right.

    Args:
        extents: (length [bytes], fate), in order, covering exactly `size`.
        size: Of the disk [bytes].
        block_size: Of the repository [bytes].

    Raises:
        ValueError: The extents do not cover the disk.
    """
    runs = Runs()
    position = 0
    open_fate: Fate | None = None
    for length, fate in extents:
        end = position + length
        while position < end:
            within = position % block_size
            if within == 0 and end - position >= block_size:
                count = (end - position) // block_size
                runs.add(count, fate)
                position += count * block_size
                continue
            step = min(end - position, block_size - within)
            open_fate = fate if within == 0 or open_fate is fate else Fate.READ
            position += step
            if position % block_size == 0 or position == size:
                runs.add(1, open_fate)
    if position != size:
        raise ValueError(f"extents cover {position} of {size} bytes")
    return runs
