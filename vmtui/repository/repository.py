"""A repository: opened, checked, and handed out in its parts."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmtui.model.codec import format_instant
from vmtui.model.errors import UsageError
from vmtui.model.ids import JobId
from vmtui.repository import frame
from vmtui.repository.index import Index
from vmtui.repository.points import Points
from vmtui.repository.reader import BlobReader
from vmtui.repository.sessions import WriterSession
from vmtui.repository.store import CONFIG, NAMESPACES, PACKS, ObjectStore, OpenSftp, damaged, missing
from vmtui.repository.writer import BlobWriter

FORMAT = 1
DEFAULT_BLOCK_SIZE = 64 << 10
MIN_BLOCK_SIZE = 4 << 10
MAX_BLOCK_SIZE = 4 << 20
_MAIN = "main"


@dataclass(frozen=True, slots=True)
class Identity:
    """What was fixed when the repository was made."""

    id: str
    block_size: int
    created: str


class Repository:
    """An open repository.

    Args:
        url: Where it is.
        cache: Folder for its local index; each repository gets one of its own below it.
        open_sftp: Logs in to a configured host; for a store that is reached by SSH.
        password_command: Prints `name:secret` for a store that asks for a login.

    Raises:
        UsageError: There is none, or a newer format.
        DamageError: Its configuration object is damaged.
        UnreachableError: The place cannot be read.
    """

    def __init__(
        self, url: str, cache: Path, *, open_sftp: OpenSftp | None = None, password_command: Sequence[str] = ()
    ) -> None:
        self.store = ObjectStore(url, open_sftp=open_sftp, password_command=password_command)
        self.store.check_reachable()
        self.identity = _identity(self.store)
        self.index = Index(cache / self.identity.id)
        self.points = Points(self.store)

    @classmethod
    def create(
        cls,
        url: str,
        cache: Path,
        *,
        block_size: int = DEFAULT_BLOCK_SIZE,
        open_sftp: OpenSftp | None = None,
        password_command: Sequence[str] = (),
    ) -> Repository:
        """Make a new repository.

        Args:
            url: An empty or new place.
            cache: As for opening.
            block_size: A power of two from 4 KiB to 4 MiB [bytes].
            open_sftp: As for opening.
            password_command: As for opening.

        Raises:
            RefusedError: The place is not empty.
            UsageError: The block size cannot be used.
        """
        if not MIN_BLOCK_SIZE <= block_size <= MAX_BLOCK_SIZE or block_size & (block_size - 1):
            raise UsageError(
                "CONFIG-INVALID", f"A block size of {block_size} is not a power of two from 4 KiB to 4 MiB."
            )
        store = ObjectStore(url, open_sftp=open_sftp, password_command=password_command)
        store.create()
        value = {
            "format": FORMAT,
            "id": uuid.uuid4().hex,
            "block_size": block_size,
            "created": format_instant(datetime.now(UTC)),
            "encryption": None,
        }
        store.put(CONFIG, _MAIN, frame.seal(CONFIG, _MAIN, value))
        store.flush()
        return cls(url, cache, open_sftp=open_sftp, password_command=password_command)

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return self.identity.id

    @property
    def block_size(self) -> int:
        """Bytes in a block."""
        return self.identity.block_size

    def sync(self) -> None:
        """Bring the local index in step with what others wrote."""
        self.index.sync(self.store)

    def reader(self) -> BlobReader:
        """Reads blocks and maps; call `sync` first."""
        return BlobReader(self.store, self.index, self.block_size)

    def writer(self, level: int) -> BlobWriter:
        """Writes blocks and maps; call `sync` first."""
        return BlobWriter(self.store, self.index, self.block_size, level)

    def session(self, run: JobId) -> WriterSession:
        """The record of a run that writes; open it before anything is stored."""
        return WriterSession(self.store, run)

    def stats(self) -> Stats:
        """Sizes and counts; lists all objects."""
        sizes = {name: [item.size for item in self.store.list(name)] for name in NAMESPACES}
        return Stats(
            id=self.id,
            url=self.store.url,
            block_size=self.block_size,
            points=len(self.points.names()),
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
    packs: int
    stored_bytes: int
    free_bytes: int | None
    """None where the store cannot say."""
    blobs: int


def _identity(store: ObjectStore) -> Identity:
    if store.size(CONFIG, _MAIN) is None:
        if any(store.list(name) for name in NAMESPACES):
            raise missing(CONFIG, _MAIN)
        raise UsageError("REPO-NOT-INITIALISED", f"{store.url} holds no repository.", url=store.url)
    value: Any = frame.unseal(CONFIG, _MAIN, store.get(CONFIG, _MAIN))
    try:
        if value["format"] > FORMAT:
            raise UsageError(
                "REPO-FORMAT-NEWER",
                f"The repository {store.url} has format {value['format']}; this vmtui knows up to {FORMAT}.",
                url=store.url,
            )
        if value["encryption"] is not None:
            raise UsageError(
                "REPO-FORMAT-NEWER", f"The repository {store.url} is encrypted, which this vmtui cannot read yet."
            )
        return Identity(str(value["id"]), int(value["block_size"]), str(value["created"]))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(CONFIG, _MAIN, f"a field is missing: {error}") from error
