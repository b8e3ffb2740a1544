"""What a restore will do: everything is checked, and told, before a byte is written."""

from __future__ import annotations

from dataclasses import replace

from vmtui.failpoint import failpoint
from vmtui.hosts import domain_xml
from vmtui.model.codec import format_instant
from vmtui.model.errors import RefusedError
from vmtui.model.ids import JobId
from vmtui.model.point import RestorePoint
from vmtui.repository.verify import check_containers
from vmtui.restore import instant_plan
from vmtui.restore.context import RestoreContext
from vmtui.restore.definition import Target, fit
from vmtui.restore.placing import boot_paths, media_paths
from vmtui.restore.plan import (
    DiskPlacement,
    RestorePlan,
    RestoreRequest,
    Step,
    command_of,
    places,
    record_path,
    shuts_down_first,
    unchecked_by,
)
from vmtui.restore.preflight import Preflight, run_checks


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
        unchecked=(),
        command=command_of(request, flight.name),
        asides=tuple(flight.asides),
        folder=folder,
    )
    failpoint("restore.planned")
    unchecked = instant_plan.UNCHECKED if request.instant else unchecked_by(plan)
    return replace(plan, steps=tuple(_steps(plan, point)), unchecked=unchecked)


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
        kept_record=record_path(flight.run, flight.disks) if flight.replaces_vm else None,
    )


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
    stop = [(f"{host}: shut {plan.name} down (guest agent, then ACPI; never powered off hard)", None)]
    stop = stop if plan.stop_first else []
    texts: list[tuple[str, int | None]] = [(f"read the manifest and the maps of {point.id}", None)]
    texts += stop if shuts_down_first(plan) else []
    for disk in plan.disks:
        texts += _disk_steps(plan, disk)
    texts += [(f"{host}: write {item.label} to {item.path}", item.size) for item in plan.files if item.needed]
    texts += [] if shuts_down_first(plan) else stop
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


def _disk_steps(plan: RestorePlan, disk: DiskPlacement) -> list[tuple[str, int | None]]:
    host, new = plan.request.host, disk.new_path(plan.run)
    if disk.base is None:
        return [
            (f"{host}: create {new} ({disk.format})", None),
            (f"{host}: write {disk.target}, each block checked against its hash", disk.data_bytes),
            (f"{host}: read {disk.target} back and compare every block", disk.data_bytes),
        ]
    about = "" if disk.base.exact else "about "
    since = f"{about}{disk.base.written} bytes were written since point {disk.base.point}"
    return [
        (f"{host}: find out what of {disk.target} differs: {since}", None),
        (f"{host}: create {new} (qcow2) on top of {disk.path}, which is kept as it is", None),
        (
            f"{host}: write {disk.target} where it differs ({about}this much), each block checked against its hash",
            disk.base.differs,
        ),
        (f"{host}: read {disk.target} back where it was written, and compare every block", disk.base.differs),
    ]
