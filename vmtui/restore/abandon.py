"""The way back of a restore that has failed: nothing of it is left, and what it had set aside is back."""

from __future__ import annotations

import json

from vmtui.hosts import HostSession, defining, domain_xml, domains, images
from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError
from vmtui.model.ids import JobId
from vmtui.model.point import Role
from vmtui.restore.context import RestoreContext
from vmtui.restore.install import MADE
from vmtui.restore.placing import bring_back, remove_tpm_folders
from vmtui.restore.plan import DiskPlacement, FilePlacement, RestorePlan, places, record_path

_RECORD_LIMIT = 16 << 20


def abandon(context: RestoreContext, plan: RestorePlan) -> None:
    """The restore has failed: nothing of it is left, and what it had set aside is back. Safe to repeat.

    Raises:
        FailedError: The old VM does not start again; its disks and definition are back. Or somebody started it on the
            new disks, and nothing was changed.
        UnreachableError: The host does not answer; repeat it.
    """
    session, notes = context.session, context.notes(plan.run)
    installed = notes.noted("installing") and not notes.noted("put back")
    if not plan.replaces_vm:
        _refuse_started(context, plan)
        for saved in (item for item in plan.files if item.role == Role.SAVE and installed):
            _swap_back(session, saved, plan.run)  # libvirt undefines no VM that has saved memory
        _undefine_ours(context, plan)
    if installed:
        _refuse_in_use(context, plan)
        for place in places(plan):
            _swap_back(session, place, plan.run)
        bring_back(session, plan)
        notes.note("put back")  # whatever is under the final names from now on is not ours
    record = record_path(plan.run, plan.disks)
    if plan.replaces_vm and record is not None:
        _definition_back(session, plan, record)
        session.files.remove_new(record)
    remove_new(session, plan)
    remove_tpm_folders(session, plan)
    domain = Domain(session, plan.uuid)
    if plan.replaces_vm and notes.noted("stopping") and not domain.state().active:
        domain.start()
        context.watch.note(f"{plan.name} had been shut down and was started again with its old disks")


def is_ours(context: RestoreContext, plan: RestorePlan) -> bool:
    """Whether the VM of that UUID is there, and was made by this run: a lost VM may come back by itself meanwhile."""
    return context.notes(plan.run).noted(MADE) and domains.exists(context.session, plan.uuid)


def _refuse_started(context: RestoreContext, plan: RestorePlan) -> None:
    """Return if the VM that this run made is off: what it writes is somebody's."""
    if is_ours(context, plan) and Domain(context.session, plan.uuid).state().active:
        raise FailedError(
            "VM-STARTED",
            f"Somebody started {plan.name} before its restore was complete. It was left running, with its disks.",
            next_step="If it is not wanted: shut it down, undefine it with virsh, and delete its disks.",
        )


def _undefine_ours(context: RestoreContext, plan: RestorePlan) -> None:
    """Take away a definition that this run made: it is off and uses this run's disks."""
    session = context.session
    domain = Domain(session, plan.uuid)
    if not is_ours(context, plan) or domain.state().active:
        return
    used = {disk.path for disk in domain_xml.disks(domain_xml.parse(domain.definition().inactive))}
    if used.issuperset(disk.path for disk in plan.disks):
        defining.undefine(session, plan.uuid)


def _refuse_in_use(context: RestoreContext, plan: RestorePlan) -> None:
    """Return if no new disk is under its final name and in use: it would be taken from below a running VM."""
    session = context.session
    if not plan.replaces_vm or not Domain(session, plan.uuid).state().active:
        return
    for disk in plan.disks:
        if _taken_in(session, disk, plan.run) and images.is_in_use(session, disk.path, disk.format):
            raise FailedError("VM-STARTED", f"Somebody started {plan.name} on disks that were not all in place.")


def _taken_in(session: HostSession, place: DiskPlacement | FilePlacement, run: JobId) -> bool:
    there = session.files.exists(place.path) and not session.files.exists(place.new_path(run))
    return there and (not place.replaces or session.files.exists(place.kept_path(run)))


def _swap_back(session: HostSession, place: DiskPlacement | FilePlacement, run: JobId) -> None:
    """Undo `swap_in`, whatever of it was done."""
    new, kept = place.new_path(run), place.kept_path(run)
    if _taken_in(session, place, run):
        session.files.rename(place.path, new)  # so that a repetition cannot take another's file for ours
    if place.replaces and session.files.exists(kept):
        session.files.rename(kept, place.path)


def _definition_back(session: HostSession, plan: RestorePlan, record: str) -> None:
    """Give a VM that may have been defined anew the definition that it had; the record of it comes from the host."""
    if not session.files.exists(record):
        return
    try:
        definition = str(json.loads(session.files.read(record, _RECORD_LIMIT))["definition"])
        uuid = domain_xml.text_of(domain_xml.parse(definition), "uuid")
    except (ValueError, KeyError, TypeError):
        uuid, definition = None, ""
    if uuid != plan.uuid:
        raise FailedError(
            "REMOTE-COMMAND", f"{record} on {session.host.name} does not hold the definition of {plan.name}."
        )
    if Domain(session, plan.uuid).definition().inactive != definition:
        defining.define(session, definition)


def remove_new(session: HostSession, plan: RestorePlan) -> None:
    """Remove what was written beside final names. Safe to repeat."""
    for place in places(plan):
        session.files.remove_new(place.new_path(plan.run))
