"""The objects of a repository, wherever they are.

`places` knows the kinds of stores; here is what holds for all of them: names, trying again, a look at what was
put, errors in our words, and no secret of an address in any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from borgstore.utils.nesting import nest

from vmtui.model.address import parse_address, without_secret_fields, without_secrets
from vmtui.model.errors import DamageError, FailedError, RefusedError, UnreachableError, UsageError, VmtuiError
from vmtui.repository.patience import PATIENCE_S, patiently
from vmtui.repository.places import ObjectInfo, OpenSftp, SftpFiles, Trouble, place_at

__all__ = [
    "CONFIG",
    "EVENTS",
    "GARBAGE",
    "INDEX",
    "KEYS",
    "NAMESPACES",
    "PACKS",
    "POINTS",
    "QUARANTINE",
    "SESSIONS",
    "ObjectInfo",
    "ObjectStore",
    "OpenSftp",
    "SftpFiles",
    "damaged",
    "missing",
]

T = TypeVar("T")

CONFIG = "config"
PACKS = "packs"
INDEX = "index"
POINTS = "points"
EVENTS = "events"
SESSIONS = "sessions"
KEYS = "keys"
GARBAGE = "garbage"
QUARANTINE = "quarantine"
NAMESPACES = (CONFIG, PACKS, INDEX, POINTS, EVENTS, SESSIONS, KEYS, GARBAGE, QUARANTINE)

_LEVELS = {PACKS: 1}
"""Packs are spread over 256 folders by the first byte of their names; the rest is flat."""
_SMALL = 1 << 20
"""Objects below this size [bytes] are read back after they were put."""
_CHECK_PATIENCE_S = 5.0
"""Whether a place is there at all is known soon."""
_LONGEST_REASON = 300


class ObjectStore:
    """The objects of one repository. Safe to use from several threads.

    Args:
        url: Its address, in one of the forms of `model.address`.
        open_sftp: Logs in to a configured host; needed for `sftp:`.
        password_command: Prints `name:secret` for a store that asks for a login.

    Raises:
        UsageError: The address cannot be used.
    """

    def __init__(self, url: str, *, open_sftp: OpenSftp | None = None, password_command: Sequence[str] = ()) -> None:
        try:
            self._address = parse_address(url)
        except ValueError as error:
            raise UsageError(
                "REPO-URL-BAD", f"{without_secrets(url)!r} is not an address of a repository: {error}."
            ) from error
        self.url = self._address.shown
        """The address without secrets."""
        self._place = place_at(self._address, open_sftp, password_command)

    # -- the place -------------------------------------------------------------------------------

    def create(self) -> None:
        """Make the place; an empty folder may be there already.

        Raises:
            RefusedError: Something else is there.
            UnreachableError: It cannot be made.
        """
        self._tried("make the repository", lambda: self._place.create(NAMESPACES), patience_s=0)

    def check_reachable(self) -> None:
        """Return if the place is there.

        Raises:
            UsageError: It is not; it was never made, or its file system is not mounted.
            UnreachableError: It cannot be read.
        """
        try:
            self._tried("open the repository", self._place.check, patience_s=_CHECK_PATIENCE_S)
        except _NotThereError as error:
            raise UsageError(
                "REPO-NOT-INITIALISED",
                f"There is nothing at {self.url}.",
                next_step="Mount its file system or start its service, or make a new one: vmtui repo init",
                url=self.url,
            ) from error

    def free_bytes(self) -> int | None:
        """Space left [bytes]; None where the store cannot say."""
        return self._tried("look at the repository", self._place.free_bytes)

    @property
    def exact_listings(self) -> bool:
        """Whether a listing shows all that was put and nothing that was deleted before it."""
        return self._place.exact_listings

    @contextmanager
    def making_room(self) -> Iterator[None]:
        """What is done inside frees space, and may use what was set aside for that on a full disk."""
        self._tried("make room", self._place.use_reserve)
        try:
            yield
        finally:
            self._tried("make room", self._place.make_reserve)

    # -- objects ---------------------------------------------------------------------------------

    def put(self, namespace: str, name: str, data: bytes | memoryview) -> None:
        """Store an object whole or not at all; it is durable after the next `flush`.

        Raises:
            FailedError: No space is left, or the store did not keep what it was given.
            RefusedError: This account may not write there, and these bytes are not there already.
            UnreachableError: The store cannot be written.
        """
        path = _path(namespace, name)
        try:
            self._tried(f"write {namespace}/{name}", lambda: self._place.store(path, data))
        except RefusedError:
            # A store that only takes new objects refuses the second try of what it kept already.
            if not self._keeps(namespace, name, data, read_below=len(data) + 1):
                raise
            return
        if self._place.checked and not self._keeps(namespace, name, data):
            raise FailedError(
                "REPO-NOT-KEPT",
                f"The store {self.url} took {namespace}/{name} and holds something else.",
                url=self.url,
                object=f"{namespace}/{name}",
            )

    def get(self, namespace: str, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """An object's bytes, or a range of them.

        Raises:
            DamageError: It is not there, or shorter than the range.
            UnreachableError: The store cannot be read.
        """
        path = _path(namespace, name)
        try:
            data = self._tried(f"read {namespace}/{name}", lambda: self._place.load(path, offset, size))
        except _AbsentError as error:
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
        path = _path(namespace, name)
        return self._tried(f"look at {namespace}/{name}", lambda: self._place.size(path))

    def list(self, namespace: str) -> list[ObjectInfo]:
        """All objects of a namespace, sorted by name."""
        try:
            found = self._tried(f"list {namespace}", lambda: self._place.list(namespace))
        except _AbsentError:
            return []
        return sorted(found, key=lambda item: item.name)

    def delete(self, namespace: str, name: str) -> None:
        """Remove an object; nothing happens when it is not there.

        Raises:
            RefusedError: This account may not delete there.
            UnreachableError: The store cannot be written.
        """
        path = _path(namespace, name)
        try:
            self._tried(f"delete {namespace}/{name}", lambda: self._place.delete(path))
        except _AbsentError:
            return

    def flush(self) -> None:
        """Everything put or deleted before this call survives a power cut after it.

        Raises:
            UnreachableError: The store cannot be flushed.
        """
        self._tried("flush the repository", self._place.flush)

    # -- inside ----------------------------------------------------------------------------------

    def _keeps(self, namespace: str, name: str, data: bytes | memoryview, read_below: int = _SMALL) -> bool:
        """Whether the store holds an object of this size and, when it is smaller than `read_below`, these bytes."""
        if self.size(namespace, name) != len(data):
            return False
        return len(data) >= read_below or self.get(namespace, name) == data

    def _tried(self, doing: str, action: Callable[[], T], *, patience_s: float = PATIENCE_S) -> T:
        """Run an action on the place, again while its trouble may pass, and tell what remains in our words."""
        place = self._place
        try:
            return patiently(action, place.errors, lambda error: place.judge(error) is Trouble.PASSING, patience_s)
        except VmtuiError:
            raise
        except place.errors as error:
            raise self._told(doing, place.judge(error), self._reason(error)) from error

    def _reason(self, error: Exception) -> str:
        reason = " ".join(self._place.reason(error).split())
        if self._address.password:
            reason = reason.replace(self._address.password, "***")
        return without_secret_fields(reason)[:_LONGEST_REASON].rstrip(".")

    def _told(self, doing: str, trouble: Trouble, reason: str) -> Exception:
        if trouble is Trouble.ABSENT:
            return _AbsentError()
        if trouble is Trouble.OCCUPIED:
            return RefusedError(
                "TARGET-EXISTS", f"{self.url} is not empty.", next_step="Choose an empty place.", url=self.url
            )
        if trouble is Trouble.FULL:
            return FailedError("REPO-FULL", f"could not {doing}: no space left at {self.url}.", url=self.url)
        if trouble is Trouble.DENIED:
            return RefusedError(
                "REPO-DENIED", f"could not {doing}: {self.url} does not allow it: {reason}.", url=self.url
            )
        if trouble is Trouble.NO_PLACE:
            return _NotThereError("REPO-UNREACHABLE", f"could not {doing}: nothing is at {self.url}.", url=self.url)
        kind = "REPO-LOGIN-REFUSED" if trouble is Trouble.LOGIN else "REPO-UNREACHABLE"
        return UnreachableError(kind, f"could not {doing} at {self.url}: {reason}.", url=self.url)


class _AbsentError(Exception):
    """There is no such object; callers tell what that means."""


class _NotThereError(UnreachableError):
    """The place itself is not there."""


def _path(namespace: str, name: str) -> str:
    path: str = nest(f"{namespace}/{name}", _LEVELS.get(namespace, 0))
    return path


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
