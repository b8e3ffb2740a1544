"""Hosts: the only place that knows libvirt and paramiko."""

from vmtui.hosts.session import HostSession
from vmtui.hosts.trust import TrustStore
from vmtui.model.errors import UsageError
from vmtui.model.settings import Settings

__all__ = ["HostSession", "TrustStore", "connect"]


def connect(settings: Settings, name: str) -> HostSession:
    """Log in to a configured host.

    Raises:
        UsageError: There is no host of that name.
        UnreachableError: No answer, an unaccepted key, or a refused identity.
    """
    host = settings.hosts.get(name)
    if host is None:
        known = ", ".join(sorted(settings.hosts)) or "none"
        raise UsageError("NAME-UNKNOWN", f"There is no host {name!r} in {settings.path}; known: {known}.", host=name)
    jump = settings.hosts[host.jump] if host.jump is not None else None
    return HostSession(host, TrustStore(settings.known_hosts), jump)
