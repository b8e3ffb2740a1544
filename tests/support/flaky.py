"""A store that fails, at a call that is counted out beforehand."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from unittest import mock

import lmdb

from vmtui.model.errors import FailedError, UnreachableError
from vmtui.repository import index
from vmtui.repository import repository as opening
from vmtui.repository.store import ObjectInfo, ObjectStore


class Way(StrEnum):
    """How a call fails."""

    ERROR = "error"
    FULL = "full"
    PARTIAL = "partial"
    """The object is put, cut in its middle, and the program dies."""
    BEFORE = "dies before"
    AFTER = "dies after"


class DeathError(BaseException):
    """Stands for the end of the process; nothing may catch it and go on."""


@dataclass
class Script:
    """What will go wrong, and when."""

    at: int = -1
    """Number of the call that fails, from 0."""
    way: Way = Way.ERROR
    on: str = ""
    """Only calls to a store whose address ends so are counted."""
    dead: bool = False
    calls: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stale: bool = False
    """Listings show what was there at the listing before."""
    seen: dict[tuple[str, str], list[ObjectInfo]] = field(default_factory=dict)

    def step(self, call: str) -> Way | None:
        """Count a call; how it shall fail, if it shall."""
        with self.lock:
            if self.dead:
                raise DeathError(call)
            self.calls.append(call)
            return self.way if len(self.calls) - 1 == self.at else None

    def die(self, call: str) -> DeathError:
        """The process ends: no later call reaches the store either."""
        self.dead = True
        return DeathError(call)


_script = Script()


class FlakyStore(ObjectStore):
    """An object store under the script of the moment."""

    @property
    def exact_listings(self) -> bool:
        return not _script.stale

    def put(self, namespace: str, name: str, data: bytes | memoryview) -> None:
        with self._call(f"put {namespace}") as way:
            if way is Way.PARTIAL:
                super().put(namespace, name, bytes(data[: len(data) // 2]))
                raise _script.die("put")
            super().put(namespace, name, data)

    def get(self, namespace: str, name: str, offset: int = 0, size: int | None = None) -> bytes:
        with self._call(f"get {namespace}"):
            return super().get(namespace, name, offset, size)

    def size(self, namespace: str, name: str) -> int | None:
        with self._call(f"size {namespace}"):
            return super().size(namespace, name)

    def list(self, namespace: str) -> list[ObjectInfo]:
        with self._call(f"list {namespace}"):
            now = super().list(namespace)
            if not _script.stale:
                return now
            before = _script.seen.get((self.url, namespace), [])
            _script.seen[self.url, namespace] = now
            return before

    def delete(self, namespace: str, name: str) -> None:
        with self._call(f"delete {namespace}"):
            super().delete(namespace, name)

    def flush(self) -> None:
        with self._call("flush"):
            super().flush()

    @contextmanager
    def _call(self, call: str) -> Iterator[Way | None]:
        way = _script.step(call) if self.url.endswith(_script.on) else None
        if way is Way.ERROR:
            raise UnreachableError("REPO-UNREACHABLE", f"could not {call}: it was made to fail.")
        if way is Way.FULL:
            raise FailedError("REPO-FULL", f"could not {call}: it was made to be full.")
        if way is Way.BEFORE or (way is Way.PARTIAL and not call.startswith("put")):
            raise _script.die(call)
        yield way
        if way is Way.AFTER:
            raise _script.die(call)


@contextmanager
def flaky(script: Script) -> Iterator[Script]:
    """Repositories that are opened inside have stores that follow the script."""
    global _script  # noqa: PLW0603  # one script at a time, for all stores of the process
    _script = script
    lazy = functools.partial(lmdb.open, sync=False)
    with (
        mock.patch.object(opening, "ObjectStore", FlakyStore),
        mock.patch.object(lmdb, "open", lazy),
        mock.patch.object(os, "fsync", return_value=None),  # what a power cut loses is not what is tested here
    ):
        yield script
    _script = Script()


def leave(folder: Path) -> None:
    """Remove a folder with repositories and their local indexes, which this process has open."""
    for path in [path for path in index._OPEN if path.is_relative_to(folder)]:  # nothing else closes them
        index._OPEN.pop(path).close()  # as above
    shutil.rmtree(folder)


def store_of(url: str) -> ObjectStore:
    """The objects at a place, under the script of the moment."""
    return FlakyStore(url)
