"""The workflows of host points: taking one, and bringing parts of one back."""

from __future__ import annotations

from vmtui.hostpoint import (
    HostPlan,
    HostPointRequest,
    HostPointWork,
    HostRestoreRequest,
    PlannedPart,
    Taken,
    make_plan,
    take,
)
from vmtui.hostpoint.bring_back import bring_back, read_point
from vmtui.hostpoint.capture import capture_objects
from vmtui.jobs.steps import Work
from vmtui.jobs.workflows.base import Data, run_id, step, workflow
from vmtui.jobs.world import World, utc_now
from vmtui.model.codec import from_plain, to_plain
from vmtui.model.ids import JobId
from vmtui.model.progress import Check


def register(world: World) -> None:
    """Register the workflows and their steps with DBOS."""
    plan_step = step(world, "plan host restore", _plan)
    keep_step = step(world, "keep host", _keep)
    part_step = step(world, "bring back", _part)

    def restore(spec: Data) -> Data:
        planned = plan_step(spec)
        if "error" in planned:
            return planned
        value = planned["value"]
        result = {name: value[name] for name in ("host", "point", "conflicts")} | {"before": None, "checks": []}
        if value["todo"]:
            kept = keep_step(spec)  # so that what is replaced can be brought back the same way
            if "error" in kept:
                return kept
            result["before"] = kept["value"]["point"]
        for part in value["todo"]:
            done = part_step(spec, part)
            if "error" in done:
                done["error"]["facts"]["result"] = result
                return done
            result["checks"].append(done["value"])
        return {"value": result}

    workflow(world, "host restore", restore)
    workflow(world, "host backup", step(world, "host", _take))


def host_work(work: Work, host: str) -> HostPointWork:
    """What a capture of a host works with."""
    return HostPointWork(
        open_session=lambda: work.logins.get(host),
        repository=work.world.repository(work.settings),
        level=work.settings.compression_level,
        watch=work.board,
        now=utc_now,
    )


def _take(work: Work) -> Taken:
    request = from_plain(HostPointRequest, dict(work.spec.request))
    return take(host_work(work, request.host), request, run_id())


def take_if_changed(work: Work, host: str) -> Taken:
    """Beside a VM's backup: a host point, if the host is not any more as the newest one says."""
    # A session of its own: that of the VM's run was ended with its point.
    return take(host_work(work, host), HostPointRequest(host, always=False), JobId(f"{run_id()}-host"))


# -- restore -------------------------------------------------------------------------------------


def _request(work: Work) -> HostRestoreRequest:
    return from_plain(HostRestoreRequest, dict(work.spec.request))


def _plan(work: Work) -> Data:
    request = _request(work)
    context = host_work(work, request.host)
    work.board.phase("plan")
    point = read_point(context, request)
    plan: HostPlan = make_plan(request, point, capture_objects(context.open_session(), utc_now()))
    for part in plan.conflicts:
        work.board.note(f"{part.title} was left: {part.detail}")
    return {
        "host": request.host,
        "point": request.point,
        "todo": to_plain(plan.todo),
        "conflicts": to_plain(plan.conflicts),
    }


def _keep(work: Work) -> Taken:
    return take_if_changed(work, _request(work).host)


def _part(work: Work, part: Data) -> Check:
    planned = from_plain(PlannedPart, part)
    request = _request(work)
    work.board.phase(f"{planned.kind} {planned.name}")
    return bring_back(host_work(work, request.host), request, planned)
