"""Trouble on purpose at the n-th call to a repository's store, below all that vmtui does about trouble."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import pytest

from vmtui.repository import patience
from vmtui.repository.places import ObjectInfo, Place, Trouble, place_at
from vmtui.repository.store import ObjectStore

OPERATIONS = ("create", "check", "free", "store", "load", "size", "list", "delete", "flush")


class Crash(BaseException):
    """The process dies here: nothing that handles errors sees it."""


class LastingError(OSError):
    """An error that comes again."""


class PassingError(OSError):
    """An error that may be gone the next time."""


class Fault(Enum):
    """What happens at a call."""

    FAIL = auto()
    """It fails for good, before anything is done."""
    BLIP = auto()
    """It fails before anything is done; trying again helps."""
    LOST_ANSWER = auto()
    """It is done, and the answer is lost; trying again helps."""
    DELAY = auto()
    """It takes a while."""
    PARTIAL = auto()
    """Half of the bytes are stored or read, and it looks like success."""
    TORN = auto()
    """Half of the bytes are stored under the final name, then it fails for good."""
    CRASH = auto()
    """We die before anything is done."""
    CRASH_AFTER = auto()
    """We die when it is done."""
    CRASH_TORN = auto()
    """We die when half of the bytes are stored under the final name."""
    STALE = auto()
    """A listing is the one of the last time, or empty; a size is not known yet."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a store."""

    operation: str
    path: str


class Faults:
    """Counts calls and makes trouble at some.

    Args:
        at: What happens at which call, counted from 0.
        every: What happens at all others.
        only: Operations that are counted; others go through unseen.
        delay_s: How long a DELAY is [s].
    """

    def __init__(
        self,
        at: Mapping[int, Fault] | None = None,
        *,
        every: Fault | None = None,
        only: Collection[str] = OPERATIONS,
        delay_s: float = 0.05,
    ) -> None:
        self.calls: list[Call] = []
        self.delay_s = delay_s
        self._at = dict(at or {})
        self._every = every
        self._only = frozenset(only)
        self._lock = threading.Lock()

    def next(self, operation: str, path: str) -> Fault | None:
        """Count a call; what is to happen at it."""
        if operation not in self._only:
            return None
        with self._lock:
            self.calls.append(Call(operation, path))
            return self._at.get(len(self.calls) - 1, self._every)

    def into(self, target: ObjectStore) -> Faults:
        """Put these faults under a store that is open already."""
        target._place = FaultyPlace(target._place, self)
        return self

    def everywhere(self, monkeypatch: pytest.MonkeyPatch) -> Faults:
        """Put these faults under every store that is opened from now on."""
        monkeypatch.setattr(
            "vmtui.repository.store.place_at", lambda *arguments: FaultyPlace(place_at(*arguments), self)
        )
        return self


class FaultyPlace(Place):
    """A place with trouble."""

    def __init__(self, place: Place, faults: Faults) -> None:
        self._below = place
        self._faults = faults
        self._listed: dict[str, list[ObjectInfo]] = {}
        self.errors = (*place.errors, OSError)
        self.checked = place.checked

    def create(self, namespaces: Iterable[str]) -> None:
        after = self._before("create", "")
        self._below.create(namespaces)
        self._after(after)

    def check(self) -> None:
        after = self._before("check", "")
        self._below.check()
        self._after(after)

    def free_bytes(self) -> int | None:
        after = self._before("free", "")
        free = self._below.free_bytes()
        self._after(after)
        return free

    def store(self, path: str, data: bytes | memoryview) -> None:
        fault = self._before("store", path)
        if fault in (Fault.PARTIAL, Fault.TORN, Fault.CRASH_TORN):
            self._below.store(path, bytes(data[: len(data) // 2]))
        else:
            self._below.store(path, data)
        if fault is Fault.TORN:
            raise LastingError("torn")
        if fault is Fault.CRASH_TORN:
            raise Crash
        self._after(fault)

    def load(self, path: str, offset: int, size: int | None) -> bytes:
        fault = self._before("load", path)
        data = self._below.load(path, offset, size)
        self._after(fault)
        return data[: len(data) // 2] if fault is Fault.PARTIAL else data

    def size(self, path: str) -> int | None:
        fault = self._before("size", path)
        size = self._below.size(path)
        self._after(fault)
        return None if fault is Fault.STALE else size

    def list(self, namespace: str) -> list[ObjectInfo]:
        fault = self._before("list", namespace)
        if fault is Fault.STALE:
            return self._listed.get(namespace, [])
        found = self._below.list(namespace)
        self._listed[namespace] = found
        self._after(fault)
        return found

    def delete(self, path: str) -> None:
        fault = self._before("delete", path)
        self._below.delete(path)
        self._after(fault)

    def flush(self) -> None:
        fault = self._before("flush", "")
        self._below.flush()
        self._after(fault)

    def judge(self, error: Exception) -> Trouble:
        if isinstance(error, PassingError):
            return Trouble.PASSING
        return Trouble.BROKEN if isinstance(error, LastingError) else self._below.judge(error)

    def reason(self, error: Exception) -> str:
        return self._below.reason(error)

    def _before(self, operation: str, path: str) -> Fault | None:
        fault = self._faults.next(operation, path)
        if fault is Fault.DELAY:
            time.sleep(self._faults.delay_s)
        if fault is Fault.FAIL:
            raise LastingError(f"{operation} {path} failed on purpose")
        if fault is Fault.BLIP:
            raise PassingError(f"{operation} {path} failed on purpose")
        if fault is Fault.CRASH:
            raise Crash
        return fault

    @staticmethod
    def _after(fault: Fault | None) -> None:
        if fault is Fault.LOST_ANSWER:
            raise PassingError("the answer was lost on purpose")
        if fault is Fault.CRASH_AFTER:
            raise Crash


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Trying again costs no time; the pauses that would have been made are noted."""
    pauses: list[float] = []
    now = [0.0]

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(patience, "sleep", pause)
    monkeypatch.setattr(patience, "monotonic", lambda: now[0])
    return pauses
