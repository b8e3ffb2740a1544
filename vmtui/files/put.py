"""Putting one file of a point back into a running guest, through its guest agent.

The file is written beside its place under another name, compared by its hash in the guest, and only then gets its
name. Where the agent runs no commands, only a new file can be put, and it is read back.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vmtui.files.browser import Browser
from vmtui.files.entries import Entry, Kind, Place
from vmtui.hosts import connect
from vmtui.hosts.agent import WRITE_SIZE, GuestAgent
from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError, RefusedError, UsageError, VmtuiError
from vmtui.model.ids import VmId
from vmtui.model.progress import Watch
from vmtui.model.settings import Settings

LIMIT = 256 << 20
"""The agent takes less than 2 MB a second; more than this should go another way [bytes]."""
_FILE_COMMANDS = frozenset({"guest-file-open", "guest-file-write", "guest-file-read", "guest-file-close"})
_IS_FOLDER, _IS_THERE, _NO_PARENT = 10, 11, 12
_LOOK = '[ -d "$1" ] && exit 10; { [ -e "$1" ] || [ -L "$1" ]; } && exit 11; [ -d "$2" ] || exit 12; exit 0'
_MAKE = 'umask 077; set -C; : > "$1"'
_HASH = 'sha256sum < "$1"'
_NAME = (
    'chown "$4" "$1" || exit 1; chmod "$3" "$1" || exit 1; touch -d "@$5" "$1"; '
    '[ "$6" = yes ] || { [ ! -e "$2" ] && [ ! -L "$2" ]; } || exit 11; mv -f "$1" "$2"'
)
_REMOVE = 'rm -f "$1"'
_SYNC_S = 120.0


@dataclass(frozen=True, slots=True)
class Guest:
    """A running guest that can be written to."""

    name: str
    """host/name"""
    agent: GuestAgent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    guest: str
    path: str
    bytes: int
    sha256: str
    proof: str
    """How it was found out that the guest has these bytes."""


@contextmanager
def guest_of(settings: Settings, host: str, uuid: VmId, name: str) -> Iterator[Guest]:
    """A guest that may be written to, by a login of its own.

    Raises:
        RefusedError: Read-only mode, for everything or for its host.
        UnreachableError: Its host does not answer.
    """
    configured = settings.hosts.get(host)
    if settings.read_only or (configured is not None and configured.read_only):
        what = "vmtui" if settings.read_only else f"the host {host}"
        raise RefusedError("READ-ONLY", f"Putting a file into {host}/{name} was refused: {what} is set to read-only.")
    with connect(settings, host) as session:
        yield Guest(f"{host}/{name}", GuestAgent(Domain(session, uuid)))


def put(
    browser: Browser, place: Place, entry: Entry, guest: Guest, target: str, *, overwrite: bool, watch: Watch
) -> Outcome:
    """Put a file into a guest.

    Args:
        browser: An open point.
        place: The file, without links on its way.
        entry: What it is.
        guest: Where to.
        target: Absolute path in the guest.
        overwrite: Replace a file that is there.
        watch: Progress and cancelling.

    Raises:
        UsageError: It is not a file, or too long.
        RefusedError: Something is there.
        FailedError: The agent refused, or the guest does not have the bytes afterwards.
        DamageError, UnreachableError: The point cannot be read; the guest is as it was.
    """
    if entry.kind is not Kind.FILE:
        raise UsageError("NAME-BAD", f"{place} is a {entry.kind}; only files can be put into a guest.")
    if entry.size > LIMIT:
        raise UsageError(
            "NAME-BAD",
            f"{place} has {entry.size} bytes, more than the {LIMIT} that go through an agent.",
            next_step="Take it with: vmtui files get, and copy it over the network.",
        )
    commands = guest.agent.commands()
    if missing := _FILE_COMMANDS - commands:
        raise FailedError(
            "GUEST-AGENT", f"The guest agent of {guest.name} does not allow {', '.join(sorted(missing))}."
        )
    watch.phase("put", total=entry.size)
    if "guest-exec" in commands and _has_shell(guest.agent):
        return _put_with_shell(browser, place, entry, guest, target, overwrite=overwrite, watch=watch)
    return _put_plainly(browser, place, guest, target, watch)


def _has_shell(agent: GuestAgent) -> bool:
    try:
        return agent.run(["/bin/sh", "-c", "exit 0"]).status == 0
    except FailedError:
        return False


def _put_with_shell(
    browser: Browser, place: Place, entry: Entry, guest: Guest, target: str, *, overwrite: bool, watch: Watch
) -> Outcome:
    agent = guest.agent
    folder = posixpath.dirname(target)
    _check(_shell(agent, _LOOK, target, folder), guest, target, overwrite=overwrite)
    part = posixpath.join(folder, f".vmtui-{secrets.token_hex(8)}.part")
    if _shell(agent, _MAKE, part):
        raise FailedError("GUEST-AGENT", f"Nothing can be made in {folder} of {guest.name}.")
    try:
        digest = hashlib.sha256()
        agent.write(part, _hashed(browser, place, digest, watch))
        proof = _prove(agent, part, digest.hexdigest(), guest, target)
        named = [part, target, f"{entry.mode:04o}", f"{entry.uid}:{entry.gid}", str(entry.mtime_ns // 10**9)]
        status = _shell(agent, _NAME, *named, "yes" if overwrite else "no")
        if status:
            _check(status, guest, target, overwrite=overwrite)
            raise FailedError("GUEST-AGENT", f"{target} in {guest.name} could not be given its mode, owner or name.")
    except BaseException:
        with contextlib.suppress(VmtuiError):
            _shell(agent, _REMOVE, part)
        raise
    return Outcome(guest.name, target, entry.size, digest.hexdigest(), proof)


def _put_plainly(browser: Browser, place: Place, guest: Guest, target: str, watch: Watch) -> Outcome:
    """Without commands in the guest: only a new file, as nothing could bring the old one back."""
    if guest.agent.exists(target):
        raise RefusedError(
            "TARGET-EXISTS",
            f"{target} is in {guest.name} already, and its agent runs no commands, so it cannot be replaced safely.",
            next_step="Choose another path.",
        )
    digest = hashlib.sha256()
    size = 0

    def parts() -> Iterator[bytes]:
        nonlocal size
        for data in _hashed(browser, place, digest, watch):
            size += len(data)
            yield data

    guest.agent.write(target, parts())
    proof = _read_back(guest, target, digest.hexdigest())
    return Outcome(guest.name, target, size, digest.hexdigest(), f"{proof}; its mode and owner are the agent's")


def _shell(agent: GuestAgent, script: str, *arguments: str) -> int:
    return agent.run(["/bin/sh", "-c", script, "sh", *arguments], deadline_s=_SYNC_S).status


def _check(status: int, guest: Guest, target: str, *, overwrite: bool) -> None:
    if status == _IS_FOLDER:
        raise RefusedError("TARGET-EXISTS", f"{target} in {guest.name} is a folder.", next_step="Put a / at its end.")
    if status == _IS_THERE and not overwrite:
        raise RefusedError("TARGET-EXISTS", f"{target} is in {guest.name} already.", next_step="Say --overwrite.")
    if status == _NO_PARENT:
        raise UsageError("NAME-UNKNOWN", f"There is no folder {posixpath.dirname(target)} in {guest.name}.")


def _hashed(browser: Browser, place: Place, digest: hashlib._Hash, watch: Watch) -> Iterator[bytes]:
    """A file's bytes in parts that the agent takes, hashed as they pass."""
    for part in browser.contents(place):
        length = len(part.data) or part.hole
        for start in range(0, length, WRITE_SIZE):
            watch.check()
            end = min(length, start + WRITE_SIZE)
            data = part.data[start:end] or bytes(end - start)
            digest.update(data)
            watch.advance(len(data))
            yield data


def _prove(agent: GuestAgent, part: str, expected: str, guest: Guest, target: str) -> str:
    """Compare a file in the guest with a hash, in the guest where it can."""
    ran = agent.run(["/bin/sh", "-c", _HASH, "sh", part], deadline_s=_SYNC_S)
    if ran.status:
        return _read_back(guest, part, expected)
    if ran.output.split()[:1] != [expected]:
        raise _differs(guest, target)
    return "the guest computed the same SHA-256"


def _read_back(guest: Guest, path: str, expected: str) -> str:
    digest = hashlib.sha256()
    for data in guest.agent.read(path):
        digest.update(data)
    if digest.hexdigest() != expected:
        raise _differs(guest, path)
    return "read back with the same SHA-256"


def _differs(guest: Guest, path: str) -> FailedError:
    return FailedError("GUEST-FILE-DIFFERS", f"{path} in {guest.name} does not have the bytes that were written.")
