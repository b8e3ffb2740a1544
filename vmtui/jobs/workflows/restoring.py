"""The workflows that bring something back: restore, its revert, and the export of one disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vmtui.jobs.steps import Work
from vmtui.jobs.workflows.base import ABANDON_S, INSISTING_S, Data, insisting, patiently, run_id, step, workflow
from vmtui.jobs.world import World, utc_now
from vmtui.model.codec import format_instant, from_plain, parse_instant, to_plain
from vmtui.model.errors import VmtuiError
from vmtui.model.progress import Check
from vmtui.repository import PointName
from vmtui.repository.verify import check_containers
from vmtui.restore import RestoreContext, RestorePlan, RestoreRequest, revert, run
from vmtui.restore.export import ExportRequest, export, find_disk
from vmtui.restore.plan import record_path
from vmtui.restore.revert import RevertRequest


def register(world: World) -> None:
    """Register the workflows and their steps with DBOS."""
    plan_step = step(world, "plan restore", _plan_restore)
    write_step = step(world, "write", write)
    install_step = step(world, "install", install)
    start_step = step(world, "start", start, cancellable=False)
    abandon_step = step(world, "abandon restore", abandon, cancellable=False)

    def restore(spec: Data) -> Data:
        planned = plan_step(spec)
        if "error" in planned:
            return planned
        plan = planned["value"]
        written = write_step(spec, plan)
        installed = written if "error" in written else install_step(spec, plan)
        if "error" in installed:
            taken_back = abandon_step(spec, plan)
            clean = bool(taken_back.get("value", {}).get("clean"))
            return {"error": not_restored(plan, installed["error"], clean=clean)}
        return start_step(spec, plan, written["value"], installed["value"])

    workflow(world, "restore", restore)
    _register_revert(world)
    workflow(world, "export", step(world, "export", _export))


def _register_revert(world: World) -> None:
    look_step = step(world, "look for kept disks", _look)
    ready_step = step(world, "get ready to revert", _get_ready)
    give_up_step = step(world, "give up reverting", _give_up, cancellable=False)
    revert_step = step(world, "revert", _revert, cancellable=False)
    end_step = step(world, "end revert", _end, cancellable=False)
    discard_step = step(world, "discard kept", _discard)

    def undo(spec: Data) -> Data:
        found = look_step(spec)
        if "error" in found:
            return found
        if spec["request"].get("discard"):
            return discard_step(spec, found["value"])
        ready = ready_step(spec, found["value"])
        if "error" in ready:
            give_up_step(spec, found["value"])
            return ready
        back = revert_step(spec, found["value"])
        return back if "error" in back else end_step(spec, found["value"], ready["value"] + back["value"])

    workflow(world, "revert", undo)


def _plan_restore(work: Work) -> Data:
    request = from_plain(RestoreRequest, dict(work.spec.request))
    context = work.world.restore_context(work.settings, request.host, "", work.logins, work.board)
    origin = context.point(request).host
    context = work.world.restore_context(work.settings, request.host, origin, work.logins, work.board)
    plan = run.prepare(context, run_id(), request)
    run.refuse(plan)
    run.check_approved(plan)
    return {"plan": to_plain(plan), "started": format_instant(utc_now()), "origin": origin}


def _restore_world(work: Work, data: Data) -> tuple[Any, RestorePlan]:
    plan = from_plain(RestorePlan, data["plan"])
    context = work.world.restore_context(work.settings, plan.request.host, data["origin"], work.logins, work.board)
    context.repository.sync()
    return context, plan


def write(work: Work, data: Data) -> run.Written:
    """Write and prove what the plan in `data` says; see `run.write`."""
    return run.write(*_restore_world(work, data))


def install(work: Work, data: Data) -> run.Installed:
    """Define the VM on it; see `run.install`."""
    return run.install(*_restore_world(work, data))


def start(work: Work, data: Data, written: Data, installed: Data) -> Data:
    """Start it if that was asked for; gives the evidence of the whole restore."""
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


def abandon(work: Work, data: Data) -> Data:
    """Take back what was begun; tells whether all of it could be."""
    context, plan = _restore_world(work, data)
    work.board.phase("clean up")
    limit_s = INSISTING_S if plan.replaces_vm else ABANDON_S
    clean = patiently(work, lambda: run.abandon(context, plan), limit_s)
    if clean:
        context.notes(plan.run).discard()
    return {"clean": clean}


def not_restored(data: Data, error: Data, *, clean: bool) -> Data:
    """The error of a restore that failed, with what is left to do where it could not be taken back. Pure.

    Args:
        data: What the plan step gave.
        error: What ended it.
        clean: All that it had begun was taken back.
    """
    plan = from_plain(RestorePlan, data["plan"])
    if clean:
        return error
    if not plan.replaces_vm:
        return error | {
            "cause": f"{error['cause']} Not all that it had made of {plan.name} could be taken back: see the notes.",
            "next_step": f"Look at {plan.name} on {plan.request.host}, and at its files; nothing of them is in use by vmtui.",
        }
    vm, kept = f"{plan.request.host}/{plan.name}", record_path(plan.run, plan.disks)
    return error | {
        "cause": f"{error['cause']} {plan.name} could not be put back as it was: see the notes. Its old disks are kept.",
        "next_step": f"When {plan.request.host} answers again: vmtui revert {vm}",
        "facts": error["facts"] | {"kept": kept, "vm": plan.name, "uuid": plan.uuid},
    }


# -- revert and export ---------------------------------------------------------------------------


def _undoing(work: Work) -> tuple[RestoreContext, RevertRequest]:
    request = from_plain(RevertRequest, dict(work.spec.request))
    return work.world.restore_context(work.settings, request.host, "", work.logins, work.board), request


def _look(work: Work) -> revert.Found:
    return revert.look(*_undoing(work))


def _get_ready(work: Work, found: Data) -> list[Data]:
    return [to_plain(check) for check in revert.get_ready(*_undoing(work), from_plain(revert.Found, found))]


def _give_up(work: Work, found: Data) -> Data:
    context, request = _undoing(work)
    return {"clean": patiently(work, lambda: revert.give_up(context, request, from_plain(revert.Found, found)))}


def _revert(work: Work, found: Data) -> list[Data]:
    return [
        to_plain(check)
        for check in insisting(work, lambda: revert.revert(*_undoing(work), from_plain(revert.Found, found)))
    ]


def _end(work: Work, found: Data, checks: list[Data]) -> Data:
    last = insisting(work, lambda: revert.end(*_undoing(work), from_plain(revert.Found, found)))
    return _undone(work, [*checks, *(to_plain(check) for check in last)])


def _discard(work: Work, found: Data) -> Data:
    checks = revert.discard(*_undoing(work), from_plain(revert.Found, found))
    return _undone(work, [to_plain(check) for check in checks])


def _undone(work: Work, checks: list[Data]) -> Data:
    return {"vm": work.spec.vm, "host": work.spec.host, "checks": checks}


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
