"""Where objects live. Storage is borgstore's; what it promises about durability is completed here.

borgstore's file backend flushes a file before it renames it into place, but not the folder that got the
new name, so after a power cut a committed object could be missing. `flush` closes that gap: whatever
was put before it is on disk after it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from borgstore.backends.errors import BackendAlreadyExists, BackendDoesNotExist, BackendError, ObjectNotFound
from borgstore.backends.posixfs import PosixFS
from borgstore.store import Store

from vmtui.model.errors import DamageError, FailedError, RefusedError, UnreachableError, UsageError

CONFIG = "config"
PACKS = "packs"
INDEX = "index"
POINTS = "points"
EVENTS = "events"
SESSIONS = "sessions"
KEYS = "keys"
GARBAGE = "garbage"
QUARANTINE = "quarantine"
NAMESPACES = (CONFIG, KEYS, PACKS, INDEX, POINTS, EVENTS, SESSIONS, GARBAGE, QUARANTINE)

_LEVELS = {f"{name}/": {"levels": [1 if name == PACKS else 0]} for name in NAMESPACES}
"""Packs are spread over 256 folders by the first byte of their names; the rest is flat."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as a listing shows it."""

    name: str
    """Without the namespace."""
    size: int


class ObjectStore:
    """The objects of one repository. Safe to use from several threads.

    Args:
        url: `file:///absolute/folder`.

    Raises:
        UsageError: The address cannot be used.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith("file:///"):
            raise UsageError("REPO-URL-BAD", f"{url!r} is not an address of a repository.")
        self.url = url
        self._folder = Path(url.removeprefix("file://"))
        self._local = threading.local()
        self._lock = threading.Lock()
        self._changed: set[Path] = set()
        self._place: tuple[int, int] | None = None
        """Device and inode of the folder as first seen; an unmounted file system leaves another one behind."""

    # -- the place -------------------------------------------------------------------------------

    def create(self) -> None:
        """Make the place; an empty folder may be there already.

        Raises:
            RefusedError: Something else is in the folder.
            UnreachableError: It cannot be made.
        """
        with self._translated("make the repository"):
            try:
                self._new_store().create()
            except BackendAlreadyExists as error:
                raise RefusedError(
                    "TARGET-EXISTS", f"{self._folder} is not empty.", next_step="Choose an empty folder."
                ) from error
            for name in NAMESPACES:
                (self._folder / name).mkdir()
            self._sync_folder(self._folder)
            self._sync_folder(self._folder.parent)

    def check_reachable(self) -> None:
        """Return if the place is there.

        Raises:
            UsageError: It is not; it was never made, or its file system is not mounted.
            UnreachableError: It cannot be read.
        """
        with self._translated("open the repository"):
            if not self._folder.is_dir():
                raise UsageError(
                    "REPO-NOT-INITIALISED",
                    f"The repository's folder {self._folder} is not there.",
                    next_step="Mount its file system, or make a new one: vmtui repo init",
                    url=self.url,
                )
            next(self._folder.iterdir(), None)

    def free_bytes(self) -> int:
        """Space left [bytes]."""
        with self._translated("look at the repository"):
            status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

    @property
    def exact_listings(self) -> bool:
        """Whether a listing shows all that was put and nothing that was deleted before it."""
        return True

    # -- objects ---------------------------------------------------------------------------------

    def put(self, namespace: str, name: str, data: bytes | memoryview) -> None:
        """Store an object whole or not at all; it is durable after the next `flush`.

        Raises:
            FailedError: No space is left.
            UnreachableError: The store cannot be written.
        """
        with self._translated(f"write {namespace}/{name}"):
            store = self._store()
            store.store(f"{namespace}/{name}", data)
            folder = (self._folder / store.find(f"{namespace}/{name}")).parent
        with self._lock:
            self._changed.update((folder, folder.parent))

    def get(self, namespace: str, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """An object's bytes, or a range of them.

        Raises:
            DamageError: It is not there, or shorter than the range.
            UnreachableError: The store cannot be read.
        """
        with self._translated(f"read {namespace}/{name}"):
            try:
                data: bytes = self._store().load(f"{namespace}/{name}", offset=offset, size=size)
            except ObjectNotFound as error:
                raise missing(namespace, name) from error
        if size is not None and len(data) != size:
            raise DamageError(
                "REPO-OBJECT-BAD",
                f"The object {namespace}/{name} is cut short: {len(data)} of {size} bytes at {offset}.",
                object=f"{namespace}/{name}",
            )
        return data

    def size(self, namespace: str, name: str) -> int | None:
        """An object's size [bytes]; None when it is not there."""
        with self._translated(f"look at {namespace}/{name}"):
            info = self._store().info(f"{namespace}/{name}")
        return info.size if info.exists else None

    def list(self, namespace: str) -> list[ObjectInfo]:
        """All objects of a namespace, sorted by name."""
        with self._translated(f"list {namespace}"):
            try:
                found = [ObjectInfo(item.name, item.size) for item in self._store().list(namespace)]
            except ObjectNotFound:
                return []
        return sorted(found, key=lambda item: item.name)

    def delete(self, namespace: str, name: str) -> None:
        """Remove an object; nothing happens when it is not there."""
        with self._translated(f"delete {namespace}/{name}"):
            store = self._store()
            folder = (self._folder / store.find(f"{namespace}/{name}")).parent
            try:
                store.delete(f"{namespace}/{name}")
            except ObjectNotFound:
                return
        with self._lock:
            self._changed.add(folder)

    def flush(self) -> None:
        """Everything put or deleted before this call survives a power cut after it.

        Raises:
            UnreachableError: The store cannot be flushed.
        """
        with self._lock:
            folders, self._changed = self._changed, set()
        try:
            with self._translated("flush the repository"):
                for folder in sorted(folders):
                    self._sync_folder(folder)
        except (FailedError, UnreachableError):
            with self._lock:
                self._changed |= folders  # they still wait for a flush that succeeds
            raise

    # -- inside ----------------------------------------------------------------------------------

    def _store(self) -> Store:
        """This thread's own borgstore object; a shared one would let one thread through at a time."""
        store: Store | None = getattr(self._local, "store", None)
        self._check_place()
        if store is None:
            store = self._new_store()
            store.open()
            self._local.store = store
        return store

    def _check_place(self) -> None:
        """Return if the folder is the one that was there before; objects never land below an empty mount point."""
        self.check_reachable()
        status = self._folder.stat()
        with self._lock:
            self._place = self._place or (status.st_dev, status.st_ino)
            if self._place == (status.st_dev, status.st_ino):
                return
        raise UnreachableError(
            "REPO-UNREACHABLE",
            f"Another folder is at {self._folder} now: the repository's file system went away.",
            url=self.url,
        )

    def _new_store(self) -> Store:
        return Store(backend=PosixFS(self._folder, do_fsync=True), config=_LEVELS)

    @staticmethod
    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise FailedError(
                    "REPO-FULL", f"could not {doing}: no space left in {self._folder}.", url=self.url
                ) from error
            reason = error.strerror or str(error)
            raise UnreachableError(
                "REPO-UNREACHABLE", f"could not {doing} in {self._folder}: {reason}.", url=self.url
            ) from error
        except BackendDoesNotExist as error:
            raise UnreachableError(
                "REPO-UNREACHABLE", f"The repository's folder {self._folder} is not there.", url=self.url
            ) from error
        except BackendError as error:
            raise UnreachableError("REPO-UNREACHABLE", f"could not {doing}: {error}.", url=self.url) from error


def missing(namespace: str, name: str) -> DamageError:
    """The error for an object that should be there and is not."""
    return DamageError(
        "REPO-OBJECT-MISSING", f"The object {namespace}/{name} is missing.", object=f"{namespace}/{name}"
    )


def damaged(namespace: str, name: str, what: str) -> DamageError:
    """The error for an object that does not have the bytes that were written."""
    return DamageError(
        "REPO-OBJECT-BAD", f"The object {namespace}/{name} is damaged: {what}.", object=f"{namespace}/{name}"
    )
