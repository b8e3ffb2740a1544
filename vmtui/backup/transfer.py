"""Reading a disk from its export into the repository.

One thread keeps requests in flight; a pool of threads hashes, compresses and packs what arrives. At most
`_IN_FLIGHT` pieces are in memory, whatever the disk's size. What is finished is noted leaf by leaf, so
that after a cut connection or a dead worker the same frozen view is read on where it was left.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from vmtui.backup.journal import LeafJournal
from vmtui.backup.ranges import Fate, Runs, classify, extent_fate
from vmtui.failpoint import failpoint
from vmtui.model.errors import FailedError
from vmtui.model.progress import Watch
from vmtui.nbd import BASE_ALLOCATION, DIRTY, ZERO, NbdClient
from vmtui.repository import FANOUT, ID_SIZE, ZERO_ID, BlobWriter, MapBuilder, MapReader, Stored, block_count

_REQUEST = 1 << 20
"""Longest read request [bytes]."""
_DEPTH = 8
"""Read requests in flight on the wire."""
_IN_FLIGHT = 16
"""Pieces that wait for, or are in, the pool."""
_SETTLE_BYTES = 1 << 30
_SETTLE_S = 60.0
"""What was read is made durable this often, so that a dead worker's successor need not read it again."""
_SAMPLE = 16
"""Clean blocks that an increment reads again and compares with the parent."""


class SampleDiffersError(Exception):
    """A block that nobody wrote is not what the parent point has: its bitmap cannot be believed."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a disk is read from."""

    connect: Callable[[Sequence[str]], NbdClient]
    """Connects to the export with the given contexts."""
    dirty: str | None
    """Context of the dirty bitmap; None reads in full."""
    parent: MapReader | None
    """The disk in the parent point; None reads in full."""
    parent_size: int = 0
    """Size of the disk in the parent point [bytes]."""


@dataclass(frozen=True, slots=True)
class DiskRead:
    """A disk that was read to its end."""

    root: str
    """Its map's top node [hex]."""
    size: int
    """Size of the export [bytes]."""
    read_bytes: int
    new_bytes: int
    stored_bytes: int


class DiskTransfer:
    """Reads one disk.

    Args:
        name: The disk.
        writer: Where blocks go.
        block_size: Of the repository [bytes].
        journal: What was already read of this very frozen view.
        watch: Progress and cancelling.
        half: Failpoint in the middle of the data.
        renew: Called now and then while it goes on.
    """

    def __init__(
        self,
        name: str,
        writer: BlobWriter,
        block_size: int,
        journal: LeafJournal,
        watch: Watch,
        *,
        half: str,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._writer = writer
        self._block_size = block_size
        self._journal = journal
        self._watch = watch
        self._half = half
        self._renew = renew
        self._read = 0
        self._new = 0
        self._stored = 0
        self._lock = threading.Lock()

    @property
    def read_bytes(self) -> int:
        """What was read and stored so far [bytes]."""
        return self._read

    def run(self, source: Source) -> DiskRead:
        """Read the disk to its end.

        Raises:
            SampleDiffersError: The bitmap cannot be believed; read in full instead.
            FailedError: The export cannot be read or the repository not be written.
            NbdLostError: The connection ended; what was read is kept in the journal.
            CancelledError: Somebody asked for it to stop.
        """
        contexts = [BASE_ALLOCATION] + ([source.dirty] if source.dirty else [])
        client = source.connect(contexts)
        try:
            runs = self._plan(client, source, contexts)
            if source.parent is not None:
                self._check_sample(client, source, runs)
            return self._transfer(client, source, runs)
        finally:
            client.close()

    def _plan(self, client: NbdClient, source: Source, contexts: Sequence[str]) -> Runs:
        extents = client.extents(contexts)
        fates = stretches(((item.length, item.flags) for item in extents), source.dirty is not None, source.parent_size)
        return classify(fates, client.size, self._block_size)

    # -- the sample ------------------------------------------------------------------------------

    def _check_sample(self, client: NbdClient, source: Source, runs: Runs) -> None:
        """Read a few clean blocks and compare them with the parent."""
        assert source.parent is not None
        starts = [block * self._block_size for block in sample_blocks(runs, source.parent, _SAMPLE)]
        wanted = [(start, min(self._block_size, client.size - start)) for start in starts]
        differs = None
        for start, data in client.read(wanted):
            data.extend(bytes(self._block_size - len(data)))
            block = start // self._block_size
            if self._writer.id_of(memoryview(data)) != source.parent.block(block):
                differs = block  # the answers that are on their way are taken first: the disk is then read in full
        if differs is not None:
            raise SampleDiffersError(f"{self._name}, block {differs}")

    # -- the data --------------------------------------------------------------------------------

    def _transfer(self, client: NbdClient, source: Source, runs: Runs) -> DiskRead:
        blocks = block_count(client.size, self._block_size)
        builder = MapBuilder(self._writer.store_node, blocks)
        total = self._to_read(runs, client.size)
        self._watch.phase("transfer", disk=self._name, total=total)
        assembly = _Assembly(builder, self._writer, source.parent, blocks, self._journal)
        pieces = assembly.pieces(runs, self._block_size, client.size)
        with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="store") as pool:
            self._pump(client, pieces, assembly, pool, total)
        assembly.finish()
        return DiskRead(builder.finish().hex(), client.size, self._read, self._new, self._stored)

    def _to_read(self, runs: Runs, size: int) -> int:
        """Bytes that are still to be read."""
        blocks = sum(
            count
            for leaf, fates in by_leaf(runs)
            if leaf not in self._journal.done
            for _, count, fate in fates
            if fate is Fate.READ
        )
        return min(blocks * self._block_size, size)

    def _pump(
        self,
        client: NbdClient,
        pieces: Iterator[tuple[int, int]],
        assembly: _Assembly,
        pool: ThreadPoolExecutor,
        total: int,
    ) -> None:
        """Move data from the wire into the pool until all pieces are stored."""
        room = threading.Semaphore(_IN_FLIGHT)
        waiting: set[Future[None]] = set()
        settled_at, settled_bytes = time.monotonic(), 0
        halved = False
        try:
            for offset, data in client.read(pieces, depth=_DEPTH):
                self._watch.check()
                room.acquire()
                future = pool.submit(self._store, offset, data, assembly)
                future.add_done_callback(lambda _: room.release())
                waiting.add(future)
                waiting = _reap(waiting)
                if not halved and self._read * 2 >= total:
                    halved = True
                    _drain(waiting)
                    failpoint(self._half)
                if self._read - settled_bytes >= _SETTLE_BYTES or time.monotonic() - settled_at >= _SETTLE_S:
                    _drain(waiting)
                    self._settle()
                    settled_at, settled_bytes = time.monotonic(), self._read
        finally:
            _drain(waiting)
        if not halved:
            failpoint(self._half)

    def _store(self, offset: int, data: bytearray, assembly: _Assembly) -> None:
        """Store one piece. Runs in the pool."""
        length = len(data)
        data.extend(bytes(-length % self._block_size))
        stored: Stored = self._writer.store_blocks(memoryview(data))
        assembly.place(offset // self._block_size, stored.ids)
        with self._lock:
            self._read += length
            self._new += stored.new
            self._stored += stored.stored
        self._watch.advance(length, new=stored.new, stored=stored.stored)

    def _settle(self) -> None:
        self._renew()
        self._writer.settle()
        self._journal.write_down()


class _Assembly:
    """Puts block ids into leaves, and leaves into the map, in whatever order they arrive."""

    def __init__(
        self, builder: MapBuilder, writer: BlobWriter, parent: MapReader | None, blocks: int, journal: LeafJournal
    ) -> None:
        self._builder = builder
        self._writer = writer
        self._parent = parent
        self._blocks = blocks
        self._journal = journal
        self._lock = threading.Lock()
        self._open: dict[int, tuple[bytearray, int]] = {}
        """Leaf: its ids so far, and how many blocks are still to come."""

    def pieces(self, runs: Runs, block_size: int, size: int) -> Iterator[tuple[int, int]]:
        """(offset, length) of what has to be read, leaf by leaf; everything else is settled on the way."""
        for leaf, fates in by_leaf(runs):
            done = self._journal.done.get(leaf)
            if done is not None:
                self._builder.set_leaf(leaf, done)
                continue
            wanted = [(first, count) for first, count, fate in fates if fate is Fate.READ]
            if not wanted:
                self._settle_unread(leaf, fates)
                continue
            with self._lock:
                self._open[leaf] = (self._start(leaf, fates), sum(count for _, count in wanted))
            per_request = max(1, _REQUEST // block_size)
            for first, count in wanted:
                for start in range(first, first + count, per_request):
                    stop = min(first + count, start + per_request)
                    yield start * block_size, min(stop * block_size, size) - start * block_size

    def place(self, first: int, ids: bytes) -> None:
        """Put the ids of read blocks into their leaf; a piece never crosses a leaf."""
        leaf, place = divmod(first, FANOUT)
        with self._lock:
            content, missing = self._open[leaf]
            content[place * ID_SIZE : place * ID_SIZE + len(ids)] = ids
            missing -= len(ids) // ID_SIZE
            if missing:
                self._open[leaf] = (content, missing)
                return
            del self._open[leaf]
        self._close(leaf, bytes(content))

    def finish(self) -> None:
        """Return if every leaf is complete.

        Raises:
            FailedError: One is not; a fault of ours, but never a point with a hole.
        """
        if self._open:
            raise FailedError("INTERNAL", f"{len(self._open)} parts of the disk were not read.")

    def _settle_unread(self, leaf: int, fates: list[tuple[int, int, Fate]]) -> None:
        """A leaf of which nothing is read."""
        kinds = {fate for _, _, fate in fates}
        if kinds == {Fate.ZERO}:
            return  # leaves start as zero
        if kinds == {Fate.KEEP} and self._same_shape(leaf):
            assert self._parent is not None
            self._builder.set_leaf(leaf, self._parent.leaf_id(leaf))
            return
        self._close(leaf, bytes(self._start(leaf, fates)))

    def _same_shape(self, leaf: int) -> bool:
        """Whether the parent's leaf covers the same blocks; the last one of a grown disk does not."""
        assert self._parent is not None
        mine = min(FANOUT, self._blocks - leaf * FANOUT)
        theirs = min(FANOUT, self._parent.blocks - leaf * FANOUT)
        return mine == theirs

    def _start(self, leaf: int, fates: list[tuple[int, int, Fate]]) -> bytearray:
        """A leaf with its kept ids in place; zero everywhere else."""
        content = bytearray(min(FANOUT, self._blocks - leaf * FANOUT) * ID_SIZE)
        for first, count, fate in fates:
            if fate is Fate.KEEP:
                assert self._parent is not None
                place = (first - leaf * FANOUT) * ID_SIZE
                end = place + count * ID_SIZE
                content[place:end] = self._parent.leaf(leaf)[place:end]
        return content

    def _close(self, leaf: int, content: bytes) -> None:
        node = self._writer.store_node(content) if any(content) else ZERO_ID
        with self._lock:
            self._builder.set_leaf(leaf, node)
            self._journal.add(leaf, node)


def stretches(
    extents: Iterable[tuple[int, tuple[int, ...]]], incremental: bool, parent_size: int
) -> Iterator[tuple[int, Fate]]:
    """(length [bytes], fate) of extents, cut where the parent's disk ended. Pure.

    Args:
        extents: (length, flags of base:allocation and, if incremental, of the dirty bitmap).
        incremental: There is a dirty bitmap.
        parent_size: Size of the disk in the parent point [bytes].
    """
    position = 0
    for length, flags in extents:
        zero = bool(flags[0] & ZERO)
        dirty = not incremental or bool(flags[1] & DIRTY)
        below = max(0, min(length, parent_size - position))
        for part, inside in ((below, True), (length - below, False)):
            if part:
                yield part, extent_fate(zero=zero, dirty=dirty, below_parent=inside)
        position += length


def by_leaf(runs: Runs) -> Iterator[tuple[int, list[tuple[int, int, Fate]]]]:
    """Runs cut at leaf borders, as (leaf, its runs), in order. Pure."""
    leaf, parts = 0, []
    for first, count, fate in runs:
        position, end = first, first + count
        while position < end:
            stop = min(end, (leaf + 1) * FANOUT)
            parts.append((position, stop - position, fate))
            position = stop
            if position == (leaf + 1) * FANOUT:
                yield leaf, parts
                leaf, parts = leaf + 1, []
    if parts:
        yield leaf, parts


def sample_blocks(runs: Runs, parent: MapReader, count: int) -> list[int]:
    """Clean blocks to read again: most of them such that hold data, a few at random.

    Args:
        runs: The blocks' fates.
        parent: The map that clean blocks come from.
        count: How many at most.
    """
    kept = [(first, number) for first, number, fate in runs if fate is Fate.KEEP]
    if not kept:
        return []
    weights = [number for _, number in kept]
    tries = random.choices(kept, weights, k=count * 8)  # noqa: S311  # a sample, not a secret
    candidates = {first + random.randrange(number) for first, number in tries}  # noqa: S311
    with_data = [block for block in candidates if parent.block(block) != ZERO_ID]
    chosen = with_data[: count - 2]
    chosen += [block for block in candidates if block not in chosen][: count - len(chosen)]
    return sorted(chosen)


def _reap(waiting: set[Future[None]]) -> set[Future[None]]:
    """Let finished pieces go; the first failure among them is raised."""
    for future in [item for item in waiting if item.done()]:
        waiting.discard(future)
        future.result()
    return waiting


def _drain(waiting: set[Future[None]]) -> None:
    """Wait for all pieces; the first failure is raised after all have ended."""
    failure: BaseException | None = None
    for future in list(waiting):
        failure = future.exception() or failure
    waiting.clear()
    if failure is not None:
        raise failure
