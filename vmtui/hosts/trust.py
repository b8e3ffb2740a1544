"""SSH host keys: which are accepted, and what an operator is shown before accepting one."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import paramiko

from vmtui.model.errors import RefusedError, UnreachableError, UsageError

_SSH_PORT = 22


class Verdict(StrEnum):
    """What the known keys say about a key that a host shows."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class ShownKey:
    """The key that a host shows."""

    kind: str
    fingerprint: str
    """As ssh prints it: SHA256:…"""


def fingerprint(key: paramiko.PKey) -> str:
    """SHA256:… of a public key, as OpenSSH writes it."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class TrustStore:
    """Accepted host keys: our own file first, then the user's ~/.ssh/known_hosts.

    Args:
        path: Our own file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def verdict(self, address: str, port: int, key: paramiko.PKey) -> Verdict:
        """Compare a shown key with the accepted ones."""
        known = self._lookup(address, port)
        if not known:
            return Verdict.UNKNOWN
        return Verdict.KNOWN if any(item == key for item in known) else Verdict.CHANGED

    def kinds(self, address: str, port: int) -> list[str]:
        """Key types accepted for a host; the server is asked for one of these."""
        return list(dict.fromkeys(key.get_name() for key in self._lookup(address, port)))

    def accept(self, address: str, port: int, key: paramiko.PKey) -> None:
        """Add a key to our own file, durably.

        Raises:
            RefusedError: Another key is already accepted for this host.
            UsageError: The file cannot be written.
        """
        if self.verdict(address, port, key) is Verdict.CHANGED:
            raise RefusedError(
                "HOST-KEY-CHANGED",
                f"{address} port {port} shows the key {fingerprint(key)}, but another one was accepted before.",
                next_step=f"If you know why, remove the old line from {self._path} or ~/.ssh/known_hosts.",
            )
        line = f"{_entry(address, port)} {key.get_name()} {key.get_base64()}\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="ascii") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UsageError("CONFIG-INVALID", f"{self._path} cannot be written: {error.strerror}") from error

    def check(self, name: str, address: str, port: int, key: paramiko.PKey) -> None:
        """Return if the key is accepted.

        Raises:
            UnreachableError: It is unknown or changed; the login must not go on.
        """
        verdict = self.verdict(address, port, key)
        if verdict is Verdict.KNOWN:
            return
        if verdict is Verdict.UNKNOWN:
            raise UnreachableError(
                "HOST-KEY-UNKNOWN",
                f"The SSH key of {name} ({key.get_name()} {fingerprint(key)}) was never accepted here.",
                next_step=f"Compare the fingerprint with the host's own, then: vmtui host trust {name}",
                host=name,
                fingerprint=fingerprint(key),
            )
        raise UnreachableError(
            "HOST-KEY-CHANGED",
            f"{name} shows the SSH key {fingerprint(key)}, which is not the accepted one. "
            "It was installed anew, or somebody stands in between.",
            host=name,
            fingerprint=fingerprint(key),
        )

    def _lookup(self, address: str, port: int) -> list[paramiko.PKey]:
        keys: list[paramiko.PKey] = []
        for path in (self._path, Path.home() / ".ssh" / "known_hosts"):
            if not path.is_file():
                continue
            host_keys = paramiko.HostKeys()
            try:
                host_keys.load(str(path))
            except (OSError, ValueError, paramiko.SSHException) as error:
                raise UsageError("CONFIG-INVALID", f"{path} cannot be read: {error}") from error
            found = host_keys.lookup(_entry(address, port))
            if found is not None:
                keys.extend(found.values())
        return keys


def _entry(address: str, port: int) -> str:
    """How known_hosts names a host."""
    return address if port == _SSH_PORT else f"[{address}]:{port}"
