"""What a place for objects offers, and the few kinds of trouble that it can have."""

from __future__ import annotations

import errno
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from borgstore.backends.errors import (
    BackendAlreadyExists,
    BackendDoesNotExist,
    BackendError,
    ObjectNotFound,
    PermissionDenied,
    QuotaExceeded,
)

from vmtui.model.errors import UnreachableError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as a listing shows it."""

    name: str
    """Without the namespace."""
    size: int


class Trouble(Enum):
    """What an error of a place means for who called it."""

    ABSENT = auto()
    """There is no such object."""
    NO_PLACE = auto()
    """The place itself is not there."""
    OCCUPIED = auto()
    """The place holds something else."""
    FULL = auto()
    DENIED = auto()
    """This account may not do that there."""
    LOGIN = auto()
    """The login was refused."""
    PASSING = auto()
    """It may go well when it is tried again."""
    BROKEN = auto()
    """Anything else."""


class Place(ABC):
    """Where objects are kept, by paths like `packs/ab/abcd…`. Safe to use from several threads.

    Its methods raise what the libraries below raise, of the types in `errors`; `judge` says what that means.
    """

    checked: bool = True
    """What was put is looked at afterwards: the place is reached through programs of others."""
    exact_listings: bool = False
    """Whether a listing shows all that was stored and nothing that was deleted before it."""
    errors: tuple[type[Exception], ...] = (BackendError, OSError, UnreachableError)

    @abstractmethod
    def create(self, namespaces: Iterable[str]) -> None:
        """Make the place with its namespaces; an empty one may be there."""

    @abstractmethod
    def check(self) -> None:
        """Return if the place is there."""

    def free_bytes(self) -> int | None:
        """Space left [bytes]; None where that cannot be known."""
        return None

    def make_reserve(self) -> None:  # noqa: B027  # services do not fill up as a disk does
        """Set a little space aside, if there is enough of it."""

    def use_reserve(self) -> None:  # noqa: B027  # as above
        """Give back what was set aside, if space is short."""

    @abstractmethod
    def store(self, path: str, data: bytes | memoryview) -> None:
        """Put an object, whole or not at all."""

    @abstractmethod
    def load(self, path: str, offset: int, size: int | None) -> bytes:
        """Bytes of an object; fewer where it ends before."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """An object's size [bytes]; None when it is not there."""

    @abstractmethod
    def list(self, namespace: str) -> list[ObjectInfo]:
        """All objects of a namespace, in any order."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove an object."""

    def flush(self) -> None:  # noqa: B027  # most places are durable when `store` returns
        """What was stored or deleted before is durable afterwards."""

    def judge(self, error: Exception) -> Trouble:
        """What an error means."""
        for kind, trouble in _TROUBLES:
            if isinstance(error, kind):
                return trouble
        if isinstance(error, OSError) and error.errno in _FULL:
            return Trouble.FULL
        return Trouble.BROKEN

    def reason(self, error: Exception) -> str:
        """An error in words."""
        return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


_TROUBLES: tuple[tuple[type[Exception], Trouble], ...] = (
    (ObjectNotFound, Trouble.ABSENT),
    (BackendDoesNotExist, Trouble.NO_PLACE),
    (BackendAlreadyExists, Trouble.OCCUPIED),
    (QuotaExceeded, Trouble.FULL),
    (PermissionDenied, Trouble.DENIED),
)


def objects_below(list_folder: Callable[[str], Iterable[Any]], path: str) -> Iterator[ObjectInfo]:
    """All objects below a folder, by a call that lists one folder of borgstore's items."""
    for item in list_folder(path):
        if not item.directory:
            yield ObjectInfo(item.name, item.size)
            continue
        try:
            yield from objects_below(list_folder, f"{path}/{item.name}")
        except ObjectNotFound:
            continue  # the folder went away in between


class Changed:
    """Folders that must be flushed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: set[str] = set()

    def add(self, *folders: str) -> None:
        """Remember folders whose names changed."""
        with self._lock:
            self._folders.update(folders)

    def flush(self, sync: Callable[[str], None]) -> None:
        """Flush each; all of them wait for another try when one fails."""
        with self._lock:
            folders, self._folders = self._folders, set()
        waiting = sorted(folders)
        try:
            while waiting:
                sync(waiting[-1])
                waiting.pop()
        finally:
            self.add(*waiting)
