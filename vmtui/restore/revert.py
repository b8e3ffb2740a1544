"""Undoing an in-place restore while its old disks are kept, or letting them go.

Each function is a step that may be run again after the process that ran it died; what the first one found is handed on.
"""

from __future__ import annotations

import posixpath
import time
from dataclasses import dataclass

from vmtui.failpoint import failpoint
from vmtui.hosts import block_jobs, checkpoints, defining, domain_xml, overlays, saved, storage
from vmtui.hosts.domains import Domain, save_path, tpm_folder
from vmtui.hosts.images import image_info
from vmtui.model.errors import CancelledError, FailedError, RefusedError
from vmtui.model.ids import VmId
from vmtui.model.progress import Check
from vmtui.model.vm import Image
from vmtui.restore.context import RestoreContext
from vmtui.restore.kept import Kept, find_record, load, name_previous
from vmtui.restore.room import MARGIN

_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class RevertRequest:
    """What was asked for."""

    host: str
    vm: VmId
    discard: bool = False
    """Delete the kept disks instead of bringing them back."""


@dataclass(frozen=True, slots=True)
class Found:
    """How the VM was found."""

    record: str
    """Path of the record of what was kept, on the host."""
    ran: bool


def look(context: RestoreContext, request: RevertRequest) -> Found:
    """Find what was kept, and whether the VM runs. Nothing is changed.

    Raises:
        RefusedError: There is nothing to revert; or it is to be discarded, and the restore was cut off.
        FailedError: The record cannot be believed.
    """
    found = find_record(context, request.vm)
    kept = load(context.session, found.record, request.vm)
    if request.discard and found.cut_off:
        raise RefusedError(
            "KEPT-IN-USE",
            f"The restore {kept.run} was cut off: what it kept may be the only whole disks of this VM.",
        )
    return Found(found.record, Domain(context.session, request.vm).state().active)


def get_ready(context: RestoreContext, request: RevertRequest, found: Found) -> list[Check]:
    """Shut the VM down, and let the restored disks stand alone: those below them will be written again. Safe to repeat.

    Raises:
        FailedError: The VM does not shut down, or there is no room; nothing was renamed.
        CancelledError: Somebody asked for it to stop; nothing was renamed.
    """
    session = context.session
    domain = Domain(session, request.vm)
    if domain.state().active:
        context.watch.phase("shut down")
        if not domain.shut_down(session.host.shutdown_s, context.watch.check):
            raise FailedError("VM-WILL-NOT-STOP", "The VM did not shut down in time. It was left running as it is.")
    failpoint("revert.stopped")
    kept = load(session, found.record, request.vm)
    _refuse_snapshots(context, kept, domain)
    checks = []
    for image in _standing_on_kept(context, kept, domain):
        name = posixpath.basename(image.path)
        context.watch.phase("copy", disk=name)
        _check_room(context, image)
        overlays.fold(session, image.path)
        checks.append(Check(f"file {name}", True, "the restored disk stands alone"))
    failpoint("revert.folded")
    return checks


def give_up(context: RestoreContext, request: RevertRequest, found: Found) -> None:
    """Nothing was renamed: a VM that ran runs again. Safe to repeat."""
    domain = Domain(context.session, request.vm)
    if found.ran and not domain.state().active:
        context.watch.phase("start again")
        domain.start()


def revert(context: RestoreContext, request: RevertRequest, found: Found) -> list[Check]:
    """Bring the old disks and the old definition back. Safe to repeat; the VM is off.

    The restored disks are set aside, not deleted: the VM may have run on them.

    Raises:
        FailedError: The VM was started meanwhile, or libvirt refuses.
    """
    session = context.session
    domain = Domain(session, request.vm)
    if domain.state().active:
        raise FailedError(
            "VM-BUSY", "Somebody started the VM while its old disks were being brought back.", next_step="Shut it down."
        )
    kept = load(session, found.record, request.vm)
    context.watch.phase("revert")
    checks = _set_state_aside(context, kept, domain)
    for path, old in kept.files:
        aside = f"{path}.reverted-{kept.run}"
        if session.files.exists(old):
            if session.files.exists(path):
                session.files.rename(path, aside)
            session.files.rename(old, path)
        session.files.remove(f"{path}.vmtui-{kept.run}")
        where = f"; the restored one is {aside}" if session.files.exists(aside) else ""
        checks.append(Check(f"file {posixpath.basename(path)}", True, f"back in place{where}"))
    failpoint("revert.swapped")
    for name in domain.facts_without_images().checkpoints:
        if name.startswith(checkpoints.own_prefix(context.repository.id)):
            checkpoints.delete(domain, name)
    defining.define(session, kept.definition)
    failpoint("revert.defined")
    return [*checks, Check("definition", True, "the old one is back")]


def end(context: RestoreContext, request: RevertRequest, found: Found) -> list[Check]:
    """Forget what was kept, and start a VM that ran. Safe to repeat.

    Raises:
        FailedError: The VM does not start; its old disks and definition are back.
    """
    session = context.session
    if session.files.exists(found.record):
        _refresh(context, load(session, found.record, request.vm))
        session.files.remove(found.record)
    failpoint("revert.ended")
    if not found.ran:
        return []
    context.watch.phase("start")
    domain = Domain(session, request.vm)
    if not domain.state().active:
        domain.start()
    return [Check("boot", True, "it ran, and runs again")]


def _set_state_aside(context: RestoreContext, kept: Kept, domain: Domain) -> list[Check]:
    """Saved memory and TPM files that came with the restored disks, or since, do not fit the old ones.

    The record comes from the host, so only these places are touched, whatever else it names.
    """
    session = context.session
    back = {path for path, _ in kept.files}
    tpm = tpm_folder(session, domain.uuid) + "/"
    doomed = [path for path in kept.made if path.startswith(tpm) and ".." not in path]
    memory = save_path(session, domain.name())
    doomed.append(memory)
    checks = []
    for path in doomed:
        aside = f"{path}.reverted-{kept.run}"
        if path in back:
            continue
        there = session.files.info(path)
        forgetting = there is not None and there.size == 0 and session.files.exists(aside)  # a predecessor died there
        if there is not None and not forgetting:
            session.files.rename(path, aside)
        if session.files.exists(aside):
            if path == memory:
                saved.forget(domain, path)
            checks.append(
                Check(f"file {posixpath.basename(path)}", True, f"belongs to the restored disks; it is now {aside}")
            )
    return checks


# -- letting go ------------------------------------------------------------------------------------


def discard(context: RestoreContext, request: RevertRequest, found: Found) -> list[Check]:
    """Delete the kept disks; a restored disk that stands on one of them is made whole first. Safe to repeat.

    Raises:
        FailedError: There is no room to make a disk whole; nothing was deleted.
        CancelledError: Somebody asked for it to stop; nothing was deleted.
    """
    session = context.session
    domain = Domain(session, request.vm)
    if not session.files.exists(found.record):
        return [Check("kept disks", True, f"deleted; {domain.name()} stays as restored")]
    kept = load(session, found.record, request.vm)
    for image in _standing_on_kept(context, kept, domain):
        context.watch.phase("copy", disk=posixpath.basename(image.path))
        _check_room(context, image)
        if domain.state().active:
            _pull(context, domain, image.path)
        else:
            overlays.fold(session, image.path)
    left = [image.path for image in _standing_on_kept(context, kept, domain)]
    if left:
        raise FailedError(
            "VM-BUSY", f"{', '.join(left)} still stands on what would be deleted.", next_step="Try again."
        )
    failpoint("discard.folded")
    context.watch.phase("discard")
    gone = [old for _, old in kept.files if session.files.remove(old)]
    failpoint("discard.removed")
    previous = name_previous(context, request.vm, kept)
    session.files.remove(kept.record)
    _refresh(context, kept)
    checks = [Check("kept disks", True, f"{len(gone)} deleted; {domain.name()} stays as restored")]
    if previous is not None:
        checks.append(Check("earlier restore", None, f"its old disks are kept still, by {previous}"))
    return checks


def _pull(context: RestoreContext, domain: Domain, path: str) -> None:
    """Let QEMU copy what is below a running VM's disk into it."""
    live = domain_xml.disks(domain_xml.parse(domain.definition().live))
    target = next((disk.target for disk in live if disk.path == path), None)
    if target is None:
        raise FailedError(
            "VM-BUSY",
            f"{path} stands on a kept disk, and the running VM has another image on top of it.",
            next_step="Shut the VM down, then discard again.",
        )
    if block_jobs.pull(domain, target) is None:
        block_jobs.start_pull(domain, target)
    failpoint("discard.pulling")
    done = 0
    try:
        while (pull := block_jobs.pull(domain, target)) is not None:
            context.watch.advance(max(0, pull.done - done))
            done = pull.done
            context.watch.check()
            time.sleep(_POLL_S)
    except CancelledError:
        block_jobs.end_pull(domain, target)
        raise


# -- what both need --------------------------------------------------------------------------------


def _standing_on_kept(context: RestoreContext, kept: Kept, domain: Domain) -> list[Image]:
    """Restored disks that stand on a kept one, as the images themselves say."""
    definition = domain.definition()
    disks = [
        disk
        for xml in (definition.live, definition.inactive, kept.definition)
        if xml
        for disk in domain_xml.disks(domain_xml.parse(xml))
    ]
    layered = {disk.path for disk in disks if disk.format == "qcow2"}
    files = context.session.files
    pairs = [(path, old) for path, old in kept.files if path in layered and files.exists(path) and files.exists(old)]
    images = [(image_info(context.session, path, "qcow2"), old) for path, old in pairs]
    return [image for image, old in images if old in image.backing]


def _refuse_snapshots(context: RestoreContext, kept: Kept, domain: Domain) -> None:
    """Return if no disk of the VM stands on a restored one: what it holds would lose its ground."""
    paths = {path for path, _ in kept.files}
    for disk in domain_xml.disks(domain_xml.parse(domain.definition().inactive)):
        if disk.format != "qcow2" or not disk.path or disk.path in paths or not context.session.files.exists(disk.path):
            continue
        below = paths.intersection(image_info(context.session, disk.path, "qcow2").backing)
        if below:
            raise FailedError(
                "VM-BUSY",
                f"{disk.path} is a snapshot that stands on the restored {min(below)}. Nothing was renamed.",
                next_step="Merge it into that disk alone (virsh blockcommit with --shallow) or detach it, then revert again.",
            )


def _check_room(context: RestoreContext, image: Image) -> None:
    """Return if there is room for a copy of all that is below an image."""
    session = context.session
    answer = session.run(["stat", "-L", "-c", "%b %B", *image.backing]).checked(session.host.name)
    need = MARGIN + sum(int(blocks) * int(size) for blocks, size in map(str.split, answer.output.splitlines()))
    folder = posixpath.dirname(image.path)
    free = storage.free_bytes(session, folder)
    if free is not None and free < need:
        raise FailedError(
            "WRITE-FAILED",
            f"{folder} on {session.host.name} has {free} bytes free; {need} are needed to let {image.path} stand alone: "
            "it stands on the old disk.",
            next_step="Make room there, then run it again.",
        )


def _refresh(context: RestoreContext, kept: Kept) -> None:
    known = storage.pools(context.session)
    for pool in {storage.pool_of(path, known) for path, _ in kept.files}:
        if pool is not None and pool.active:
            storage.refresh_pool(context.session, pool.name)
