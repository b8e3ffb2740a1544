"""Putting proven images in place and defining the VM. Safe to repeat after the process that did it died.

In place, the old images are set aside first, and come back if anything fails. The definition is made last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from vmtui.failpoint import failpoint
from vmtui.hosts import HostSession, checkpoints, defining, domain_xml, domains, overlays, storage
from vmtui.hosts.domains import Domain
from vmtui.model.codec import format_instant
from vmtui.model.errors import FailedError, RefusedError
from vmtui.model.ids import JobId
from vmtui.model.point import RestorePoint
from vmtui.model.progress import Check
from vmtui.restore.context import RestoreContext
from vmtui.restore.definition import Fitted, Target, fit, kept_record, missing_elements
from vmtui.restore.fast import note_of, state_of
from vmtui.restore.placing import boot_paths, media_paths, set_aside
from vmtui.restore.plan import DiskPlacement, FilePlacement, RestorePlan, places, record_path

MADE = "made"
"""Note of a run: name and UUID were free, and the VM that has them from now on is this run's."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A VM that is defined on proven disks."""

    checks: tuple[Check, ...]
    kept: str | None
    """Path of the record of what was kept."""


def install(context: RestoreContext, plan: RestorePlan) -> Installed:
    """Put the proven images in place and define the VM. Safe to repeat: goes on where it stopped.

    Raises:
        FailedError: The VM does not shut down, or libvirt refuses; the old disks are in place.
        UnreachableError: The host went away; repeat it.
    """
    session = context.session
    domain = Domain(session, plan.uuid)
    checks: list[Check] = []
    if plan.replaces_vm:
        checks += stop_old(context, plan, domain)
        _check_old_images(context, plan)
        _keep_record(context, plan, domain)
    failpoint("restore.kept")
    context.notes(plan.run).note("installing")
    context.watch.phase("keep old disks" if plan.replaces_vm else "rename")
    if not context.notes(plan.run).noted("set aside"):
        set_aside(context, plan)
        context.notes(plan.run).note("set aside")
    for place in places(plan):
        swap_in(session, place, plan.run, on_top=_on_top(context, plan, place))
    failpoint("restore.swapped")
    if plan.replaces_vm and domain.state().active:
        raise FailedError(
            "VM-STARTED",
            f"Somebody started {plan.name} while its disks were being exchanged.",
            next_step="Shut it down, then restore again.",
        )
    for pool in sorted({disk.pool for disk in plan.disks if disk.pool is not None}):
        storage.refresh_pool(session, pool)
    context.watch.phase("define")
    checks += define(context, plan, domain, fitted_definition(context, plan))
    failpoint("restore.defined")
    return Installed(tuple(checks), record_path(plan.run, plan.disks) if plan.replaces_vm else None)


def stop_old(context: RestoreContext, plan: RestorePlan, domain: Domain) -> list[Check]:
    if not domain.state().active:
        return []
    context.watch.phase("shut down")
    context.notes(plan.run).note("stopping")
    limit_s = context.session.host.shutdown_s
    if not domain.shut_down(limit_s, context.watch.check):
        raise FailedError(
            "VM-WILL-NOT-STOP",
            f"{plan.name} did not shut down within {limit_s:g} s. It was left running with its old disks.",
            next_step="Shut it down from inside, then restore again.",
        )
    return [Check("shut down", True, f"{plan.name} shut down by itself")]


def _keep_record(context: RestoreContext, plan: RestorePlan, domain: Domain) -> None:
    """Write down, on the host, how to go back: renames and the old definition."""
    path = record_path(plan.run, plan.disks)
    if path is None or context.session.files.exists(path):
        return
    definition = domain.definition()
    previous = kept_record(definition.inactive)
    record = {
        "run": plan.run,
        "uuid": plan.uuid,
        "point": plan.request.point,
        "time": format_instant(context.now()),
        "files": [
            *([place.path, place.kept_path(plan.run)] for place in places(plan) if place.replaces),
            *([aside.path, aside.kept_path(plan.run)] for aside in plan.asides),
        ],
        "made": [place.path for place in places(plan) if not place.replaces],
        "definition": definition.inactive,
        "previous": previous,
    }
    context.session.files.write_new(path, json.dumps(record).encode())


def _on_top(context: RestoreContext, plan: RestorePlan, place: DiskPlacement | FilePlacement) -> bool:
    """Whether it was written on top of its old image, and not whole."""
    return isinstance(place, DiskPlacement) and context.notes(plan.run).text(note_of(place)) != ""


def _check_old_images(context: RestoreContext, plan: RestorePlan) -> None:
    """Return if nobody wrote to an old image since a disk was written on top of it.

    Raises:
        FailedError: Somebody did, so the disk on top is worth nothing.
    """
    for disk in plan.disks:
        if not _on_top(context, plan, disk) or context.session.files.exists(disk.kept_path(plan.run)):
            continue
        if state_of(context, disk.path) != context.notes(plan.run).text(note_of(disk)):
            raise FailedError(
                "VM-STARTED",
                f"{disk.path} on {context.session.host.name} was written to while {plan.name} was being restored on "
                "top of it. Nothing was replaced.",
                next_step="See who started the VM, then restore again.",
            )


def swap_in(session: HostSession, place: DiskPlacement | FilePlacement, run: JobId, *, on_top: bool = False) -> None:
    """Rename old to kept and new to final, whatever of it was done already.

    Args:
        session: The host.
        place: What was written.
        run: The run that wrote it.
        on_top: It stands on the old image, and is told the name that this one is kept under.
    """
    new, kept = place.new_path(run), place.kept_path(run)
    if not session.files.exists(new):
        if session.files.exists(place.path):
            return  # done by a predecessor
        raise FailedError("WRITE-FAILED", f"{new} on {session.host.name} has vanished.")
    if session.files.exists(place.path):
        if not place.replaces:
            raise RefusedError("TARGET-EXISTS", f"{place.path} on {session.host.name} appeared meanwhile.")
        session.files.rename(place.path, kept)
    if on_top:
        overlays.set_below(session, new, kept)
        failpoint("restore.rebased")
    session.files.rename(new, place.path)


def define(context: RestoreContext, plan: RestorePlan, domain: Domain, fitted: Fitted) -> list[Check]:
    """Define the VM, and look what the host made of it. Safe to repeat.

    Raises:
        RefusedError: Another VM has taken its name or UUID meanwhile.
        FailedError: libvirt refuses.
    """
    session = context.session
    if plan.replaces_vm:
        _forget_checkpoints(context, domain)
    elif not context.notes(plan.run).noted(MADE):
        _check_still_free(session, plan, domain)
        context.notes(plan.run).note(MADE)
    result = defining.define(session, fitted.xml)
    dropped = missing_elements(fitted.xml, result.xml)
    checks = [Check("definition", True, f"{plan.name} is defined with uuid {plan.uuid}")]
    if dropped or result.schema_complaint:
        detail = "not taken over by this host: " + (", ".join(dropped) or result.schema_complaint)
        checks.append(Check("definition complete", None, detail))
        context.watch.note(detail)
    else:
        checks.append(Check("definition complete", True, "it reads back with every element"))
    checks += [Check("fitted", True, change) for change in fitted.changes]
    if plan.request.keeps_identity:
        point = context.point(plan.request)
        defining.set_autostart(session, plan.uuid, wanted=point.autostart)
    return checks


def _check_still_free(session: HostSession, plan: RestorePlan, domain: Domain) -> None:
    """libvirt replaces a definition of the same name and UUID without a word, so look again."""
    if domains.find_domain(session, plan.name) is not None:
        raise RefusedError("TARGET-EXISTS", f"A VM named {plan.name} appeared on {session.host.name} meanwhile.")
    if domains.exists(session, domain.uuid):
        raise RefusedError(
            "TARGET-EXISTS", f"A VM with the UUID {plan.uuid} appeared on {session.host.name} meanwhile."
        )


def fitted_definition(context: RestoreContext, plan: RestorePlan) -> Fitted:
    """The definition; made anew from the manifest each time, as it may hold passwords."""
    point = context.point(plan.request)
    return fit(point.xml_inactive or point.xml_live, final_target(context, plan, point))


def final_target(context: RestoreContext, plan: RestorePlan, point: RestorePoint) -> Target:
    domain = domain_xml.parse(point.xml_inactive or point.xml_live)
    held = {disk.name for disk in point.disks}
    media = [disk.path for disk in domain_xml.disks(domain) if disk.target not in held and disk.path]
    return Target(
        name=plan.name,
        uuid=plan.uuid,
        macs=plan.macs,
        disks={disk.target: (disk.path, disk.format) for disk in plan.disks},
        files=boot_paths(plan.files),
        networks=plan.request.networks,
        new_vm=not plan.request.keeps_identity,
        media=media_paths(plan.files),
        existing=frozenset(path for path in media if context.session.files.info(path) is not None),
        kept_record=record_path(plan.run, plan.disks) if plan.replaces_vm else None,
    )


def _forget_checkpoints(context: RestoreContext, domain: Domain) -> None:
    """Our checkpoints' bitmaps were in the old images; others' are named, never touched."""
    prefix = checkpoints.own_prefix(context.repository.id)
    for name in domain.facts_without_images().checkpoints:
        if name.startswith(prefix):
            checkpoints.delete(domain, name)
        else:
            context.watch.note(f"the checkpoint {name} of another program has lost its bitmaps with the old disks")
