"""A look into a point's disks: volumes, folders, parts of files. Speaks with the helper and serves it pieces."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Self

from vmtui.files.entries import Entry, Kind, Place, Volume
from vmtui.files.pieces import PointPieces
from vmtui.files.protocol import MAX_READ, Channel, ProtocolError
from vmtui.model.errors import DamageError, FailedError, UnreachableError, UsageError, VmtuiError
from vmtui.model.point import RestorePoint
from vmtui.repository import Repository

_THINKS_S = 60.0
"""What the helper itself may take for one operation, the repository's time not counted [s]."""
_START_S = 60.0
_STEP_S = 5.0
"""Longest wait for one part of a message, once it began [s]."""
_SERVED = 4096
"""Pieces that one operation may ask for: 4 GiB at most."""
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
"""The helper gets nothing else of ours: no key, no proxy, no credential."""
HINT = "pip install 'vmtui[files]'"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file."""

    data: bytes
    """Empty at a hole and at the end."""
    hole: int
    """Length of the hole that begins here; 0 when there is none [bytes]."""
    size: int
    """Of the whole file [bytes]."""


class Browser:
    """One point, open for browsing. Blocks; not for several threads at once. Close it when done.

    Args:
        repository: In step (`sync`).
        point: The point.

    Raises:
        UsageError: The extra that reads file systems is not installed.
        DamageError: The disks' beginnings are damaged in the repository.
        UnreachableError: The repository cannot be read.
    """

    def __init__(self, repository: Repository, point: RestorePoint) -> None:
        self.point = point
        self.pieces = PointPieces(repository, point)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._volumes: list[Volume] = []
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the helper; safe to repeat."""
        process, self._process = self._process, None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.socket.close()
        if process is not None:
            process.kill()
            process.wait()

    # -- what is there ---------------------------------------------------------------------------

    @property
    def volumes(self) -> list[Volume]:
        """All that the disks hold, also what cannot be browsed."""
        return list(self._volumes)

    def folder(self, place: Place) -> list[Entry]:
        """What is in a folder, in the order of the file system.

        Raises:
            UsageError: There is no such folder.
            FailedError: The file system cannot be read there.
            DamageError, UnreachableError: As above.
        """
        return list(self.pages(place))

    def pages(self, place: Place, *, brief: bool = False) -> Iterator[Entry]:
        """The same, a part after the other.

        Args:
            place: The folder.
            brief: Only names and kinds, for which few blocks are read.
        """
        start = 0
        while True:
            answer, _ = self._ask(place, {"op": "list", "start": start, "brief": brief})
            rows = _field(answer, "entries", list)
            for row in rows:
                yield _entry(row)
            start += len(rows)
            if not rows or start >= _field(answer, "total", int):
                return

    def look(self, place: Place, *, follow: bool) -> tuple[Place, Entry]:
        """One thing by its path.

        Args:
            place: Its path; links on the way are followed, within the volume.
            follow: Follow it too, if it is a link.

        Returns:
            Its path without links, and what it is.
        """
        answer, _ = self._ask(place, {"op": "look", "follow": follow})
        path = tuple(str(name) for name in _field(answer, "path", list))
        return Place(place.volume, path), _entry(_field(answer, "entry", list))

    def read(self, place: Place, offset: int, length: int = MAX_READ) -> Part:
        """A part of a file; links on the way are not followed."""
        answer, data = self._ask(place, {"op": "read", "offset": offset, "length": length})
        hole = answer.get("zeroes", 0)
        if not isinstance(hole, int) or hole < 0 or len(data) > length:
            self._broken("an answer of the wrong form")
        return Part(data, hole, _field(answer, "size", int))

    def small_files(self, folder: Place, names: Sequence[str]) -> dict[str, bytes]:
        """Several files of a folder whole, by name; not those that are too long for that, or cannot be read.

        Raises:
            FailedError, DamageError, UnreachableError: As above; each file by itself tells more.
        """
        answer, data = self._ask(folder, {"op": "small", "names": list(names)})
        sizes = _field(answer, "sizes", list)
        if not all(isinstance(size, int) for size in sizes) or sum(max(0, size) for size in sizes) != len(data):
            self._broken("an answer of the wrong form")
        found = {}
        position = 0
        for name, size in zip(names, sizes, strict=False):
            if size >= 0:
                found[name] = data[position : position + size]
                position += size
        return found

    def contents(self, place: Place) -> Iterator[Part]:
        """All parts of a file in order; at least one, which may be empty."""
        offset = 0
        while True:
            part = self.read(place, offset)
            yield part
            offset += len(part.data) or part.hole
            if offset >= part.size or not (part.data or part.hole):
                return

    # -- the helper ------------------------------------------------------------------------------

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", "-m", "vmtui.files.helper"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
            )
        self._channel = Channel(ours)
        ready, _ = self._receive(time.monotonic() + _START_S)
        if "missing" in ready:
            self.close()
            raise UsageError(
                "FILES-EXTRA-MISSING",
                f"The Python package {ready['missing']} is not installed.",
                next_step=f"Run: {HINT}",
            )
        answer, _ = self._talk({"op": "open", "disks": self.pieces.disks}, "the disks")
        self._volumes = [_volume(item) for item in _field(answer, "volumes", list)]

    def _ask(self, place: Place, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Ask for something on a volume; an ended helper is started anew.

        Raises:
            UsageError, FailedError, DamageError, UnreachableError: As the helper's answer, or the pieces, say.
        """
        if self._channel is None:
            self._start()
        volume = next((item for item in self._volumes if item.name == place.volume), None)
        if volume is None:
            names = ", ".join(item.name for item in self._volumes) or "none"
            raise UsageError(
                "NAME-UNKNOWN", f"The point {self.point.id} has no volume {place.volume!r}; it has {names}."
            )
        if volume.reason:
            raise FailedError("FILES-UNREADABLE", f"{volume.name} cannot be browsed: {volume.reason}")
        return self._talk(request | {"volume": place.volume, "path": list(place.path)}, str(place))

    def _talk(self, request: dict[str, Any], about: str) -> tuple[dict[str, Any], bytes]:
        """One operation: the request, the pieces that it needs, its answer."""
        assert self._channel is not None
        served = 0
        left = _THINKS_S
        lost: VmtuiError | None = None
        self._send(request)
        while True:
            began = time.monotonic()
            message, data = self._receive(began + left)
            left -= time.monotonic() - began
            if "want" not in message:
                break
            served += 1
            if served > _SERVED:
                self._broken(f"{about} cannot be read: it leads all over the disk")
            lost = self._serve(message["want"]) or lost
        lost = lost or self._damage_in(message)
        if lost is not None:
            if message.get("kind") != "lost":
                self.close()  # what it made of a missing piece may still be in its memory
            raise _named(lost, about)
        if "error" in message:
            if message.get("kind") == "absent":
                raise UsageError("NAME-UNKNOWN", f"{about}: {message['error']}.", path=about)
            raise FailedError("FILES-UNREADABLE", f"{about} cannot be read: {message['error']}.", path=about)
        return message, data

    def _damage_in(self, message: dict[str, Any]) -> VmtuiError | None:
        """The damage that the helper came upon; None when it did not."""
        if "lost" not in message:
            return None
        for (disk, number), damage in self.pieces.damage.items():
            if message["lost"] == [disk, number]:
                return damage
        return DamageError("REPO-OBJECT-BAD", "A piece of a disk is damaged.")

    def _serve(self, want: Any) -> VmtuiError | None:
        """Give the helper a piece, or the word that there is none; gives the reason then."""
        try:
            disk, number = want
            piece = self.pieces.get(disk, number)
        except UnreachableError as error:
            self._send({"given": False})
            return error
        except (KeyError, TypeError, ValueError):
            self._broken("the helper asks for what no disk has")
        self._send({"given": True, "bad": piece.bad}, piece.data)
        return None

    def _send(self, message: dict[str, Any], data: bytes = b"") -> None:
        assert self._channel is not None
        try:
            self._channel.socket.settimeout(_THINKS_S)
            self._channel.send(message, data)
        except OSError:
            self._broken("the helper ended")

    def _receive(self, deadline: float) -> tuple[dict[str, Any], bytes]:
        """The helper's next message, begun before a deadline [s, monotonic]."""
        assert self._channel is not None
        end = self._channel.socket
        wait = max(0.0, deadline - time.monotonic())
        poll = select.poll()
        poll.register(end, select.POLLIN)
        if not poll.poll(1000 * wait):
            self._broken("a file system is damaged or made to mislead: reading it takes too long")
        try:
            end.settimeout(_STEP_S)
            return self._channel.receive()
        except TimeoutError:
            self._broken("the helper stopped in the middle of an answer")
        except (EOFError, OSError):
            self._broken("the helper ended, perhaps for want of memory")
        except ProtocolError as error:
            self._broken(f"the helper's answer is none: {error}")

    def _broken(self, reason: str) -> NoReturn:
        """End the helper and tell; the next question starts a new one."""
        with contextlib.suppress(OSError):
            self.close()
        raise FailedError("FILES-UNREADABLE", f"The files cannot be read: {reason}.")


def _named(error: VmtuiError, about: str) -> VmtuiError:
    """The same error, with the file concerned."""
    return type(error)(error.id, f"{about}: {error.cause}", next_step=error.next_step, **error.facts).about(path=about)


def _field(answer: dict[str, Any], name: str, kind: type) -> Any:
    value = answer.get(name)
    if not isinstance(value, kind):
        raise FailedError("FILES-UNREADABLE", f"The helper's answer has no {name}.")
    return value


_KINDS = {str(kind) for kind in Kind}
_ROW = (str, str, int, int, int, int, int, int, str, str, str)


def _entry(row: Any) -> Entry:
    if (
        not isinstance(row, list)
        or len(row) != len(_ROW)
        or not all(isinstance(value, kind) for value, kind in zip(row, _ROW, strict=True))
    ):
        raise FailedError("FILES-UNREADABLE", "The helper's answer is of the wrong form.")
    name, kind, mode, size, uid, gid, mtime, links, inode, target, problem = row
    if size < 0 or kind not in _KINDS:
        raise FailedError("FILES-UNREADABLE", "The helper's answer is of the wrong form.")
    return Entry(name, Kind(kind), mode & 0o7777, size, uid, gid, mtime, links, inode, target, problem)


def _volume(item: Any) -> Volume:
    if not isinstance(item, dict):
        raise FailedError("FILES-UNREADABLE", "The helper's answer is of the wrong form.")
    return Volume(
        name=_field(item, "name", str),
        size=_field(item, "size", int),
        kind=_field(item, "kind", str),
        label=_field(item, "label", str),
        note=_field(item, "note", str),
        reason=_field(item, "reason", str),
    )
