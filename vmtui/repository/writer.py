"""Storing blobs, each once: hash, look up, compress, pack, upload, index.

`store_blocks` may be called from many threads at once; packing is serial and cheap, uploading has a
thread of its own. Memory is bounded: one pack being filled, one waiting, one on its way.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from vmtui.failpoint import failpoint
from vmtui.model.errors import FailedError
from vmtui.repository import segments
from vmtui.repository.blocks import ZERO_ID, Blob, Kind, Packer
from vmtui.repository.health import Health
from vmtui.repository.index import Index
from vmtui.repository.keys import Keys
from vmtui.repository.packs import TARGET_SIZE, PackBuilder, PackInfo
from vmtui.repository.store import INDEX, PACKS, ObjectStore

_WAITING = 1
"""Packs that may wait for their upload."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of some blocks."""

    ids: bytes
    """Their ids, one after the other."""
    new: int
    """Bytes that the repository did not have."""
    stored: int
    """Bytes added to packs."""


class BlobWriter:
    """Writes blobs into one repository.

    Args:
        store: The repository's objects.
        index: Already in step with the repository.
        keys: Of the repository.
        health: Which packs it may rely on.
        block_size: Of the repository [bytes].
        level: zstd level.
    """

    def __init__(
        self, store: ObjectStore, index: Index, keys: Keys, health: Health, *, block_size: int, level: int
    ) -> None:
        self._store = store
        self._index = index
        self._keys = keys
        self._health = health
        self._block_size = block_size
        self._zero = bytes(block_size)
        self._level = level
        self._lock = threading.Lock()
        self._builder = PackBuilder(keys)
        self._pending: set[bytes] = set()
        """Blobs of this run that the index does not know yet."""
        self._local = threading.local()
        self._uploads: queue.Queue[tuple[PackInfo, bytes] | None] = queue.Queue(_WAITING)
        self._uploaded: list[PackInfo] = []
        self._failure: BaseException | None = None
        self._uploader = threading.Thread(target=self._upload, name="uploader", daemon=True)
        self._uploader.start()

    # -- storing ---------------------------------------------------------------------------------

    def store_blocks(self, data: memoryview) -> Stored:
        """Store the blocks of a stretch.

        Args:
            data: A whole number of blocks; must not change until this returns.

        Raises:
            FailedError: No space is left.
            UnreachableError: The store cannot be written.
        """
        size = self._block_size
        blocks = [data[start : start + size] for start in range(0, len(data), size)]
        ids = [self.id_of(block) for block in blocks]
        new = self._claim(ids)
        stored = 0
        if new:
            blobs = self._packer().pack([ids[place] for place in new], Kind.BLOCK, [blocks[place] for place in new])
            stored = self._append(blobs)
        return Stored(b"".join(ids), len(new) * size, stored)

    def id_of(self, block: memoryview) -> bytes:
        """The id of a whole block, without storing it."""
        # Bytes compare at memory speed, memoryviews do not; most blocks differ in their first or last byte.
        if not block[0] and not block[-1] and bytes(block) == self._zero:
            return ZERO_ID
        return self._keys.block_id(block)

    def store_node(self, data: bytes) -> bytes:
        """Store a map node and give its id."""
        item = self._keys.node_id(data)
        if self._claim([item]):
            self._append(self._packer().pack([item], Kind.NODE, [data]))
        return item

    def adopt(self, blobs: Sequence[Blob]) -> int:
        """Store blobs that were read from elsewhere, already checked and in their compressed form.

        Returns:
            Bytes added to packs.
        """
        new = set(self._claim([blob.id for blob in blobs]))
        return self._append([blob for place, blob in enumerate(blobs) if place in new])

    def _claim(self, ids: Sequence[bytes]) -> list[int]:
        """Places of ids that nobody stores yet; they are the caller's to store."""
        places: dict[bytes, int] = {}
        for place, item in enumerate(ids):
            if item != ZERO_ID:
                places.setdefault(item, place)
        wanted = list(places)
        known = self._index.known(wanted)
        usable = [record is not None and self._health.reliable(record) for record in known]
        with self._lock:
            new = [item for item, there in zip(wanted, usable, strict=True) if not there and item not in self._pending]
            self._pending.update(new)
        return [places[item] for item in new]

    def _packer(self) -> Packer:
        packer: Packer | None = getattr(self._local, "packer", None)
        if packer is None:
            packer = self._local.packer = Packer(self._level)
        return packer

    def _append(self, blobs: Sequence[Blob]) -> int:
        """Add blobs to the pack being filled; waits when uploads do not keep up."""
        stored = 0
        full = []
        with self._lock:
            self._raise_failure()
            for blob in blobs:
                self._builder.add(blob)
                stored += len(blob.payload)
                if len(self._builder) >= TARGET_SIZE:
                    full.append(self._builder)
                    self._builder = PackBuilder(self._keys)
        for builder in full:
            self._hand_over(builder)
        return stored

    def _hand_over(self, builder: PackBuilder) -> None:
        item = builder.finish()
        while True:
            self._raise_failure()
            try:
                self._uploads.put(item, timeout=0.5)
            except queue.Full:
                continue
            return

    # -- making it durable -----------------------------------------------------------------------

    def settle(self) -> None:
        """Make everything stored so far durable and findable: packs first, then the index.

        Call it while no other thread stores.

        Raises:
            FailedError: No space is left.
            UnreachableError: The store cannot be written.
        """
        with self._lock:
            builder, self._builder = self._builder, PackBuilder(self._keys)
        if not builder.empty:
            self._hand_over(builder)
        self._uploads.join()
        self._raise_failure()
        self._store.flush()
        failpoint("backup.packed")
        packs = self._uploaded
        if packs:
            name, data = segments.build(packs, self._keys)
            self._store.put(INDEX, name, data)
            self._store.flush()
            self._index.add(name, packs, self._health.reliable)
            with self._lock:
                self._pending.clear()
            self._uploaded = []  # not before: a repetition must name them, as their blobs are not stored again
        failpoint("backup.indexed")

    def close(self) -> None:
        """End the uploader; what was not settled is garbage for GC. Safe to repeat."""
        while self._uploader.is_alive():
            try:
                self._uploads.put(None, timeout=0.5)
                break
            except queue.Full:
                continue
        self._uploader.join(timeout=60)

    def _upload(self) -> None:
        while (item := self._uploads.get()) is not None:
            try:
                if self._failure is None:
                    info, data = item
                    self._store.put(PACKS, info.name, data)
                    self._uploaded.append(info)
            except BaseException as error:  # noqa: BLE001  # the edge of this thread: the next call of any other raises it
                self._failure = error
            finally:
                self._uploads.task_done()

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        if isinstance(self._failure, Exception):
            raise self._failure
        raise FailedError("INTERNAL", f"The uploader ended: {self._failure!r}")
