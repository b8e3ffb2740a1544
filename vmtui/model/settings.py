"""The whole configuration, validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vmtui.model.host import Host
from vmtui.model.policy import Rule, Tier


@dataclass(frozen=True, slots=True)
class Copy:
    """A second place that holds the same repository."""

    name: str
    url: str
    """Its address; may hold a secret."""
    password_command: tuple[str, ...] = ()
    """Prints `NAME:SECRET` for a store that asks for a login."""
    rate: int | None = None
    """Bytes a second that may be sent there; None for no limit."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration file says, with defaults filled in."""

    path: Path
    """The file it came from."""
    repository: str
    """Address of the repository, in one of the forms of `model.address`; it may hold a secret."""
    state: Path
    """Folder of jobs, journals, caches and logs on this machine."""
    known_hosts: Path
    """Accepted SSH host keys, in OpenSSH's format."""
    hosts: Mapping[str, Host]
    tiers: Mapping[str, Tier]
    default_tier: str
    rules: tuple[Rule, ...] = ()
    read_only: bool = False
    passphrase_file: Path | None = None
    """Its first line opens an encrypted repository."""
    passphrase_command: tuple[str, ...] = ()
    """The first line that it prints opens an encrypted repository."""
    copies: Mapping[str, Copy] = field(default_factory=dict)
    compression_level: int = 3
    """zstd level of stored blocks."""
    repository_password_command: tuple[str, ...] = ()
    """Prints `name:secret` for the repository's store."""

    @property
    def hypervisors(self) -> Mapping[str, Host]:
        """The hosts that run VMs."""
        return {name: host for name, host in self.hosts.items() if host.libvirt}
