"""What runs where: all VMs of a host with one call."""

from __future__ import annotations

import libvirt

from vmtui.hosts.session import HostSession
from vmtui.model.ids import VmId
from vmtui.model.rehearsal import is_throw_away
from vmtui.model.vm import DomainState, Vm, metadata_of

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: DomainState.NO_STATE,
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.SHUTDOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: DomainState.SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.SUSPENDED,
}


def domain_state(number: int) -> DomainState:
    """libvirt's number in words; a number of the future is `no state`."""
    return _STATES.get(number, DomainState.NO_STATE)


def list_vms(session: HostSession, *, with_metadata: bool = False) -> list[Vm]:
    """All VMs of a host, sorted by name; those of rehearsals, which are thrown away, are left out.

    Only states are asked for: they need no word with QEMU, so a VM that hangs or is being backed up
    neither delays the answer nor is disturbed by it (LIBVIRT facts: monitoring during a backup could
    crash daemons before 10.8).

    Args:
        session: The host.
        with_metadata: Also fetch each domain's <metadata>, one call a VM.

    Raises:
        UnreachableError: libvirt does not answer in time.
    """
    name = session.host.name

    def read(connection: libvirt.virConnect) -> list[Vm]:
        rows = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)
        return [
            Vm(
                host=name,
                name=domain.name(),
                uuid=VmId(domain.UUIDString()),
                state=domain_state(stats.get("state.state", libvirt.VIR_DOMAIN_NOSTATE)),
                metadata=_metadata(domain) if with_metadata else "",
            )
            for domain, stats in rows
            if not is_throw_away(domain.name())
        ]

    return sorted(session.with_libvirt("list the VMs", read), key=lambda vm: vm.name)


def _metadata(domain: libvirt.virDomain) -> str:
    return metadata_of(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
