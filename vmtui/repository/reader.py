"""Reading blobs: located by the index, unpacked, and compared with their ids."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from vmtui.model.errors import DamageError
from vmtui.repository.blocks import ZERO_ID, Kind, Unpacker, blob_id
from vmtui.repository.index import Index, Location
from vmtui.repository.maps import MapReader
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
        block_size: Of the repository.
    """

    def __init__(self, store: ObjectStore, index: Index, block_size: int) -> None:
        self._store = store
        self._index = index
        self._block_size = block_size
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
        """A map node.

        Raises:
            DamageError: As for blocks.
        """
        return self._fetch([node], Kind.NODE)[0]

    def map(self, root: bytes, blocks: int) -> MapReader:
        """The disk map below a top node."""
        return MapReader(self.node, root, blocks)

    def _fetch(self, ids: list[bytes], kind: Kind) -> list[bytes]:
        located = list(zip(ids, self._index.find(ids), strict=True))
        result: dict[bytes, bytes] = {}
        for pack, group in _by_pack(located):
            for run in _runs(group):
                start = run[0][1].offset
                end = max(place.offset + place.length for _, place in run)
                data = memoryview(self._store.get(PACKS, pack, start, end - start))
                for item, place in run:
                    payload = data[place.offset - start : place.offset - start + place.length]
                    result[item] = self._unpack(item, kind, place, payload)
        return [result[item] for item in ids]

    def _unpack(self, item: bytes, kind: Kind, place: Location, payload: memoryview) -> bytes:
        unpacker: Unpacker | None = getattr(self._local, "unpacker", None)
        if unpacker is None:
            unpacker = self._local.unpacker = Unpacker()
        data = unpacker.unpack(place.codec, payload, place.size)
        if data is None or place.kind != kind or blob_id(kind, data) != item:
            raise bad_blob(item, place.pack)
        if kind is Kind.BLOCK and len(data) != self._block_size:
            raise bad_blob(item, place.pack)
        return data


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


def _by_pack(located: list[tuple[bytes, Location | None]]) -> list[tuple[str, list[tuple[bytes, Location]]]]:
    groups: dict[str, list[tuple[bytes, Location]]] = {}
    for item, place in located:
        if place is None:
            raise lost_blob(item)
        groups.setdefault(place.pack, []).append((item, place))
    return list(groups.items())


def _runs(group: list[tuple[bytes, Location]]) -> list[list[tuple[bytes, Location]]]:
    """Split a pack's blobs, by offset, into stretches worth one read each."""
    ordered = sorted(group, key=lambda pair: pair[1].offset)
    runs = [[ordered[0]]]
    for pair in ordered[1:]:
        start, last = runs[-1][0][1].offset, runs[-1][-1][1]
        near = pair[1].offset <= last.offset + last.length + _GAP
        if near and pair[1].offset + pair[1].length - start <= _FETCH:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    return runs
