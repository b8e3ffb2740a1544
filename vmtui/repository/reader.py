"""Reading blobs: located by the index, unpacked, and compared with their ids."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from vmtui.model.errors import DamageError
from vmtui.repository.blocks import ZERO_ID, Kind, Unpacker
from vmtui.repository.index import Index, Location, PackRecord
from vmtui.repository.keys import Box, Keys
from vmtui.repository.maps import MapReader
from vmtui.repository.packs import Entry, open_blob
from vmtui.repository.store import PACKS, ObjectStore

_GAP = 128 << 10
"""Blobs that are this close in a pack are fetched with one read [bytes]."""
_FETCH = 8 << 20
"""Longest single read of a pack [bytes]."""


class BlobReader:
    """Gives blobs by id. Safe from several threads.

    Args:
        store: The repository's objects.
        index: Where they are.
        keys: Of the repository.
        block_size: Of the repository.
        without: Looks for other copies of what some packs hold, when these are gone or damaged.
    """

    def __init__(
        self, store: ObjectStore, index: Index, keys: Keys, block_size: int, without: Callable[[frozenset[str]], None]
    ) -> None:
        self._without = without
        self._failed: set[str] = set()
        """Packs that could not be read, or not all of what was wanted of them."""
        self._store = store
        self._index = index
        self._keys = keys
        self._block_size = block_size
        self._zero = bytes(block_size)
        self._boxes: dict[int, Box] = {}
        self._local = threading.local()

    def blocks(self, ids: Sequence[bytes]) -> list[bytes | None]:
        """Blocks in the order asked; None stands for a block of zeroes.

        Raises:
            DamageError: A block is not in the index, or its bytes are not those of its id.
            UnreachableError: The repository cannot be read.
        """
        wanted = list(dict.fromkeys(item for item in ids if item != ZERO_ID))
        found = dict(zip(wanted, self._fetch(wanted, Kind.BLOCK), strict=True))
        return [None if item == ZERO_ID else found[item] for item in ids]

    def node(self, node: bytes) -> bytes:
        """A map node's bytes.

        Raises:
            DamageError: As for blocks.
        """
        return self._fetch([node], Kind.NODE)[0]

    def nodes(self, nodes: Sequence[bytes]) -> list[bytes]:
        """Several map nodes, all different, in the order asked."""
        return self._fetch(list(nodes), Kind.NODE)

    def map(self, root: bytes, blocks: int) -> MapReader:
        """The disk map below a top node."""
        return MapReader(self.node, root, blocks)

    def holds(self, block: bytes | bytearray | memoryview, item: bytes) -> bool:
        """Whether a whole block's bytes are those of an id."""
        return bytes(block) == self._zero if item == ZERO_ID else self._keys.block_id(block) == item

    def _fetch(self, ids: list[bytes], kind: Kind) -> list[bytes]:
        result: dict[bytes, bytes] = {}
        for pack, group in _by_pack(dict(zip(ids, self._index.find(ids), strict=True))):
            for run in _runs(group):
                result.update(self._read_surely(pack, run, kind))
        return [result[item] for item in ids]

    def _read_surely(self, pack: PackRecord, run: list[Location], kind: Kind) -> dict[bytes, bytes]:
        """Blobs near each other in a pack; from other packs that hold them too, when this one is gone or damaged."""
        try:
            return self._read_run(pack, run, kind)
        except DamageError:
            self._failed.add(pack.name)
            self._without(frozenset(self._failed))
            ids = [place.entry.id for place in run]
            result: dict[bytes, bytes] = {}
            elsewhere = []
            for item, place in zip(ids, self._index.find(ids), strict=True):
                if place is None:
                    raise
                if place.pack.name in self._failed:  # another blob of it may be the one that is damaged
                    result |= self._read_run(place.pack, [place], kind)
                else:
                    elsewhere.append(item)
            return result | dict(zip(elsewhere, self._fetch(elsewhere, kind), strict=True))

    def payloads(self, places: Sequence[Location]) -> Iterator[tuple[Entry, bytes]]:
        """Blobs as they are packed, opened but still compressed, each compared with its id.

        Args:
            places: All in one pack.

        Raises:
            DamageError: As for blocks.
        """
        for run in _runs(list(places)) if places else ():
            start, data = self._load_run(run[0].pack, run)
            for place in run:
                stored = data[place.entry.offset - start : place.entry.offset - start + place.entry.length]
                self._unpack(place, Kind(place.entry.kind), stored)
                payload = open_blob(self._box(place.pack), place.entry, stored)
                yield place.entry, bytes(payload or b"")

    def _read_run(self, pack: PackRecord, run: list[Location], kind: Kind) -> dict[bytes, bytes]:
        """Blobs that lie near each other in a pack, by one read."""
        start, data = self._load_run(pack, run)
        blobs = {}
        for place in run:
            entry = place.entry
            stored = data[entry.offset - start : entry.offset - start + entry.length]
            blobs[entry.id] = self._unpack(place, kind, stored)
        return blobs

    def _load_run(self, pack: PackRecord, run: list[Location]) -> tuple[int, memoryview]:
        start = run[0].entry.offset
        end = max(place.entry.offset + place.entry.length for place in run)
        return start, memoryview(self._store.get(PACKS, pack.name, start, end - start))

    def _unpack(self, place: Location, kind: Kind, stored: memoryview) -> bytes:
        unpacker: Unpacker | None = getattr(self._local, "unpacker", None)
        if unpacker is None:
            unpacker = self._local.unpacker = Unpacker()
        entry = place.entry
        payload = open_blob(self._box(place.pack), entry, stored)
        data = None if payload is None else unpacker.unpack(entry.codec, payload, entry.size)
        if data is None or entry.kind != kind or self._keys.blob_id(kind, data) != entry.id:
            raise bad_blob(entry.id, place.pack.name)
        if kind is Kind.BLOCK and len(data) != self._block_size:
            raise bad_blob(entry.id, place.pack.name)
        return data

    def _box(self, pack: PackRecord) -> Box:
        box = self._boxes.get(pack.number)
        if box is None:
            box = self._boxes[pack.number] = self._keys.box(pack.salt)
        return box


def bad_blob(item: bytes, pack: str) -> DamageError:
    """The error for a blob whose bytes are not those of its id."""
    return DamageError(
        "REPO-BLOCK-BAD",
        f"The block {item.hex()[:16]} in packs/{pack[:16]}… does not have the bytes that were stored.",
        block=item.hex(),
        pack=pack,
    )


def lost_blob(item: bytes) -> DamageError:
    """The error for a blob that no pack holds any more."""
    return DamageError(
        "REPO-OBJECT-MISSING",
        f"The block {item.hex()[:16]} is in no index segment of the repository.",
        block=item.hex(),
    )


def _by_pack(places: Mapping[bytes, Location | None]) -> list[tuple[PackRecord, list[Location]]]:
    groups: dict[str, tuple[PackRecord, list[Location]]] = {}
    for item, place in places.items():
        if place is None:
            raise lost_blob(item)
        groups.setdefault(place.pack.name, (place.pack, []))[1].append(place)
    return list(groups.values())


def _runs(group: list[Location]) -> list[list[Location]]:
    """Split a pack's blobs, by offset, into stretches worth one read each."""
    ordered = sorted(group, key=lambda place: place.entry.offset)
    runs = [[ordered[0]]]
    for place in ordered[1:]:
        start, last = runs[-1][0].entry.offset, runs[-1][-1].entry
        near = place.entry.offset <= last.offset + last.length + _GAP
        if near and place.entry.offset + place.entry.length - start <= _FETCH:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs
