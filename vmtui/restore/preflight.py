"""Everything that must be right before a byte is written, asked of the target and told all at once."""

from __future__ import annotations

import posixpath
import re
import secrets
import uuid as uuids
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from vmtui.hosts import HostSession, capabilities, domain_xml, domains, images, storage
from vmtui.hosts.domains import Domain
from vmtui.hosts.fitness import machine_checks
from vmtui.hosts.storage import Pool
from vmtui.model.errors import FailedError
from vmtui.model.ids import JobId, VmId
from vmtui.model.point import PointDisk, RestorePoint, Role
from vmtui.model.progress import Check
from vmtui.model.vm import DomainState
from vmtui.repository import ZERO_ID
from vmtui.repository.repository import Repository
from vmtui.repository.streams import open_map, walk
from vmtui.restore.bases import choose_bases
from vmtui.restore.belongings import place_files
from vmtui.restore.context import RestoreContext
from vmtui.restore.definition import NO_NETWORK
from vmtui.restore.plan import Aside, DiskPlacement, FilePlacement, RestoreRequest
from vmtui.restore.room import rooms

NAME_LIMIT = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]*")
"""Names that we give to VMs and so to files. libvirt takes more; a restored VM's own name may be anything."""
_NOBODY = VmId("")


@dataclass(slots=True)
class Preflight:
    """What was found out; grows while the checks run."""

    context: RestoreContext
    request: RestoreRequest
    point: RestorePoint
    run: JobId
    domain: Element
    """The point's definition."""
    name: str = ""
    uuid: VmId = _NOBODY
    macs: tuple[str, ...] = ()
    disks: list[DiskPlacement] = field(default_factory=list)
    files: list[FilePlacement] = field(default_factory=list)
    asides: list[Aside] = field(default_factory=list)
    existing: set[str] = field(default_factory=set)
    replaces_vm: bool = False
    stop_first: bool = False
    checks: list[Check] = field(default_factory=list)

    @property
    def session(self) -> HostSession:
        """The target."""
        return self.context.session

    @property
    def file_name(self) -> str:
        """The VM's name as the start of a file's name."""
        return re.sub(r"[^A-Za-z0-9._+@-]+", "-", self.name[:NAME_LIMIT])

    def passed(self, name: str, detail: str = "") -> None:
        """Note a check that passed."""
        self.checks.append(Check(name, True, detail))

    def failed(self, name: str, detail: str) -> None:
        """Note a check that failed."""
        self.checks.append(Check(name, False, detail))

    def has_failed(self, name: str) -> bool:
        """Whether a check of that name failed."""
        return any(check.name == name and check.ok is False for check in self.checks)

    def undone(self, name: str, detail: str) -> None:
        """Note a check that could not be done."""
        self.checks.append(Check(name, None, detail))


def run_checks(flight: Preflight) -> None:
    """Do all checks, so that the operator sees everything that is wrong at once.

    Raises:
        UnreachableError: The target does not answer.
    """
    _identity(flight)
    brings_loader = any(item.role == Role.LOADER for item in flight.point.files)
    flight.checks += machine_checks(flight.session, flight.domain, brings_loader=brings_loader)
    _networks(flight)
    _media(flight)
    known = storage.pools(flight.session)
    _disks(flight, known)
    choose_bases(flight)
    place_files(flight, known)
    _check_owners(flight, known)
    _space(flight)


# -- who it will be ------------------------------------------------------------------------------


def _identity(flight: Preflight) -> None:
    if flight.request.keeps_identity:
        _same_identity(flight)
    else:
        _new_identity(flight)


def _new_identity(flight: Preflight) -> None:
    flight.name = _free_name(flight) if flight.request.name is None else flight.request.name
    flight.uuid = VmId(str(uuids.uuid4()))
    flight.macs = tuple(_new_mac() for _ in flight.domain.findall("./devices/interface"))
    _check_name(flight)
    flight.passed("uuid", f"new: {flight.uuid}")
    flight.passed("mac", f"{len(flight.macs)} new" if flight.macs else "no interfaces")


def _check_name(flight: Preflight) -> None:
    name = flight.name
    if not _NAME.fullmatch(name) or len(name) > NAME_LIMIT or ".." in name:
        flight.failed(
            "name", f"{name!r} is not a name for a new VM: letters, digits and . _ + @ -, at most {NAME_LIMIT}"
        )
    elif domains.find_domain(flight.session, name) is not None:
        flight.failed("name", f"a VM named {name} is already on {flight.session.host.name}; choose another with --as")
    else:
        flight.passed("name", f"{name} is free on {flight.session.host.name}")


def _free_name(flight: Preflight) -> str:
    """The VM's own name if it is free and fit for files, else one that tells where it comes from."""
    own = flight.point.vm_name
    letters = re.sub(r"[^A-Za-z0-9._+@-]+", "-", own).lstrip("._+@-").rstrip("-.")
    safe = letters[: NAME_LIMIT - 10].replace("..", "-") or "vm"
    if safe == own and domains.find_domain(flight.session, own) is None:
        return own
    for number in range(1, 100):
        candidate = f"{safe}-r{flight.point.time:%m%d}" + (f"-{number}" if number > 1 else "")
        if domains.find_domain(flight.session, candidate) is None:
            return candidate
    return safe


def _new_mac() -> str:
    """An address of QEMU's range."""
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))


def _same_identity(flight: Preflight) -> None:
    point, session = flight.point, flight.session
    flight.name, flight.uuid = point.vm_name, point.vm_uuid
    flight.macs = domain_xml.macs(flight.domain)
    if flight.request.name not in (None, point.vm_name):
        flight.failed("name", "a VM that is brought back as itself keeps its name; leave --as away")
    if flight.request.in_place and flight.request.same_identity:
        flight.failed("uuid", "--in-place and --same-identity exclude each other")
    if domains.exists(session, point.vm_uuid) and not flight.request.in_place:
        flight.failed("uuid", f"the VM itself is on {session.host.name}; --in-place replaces it")
    elif domains.exists(session, point.vm_uuid):
        _check_replaced(flight)
    elif (other := domains.find_domain(session, flight.name)) is not None:
        flight.failed("name", f"{flight.name} is taken on {session.host.name} by another VM ({other.uuid})")
    else:
        flight.passed("name", f"{flight.name} is free on {session.host.name}")
        flight.passed("uuid", f"{flight.uuid} is free on {session.host.name}")
    _check_macs(flight)
    _check_twin(flight)


def _check_replaced(flight: Preflight) -> None:
    domain = Domain(flight.session, flight.uuid)
    facts = domain.facts_without_images()
    flight.replaces_vm = True
    flight.stop_first = facts.state.active
    if not facts.persistent:
        flight.failed("vm", f"{facts.name} is transient: its definition cannot be replaced")
    elif facts.name != flight.name and domains.find_domain(flight.session, flight.name) is not None:
        flight.failed("name", f"the VM is now {facts.name}, and {flight.name} is taken by another")
    elif facts.state.active and facts.state is not DomainState.RUNNING:
        flight.failed("vm", f"{facts.name} is {facts.state}, so it cannot shut down by itself; resume it first")
    elif facts.managed_save:
        flight.passed(
            "vm", f"{facts.name} has saved memory, which does not fit the restored disks; both are kept aside"
        )
    else:
        flight.passed("vm", f"{facts.name} is {facts.state}; its disks are kept aside")


def _check_macs(flight: Preflight) -> None:
    owners = capabilities.mac_owners(flight.session)
    clashes = [mac for mac in flight.macs if owners.get(mac, flight.uuid) != flight.uuid]
    if clashes:
        flight.failed("mac", f"{', '.join(clashes)} is in use by another VM on {flight.session.host.name}")
    else:
        flight.passed("mac", "not in use by another VM" if flight.macs else "no interfaces")


def _check_twin(flight: Preflight) -> None:
    """The same VM must not run on two hosts."""
    if flight.point.host == flight.session.host.name:
        return
    origin = flight.context.open_origin()
    if origin is None:
        flight.undone("twin", f"{flight.point.host} does not answer: make sure that the VM does not run there")
    elif domains.exists(origin, flight.uuid) and Domain(origin, flight.uuid).state().active:
        flight.failed("twin", f"the VM runs on {flight.point.host}; it must not run twice")
    else:
        flight.passed("twin", f"the VM does not run on {flight.point.host}")


# -- what it runs on -----------------------------------------------------------------------------


def _networks(flight: Preflight) -> None:
    wanted = domain_xml.networks(flight.domain)
    named = [name for _, name in wanted if name]
    unknown = sorted(set(flight.request.networks) - set(named))
    if unknown:
        flight.failed(
            "network", f"the VM has no interface on {', '.join(unknown)}; it has {', '.join(named) or 'none'}"
        )
        return
    there = {network.name: network.active for network in capabilities.networks(flight.session)}
    problems = []
    for kind, name in wanted:
        new = flight.request.networks.get(name, name)
        if not name or new == NO_NETWORK:
            continue
        if kind == "network" or name in flight.request.networks:
            if new not in there:
                problems.append(f"no network {new}; map it: --map-network {name}=NETWORK, or {name}=none")
            elif not there[new]:
                problems.append(f"the network {new} is not active")
        elif flight.session.files.info(f"/sys/class/net/{name}") is None:
            problems.append(f"no {kind} {name}; map it: --map-network {name}=NETWORK, or {name}=none")
    if problems:
        flight.failed("network", f"on {flight.session.host.name}: " + "; ".join(problems))
    else:
        flight.passed("network", ", ".join(dict.fromkeys(named)) or "no named networks")


def _media(flight: Preflight) -> None:
    """Which CD-ROM images and read-only disks are on the target."""
    held = {disk.name for disk in flight.point.disks}
    for disk in domain_xml.disks(flight.domain):
        if disk.target not in held and disk.path and flight.session.files.info(disk.path) is not None:
            flight.existing.add(disk.path)


# -- where it goes -------------------------------------------------------------------------------


def _disks(flight: Preflight, known: list[Pool]) -> None:
    unused = set(flight.request.pools)
    for disk in flight.point.disks:
        try:
            folder, pool = _folder(flight, disk, known, unused)
        except FailedError as error:
            flight.failed("pool", error.cause)
            continue
        path = _disk_path(flight, disk, folder)
        if path in {placed.path for placed in flight.disks}:  # of two folders that are one here
            stem, dot, end = path.rpartition(".")
            path = f"{stem}-{disk.name}{dot}{end}" if dot else f"{path}-{disk.name}"
        there = flight.session.files.exists(path)
        if there and not flight.request.in_place:
            flight.failed("disk", f"{path} on {flight.session.host.name} is already there")
        flight.disks.append(
            DiskPlacement(
                target=disk.name,
                format=_format(flight, disk),
                virtual_size=disk.virtual_size,
                file_length=None if flight.request.instant else disk.file_length,
                root=disk.root,
                data_bytes=data_bytes(flight.context.repository, disk.name, disk.virtual_size, disk.root),
                path=path,
                pool=pool,
                replaces=there,
            )
        )
    if unused:
        flight.failed("pool", f"no disk of the point is in {', '.join(sorted(unused))}")
    if not any(check.name in ("pool", "disk") and check.ok is False for check in flight.checks):
        flight.passed("pool", ", ".join(f"{disk.target}: {disk.path}" for disk in flight.disks) or "no disks")


def _check_owners(flight: Preflight, known: list[Pool]) -> None:
    """What is replaced must be this VM's alone: a disk may have moved to another VM since the point was made."""
    placed = [(place.path, "") for place in flight.files if place.replaces and place.needed]
    placed += [(disk.path, disk.format) for disk in flight.disks if disk.replaces]
    if not placed:
        return
    host = flight.session.host.name
    owners = capabilities.image_owners(flight.session, {pool.name: pool.path for pool in known}, besides=flight.uuid)
    for path, format_name in placed:
        if (other := owners.get(posixpath.normpath(path))) is not None:
            flight.failed("disk", f"{path} on {host} belongs to another VM as well: {other}")
        elif format_name and not flight.stop_first and images.is_in_use(flight.session, path, format_name):
            flight.failed("disk", f"{path} on {host} is in use by another program")


def _folder(flight: Preflight, disk: PointDisk, known: list[Pool], unused: set[str]) -> tuple[str, str | None]:
    """Folder and pool of a disk on the target.

    Raises:
        FailedError: There is no place for it.
    """
    old_folder = posixpath.dirname(disk.path) if disk.path else ""
    old_pool = disk.pool or next((name for name, path in flight.point.pools.items() if path == old_folder), None)
    names = [name for name in (old_pool, old_folder) if name]
    wanted = next((flight.request.pools[name] for name in names if name in flight.request.pools), None)
    unused.difference_update(names)
    by_name = {pool.name: pool for pool in known}
    host = flight.session.host.name
    if wanted is not None:
        return _usable(by_name.get(wanted), wanted, host)
    if old_pool is not None and old_pool in by_name:
        return _usable(by_name[old_pool], old_pool, host)
    if flight.point.host == host and old_folder and flight.session.files.info(old_folder) is not None:
        return old_folder, None
    usable = [pool for pool in known if pool.usable]
    if len(usable) == 1:
        return usable[0].path, usable[0].name
    choices = ", ".join(pool.name for pool in usable) or "none"
    raise FailedError(
        "PREFLIGHT",
        f"{disk.name} was in {old_pool or old_folder or 'no folder'}, which is not on {host}; "
        f"map it: --map-pool {old_pool or old_folder}=POOL (pools there: {choices})",
    )


def _usable(pool: Pool | None, name: str, host: str) -> tuple[str, str | None]:
    if pool is None:
        raise FailedError("PREFLIGHT", f"there is no pool {name} on {host}")
    if not pool.active:
        raise FailedError("PREFLIGHT", f"the pool {name} on {host} is not active")
    if not pool.usable:
        raise FailedError(
            "PREFLIGHT", f"the pool {name} on {host} is of the kind {pool.kind}; disks go into folders so far"
        )
    return pool.path, pool.name


def _disk_path(flight: Preflight, disk: PointDisk, folder: str) -> str:
    """In place: the old name. Else: named after the new VM."""
    if flight.request.keeps_identity and disk.path and disk.source_type == "file":
        return posixpath.join(folder, posixpath.basename(disk.path))
    safe = re.sub(r"[^A-Za-z0-9._+@-]+", "-", f"{flight.file_name}-{disk.name}")
    return posixpath.join(folder, f"{safe}.{_format(flight, disk)}")


def _format(flight: Preflight, disk: PointDisk) -> str:
    """Raw stays raw, unless it has to be an overlay first; everything else becomes qcow2."""
    return "raw" if disk.format == "raw" and not flight.request.instant else "qcow2"


def _space(flight: Preflight) -> None:
    """Room for the data of every disk, by file system; sparse parts cost nothing."""
    needs: dict[str, int] = {}
    for folder, size in [(posixpath.dirname(disk.path), disk.write_bytes) for disk in flight.disks] + [
        (storage.nearest_folder(flight.session, posixpath.dirname(item.path)), item.size)
        for item in flight.files
        if item.needed
    ]:
        needs[folder] = needs.get(folder, 0) + size
    found = rooms(flight.session, needs)
    there = {folder for room in found for folder in room.folders}
    problems = [f"{folder} is not there" for folder in needs if folder not in there]
    problems += [
        f"{', '.join(room.folders)}: {room.free} bytes free, {room.need} are needed"
        for room in found
        if not room.enough
    ]
    if problems:
        flight.failed("space", f"on {flight.session.host.name}: " + "; ".join(problems))
    elif needs:
        flight.passed("space", f"{sum(needs.values())} bytes needed")


# -- the repository's side -----------------------------------------------------------------------


def data_bytes(repository: Repository, name: str, size: int, root: str) -> int:
    """Bytes of a stream that are not zero, in whole blocks."""
    reader = open_map(repository, size, root)
    count = sum(1 for _, ids in walk(reader, name) for item in ids if item != ZERO_ID)
    return min(count * repository.block_size, size)
