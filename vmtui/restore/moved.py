"""After the move: the VM stands on its own disks, and what it did not write is compared with the point."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator
from xml.etree.ElementTree import Element, tostring

from vmtui.failpoint import failpoint
from vmtui.hosts import backup_job, block_jobs, checkpoints, defining, domain_xml, domains, reverse, sentry, storage
from vmtui.hosts.backup_job import JobDisk
from vmtui.hosts.domains import Domain
from vmtui.hosts.forward import fits_socket_path
from vmtui.hosts.images import image_info
from vmtui.model.errors import DamageError, FailedError, VmtuiError
from vmtui.model.progress import Check
from vmtui.nbd import BASE_ALLOCATION, NbdClient
from vmtui.repository.streams import open_map
from vmtui.restore import run as steps
from vmtui.restore.compare import Compared, Comparison
from vmtui.restore.context import RestoreContext
from vmtui.restore.instant import checkpoint_name, end_session
from vmtui.restore.plan import DiskPlacement, RestorePlan
from vmtui.restore.tending import Evidence

_BEGIN_S = 30.0


def prove(context: RestoreContext, plan: RestorePlan) -> list[Check]:
    """Look that every disk stands alone, compare it with the point, and clear up. Safe to repeat.

    Returns:
        All evidence of the run.

    Raises:
        FailedError: A disk does not stand alone, or differs from the point where the VM wrote nothing.
        UnreachableError: The host does not answer; repeat it.
    """
    context.watch.phase("pivoted")
    domain = Domain(context.session, plan.uuid)
    evidence = Evidence(context, plan)
    if not evidence.has("local storage"):
        evidence.add(*_stand_alone(context, plan, domain))
    if not evidence.has("compared"):
        try:
            evidence.add(*_compare(context, plan, domain))
        except (DamageError, FailedError):  # it stands on its own all the same, so nothing of ours stays behind
            with contextlib.suppress(VmtuiError):
                _clear_up(context, plan, domain)
            raise
    failpoint("instant.compared")
    _clear_up(context, plan, domain)
    return evidence.checks


def _clear_up(context: RestoreContext, plan: RestorePlan, domain: Domain) -> None:
    _forget_mark(context, plan, domain)
    with contextlib.suppress(DamageError):  # the point was pruned meanwhile; pausing on errors does no harm
        _usual_policies(context, plan, domain)
    reverse.remove(context.session, plan.folder)
    end_session(context, plan)


def _stand_alone(context: RestoreContext, plan: RestorePlan, domain: Domain) -> list[Check]:
    definition = domain.definition()
    socket = reverse.socket_in(plan.folder)
    for xml in filter(None, (definition.live, definition.inactive)):
        paths = {disk.target: disk.path for disk in domain_xml.disks(domain_xml.parse(xml))}
        wrong = [disk.target for disk in plan.disks if paths.get(disk.target) != disk.path]
        if wrong or block_jobs.backed_disks(xml, socket):
            raise FailedError(
                "LIBVIRT", f"{', '.join(wrong) or 'a disk'} of {plan.name} does not stand on its own image yet."
            )
    checks = []
    for disk in plan.disks:
        image = image_info(context.session, disk.path, "qcow2")
        mode = context.session.run(["stat", "-c", "%a", disk.path]).checked(plan.request.host).output.strip()
        if image.backing:
            raise FailedError("LIBVIRT", f"{disk.path} still names {image.backing[0]} as its backing file.")
        checks.append(Check(f"disk {disk.target}", True, f"{disk.path} stands alone (qcow2, mode {mode})"))
    return [*checks, Check("local storage", True, "the running and the persistent definition name these images alone")]


# -- comparing -------------------------------------------------------------------------------------


def _compare(context: RestoreContext, plan: RestorePlan, domain: Domain) -> list[Check]:
    """Every block that the VM has not written, read from a frozen view of the running VM."""
    name = checkpoint_name(context, plan)
    if not domain.state().active:
        return [Check("compared", None, "not compared: the VM is off")]
    if checkpoints.describe(domain, name) is None:
        return [Check("compared", None, "not compared: what the VM wrote was not recorded")]
    try:
        with _frozen_view(context, plan, domain, name) as socket:
            found = {disk.target: _compare_disk(context, disk, socket) for disk in plan.disks if disk.virtual_size}
    except FailedError as error:
        if error.id == "READBACK-DIFFERS":
            raise
        return [Check("compared", None, f"not compared: {error.cause}")]
    checks = [
        Check(
            f"compared {target}",
            True,
            f"{item.same} bytes have the hashes of the point; {item.written} bytes in blocks that the VM has written "
            "since are its own and were not compared",
        )
        for target, item in found.items()
    ]
    return [*checks, Check("compared", True, "every block that the VM has not written")]


@contextlib.contextmanager
def _frozen_view(context: RestoreContext, plan: RestorePlan, domain: Domain, checkpoint: str) -> Iterator[str]:
    """A backup job's view of the disks; gives its socket."""
    session = context.session
    number = domain.call("look up the VM", lambda handle: handle.ID())
    folder = domains.run_folder(session, number)
    socket = posixpath.join(folder or "/", f"vmtui-{plan.run}.sock")
    if folder is None or not fits_socket_path(socket):
        raise FailedError("REMOTE-COMMAND", f"there is no place for a socket in {folder} on {session.host.name}")
    mark = posixpath.join(posixpath.dirname(plan.disks[0].path), checkpoint)
    _end_own(context, plan, domain, socket, mark)
    wanted = {disk.target for disk in plan.disks}
    disks = [
        JobDisk(
            target, f"{mark}-{target}.scratch" if target in wanted else None, checkpoint if target in wanted else None
        )
        for target in domain.targets()
    ]
    watcher = sentry.Sentry(session, sentry.Post(plan.uuid, socket, mark, session.host.scratch_reserve_bytes))
    try:
        backup_job.begin(domain, socket, disks, None, deadline_s=_BEGIN_S)
        yield socket
    finally:
        try:
            _end_own(context, plan, domain, socket, mark)
            watcher.dismiss()
        except VmtuiError:  # the first error matters more; the sentry ends the job of which nobody hears any more
            watcher.leave()


def _end_own(context: RestoreContext, plan: RestorePlan, domain: Domain, socket: str, mark: str) -> None:
    """End the view, if it is there, and remove what is left of it."""
    job = backup_job.running_job(domain)
    if job is not None and job.socket == socket:
        backup_job.end(domain)
    elif job is not None:
        raise FailedError("VM-BUSY", f"another job ({job.operation}) runs on {plan.name}")
    sentry.sweep(context.session, mark)
    for disk in plan.disks:
        context.session.files.remove(f"{mark}-{disk.target}.scratch")


def _compare_disk(context: RestoreContext, disk: DiskPlacement, socket: str) -> Compared:
    bitmap = f"qemu:dirty-bitmap:{JobDisk(disk.target, None).bitmap}"
    client = NbdClient(context.session.stream(socket), disk.target, [BASE_ALLOCATION, bitmap])
    try:
        if client.size < disk.virtual_size:
            raise FailedError(
                "READBACK-DIFFERS", f"{disk.path} has {client.size} bytes, the point's disk {disk.virtual_size}."
            )
        disk_map = open_map(context.repository, disk.virtual_size, disk.root)
        blobs, block_size = context.repository.reader(), context.repository.block_size
        work = Comparison(disk.target, blobs, disk_map, block_size, disk.virtual_size, context.watch)
        return work.run(client, bitmap)
    finally:
        client.close()


# -- clearing up -----------------------------------------------------------------------------------


def _forget_mark(context: RestoreContext, plan: RestorePlan, domain: Domain) -> None:
    """Record no longer what the VM writes."""
    name = checkpoint_name(context, plan)
    off = not domain.state().active
    if not checkpoints.delete(domain, name) and off:
        for disk in plan.disks:
            storage.remove_bitmap(context.session, disk.path, name)


def _usual_policies(context: RestoreContext, plan: RestorePlan, domain: Domain) -> None:
    """Give the disks the error policies of the point back, in the persistent definition."""
    fitted = domain_xml.parse(steps.fitted_definition(context, plan).xml)
    usual = {name: dict(driver.attrib) for name, driver in _drivers(fitted)}
    root = domain_xml.parse(domain.definition().inactive)
    changed = False
    for name, driver in _drivers(root):
        if name not in {disk.target for disk in plan.disks}:
            continue
        for attribute in ("error_policy", "rerror_policy"):
            value = usual.get(name, {}).get(attribute)
            changed = changed or driver.get(attribute) != value
            driver.attrib.pop(attribute, None)
            if value is not None:
                driver.set(attribute, value)
    if changed:
        defining.define(context.session, tostring(root, encoding="unicode"))


def _drivers(domain: Element) -> Iterator[tuple[str, Element]]:
    """(target, driver) of each disk."""
    for disk in domain.findall("./devices/disk"):
        place, driver = disk.find("target"), disk.find("driver")
        if place is not None and driver is not None:
            yield place.get("dev", ""), driver
