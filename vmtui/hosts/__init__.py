"""Hosts: the only place that knows libvirt and paramiko."""

from vmtui.hosts.session import HostSession
from vmtui.hosts.store_files import StoreFiles
from vmtui.hosts.trust import TrustStore
from vmtui.model.errors import UsageError
from vmtui.model.host import Host
from vmtui.model.settings import Settings

__all__ = ["HostSession", "StoreFiles", "TrustStore", "connect", "open_store_files"]


def connect(settings: Settings, name: str) -> HostSession:
    """Log in to a configured host.

    Raises:
        UsageError: There is no host of that name.
        UnreachableError: No answer, an unaccepted key, or a refused identity.
    """
    return HostSession(*_way_to(settings, name))


def open_store_files(settings: Settings, name: str) -> StoreFiles:
    """Log in to a configured host that keeps a repository.

    Raises:
        UsageError: There is no host of that name.
        UnreachableError: No answer, an unaccepted key, or a refused identity.
    """
    return StoreFiles(*_way_to(settings, name))


def _way_to(settings: Settings, name: str) -> tuple[Host, TrustStore, Host | None]:
    host = settings.hosts.get(name)
    if host is None:
        known = ", ".join(sorted(settings.hosts)) or "none"
        raise UsageError("NAME-UNKNOWN", f"There is no host {name!r} in {settings.path}; known: {known}.", host=name)
    jump = settings.hosts[host.jump] if host.jump is not None else None
    return host, TrustStore(settings.known_hosts), jump
