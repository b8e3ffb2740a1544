"""The steps of a restore. Each may be run again after the process that ran it died.

New images are written beside their final names, proven, and only then renamed; in place, the old ones
are set aside first, and come back if anything fails. A definition is made last, from proven disks.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vmtui.failpoint import failpoint
from vmtui.hosts import HostSession, checkpoints, defining, domain_xml, domains, quiesce, storage
from vmtui.hosts.disk_server import EXPORT, served
from vmtui.hosts.domains import Domain
from vmtui.model.codec import format_instant
from vmtui.model.errors import FailedError, RefusedError
from vmtui.model.ids import JobId
from vmtui.model.point import RestorePoint, Role
from vmtui.model.progress import Check
from vmtui.nbd import BASE_ALLOCATION, NbdClient
from vmtui.repository.streams import open_map
from vmtui.repository.verify import check_containers
from vmtui.restore import instant_plan
from vmtui.restore.context import RestoreContext
from vmtui.restore.definition import Fitted, Target, fit, kept_record, missing_elements
from vmtui.restore.placing import (
    boot_paths,
    bring_back,
    check_untouched,
    fit_saved,
    media_paths,
    remove_tpm_folders,
    set_aside,
    write_small,
)
from vmtui.restore.plan import DiskPlacement, FilePlacement, RestorePlan, RestoreRequest, Step, command_of, unchecked_by
from vmtui.restore.preflight import Preflight, run_checks
from vmtui.restore.write import DiskWriter

_AGENT_S = 180.0
_AGENT_POLL_S = 1.0
_WAKE_S = 600.0
"""A VM that wakes from saved memory reads all of it before it runs [s]."""
_RECORD_LIMIT = 16 << 20

MADE = "made"
"""Note of a run: name and UUID were free, and the VM that has them from now on is this run's."""


# -- prepare -------------------------------------------------------------------------------------


def prepare(context: RestoreContext, run: JobId, request: RestoreRequest) -> RestorePlan:
    """Check everything and plan. Nothing is written. Safe to repeat.

    Raises:
        DamageError: The point is missing something or damaged.
        UnreachableError: Host or repository do not answer.
    """
    context.watch.phase("preflight")
    context.repository.sync()
    point = context.point(request)
    packs = check_containers(context.repository, point, context.watch)
    flight = Preflight(context, request, point, run, domain_xml.parse(point.xml_inactive or point.xml_live))
    flight.passed("point", f"{point.id} needs {packs} packs, all there with sound directories")
    run_checks(flight)
    folder = instant_plan.check(flight) if request.instant else ""
    plan = RestorePlan(
        run=run,
        request=request,
        point_time=format_instant(point.time),
        origin=f"{point.host}/{point.vm_name}",
        name=flight.name,
        uuid=flight.uuid,
        macs=flight.macs,
        disks=tuple(flight.disks),
        files=tuple(flight.files),
        replaces_vm=flight.replaces_vm,
        stop_first=flight.stop_first,
        checks=tuple(flight.checks),
        steps=(),
        changes=tuple(fit(point.xml_inactive or point.xml_live, _target(flight)).changes),
        destroys=_destroys(flight),
        unchecked=instant_plan.UNCHECKED if request.instant else unchecked_by(request),
        command=command_of(request, flight.name),
        asides=tuple(flight.asides),
        folder=folder,
    )
    failpoint("restore.planned")
    return replace(plan, steps=tuple(_steps(plan, point)))


def refuse(plan: RestorePlan) -> None:
    """Return if every check passed.

    Raises:
        RefusedError: One failed; the cause names them all.
    """
    if plan.refused:
        reasons = "; ".join(f"{check.name}: {check.detail}" for check in plan.refused)
        raise RefusedError(
            "PREFLIGHT",
            f"The restore of {plan.origin} to {plan.request.host} cannot begin: {reasons}.",
            checks=[{"name": check.name, "ok": check.ok, "detail": check.detail} for check in plan.checks],
        )


def check_approved(plan: RestorePlan) -> None:
    """Return if the plan is the one that the operator agreed to.

    Raises:
        RefusedError: Something moved since; nothing was written.
    """
    if plan.request.approved not in ("", plan.fingerprint()):
        raise RefusedError(
            "PLAN-CHANGED",
            f"The plan for {plan.name} on {plan.request.host} is not the one that was agreed to: "
            f"{'its VM or disks changed' if plan.request.in_place else 'the target changed'} in between.",
        )


def _target(flight: Preflight) -> Target:
    return Target(
        name=flight.name,
        uuid=flight.uuid,
        macs=flight.macs,
        disks={disk.target: (disk.path, disk.format) for disk in flight.disks},
        files=boot_paths(flight.files),
        networks=flight.request.networks,
        new_vm=not flight.request.keeps_identity,
        existing=frozenset(flight.existing),
        media=media_paths(flight.files),
        kept_record=_record_path(flight.run, flight.disks) if flight.replaces_vm else None,
    )


def _record_path(run: JobId, disks: Sequence[DiskPlacement]) -> str | None:
    """Where the record of what was kept goes: beside the first disk."""
    return f"{disks[0].path}.before-{run}.json" if disks else None


def _destroys(flight: Preflight) -> str:
    if not flight.request.keeps_identity:
        return "nothing; the original is not touched"
    if flight.replaces_vm:
        return f"nothing yet: the old disks of {flight.name} are kept aside, and `vmtui revert` brings them back"
    return "nothing"


def _steps(plan: RestorePlan, point: RestorePoint) -> list[Step]:
    host = plan.request.host
    if plan.request.instant:
        return instant_plan.steps(plan)
    texts: list[tuple[str, int | None]] = [(f"read the manifest and the maps of {point.id}", None)]
    for disk in plan.disks:
        texts.append((f"{host}: create {disk.new_path(plan.run)} ({disk.format})", None))
        texts.append((f"{host}: write {disk.target}, each block checked against its hash", disk.data_bytes))
        texts.append((f"{host}: read {disk.target} back and compare every block", disk.data_bytes))
    texts += [(f"{host}: write {item.label} to {item.path}", item.size) for item in plan.files if item.needed]
    if plan.stop_first:
        texts.append((f"{host}: shut {plan.name} down (guest agent, then ACPI; never powered off hard)", None))
    for place in places(plan):
        if place.replaces:
            texts.append((f"{host}: set {place.path} aside as {place.kept_path(plan.run)}", None))
    texts += [(f"{host}: set {aside.path} aside as {aside.kept_path(plan.run)}", None) for aside in plan.asides]
    texts.append((f"{host}: put the new disks in place under their names", None))
    what = "replace the definition of" if plan.replaces_vm else "define"
    texts.append((f"{host}: {what} {plan.name} (uuid {plan.uuid}), and read the definition back", None))
    texts += [(f"   {change}", None) for change in plan.changes]
    if plan.request.start:
        texts.append((f"{host}: start {plan.name} and wait for its guest agent", None))
    return [Step(number, text, size) for number, (text, size) in enumerate(texts, 1)]


# -- write ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """Images that were written and proven."""

    bytes: int
    checks: tuple[Check, ...]


def write(context: RestoreContext, plan: RestorePlan) -> Written:
    """Write every disk and file beside its final name, and prove each. Safe to repeat: starts over.

    Raises:
        DamageError: The repository does not have what the point needs.
        FailedError: The target cannot be written, or does not read back.
        CancelledError: Somebody asked for it to stop.
    """
    refuse(plan)
    remove_new(context.session, plan)
    checks = []
    total = 0
    for disk in plan.disks:
        compared = _write_disk(context, plan, disk)
        total += disk.data_bytes
        detail = f"{disk.data_bytes} bytes written, {compared} bytes read back, every block has the hash of the point"
        checks.append(Check(f"disk {disk.target}", True, detail))
    failpoint("restore.written")
    for item in plan.files:
        if item.needed:
            total += write_file(context, plan, item)
            checks.append(Check(f"file {item.label}", True, f"{item.size} bytes written and read back"))
    failpoint("restore.verified")
    return Written(total, tuple(checks))


def _write_disk(context: RestoreContext, plan: RestorePlan, disk: DiskPlacement) -> int:
    session = context.session
    path = disk.new_path(plan.run)
    context.watch.phase("create", disk=disk.target)
    storage.create_image(session, path, disk.format, disk.virtual_size)
    failpoint("restore.created")
    disk_map = open_map(context.repository, disk.virtual_size, disk.root)
    work = DiskWriter(
        disk.target, context.repository.reader(), context.repository.block_size, disk.virtual_size, context.watch
    )
    with _connected(session, path, disk.format, writable=True) as client:
        if disk.virtual_size:
            work.write(client, disk_map, disk.data_bytes)
    if disk.format == "raw" and disk.file_length is not None:
        storage.cut_to(session, path, disk.file_length)
    with _connected(session, path, disk.format, writable=False) as client:
        return work.read_back(client, disk_map, disk.data_bytes) if disk.virtual_size else 0


@contextlib.contextmanager
def _connected(session: HostSession, path: str, format_name: str, *, writable: bool) -> Iterator[NbdClient]:
    """An NBD connection to an image; leaving it means that the image was closed cleanly."""
    with served(session, path, format_name, writable=writable) as server:
        client = NbdClient(server.connect(), EXPORT, [] if writable else [BASE_ALLOCATION])
        yield client
        client.close()


def write_file(context: RestoreContext, plan: RestorePlan, item: FilePlacement) -> int:
    """Write a captured file beside its final name and read it back; gives its size [bytes]."""
    context.session.files.make_folders(posixpath.dirname(item.path))
    if not item.large:
        write_small(context, plan.run, item)
    elif item.size:
        _write_disk(context, plan, item.as_disk())
    else:
        context.session.files.write_new(item.new_path(plan.run), b"")
    if item.role == Role.SAVE:
        fit_saved(context, plan.run, item, _final_target(context, plan, context.point(plan.request)))
    return item.size


# -- install -------------------------------------------------------------------------------------


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
        checks += _stop_old(context, plan, domain)
        _keep_record(context, plan, domain)
    failpoint("restore.kept")
    context.notes(plan.run).note("installing")
    context.watch.phase("keep old disks" if plan.replaces_vm else "rename")
    if not context.notes(plan.run).noted("set aside"):
        set_aside(context, plan)
        context.notes(plan.run).note("set aside")
    for place in places(plan):
        swap_in(session, place, plan.run)
    failpoint("restore.swapped")
    for pool in sorted({disk.pool for disk in plan.disks if disk.pool is not None}):
        storage.refresh_pool(session, pool)
    context.watch.phase("define")
    checks += define(context, plan, domain, fitted_definition(context, plan))
    failpoint("restore.defined")
    return Installed(tuple(checks), _record_path(plan.run, plan.disks) if plan.replaces_vm else None)


def places(plan: RestorePlan) -> list[DiskPlacement | FilePlacement]:
    """Everything that is written."""
    return [*plan.disks, *(item for item in plan.files if item.needed)]


def _stop_old(context: RestoreContext, plan: RestorePlan, domain: Domain) -> list[Check]:
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
    path = _record_path(plan.run, plan.disks)
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


def swap_in(session: HostSession, place: DiskPlacement | FilePlacement, run: JobId) -> None:
    """Rename old to kept and new to final, whatever of it was done already."""
    new, kept = place.new_path(run), place.kept_path(run)
    if not session.files.exists(new):
        if session.files.exists(place.path):
            return  # done by a predecessor
        raise FailedError("WRITE-FAILED", f"{new} on {session.host.name} has vanished.")
    if session.files.exists(place.path):
        if not place.replaces:
            raise RefusedError("TARGET-EXISTS", f"{place.path} on {session.host.name} appeared meanwhile.")
        session.files.rename(place.path, kept)
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
    return fit(point.xml_inactive or point.xml_live, _final_target(context, plan, point))


def _final_target(context: RestoreContext, plan: RestorePlan, point: RestorePoint) -> Target:
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
        kept_record=_record_path(plan.run, plan.disks) if plan.replaces_vm else None,
    )


def _forget_checkpoints(context: RestoreContext, domain: Domain) -> None:
    """Our checkpoints' bitmaps were in the old images; others' are named, never touched."""
    prefix = checkpoints.own_prefix(context.repository.id)
    for name in domain.facts_without_images().checkpoints:
        if name.startswith(prefix):
            checkpoints.delete(domain, name)
        else:
            context.watch.note(f"the checkpoint {name} of another program has lost its bitmaps with the old disks")


# -- start and evidence --------------------------------------------------------------------------


def start(context: RestoreContext, plan: RestorePlan) -> list[Check]:
    """Start the restored VM if that was asked for, and wait for its guest agent. Safe to repeat.

    Raises:
        FailedError: It does not start; definition and disks are there.
    """
    if not plan.request.start:
        return [Check("boot", None, "not started")]
    context.watch.phase("start")
    domain = Domain(context.session, plan.uuid)
    untouched = []
    if not domain.state().active:
        untouched = check_untouched(context, plan)
        domain.start(deadline_s=_WAKE_S)
    failpoint("restore.started")
    started = time.monotonic()
    checks = [*untouched, Check("boot", True, f"{plan.name} runs")]
    if domain_xml.agent_channel(domain_xml.parse(domain.definition().live)) == "absent":
        return [*checks, Check("guest agent", None, "the VM has no channel for it")]
    context.watch.phase("probe")
    while time.monotonic() - started < _AGENT_S:
        context.watch.check()
        if quiesce.answers(domain):
            return [*checks, Check("guest agent", True, f"answered after {time.monotonic() - started:.1f} s")]
        time.sleep(_AGENT_POLL_S)
    return [*checks, Check("guest agent", None, f"no answer within {_AGENT_S:g} s; look at the VM's console")]


# -- abandon -------------------------------------------------------------------------------------


def abandon(context: RestoreContext, plan: RestorePlan) -> None:
    """The restore has failed: nothing of it is left, and what it had set aside is back. Safe to repeat.

    Raises:
        FailedError: The old VM does not start again; its disks and definition are back.
        UnreachableError: The host does not answer; repeat it.
    """
    session, notes = context.session, context.notes(plan.run)
    installed = notes.noted("installing") and not notes.noted("put back")
    if not plan.replaces_vm:
        for saved in (item for item in plan.files if item.role == Role.SAVE and installed):
            _swap_back(session, saved, plan.run)  # libvirt undefines no VM that has saved memory
        _undefine_ours(context, plan)
    if installed:
        for place in places(plan):
            _swap_back(session, place, plan.run)
        bring_back(session, plan)
        notes.note("put back")  # whatever is under the final names from now on is not ours
    record = _record_path(plan.run, plan.disks)
    if plan.replaces_vm and record is not None:
        _definition_back(session, plan, record)
        session.files.remove(record)
    remove_new(session, plan)
    remove_tpm_folders(session, plan)
    domain = Domain(session, plan.uuid)
    if plan.replaces_vm and notes.noted("stopping") and not domain.state().active:
        domain.start()
        context.watch.note(f"{plan.name} had been shut down and was started again with its old disks")


def is_ours(context: RestoreContext, plan: RestorePlan) -> bool:
    """Whether the VM of that UUID is there, and was made by this run: a lost VM may come back by itself meanwhile."""
    return context.notes(plan.run).noted(MADE) and domains.exists(context.session, plan.uuid)


def _undefine_ours(context: RestoreContext, plan: RestorePlan) -> None:
    """Take away a definition that this run made: it is off and uses this run's disks."""
    session = context.session
    domain = Domain(session, plan.uuid)
    if not is_ours(context, plan) or domain.state().active:
        return
    used = {disk.path for disk in domain_xml.disks(domain_xml.parse(domain.definition().inactive))}
    if used.issuperset(disk.path for disk in plan.disks):
        defining.undefine(session, plan.uuid)


def _swap_back(session: HostSession, place: DiskPlacement | FilePlacement, run: JobId) -> None:
    """Undo `swap_in`, whatever of it was done."""
    new, kept = place.new_path(run), place.kept_path(run)
    taken_in = not session.files.exists(new) and (not place.replaces or session.files.exists(kept))
    if taken_in and session.files.exists(place.path):
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
        session.files.remove(place.new_path(plan.run))
