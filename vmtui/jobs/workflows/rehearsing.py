"""The workflow of a rehearsal: plan, rehearse, record; or abandon."""

from __future__ import annotations

from vmtui.failpoint import failpoint
from vmtui.jobs.steps import Work
from vmtui.jobs.workflows.base import Data, patiently, run_id, step, workflow
from vmtui.jobs.world import World
from vmtui.model.codec import from_plain, to_plain
from vmtui.model.errors import FailedError, UsageError
from vmtui.model.rehearsal import Evidence, Rehearsal
from vmtui.rehearsal import RehearsalContext, RehearsalPlan, RehearsalRequest, preflight, run


def register(world: World) -> None:
    """Register the workflow and its steps with DBOS."""
    plan_step = step(world, "plan rehearsal", _plan)
    rehearse_step = step(world, "rehearse", _rehearse)
    record_step = step(world, "record rehearsal", _record, cancellable=False)
    abandon_step = step(world, "abandon rehearsal", _abandon, cancellable=False)

    def rehearse(spec: Data) -> Data:
        planned = plan_step(spec)
        if "error" in planned:
            return planned
        plan = planned["value"]
        outcome = rehearse_step(spec, plan)
        if "error" in outcome:
            abandon_step(spec, plan)
            return outcome
        return record_step(spec, plan, outcome["value"])

    workflow(world, "rehearse", rehearse)


def _context(work: Work) -> RehearsalContext:
    return work.world.rehearsal_context(work.settings, work.spec, work.logins, work.board)


def _plan(work: Work) -> RehearsalPlan:
    plan = preflight.prepare(_context(work), run_id(), from_plain(RehearsalRequest, dict(work.spec.request)))
    preflight.refuse(plan)
    failpoint("rehearsal.planned")
    return plan


def _rehearse(work: Work, plan: Data) -> run.Outcome:
    context = _context(work)
    context.repository.sync()
    return run.rehearse(context, from_plain(RehearsalPlan, plan))


def _record(work: Work, plan_data: Data, outcome: Data) -> Data:
    """The verdict is written on the point before the job says it."""
    context = _context(work)
    plan = from_plain(RehearsalPlan, plan_data)
    rehearsal = from_plain(Rehearsal, outcome["rehearsal"])
    work.board.phase("record")
    if not run.record(context, plan, rehearsal, from_plain(Evidence, outcome["evidence"])):
        raise UsageError("NAME-UNKNOWN", f"The point {plan.request.point} was deleted meanwhile.")
    context.notes(plan.run).discard()
    result: Data = to_plain(outcome["result"])
    if not rehearsal.bootable:
        cause = f"{plan.origin} failed its rehearsal on {rehearsal.host}: {rehearsal.reason}."
        raise FailedError("REHEARSAL-FAILED", cause, result=result)
    return result


def _abandon(work: Work, plan_data: Data) -> Data:
    context = _context(work)
    plan = from_plain(RehearsalPlan, plan_data)
    work.board.phase("clear away")
    patiently(work, lambda: run.abandon(context, plan))
    context.notes(plan.run).discard()
    return {}
