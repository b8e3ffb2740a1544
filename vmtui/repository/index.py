"""The local index: where each known blob is. Disposable; memory-mapped, so it needs no memory of its own.

It mirrors the repository's index segments. `sync` reads only segments that it has not seen and forgets
those that are gone, so an incremental run does not read the whole index.
"""

from __future__ import annotations

import shutil
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

from vmtui.model.errors import UnreachableError
from vmtui.repository import segments
from vmtui.repository.blocks import ID_SIZE
from vmtui.repository.packs import PackInfo
from vmtui.repository.store import INDEX, PACKS, ObjectStore, missing

_MAP_SIZE = 1 << 38
"""Address space for the file [bytes]; it grows only as needed."""
_VERSION = b"1"

_VALUE = struct.Struct("<IIIIBB")
"""Pack number, offset, stored length, unpacked length, kind, codec."""
_PACK = struct.Struct(f"<{ID_SIZE}sQ{ID_SIZE}s")
"""Pack name, its size, the segment that names it."""
_NUMBER = struct.Struct(">I")
_NEXT = b"next pack number"

_OPEN: dict[Path, lmdb.Environment] = {}
_OPEN_LOCK = threading.Lock()
"""LMDB must not open a file twice in one process."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a blob is stored."""

    pack: str
    offset: int
    length: int
    """Stored length [bytes]."""
    size: int
    """Unpacked length [bytes]."""
    kind: int
    codec: int


@dataclass(frozen=True, slots=True)
class PackRecord:
    """A pack that the index knows."""

    name: str
    size: int
    segment: str


class Index:
    """The index of one repository in a folder of this machine. Safe from any thread and process.

    Args:
        folder: Made if needed.
    """

    def __init__(self, folder: Path) -> None:
        self._environment = _open(folder)
        self._blobs = self._environment.open_db(b"blobs")
        self._packs = self._environment.open_db(b"packs")
        self._segments = self._environment.open_db(b"segments")
        self._meta = self._environment.open_db(b"meta")

    def sync(self, store: ObjectStore) -> None:
        """Bring the index in step with the repository's segments.

        Raises:
            DamageError: A new segment is damaged.
            UnreachableError: The repository cannot be read.
        """
        present = {item.name for item in store.list(INDEX)}
        known = self.segment_names()
        is_there = _presence(store)
        for name in sorted(known - present):
            self._forget(name)
        for name in sorted(present - known):
            self.add(name, segments.read(store, name), is_there)
        if known - present:
            # Blobs of the packs that died may have other copies in packs that live.
            for name in sorted(present & known):
                self._find_copies(segments.read(store, name))

    def segment_names(self) -> set[str]:
        """Segments that the index mirrors."""
        with self._environment.begin(db=self._segments) as transaction:
            return {bytes(key).hex() for key in transaction.cursor().iternext(values=False)}

    def add(self, segment: str, packs: Sequence[PackInfo], is_there: Callable[[PackRecord], bool]) -> None:
        """Take in a segment. A blob that is known already keeps its place if that still exists.

        Args:
            segment: Its name.
            packs: What it names.
            is_there: Whether the pack that an earlier segment names for a blob is still to be relied on.
        """
        with self._environment.begin(write=True) as transaction:
            if transaction.get(bytes.fromhex(segment), db=self._segments) is not None:
                return
            numbers = []
            number = self._next_number(transaction)
            for pack in packs:
                record = _PACK.pack(bytes.fromhex(pack.name), pack.size, bytes.fromhex(segment))
                transaction.put(_NUMBER.pack(number), record, db=self._packs)
                for entry in sorted(pack.entries, key=lambda item: item.id):
                    value = _VALUE.pack(number, entry.offset, entry.length, entry.size, entry.kind, entry.codec)
                    if not transaction.put(entry.id, value, db=self._blobs, overwrite=False):
                        self._replace_if_dead(transaction, entry.id, value, is_there)
                numbers.append(_NUMBER.pack(number))
                number += 1
            transaction.put(bytes.fromhex(segment), b"".join(numbers), db=self._segments)
            transaction.put(_NEXT, _NUMBER.pack(number), db=self._meta)

    def find(self, ids: Iterable[bytes]) -> list[Location | None]:
        """Where blobs are; None for each that no living pack holds."""
        with self._environment.begin() as transaction:
            values = [transaction.get(item, db=self._blobs) for item in ids]
            return [None if value is None else self._location(transaction, value) for value in values]

    def known(self, ids: Sequence[bytes]) -> list[PackRecord | None]:
        """The living pack that holds each blob, or None; cheaper than `find`."""
        with self._environment.begin() as transaction:
            values = [transaction.get(item, db=self._blobs) for item in ids]
            return [None if value is None else self._pack(transaction, _VALUE.unpack(value)[0]) for value in values]

    def pack(self, name: str) -> PackRecord | None:
        """What the index knows of a pack."""
        return next((record for record in self.all_packs() if record.name == name), None)

    def all_packs(self) -> list[PackRecord]:
        """Every living pack."""
        with self._environment.begin(db=self._packs) as transaction:
            return [_record(bytes(value)) for _, value in transaction.cursor()]

    def count(self) -> int:
        """Number of blobs that were ever taken in."""
        with self._environment.begin() as transaction:
            return int(transaction.stat(self._blobs)["entries"])

    # -- inside ----------------------------------------------------------------------------------

    def _forget(self, segment: str) -> None:
        """Let a segment's packs die; their blobs are then not found any more."""
        with self._environment.begin(write=True) as transaction:
            numbers = transaction.pop(bytes.fromhex(segment), db=self._segments) or b""
            for start in range(0, len(numbers), _NUMBER.size):
                transaction.delete(numbers[start : start + _NUMBER.size], db=self._packs)

    def _find_copies(self, packs: Sequence[PackInfo]) -> None:
        """Let blobs whose packs died be found in living packs that hold them as well."""
        numbers = self._pack_numbers()
        with self._environment.begin(write=True) as transaction:
            for pack in packs:
                for entry in pack.entries if pack.name in numbers else ():
                    place = (entry.offset, entry.length, entry.size, entry.kind, entry.codec)
                    value = _VALUE.pack(numbers[pack.name], *place)
                    self._replace_if_dead(transaction, entry.id, value, lambda _: True)

    def _pack_numbers(self) -> dict[str, int]:
        with self._environment.begin(db=self._packs) as transaction:
            return {_record(bytes(value)).name: _NUMBER.unpack(key)[0] for key, value in transaction.cursor()}

    def _next_number(self, transaction: lmdb.Transaction) -> int:
        """The next pack number. Numbers are never used twice: blobs of dead packs still carry theirs."""
        value = transaction.get(_NEXT, db=self._meta)
        return 1 if value is None else int(_NUMBER.unpack(value)[0])

    def _replace_if_dead(
        self, transaction: lmdb.Transaction, blob: bytes, value: bytes, is_there: Callable[[PackRecord], bool]
    ) -> None:
        old = transaction.get(blob, db=self._blobs)
        pack = None if old is None else self._pack(transaction, _VALUE.unpack(old)[0])
        if pack is None or not is_there(pack):
            transaction.put(blob, value, db=self._blobs)

    def _location(self, transaction: lmdb.Transaction, value: bytes) -> Location | None:
        number, offset, length, size, kind, codec = _VALUE.unpack(value)
        pack = self._pack(transaction, number)
        return None if pack is None else Location(pack.name, offset, length, size, kind, codec)

    def _pack(self, transaction: lmdb.Transaction, number: int) -> PackRecord | None:
        value = transaction.get(_NUMBER.pack(number), db=self._packs)
        return None if value is None else _record(bytes(value))


def _presence(store: ObjectStore) -> Callable[[PackRecord], bool]:
    """Whether packs are there with their full size; each is looked at once."""
    seen: dict[str, bool] = {}

    def is_there(pack: PackRecord) -> bool:
        if pack.name not in seen:
            seen[pack.name] = store.size(PACKS, pack.name) == pack.size
        return seen[pack.name]

    return is_there


def _record(value: bytes) -> PackRecord:
    pack, size, segment = _PACK.unpack(value)
    return PackRecord(pack.hex(), size, segment.hex())


def check_segments(store: ObjectStore, names: Iterable[str]) -> None:
    """Read segments again and compare each with its name.

    Raises:
        DamageError: One is missing or damaged.
    """
    for name in names:
        if store.size(INDEX, name) is None:
            raise missing(INDEX, name)
        segments.check_name(name, store.get(INDEX, name))


def _open(folder: Path) -> lmdb.Environment:
    """Open or make the file; one that cannot be read is made anew, as nothing in it is unique."""
    with _OPEN_LOCK:
        if folder in _OPEN:
            return _OPEN[folder]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stamp = folder / "version"
            if not stamp.is_file() or stamp.read_bytes() != _VERSION:
                _start_over(folder)
            try:
                environment = _environment(folder)
            except lmdb.Error:
                _start_over(folder)
                environment = _environment(folder)
        except (OSError, lmdb.Error) as error:
            raise UnreachableError(
                "REPO-UNREACHABLE",
                f"The local index {folder} cannot be opened: {error}.",
                next_step="Check the state folder of the configuration: its space and its owner.",
            ) from error
        _OPEN[folder] = environment
        return environment


def _environment(folder: Path) -> lmdb.Environment:
    file = folder / "blobs.lmdb"
    environment = lmdb.open(str(file), subdir=False, map_size=_MAP_SIZE, max_dbs=4, max_readers=512)
    # A file that was cut kills the process (SIGBUS) when a page past its end is looked at.
    if file.stat().st_size < (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]:
        environment.close()
        raise lmdb.CorruptedError(f"{file} is cut short")
    return environment


def _start_over(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "version").write_bytes(_VERSION)
