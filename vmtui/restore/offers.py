"""What a point needs a place for, and what a target host has to offer."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from vmtui.hosts import capabilities, domain_xml, storage
from vmtui.restore.context import RestoreContext
from vmtui.restore.plan import RestoreRequest


@dataclass(frozen=True, slots=True)
class Offers:
    """Names on both sides."""

    networks_needed: tuple[str, ...]
    """Networks, bridges and devices that the VM's interfaces are on."""
    places_needed: tuple[str, ...]
    """Pools, or folders, that the VM's disks were in."""
    networks: tuple[str, ...]
    """Active networks of the target."""
    pools: tuple[tuple[str, int], ...]
    """Usable pools of the target with their free room [bytes]."""


def offers(context: RestoreContext, request: RestoreRequest) -> Offers:
    """Ask the target what it has.

    Raises:
        DamageError: The point cannot be read.
        UnreachableError: The target does not answer.
    """
    point = context.point(request)
    domain = domain_xml.parse(point.xml_inactive or point.xml_live)
    needed = dict.fromkeys(name for _, name in domain_xml.networks(domain) if name)
    places: dict[str, None] = {}
    for disk in point.disks:
        folder = posixpath.dirname(disk.path) if disk.path else ""
        pool = disk.pool or next((name for name, path in point.pools.items() if path == folder), None)
        places.setdefault(pool or folder)
    return Offers(
        networks_needed=tuple(needed),
        places_needed=tuple(name for name in places if name),
        networks=tuple(network.name for network in capabilities.networks(context.session) if network.active),
        pools=tuple((pool.name, pool.free) for pool in storage.pools(context.session) if pool.usable),
    )
