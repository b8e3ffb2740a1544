"""The durable workflows: which steps a job has, and what happens when one fails.

A workflow function may run again from its start after its worker died; finished steps are then not run
again, their results are read. So it does nothing by itself but call steps, and what passes between
them is plain data without secrets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dbos import DBOS

from vmtui.backup import BackupPlan, BackupRequest, cold, finish, hot, prepare
from vmtui.jobs.steps import Work, perform, refuse_cancelled
from vmtui.jobs.usage import ACTIVE, points_in_use
from vmtui.jobs.world import World, utc_now
from vmtui.model.codec import format_instant, from_plain, parse_instant, to_plain
from vmtui.model.errors import UnreachableError, VmtuiError
from vmtui.model.ids import JobId, PointId, VmId
from vmtui.model.point import Consistency, Mode
from vmtui.model.progress import Check
from vmtui.opening import open_copy
from vmtui.repository import PointName
from vmtui.repository.collect import collect
from vmtui.repository.mirror import mirror
from vmtui.repository.repair import repair
from vmtui.repository.scrub import Scope, verify_all
from vmtui.repository.verify import check_containers, verify_point
from vmtui.restore import RestorePlan, RestoreRequest, run
from vmtui.restore.export import ExportRequest, export, find_disk
from vmtui.restore.revert import RevertRequest, revert
from vmtui.retention import PruneRequest
from vmtui.retention.run import Pruned, prune

_ABANDON_S = 90.0
_ABANDON_PAUSE_S = 3.0

Data = dict[str, Any]


def register(world: World) -> None:
    """Register all workflows and steps with DBOS. Call it once, before launch."""
    _register_backup(world)
    _register_restore(world)
    _register_others(world)


def _step(world: World, name: str, body: Callable[..., Any], *, cancellable: bool = True) -> Callable[..., Data]:
    """A DBOS step around `body(work, *arguments)`."""

    @DBOS.step(name=name)
    def step(spec: Data, *arguments: Any) -> Data:
        return perform(world, spec, lambda work: body(work, *arguments), cancellable=cancellable)

    return step


def _workflow(world: World, name: str, body: Callable[[Data], Data]) -> None:
    """Register a workflow; logins are kept from one of its steps to the next."""

    @DBOS.workflow(name=name)
    def workflow(spec: Data) -> Data:
        with world.job(str(DBOS.workflow_id)):
            return body(spec)


def _patiently(work: Work, undo: Callable[[], None]) -> None:
    """Try to clean up until the host answers, for a while; what is left is the next run's to clear."""
    deadline = time.monotonic() + _ABANDON_S
    while True:
        try:
            undo()
        except UnreachableError as error:
            if time.monotonic() > deadline:
                work.board.note(f"could not clean up, the next run will: {error.cause}")
                return
            time.sleep(_ABANDON_PAUSE_S)
            continue
        except VmtuiError as error:
            if error.id != "VM-GONE":
                work.board.note(f"could not clean up: {error.cause}")
        return


# -- backup --------------------------------------------------------------------------------------


def _register_backup(world: World) -> None:
    plan_step = _step(world, "plan", _plan)
    begin_step = _step(world, "begin", _begin)
    transfer_step = _step(world, "transfer", _transfer)
    cold_step = _step(world, "cold", _cold_read)
    commit_step = _step(world, "commit", _commit, cancellable=False)
    accept_step = _step(world, "accept", _accept, cancellable=False)
    abandon_step = _step(world, "abandon", _abandon, cancellable=False)

    def backup(spec: Data) -> Data:
        planned = plan_step(spec)
        if "error" in planned:
            return planned
        plan = planned["value"]
        if plan["plan"]["mode"] == Mode.COLD:
            view = cold_step(spec, plan)
            done = view
        else:
            view = begin_step(spec, plan)
            done = view if "error" in view else transfer_step(spec, plan, view["value"])
        committed = done if "error" in done else commit_step(spec, plan, view["value"], done["value"])
        if "error" in committed:
            abandon_step(spec, plan)
            return committed
        accepted = accept_step(spec, plan, view["value"])
        return committed | ({"warning": accepted["error"]} if "error" in accepted else {})

    _workflow(world, "backup", backup)


def _plan(work: Work) -> Data:
    context = work.world.backup_context(work.settings, work.spec, work.logins, work.board)
    request = from_plain(BackupRequest, dict(work.spec.request))
    run_id = JobId(str(DBOS.workflow_id))
    try:
        plan = prepare.prepare(context, run_id, request)
    except VmtuiError:
        context.repository.session(run_id).close()
        raise
    return {"plan": to_plain(plan), "started": format_instant(utc_now())}


def _plan_of(data: Data) -> BackupPlan:
    return from_plain(BackupPlan, data["plan"])


def _begin(work: Work, plan: Data) -> hot.Begun:
    return hot.begin(work.world.backup_context(work.settings, work.spec, work.logins, work.board), _plan_of(plan))


def _transfer(work: Work, plan: Data, begun: Data) -> hot.Transferred:
    context = work.world.backup_context(work.settings, work.spec, work.logins, work.board)
    context.repository.sync()
    writer = context.repository.writer(context.level)
    try:
        result = hot.transfer(context, _plan_of(plan), from_plain(hot.Begun, begun), writer)
        work.board.phase("store")
        writer.settle()
        return result
    finally:
        writer.close()


def _cold_read(work: Work, plan: Data) -> cold.ColdRead:
    context = work.world.backup_context(work.settings, work.spec, work.logins, work.board)
    context.repository.sync()
    writer = context.repository.writer(context.level)
    try:
        result = cold.read(context, _plan_of(plan), writer)
        work.board.phase("store")
        writer.settle()
        return result
    finally:
        writer.close()


def _commit(work: Work, plan_data: Data, view: Data, done: Data) -> Data:
    context = work.world.backup_context(work.settings, work.spec, work.logins, work.board)
    context.repository.sync()
    plan = _plan_of(plan_data)
    outcome = _outcome(plan, view, done)
    if not context.repository.points.exists(PointName(plan.request.vm, outcome.point)):
        refuse_cancelled()
    writer = context.repository.writer(context.level)
    try:
        collected = finish.collect(context, plan, writer)
        started: datetime = parse_instant(plan_data["started"])
        point = finish.commit(context, plan, outcome, collected, started, writer)
    finally:
        writer.close()
    return {
        "point": point.id,
        "job": plan.run,
        "host": point.host,
        "vm": point.vm_name,
        "mode": point.mode.value,
        "consistency": point.consistency.value,
        "consistency_reason": point.consistency_reason,
        "time": format_instant(point.time),
        "frozen_ms": point.frozen_ms,
        "disks": [
            {
                "name": disk.name,
                "format": disk.format,
                "kind": disk.kind.value,
                "reason": disk.reason.value if disk.reason is not None else None,
                "virtual_size": disk.virtual_size,
                "read_bytes": disk.read_bytes,
                "new_bytes": disk.new_bytes,
                "stored_bytes": disk.stored_bytes,
            }
            for disk in point.disks
        ],
        "left_out": to_plain(point.left_out),
        "seconds": round((point.finished - point.started).total_seconds(), 3),
    }


def _outcome(plan: BackupPlan, view: Data, done: Data) -> finish.Outcome:
    if plan.mode is Mode.COLD:
        result = from_plain(cold.ColdRead, view)
        return finish.Outcome(
            point=result.point,
            time=result.time,
            consistency=Consistency.OFFLINE,
            consistency_reason="",
            frozen_ms=0,
            disks=result.disks,
            reads=result.reads,
            tracked=result.marked,
            versions=hot.versions(result.libvirt, result.hypervisor),
        )
    begun = from_plain(hot.Begun, view)
    transferred = from_plain(hot.Transferred, done)
    return finish.Outcome(
        point=begun.point,
        time=begun.time,
        consistency=begun.consistency,
        consistency_reason=begun.consistency_reason,
        frozen_ms=begun.frozen_ms,
        disks=transferred.disks,
        reads=transferred.reads,
        tracked=plan.checkpoint is not None,
        versions=hot.versions(begun.libvirt, begun.hypervisor),
    )


def _accept(work: Work, plan_data: Data, view: Data) -> Data:
    """The point is good whatever happens here; trouble is a warning."""
    context = work.world.backup_context(work.settings, work.spec, work.logins, work.board)
    plan = _plan_of(plan_data)
    context.repository.session(plan.run).close()
    if plan.mode is Mode.COLD:
        cold.accept(context, plan, from_plain(cold.ColdRead, view))
    else:
        hot.accept(context, plan)
    context.notes(plan.run).discard()
    return {}


def _abandon(work: Work, plan_data: Data) -> Data:
    context = work.world.backup_context(work.settings, work.spec, work.logins, work.board)
    plan = _plan_of(plan_data)
    undo = cold.abandon if plan.mode is Mode.COLD else hot.abandon
    work.board.phase("clean up")
    _patiently(work, lambda: undo(context, plan))
    context.notes(plan.run).discard()
    context.repository.session(plan.run).close()
    return {}


# -- restore -------------------------------------------------------------------------------------


def _register_restore(world: World) -> None:
    plan_step = _step(world, "plan restore", _plan_restore)
    write_step = _step(world, "write", _write)
    install_step = _step(world, "install", _install)
    start_step = _step(world, "start", _start, cancellable=False)
    abandon_step = _step(world, "abandon restore", _abandon_restore, cancellable=False)

    def restore(spec: Data) -> Data:
        planned = plan_step(spec)
        if "error" in planned:
            return planned
        plan = planned["value"]
        written = write_step(spec, plan)
        installed = written if "error" in written else install_step(spec, plan)
        if "error" in installed:
            abandon_step(spec, plan)
            return installed
        return start_step(spec, plan, written["value"], installed["value"])

    _workflow(world, "restore", restore)


def _plan_restore(work: Work) -> Data:
    request = from_plain(RestoreRequest, dict(work.spec.request))
    context = work.world.restore_context(work.settings, request.host, "", work.logins, work.board)
    origin = context.point(request).host
    context = work.world.restore_context(work.settings, request.host, origin, work.logins, work.board)
    plan = run.prepare(context, JobId(str(DBOS.workflow_id)), request)
    run.refuse(plan)
    run.check_approved(plan)
    return {"plan": to_plain(plan), "started": format_instant(utc_now()), "origin": origin}


def _restore_world(work: Work, data: Data) -> tuple[Any, RestorePlan]:
    plan = from_plain(RestorePlan, data["plan"])
    context = work.world.restore_context(work.settings, plan.request.host, data["origin"], work.logins, work.board)
    context.repository.sync()
    return context, plan


def _write(work: Work, data: Data) -> run.Written:
    return run.write(*_restore_world(work, data))


def _install(work: Work, data: Data) -> run.Installed:
    return run.install(*_restore_world(work, data))


def _start(work: Work, data: Data, written: Data, installed: Data) -> Data:
    context, plan = _restore_world(work, data)
    seconds = (utc_now() - parse_instant(data["started"])).total_seconds()
    value = {
        "vm": plan.name,
        "host": plan.request.host,
        "uuid": plan.uuid,
        "point": plan.request.point,
        "bytes": written["bytes"],
        "seconds": round(seconds, 3),
        "kept": installed["kept"],
        "checks": [to_plain(check) for check in plan.checks] + written["checks"] + installed["checks"],
    }
    try:
        value["checks"] += [to_plain(check) for check in run.start(context, plan)]
    except VmtuiError as error:
        value["checks"].append(to_plain(Check("boot", False, error.cause)))
        error.facts["result"] = value
        raise
    value["seconds"] = round((utc_now() - parse_instant(data["started"])).total_seconds(), 3)
    context.notes(plan.run).discard()
    return value


def _abandon_restore(work: Work, data: Data) -> Data:
    context, plan = _restore_world(work, data)
    work.board.phase("clean up")
    _patiently(work, lambda: run.abandon(context, plan))
    context.notes(plan.run).discard()
    return {}


# -- revert, export, prune, verify ----------------------------------------------------------------


def _register_others(world: World) -> None:
    revert_step = _step(world, "revert", _revert)
    verify_step = _step(world, "verify", _verify)
    export_step = _step(world, "export", _export)
    prune_step = _step(world, "prune", _prune)
    gc_step = _step(world, "gc", _gc)
    repair_step = _step(world, "repair", _repair)
    sync_step = _step(world, "sync", _sync)

    _workflow(world, "revert", revert_step)
    _workflow(world, "export", export_step)
    _workflow(world, "prune", prune_step)
    _workflow(world, "gc", gc_step)
    _workflow(world, "repair", repair_step)
    _workflow(world, "sync", sync_step)
    _workflow(world, "verify", verify_step)


def _revert(work: Work) -> Data:
    request = from_plain(RevertRequest, dict(work.spec.request))
    context = work.world.restore_context(work.settings, request.host, "", work.logins, work.board)
    checks = revert(context, request)
    return {"vm": work.spec.vm, "host": request.host, "checks": [to_plain(check) for check in checks]}


def _export(work: Work) -> Data:
    """One disk to a local file; a half file of an earlier try was taken away by itself."""
    request = from_plain(ExportRequest, dict(work.spec.request))
    repository = work.world.repository(work.settings)
    repository.sync()
    manifest = repository.points.load(PointName(request.vm, request.point))
    check_containers(repository, manifest, work.board)
    started = utc_now()
    disk = find_disk(manifest, request.disk)
    total = export(repository, disk, Path(request.file), request.format, work.board)
    detail = f"{request.file}: written, read back, every block has the hash of the point"
    return {
        "point": request.point,
        "disk": request.disk,
        "file": request.file,
        "bytes": total,
        "seconds": round((utc_now() - started).total_seconds(), 3),
        "checks": [to_plain(Check(f"disk {request.disk}", True, detail))],
    }


def _prune(work: Work) -> Pruned:
    """Points by rule, planned anew; run again it goes on with what is left of them."""
    return prune(
        work.world.repository(work.settings),
        work.settings,
        from_plain(PruneRequest, dict(work.spec.request)),
        None,
        lambda: points_in_use(DBOS.list_workflows(status=ACTIVE)),
        work.board,
        utc_now(),
    )


def _verify(work: Work) -> Data:
    """Points by name, or everything when none is named. Run again it leaves out what was read since it was asked for."""
    request = work.spec.request
    repository = work.world.repository(work.settings)
    repository.sync()
    record = bool(request.get("record", True)) and not work.settings.read_only
    if request["all"]:
        since = work.spec.asked - timedelta(seconds=request.get("not_since_s") or 0)
        scope = Scope(bool(request.get("quick")), since, request.get("rate"), record)
        verdicts = [verify_all(repository, work.board, utc_now(), scope)]
    else:
        names = [PointName(VmId(vm), PointId(point)) for vm, point in request["points"]]
        verdicts = [verify_point(repository, name, work.board, utc_now(), record=record) for name in names]
    return {
        "points": sum(verdict.points for verdict in verdicts),
        "blobs": sum(verdict.blobs for verdict in verdicts),
        "read_bytes": sum(verdict.read_bytes for verdict in verdicts),
        "skipped": sum(verdict.skipped for verdict in verdicts),
        "damage": [to_plain(item) for verdict in verdicts for item in verdict.damage],
    }


# -- the repository as a whole -------------------------------------------------------------------


def _gc(work: Work) -> Data:
    repository = work.world.repository(work.settings)
    result: Data = to_plain(collect(repository, _run_id(), work.board, utc_now))
    return result


def _repair(work: Work) -> Data:
    repository = work.world.repository(work.settings)
    give_up = [PointName(VmId(vm), PointId(point)) for vm, point in work.spec.request["give_up"]]
    result: Data = to_plain(repair(repository, _run_id(), work.board, utc_now, give_up=give_up))
    return result


def _sync(work: Work) -> Data:
    """To one copy; run again it goes on with what is missing there."""
    name = str(work.spec.request["copy"])
    source = work.world.repository(work.settings)
    copy = open_copy(work.settings, source, name)
    started = utc_now()
    result: Data = to_plain(mirror(source, copy, _run_id(), work.board, utc_now, rate=work.settings.copies[name].rate))
    return result | {"copy": name, "seconds": round((utc_now() - started).total_seconds(), 3)}


def _run_id() -> JobId:
    return JobId(str(DBOS.workflow_id))
