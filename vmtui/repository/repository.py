"""A repository: opened, checked, and handed out in its parts."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmtui.model.codec import format_instant
from vmtui.model.errors import DamageError, UsageError
from vmtui.model.ids import JobId, is_host_subject
from vmtui.model.point import RestorePoint
from vmtui.repository import remembered, slots
from vmtui.repository.health import Health, named_garbage, quarantined
from vmtui.repository.index import Index
from vmtui.repository.keys import PLAIN, Keys
from vmtui.repository.points import Points
from vmtui.repository.reader import BlobReader
from vmtui.repository.records import Records
from vmtui.repository.sessions import WriterSession
from vmtui.repository.store import CONFIG, KEYS, NAMESPACES, PACKS, ObjectStore, damaged, missing
from vmtui.repository.writer import BlobWriter

FORMAT = 1
DEFAULT_BLOCK_SIZE = 64 << 10
MIN_BLOCK_SIZE = 4 << 10
MAX_BLOCK_SIZE = 4 << 20
MAIN = "main"
"""Name of the configuration object."""
_CIPHER = "aes-256-gcm"

Passphrase = Callable[[], str]
"""Gives the passphrase of an encrypted repository; called only when it is needed.

Raises:
    UsageError: There is none.
"""

_unlocked: dict[str, Keys] = {}
"""Secrets of the repositories that this process has opened, by id: deriving a key takes time and memory on purpose."""
_unlocking = threading.Lock()


@dataclass(frozen=True, slots=True)
class Identity:
    """What was fixed when the repository was made."""

    id: str
    block_size: int
    created: str
    key_check: str = ""
    """Tells a right key from a wrong one; empty when it is not encrypted."""

    @property
    def encrypted(self) -> bool:
        """Whether its objects are sealed."""
        return bool(self.key_check)


class Repository:
    """An open repository.

    Args:
        place: Its address, or the store of its objects.
        cache: Folder for its local index; each repository gets one of its own below it.
        passphrase: Opens it when it is encrypted.

    Raises:
        UsageError: There is none, or a newer format, or the passphrase is wrong.
        RefusedError: It was encrypted when it was opened here before, and is not now.
        DamageError: Its configuration object is damaged.
        UnreachableError: The place cannot be read.
    """

    def __init__(self, place: str | ObjectStore, cache: Path, passphrase: Passphrase | None = None) -> None:
        self.store = _store(place)
        self.store.check_reachable()
        self.identity = _identity(self.store)
        remembered.check(cache, self.store.url, encrypted=self.identity.encrypted)
        self.keys = _keys(self.store, self.identity, passphrase)
        self.records = Records(self.store, self.keys)
        self.index = Index(cache / self.identity.id)
        self.points = Points(self.records, self.identity.id)

    @classmethod
    def create(
        cls,
        place: str | ObjectStore,
        cache: Path,
        *,
        block_size: int = DEFAULT_BLOCK_SIZE,
        passphrase: Passphrase | None = None,
    ) -> Repository:
        """Make a new repository.

        Args:
            place: The address or store of an empty or new place.
            cache: As for opening.
            block_size: A power of two from 4 KiB to 4 MiB [bytes].
            passphrase: Gives its first passphrase; without it, nothing is encrypted.

        Raises:
            RefusedError: The place is not empty.
            UsageError: The block size cannot be used, or the passphrase is empty.
        """
        if not MIN_BLOCK_SIZE <= block_size <= MAX_BLOCK_SIZE or block_size & (block_size - 1):
            raise UsageError(
                "CONFIG-INVALID", f"A block size of {block_size} is not a power of two from 4 KiB to 4 MiB."
            )
        store = _store(place)
        identity = Identity(uuid.uuid4().hex, block_size, format_instant(datetime.now(UTC)))
        phrase = passphrase() if passphrase is not None else ""
        store.create()
        records = Records(store, PLAIN)
        value: dict[str, Any] = {
            "format": FORMAT,
            "id": identity.id,
            "block_size": block_size,
            "created": identity.created,
            "encryption": None,
        }
        if passphrase is not None:
            keys = Keys.generate()
            slots.add_slot(records, identity.id, keys, phrase, "first", datetime.now(UTC))
            value["encryption"] = {"cipher": _CIPHER, "key_check": keys.check(identity.id)}
        records.put(CONFIG, MAIN, value)  # last: without it the place holds no repository
        remembered.forget(cache, store.url)
        return cls(store, cache, lambda: phrase)

    @classmethod
    def open_with_paper_key(cls, place: str | ObjectStore, cache: Path, text: str) -> Repository:
        """Open a repository by its paper key; later openings in this process use it as well.

        Raises:
            UsageError: It is not as printed, or not this repository's; or the repository is not encrypted.
        """
        store = _store(place)
        store.check_reachable()
        identity = _identity(store)
        _adopt(identity, slots.read_paper_key(text, identity.id))
        return cls(store, cache)

    # -- who can open it -------------------------------------------------------------------------

    def key_slots(self) -> list[slots.Slot]:
        """All key slots, oldest first."""
        return slots.slots(self._plain)

    def key_slot(self, passphrase: str) -> str:
        """The id of the slot that a passphrase opens.

        Raises:
            UsageError: It opens none.
        """
        return slots.unlock(self._plain, self.id, passphrase)[1]

    def add_key(self, passphrase: str, label: str, now: datetime) -> slots.Slot:
        """Let a further passphrase open it."""
        return slots.add_slot(self._plain, self.id, self.keys, passphrase, label, now)

    def remove_key(self, slot: str) -> None:
        """Take a slot away, durably."""
        self._plain.delete(KEYS, slot)
        self.store.flush()

    def paper_key(self) -> str:
        """Its secrets, as lines to print."""
        return slots.paper_key(self.id, self.keys)

    @property
    def _plain(self) -> Records:
        """Objects that are not sealed: they are needed to open the others."""
        return Records(self.store, PLAIN)

    # -- its parts -------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return self.identity.id

    @property
    def block_size(self) -> int:
        """Bytes in a block."""
        return self.identity.block_size

    def sync(self) -> list[DamageError]:
        """Bring the local index in step with what others wrote.

        Returns:
            What is wrong with index segments that could not be read: what they alone name is not found.
        """
        return self.index.sync(self.store, self.keys, self.health().reliable)

    def health(self) -> Health:
        """Which packs may be relied on, as of now."""
        named = [pack for item in named_garbage(self.records) for pack in item.packs]
        return Health(self.store, frozenset(named) | quarantined(self.records))

    def reader(self) -> BlobReader:
        """Reads blocks and maps; call `sync` first."""
        return BlobReader(self.store, self.index, self.keys, self.block_size, self._without)

    def prefer_reliable(self) -> None:
        """Let blobs be found in packs that are whole and stay, where there is a choice. Reads all index segments."""
        self.index.prefer(self.store, self.keys, self.health().reliable)

    def _without(self, packs: frozenset[str]) -> None:
        """Look for other copies of what some packs hold that are gone or damaged."""
        self.sync()
        health = Health(self.store, packs | quarantined(self.records))
        self.index.prefer(self.store, self.keys, health.reliable)

    def writer(self, level: int, health: Health | None = None) -> BlobWriter:
        """Writes blocks and maps; its session must have begun, and `sync` been called.

        Args:
            level: zstd level.
            health: Which packs it may rely on, when that was found out already.
        """
        health = health or self.health()
        return BlobWriter(self.store, self.index, self.keys, health, block_size=self.block_size, level=level)

    def session(self, run: JobId) -> WriterSession:
        """The record of a run that writes; begin it before anything is stored."""
        return WriterSession(self.records, run)

    def declare(self, run: JobId, parent: RestorePoint | None) -> tuple[str, ...]:
        """Say which named garbage a run does not rely on; once its session began and its parent is known."""
        return self.session(run).declare(named_garbage(self.records), parent)

    def stats(self) -> Stats:
        """Sizes and counts; lists all objects."""
        names = self.points.names()
        sizes = {name: [item.size for item in self.store.list(name)] for name in NAMESPACES}
        return Stats(
            id=self.id,
            url=self.store.url,
            block_size=self.block_size,
            points=sum(not is_host_subject(name.vm) for name in names),
            host_points=sum(is_host_subject(name.vm) for name in names),
            packs=len(sizes[PACKS]),
            stored_bytes=sum(sum(items) for items in sizes.values()),
            free_bytes=self.store.free_bytes(),
            blobs=self.index.count(),
        )


@dataclass(frozen=True, slots=True)
class Stats:
    """A repository in numbers."""

    id: str
    url: str
    block_size: int
    points: int
    """Of VMs."""
    packs: int
    stored_bytes: int
    free_bytes: int | None
    """None where the store cannot say."""
    blobs: int
    host_points: int = 0
    """Of hosts' own configuration."""


def _store(place: str | ObjectStore) -> ObjectStore:
    return ObjectStore(place) if isinstance(place, str) else place


def _identity(store: ObjectStore) -> Identity:
    if store.size(CONFIG, MAIN) is None:
        if any(store.list(name) for name in NAMESPACES):
            raise missing(CONFIG, MAIN)
        raise UsageError("REPO-NOT-INITIALISED", f"{store.url} holds no repository.", url=store.url)
    value: Any = Records(store, PLAIN).get(CONFIG, MAIN)
    try:
        if value["format"] > FORMAT:
            raise UsageError(
                "REPO-FORMAT-NEWER",
                f"The repository {store.url} has format {value['format']}; this vmtui knows up to {FORMAT}.",
                url=store.url,
            )
        encryption = value["encryption"]
        if encryption is not None and encryption["cipher"] != _CIPHER:
            raise UsageError(
                "REPO-FORMAT-NEWER", f"The repository {store.url} is encrypted by a method that this vmtui lacks."
            )
        check = str(encryption["key_check"]) if encryption is not None else ""
        return Identity(str(value["id"]), int(value["block_size"]), str(value["created"]), check)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(CONFIG, MAIN, f"a field is missing: {error}") from error


def _keys(store: ObjectStore, identity: Identity, passphrase: Passphrase | None) -> Keys:
    """The secrets; derived once in a process for each repository."""
    if not identity.encrypted:
        return PLAIN
    with _unlocking:
        if identity.id not in _unlocked:
            if passphrase is None:
                raise locked(store.url)
            _adopt(identity, slots.unlock(Records(store, PLAIN), identity.id, passphrase())[0])
        return _unlocked[identity.id]


def _adopt(identity: Identity, keys: Keys) -> None:
    """Use these secrets from now on."""
    if not identity.encrypted or keys.check(identity.id) != identity.key_check:
        raise UsageError("PAPER-KEY-BAD", "The key is not the one that this repository was made with.")
    _unlocked[identity.id] = keys


def locked(url: str) -> UsageError:
    """The error for an encrypted repository without a passphrase."""
    return UsageError("REPO-LOCKED", f"The repository {url} is encrypted, and no passphrase was given.", url=url)
