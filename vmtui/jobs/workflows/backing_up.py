"""The workflow of a backup: plan, begin, transfer, commit, accept; or abandon."""

from __future__ import annotations

from datetime import datetime

from vmtui.backup import BackupPlan, BackupRequest, cold, finish, hot, prepare
from vmtui.jobs.steps import Work, refuse_cancelled
from vmtui.jobs.workflows import host_points
from vmtui.jobs.workflows.base import Data, patiently, run_id, step, workflow
from vmtui.jobs.world import World, utc_now
from vmtui.model.codec import format_instant, from_plain, parse_instant, to_plain
from vmtui.model.errors import VmtuiError
from vmtui.model.point import Consistency, Mode
from vmtui.repository import PointName

_SAVED = "the VM was saved, not shut down: with its memory it goes on where it slept, without it as after a power cut"


def register(world: World) -> None:
    """Register the workflow and its steps with DBOS."""
    plan_step = step(world, "plan", _plan)
    begin_step = step(world, "begin", _begin)
    transfer_step = step(world, "transfer", _transfer)
    cold_step = step(world, "cold", _cold_read)
    commit_step = step(world, "commit", _commit, cancellable=False)
    accept_step = step(world, "accept", _accept, cancellable=False)
    abandon_step = step(world, "abandon", _abandon, cancellable=False)
    host_step = step(world, "host beside", _host, cancellable=False)

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
        host = host_step(spec)
        failed = next((item for item in (accepted, host) if "error" in item), None)
        return committed | ({"warning": failed["error"]} if failed is not None else {})

    workflow(world, "backup", backup)


def _plan(work: Work) -> Data:
    context = work.world.backup_context(work.settings, work.spec, work.logins, work.board)
    request = from_plain(BackupRequest, dict(work.spec.request))
    run = run_id()
    try:
        plan = prepare.prepare(context, run, request)
    except VmtuiError:
        context.repository.session(run).close(utc_now())
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
        cold_view = plan.mode is Mode.COLD
        state = from_plain(cold.ColdRead, view).state if cold_view else from_plain(hot.Begun, view).state
        collected = finish.collect(context, plan, state, writer)
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
            consistency=Consistency.CRASH if plan.managed_save else Consistency.OFFLINE,
            consistency_reason=_SAVED if plan.managed_save else "",
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
    context.repository.session(plan.run).close(utc_now())
    if plan.mode is Mode.COLD:
        cold.accept(context, plan, from_plain(cold.ColdRead, view))
    else:
        hot.accept(context, plan)
    context.notes(plan.run).discard()
    return {}


def _host(work: Work) -> Data:
    """The VM's point stands, whatever happens here: a host whose configuration cannot be kept is a warning."""
    try:
        taken = host_points.take_if_changed(work, work.spec.host)
    except VmtuiError as error:
        error.cause = f"The VM was backed up, the configuration of {work.spec.host} was not: {error.cause}"
        raise
    if taken.new:
        work.board.note(f"{work.spec.host} has changed: host point {taken.point}", warning=False)
    return {"point": taken.point, "new": taken.new}


def _abandon(work: Work, plan_data: Data) -> Data:
    context = work.world.backup_context(work.settings, work.spec, work.logins, work.board)
    plan = _plan_of(plan_data)
    undo = cold.abandon if plan.mode is Mode.COLD else hot.abandon
    work.board.phase("clean up")
    patiently(work, lambda: undo(context, plan))
    context.notes(plan.run).discard()
    context.repository.session(plan.run).close(utc_now())
    return {}
