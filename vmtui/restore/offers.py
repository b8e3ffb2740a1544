"""What a point needs a place for, and what a target host has to offer."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from vmtui.hosts import capabilities, domain_xml, storage
from vmtui.model.point import PointDisk, RestorePoint
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
    places = dict.fromkeys(names[0] for names in (_places(point, disk) for disk in point.disks) if names)
    return Offers(
        networks_needed=_networks(point),
        places_needed=tuple(places),
        networks=tuple(network.name for network in capabilities.networks(context.session) if network.active),
        pools=tuple((pool.name, pool.free) for pool in storage.pools(context.session) if pool.usable),
    )


def needs(point: RestorePoint) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every name that a mapping may have on its left side: networks; pools and folders. Pure."""
    return _networks(point), tuple(name for disk in point.disks for name in _places(point, disk))


def _networks(point: RestorePoint) -> tuple[str, ...]:
    domain = domain_xml.parse(point.xml_inactive or point.xml_live)
    return tuple(dict.fromkeys(name for _, name in domain_xml.networks(domain) if name))


def _places(point: RestorePoint, disk: PointDisk) -> list[str]:
    """Names of the place that a disk was in: the pool, if it was in one, and the folder."""
    folder = posixpath.dirname(disk.path) if disk.path else ""
    pool = disk.pool or next((name for name, path in point.pools.items() if path == folder), None)
    return [name for name in (pool, folder) if name]
