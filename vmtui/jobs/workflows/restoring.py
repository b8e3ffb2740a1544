"""The workflows that bring something back: restore, its revert, and the export of one disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vmtui.jobs.steps import Work
from vmtui.jobs.workflows.base import Data, patiently, run_id, step, workflow
from vmtui.jobs.world import World, utc_now
from vmtui.model.codec import format_instant, from_plain, parse_instant, to_plain
from vmtui.model.errors import VmtuiError
from vmtui.model.progress import Check
from vmtui.repository import PointName
from vmtui.repository.verify import check_containers
from vmtui.restore import RestorePlan, RestoreRequest, run
from vmtui.restore.export import ExportRequest, export, find_disk
from vmtui.restore.revert import RevertRequest, revert


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
            abandon_step(spec, plan)
            return installed
        return start_step(spec, plan, written["value"], installed["value"])

    workflow(world, "restore", restore)
    workflow(world, "revert", step(world, "revert", _revert))
    workflow(world, "export", step(world, "export", _export))


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
    clean = patiently(work, lambda: run.abandon(context, plan))
    context.notes(plan.run).discard()
    return {"clean": clean}


# -- revert and export ---------------------------------------------------------------------------


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
