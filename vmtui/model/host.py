"""A host: a hypervisor that we log in to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Host:
    """How to reach a host and what is allowed there, as configured."""

    name: str
    """The name in the configuration; all other rooms use it."""
    address: str
    """Host name, address, or an alias of ~/.ssh/config."""
    port: int | None = None
    user: str | None = None
    key: str | None = None
    """Private key file; without it ~/.ssh/config, the agent and the default keys."""
    password_command: tuple[str, ...] = ()
    """Prints the password; for hosts that take no key."""
    jump: str | None = None
    """Another configured host to go through."""
    uri: str = "qemu:///system"
    """The libvirt URI as the host itself would say it."""
    socket: str | None = None
    """libvirt's socket on the host; found by itself when not given."""
    scratch: str | None = None
    """Folder on the host for the frozen view's scratch files."""
    scratch_reserve_bytes: int = 256 << 20
    """A hot backup is ended when less than this is free in the scratch folder."""
    jobs: int = 1
    """How many jobs may run on this host at once."""
    deadline_s: float = 10.0
    """How long one question to this host may take."""
    shutdown_s: float = 120.0
    """How long a cold backup waits for the VM to shut down."""
    read_only: bool = False
    libvirt: bool = True
    """False for a host that only keeps a repository or is only a jump host: it is never asked for VMs."""


class HostState(StrEnum):
    """What we know of a host right now."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    UNREACHABLE = "unreachable"
    KEY_UNKNOWN = "key unknown"
    KEY_CHANGED = "key changed"
    LOGIN_REFUSED = "login refused"
    LIBVIRT_DOWN = "libvirt down"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a host can do, as probed; versions are libvirt's numbers (9000000 is 9.0.0)."""

    libvirt_version: int
    hypervisor_version: int
    hot_backup: bool
    """QEMU and libvirt support pull-mode backup with checkpoints."""
    virsh: bool
    """A guard on the host can thaw, resume or start a VM when we are gone."""
    qemu_img: str | None
    qemu_nbd: str | None
    forwarding: str
    """How unix sockets are reached: `streamlocal`, `nc` or `socat`."""


def version_text(number: int) -> str:
    """`9000000` as `9.0.0`."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"
