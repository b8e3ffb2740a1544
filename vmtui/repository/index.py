"""The local index: where each known blob is. Disposable; memory-mapped, so it needs no memory of its own.

It mirrors the repository's index segments. `sync` reads only segments that it has not seen and forgets
those that are gone, so an incremental run does not read the whole index.
"""

from __future__ import annotations

import shutil
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lmdb

from vmtui.model.errors import DamageError, UnreachableError
from vmtui.repository import segments
from vmtui.repository.blocks import ID_SIZE
from vmtui.repository.keys import SALT_SIZE, Keys
from vmtui.repository.packs import Entry, PackInfo
from vmtui.repository.store import INDEX, ObjectStore, missing

_MAP_SIZE = 1 << 36
"""Address space for the file [bytes]; it grows only as needed."""
_VERSION = b"2"
_LISTINGS = 10
"""How often the segments are listed when they are replaced all the time."""

_VALUE = struct.Struct("<IIIIIBB")
"""Pack number, entry number, offset, stored length, unpacked length, kind, codec."""
_PACK = struct.Struct(f"<{ID_SIZE}s{SALT_SIZE}sQI{ID_SIZE}s")
"""Pack name, its salt, its size, its number of entries, the segment that names it."""
_NUMBER = struct.Struct(">I")
_SECONDS = struct.Struct("<d")
_NEXT = b"next pack number"

_OPEN: dict[Path, lmdb.Environment] = {}
_OPEN_LOCK = threading.Lock()
"""LMDB must not open a file twice in one process."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a blob is stored."""

    pack: PackRecord
    entry: Entry


@dataclass(frozen=True, slots=True)
class PackRecord:
    """A pack that the index knows."""

    number: int
    """Only in this index; never used twice."""
    name: str
    salt: bytes
    size: int
    entries: int
    """How many blobs it holds."""
    segment: str


Reliable = Callable[[PackRecord], bool]
"""Whether a pack is there, whole as far as known, and not about to be deleted."""


class Index:
    """The index of one repository in a folder of this machine. Safe from any thread and process.

    Args:
        folder: Made if needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = _open(folder)
        self._blobs = self._environment.open_db(b"blobs")
        self._packs = self._environment.open_db(b"packs")
        self._segments = self._environment.open_db(b"segments")
        self._meta = self._environment.open_db(b"meta")
        self._checked = self._environment.open_db(b"checked")

    def sync(self, store: ObjectStore, keys: Keys, reliable: Reliable) -> list[DamageError]:
        """Bring the index in step with the repository's segments.

        What a damaged segment alone names is not found; the rest of the repository stays usable.

        Args:
            store: The repository's objects.
            keys: Of the repository.
            reliable: Decides between several packs that hold a blob.

        Returns:
            What is wrong with segments that could not be read.

        Raises:
            UnreachableError: The repository cannot be read.
        """
        for _ in range(_LISTINGS):
            damage: dict[str, DamageError] = {}
            present = {item.name for item in store.list(INDEX)}
            known = self.segment_names()
            replaced = False
            for name in sorted(present - known):
                packs = _read_if_there(store, name, keys, damage)
                if packs is not None:
                    self.add(name, packs, reliable)
                replaced |= packs is None and name not in damage
            gone = {name for name in known - present if store.size(INDEX, name) is None}  # a listing may be old
            if gone:
                self._replace(gone, lambda name: _read_if_there(store, name, keys, damage) or [])  # noqa: B023  # called at once
            if not replaced:
                break  # else what was in it is in a segment that the listing does not show
        return list(damage.values())

    def prefer(self, store: ObjectStore, keys: Keys, reliable: Reliable) -> None:
        """Let blobs whose packs are not reliable be found in other packs that hold them as well. Reads all segments.

        Those that are damaged by now are passed over: a blob keeps its place when no better one is known.

        Raises:
            UnreachableError: The repository cannot be read.
        """
        records = {record.name: record for record in self.all_packs()}
        for name in sorted(self.segment_names()):
            packs = _read_if_there(store, name, keys, {}) or []
            found = [(records[pack.name].number, pack) for pack in packs if pack.name in records]
            good = [(number, pack) for number, pack in found if reliable(records[pack.name])]
            with self._begin(write=True) as transaction:
                for number, pack in good:
                    for entry in pack.entries:
                        self._replace_unless(transaction, entry.id, _value(number, entry), reliable)

    def segment_names(self) -> set[str]:
        """Segments that the index mirrors."""
        with self._begin(db=self._segments) as transaction:
            return {bytes(key).hex() for key in transaction.cursor().iternext(values=False)}

    def add(self, segment: str, packs: Sequence[PackInfo], reliable: Reliable) -> None:
        """Take in a segment. A blob that is known already keeps its place if that is reliable."""
        with self._begin(write=True) as transaction:
            if transaction.get(bytes.fromhex(segment), db=self._segments) is not None:
                return
            numbers = []
            number = self._next_number(transaction)
            for pack in packs:
                record = _PACK.pack(
                    bytes.fromhex(pack.name), pack.salt, pack.size, len(pack.entries), bytes.fromhex(segment)
                )
                transaction.put(_NUMBER.pack(number), record, db=self._packs)
                for entry in sorted(pack.entries, key=lambda item: item.id):
                    value = _value(number, entry)
                    if not transaction.put(entry.id, value, db=self._blobs, overwrite=False):
                        self._replace_unless(transaction, entry.id, value, reliable)
                numbers.append(_NUMBER.pack(number))
                number += 1
            transaction.put(bytes.fromhex(segment), b"".join(numbers), db=self._segments)
            transaction.put(_NEXT, _NUMBER.pack(number), db=self._meta)

    def find(self, ids: Iterable[bytes]) -> list[Location | None]:
        """Where blobs are; None for each that no living pack holds."""
        with self._begin() as transaction:
            values = [(item, transaction.get(item, db=self._blobs)) for item in ids]
            return [
                None if value is None else self._location(transaction, item, bytes(value)) for item, value in values
            ]

    def known(self, ids: Sequence[bytes]) -> list[PackRecord | None]:
        """The living pack that holds each blob, or None; cheaper than `find`."""
        with self._begin() as transaction:
            values = [transaction.get(item, db=self._blobs) for item in ids]
            return [None if value is None else self._pack(transaction, _VALUE.unpack(value)[0]) for value in values]

    def pack(self, name: str) -> PackRecord | None:
        """What the index knows of a pack."""
        return next((record for record in self.all_packs() if record.name == name), None)

    def all_packs(self) -> list[PackRecord]:
        """Every living pack."""
        with self._begin(db=self._packs) as transaction:
            return [_record(_NUMBER.unpack(key)[0], bytes(value)) for key, value in transaction.cursor()]

    def count(self) -> int:
        """Number of blobs that were ever taken in."""
        with self._begin() as transaction:
            return int(transaction.stat(self._blobs)["entries"])

    # -- what was verified -----------------------------------------------------------------------

    def checked(self, pack: str) -> datetime | None:
        """When every byte of a pack was last read here and found right."""
        with self._begin(db=self._checked) as transaction:
            value = transaction.get(bytes.fromhex(pack))
        return None if value is None else datetime.fromtimestamp(_SECONDS.unpack(value)[0], UTC)

    def set_checked(self, pack: str, at: datetime | None) -> None:
        """Remember when a pack was found right; None when it was not."""
        with self._begin(db=self._checked, write=True) as transaction:
            if at is None:
                transaction.delete(bytes.fromhex(pack))
            else:
                transaction.put(bytes.fromhex(pack), _SECONDS.pack(at.timestamp()))

    @contextmanager
    def _begin(self, *, db: Any = None, write: bool = False) -> Iterator[lmdb.Transaction]:
        """A transaction; trouble with the file is told as what it is."""
        try:
            with self._environment.begin(db=db, write=write) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise UnreachableError(
                "REPO-UNREACHABLE",
                f"The local index {self._folder} failed: {error}.",
                next_step="See that its disk has room. The folder holds nothing unique: it may be deleted.",
            ) from error

    # -- inside ----------------------------------------------------------------------------------

    def _replace(self, dead: set[str], load: Callable[[str], Sequence[PackInfo]]) -> None:
        """Let the packs of dead segments die; their blobs are found in living packs that hold them as well.

        In one transaction, so that nobody who reads meanwhile misses a blob.
        """
        with self._begin(write=True) as transaction:
            for segment in dead:
                numbers = transaction.pop(bytes.fromhex(segment), db=self._segments) or b""
                for start in range(0, len(numbers), _NUMBER.size):
                    transaction.delete(numbers[start : start + _NUMBER.size], db=self._packs)
            numbers_of = {
                _record(0, bytes(value)).name: _NUMBER.unpack(key)[0]
                for key, value in transaction.cursor(db=self._packs)
            }
            living = [bytes(key).hex() for key in transaction.cursor(db=self._segments).iternext(values=False)]
            for segment in living:
                for pack in load(segment):
                    number = numbers_of.get(pack.name)
                    for entry in pack.entries if number is not None else ():
                        self._replace_unless(transaction, entry.id, _value(number or 0, entry), lambda _: True)

    def _next_number(self, transaction: lmdb.Transaction) -> int:
        """The next pack number. Numbers are never used twice: blobs of dead packs still carry theirs."""
        value = transaction.get(_NEXT, db=self._meta)
        return 1 if value is None else int(_NUMBER.unpack(value)[0])

    def _replace_unless(self, transaction: lmdb.Transaction, blob: bytes, value: bytes, reliable: Reliable) -> None:
        """Give a blob a new place, unless the pack of the old one is to be relied on."""
        old = transaction.get(blob, db=self._blobs)
        pack = None if old is None else self._pack(transaction, _VALUE.unpack(old)[0])
        if pack is None or not reliable(pack):
            transaction.put(blob, value, db=self._blobs)

    def _location(self, transaction: lmdb.Transaction, blob: bytes, value: bytes) -> Location | None:
        number, place, offset, length, size, kind, codec = _VALUE.unpack(value)
        pack = self._pack(transaction, number)
        return None if pack is None else Location(pack, Entry(place, bytes(blob), kind, codec, offset, length, size))

    def _pack(self, transaction: lmdb.Transaction, number: int) -> PackRecord | None:
        value = transaction.get(_NUMBER.pack(number), db=self._packs)
        return None if value is None else _record(number, bytes(value))


def _value(number: int, entry: Entry) -> bytes:
    return _VALUE.pack(number, entry.number, entry.offset, entry.length, entry.size, entry.kind, entry.codec)


def _record(number: int, value: bytes) -> PackRecord:
    pack, salt, size, entries, segment = _PACK.unpack(value)
    return PackRecord(number, pack.hex(), salt, size, entries, segment.hex())


def _read_if_there(store: ObjectStore, name: str, keys: Keys, damage: dict[str, DamageError]) -> list[PackInfo] | None:
    """A segment; None when it was replaced by another since it was listed, or when it is damaged, which is noted."""
    try:
        return segments.read(store, name, keys)
    except DamageError as error:
        if store.size(INDEX, name) is not None:
            damage[name] = error
        return None


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
    environment = lmdb.open(str(file), subdir=False, map_size=_MAP_SIZE, max_dbs=5, max_readers=512)
    # A file that was cut kills the process (SIGBUS) when a page past its end is looked at.
    if file.stat().st_size < (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]:
        environment.close()
        raise lmdb.CorruptedError(f"{file} is cut short")
    return environment


def _start_over(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "version").write_bytes(_VERSION)
