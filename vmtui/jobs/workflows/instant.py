"""The workflow of an instant restore: up from the repository, moved while it runs, compared."""

from __future__ import annotations

import time
from typing import Any

from dbos import DBOS

from vmtui.jobs.steps import LOG, Work, is_cancelled, is_discarded
from vmtui.jobs.workflows.base import Data, patiently, run_id, step, workflow
from vmtui.jobs.world import World, utc_now
from vmtui.model.codec import format_instant, from_plain, to_plain
from vmtui.model.errors import CancelledError, UnreachableError, VmtuiError
from vmtui.restore import RestoreContext, RestorePlan, RestoreRequest, instant, moved, run
from vmtui.restore.tending import Evidence, Wishes
from vmtui.runs import RunNotes

_PAUSE_S = (0.5, 2.0, 5.0, 15.0)
"""Waits between tries to stand by the VM again [s]; the last one for ever."""
_PROOF_S = 600.0
"""How long a host that went away is waited for while the moved disks are compared."""


def register(world: World) -> None:
    """Register the workflow and its steps with DBOS."""
    plan_step = step(world, "plan instant restore", _plan)
    live_step = step(world, "run and move", _live, cancellable=False)
    prove_step = step(world, "prove instant restore", _prove, cancellable=False)
    abandon_step = step(world, "abandon instant restore", _abandon, cancellable=False)

    def restore(spec: Data) -> Data:
        planned = plan_step(spec)
        if "error" in planned:
            return planned
        plan = planned["value"]
        live = live_step(spec, plan)
        if "error" in live:
            abandon_step(spec, plan)
            return live
        return prove_step(spec, plan, live["value"])

    workflow(world, "instant", restore)


def _plan(work: Work) -> Data:
    request = from_plain(RestoreRequest, dict(work.spec.request))
    context = work.world.restore_context(work.settings, request.host, "", work.logins, work.board)
    origin = context.point(request).host
    context = work.world.restore_context(work.settings, request.host, origin, work.logins, work.board)
    plan = run.prepare(context, run_id(), request)
    run.refuse(plan)
    run.check_approved(plan)
    return {"plan": to_plain(plan), "started": format_instant(utc_now()), "origin": origin}


def _surroundings(work: Work, data: Data) -> tuple[RestoreContext, RestorePlan]:
    plan = from_plain(RestorePlan, data["plan"])
    context = work.world.restore_context(work.settings, plan.request.host, data["origin"], work.logins, work.board)
    context.repository.sync()
    return context, plan


def _live(work: Work, data: Data) -> instant.Moved:
    """Once the VM has run, only its end, its move or the operator's word ends this."""
    job = run_id()
    wishes = Wishes(cancel=lambda: is_cancelled(job), discard=lambda: is_discarded(job))
    plan = from_plain(RestorePlan, data["plan"])
    tries = 0
    while True:
        try:
            return instant.restore(*_surroundings(work, data), work.spec.asked, wishes)
        except VmtuiError as error:
            if (
                isinstance(error, CancelledError)
                or error.id == "VM-GONE"
                or not RunNotes(work.settings.state, plan.run).noted(instant.RAN)
            ):
                raise
            work.board.note(f"{plan.name} is on its own for a moment: {error.cause}", warning=False)
        except Exception as error:  # the edge of a step: a fault of ours must not strand a VM that has run
            if not RunNotes(work.settings.state, plan.run).noted(instant.RAN):
                raise
            LOG.exception("job %s: a fault in vmtui", job)
            work.board.note(f"a fault in vmtui: {type(error).__name__}: {error}; {plan.name} is served again")
        work.world.leave(job)
        work.logins = work.world.logins(work.settings, job)
        if wishes.discard():
            raise CancelledError("CANCELLED", f"{plan.name} was discarded on request.")
        time.sleep(_PAUSE_S[min(tries, len(_PAUSE_S) - 1)])
        tries += 1


def _prove(work: Work, data: Data, live: Data) -> Data:
    context, plan = _surroundings(work, data)
    value: dict[str, Any] = {
        "vm": plan.name,
        "host": plan.request.host,
        "uuid": plan.uuid,
        "point": plan.request.point,
        "bytes": live["bytes"],
        "kept": None,
        "instant": True,
    }
    try:
        checks = _patiently_proven(work, context, plan)
    except VmtuiError as error:
        value["checks"] = [to_plain(check) for check in (*plan.checks, *Evidence(context, plan).checks)]
        value["seconds"] = round((utc_now() - work.spec.asked).total_seconds(), 3)
        error.facts["result"] = value
        raise
    value["checks"] = [to_plain(check) for check in (*plan.checks, *checks)]
    value["seconds"] = round((utc_now() - work.spec.asked).total_seconds(), 3)
    context.notes(plan.run).discard()
    return value


def _patiently_proven(work: Work, context: RestoreContext, plan: RestorePlan) -> Any:
    deadline = time.monotonic() + _PROOF_S
    while True:
        try:
            return moved.prove(context, plan)
        except UnreachableError as error:
            if time.monotonic() > deadline:
                raise
            work.board.note(f"the comparison is begun again: {error.cause}", warning=False)
            time.sleep(_PAUSE_S[1])


def _abandon(work: Work, data: Data) -> Data:
    context, plan = _surroundings(work, data)
    discard = is_discarded(str(DBOS.workflow_id))
    if instant.has_run(context, plan) and not discard:
        return {}
    work.board.phase("clean up")
    patiently(work, lambda: instant.abandon(context, plan, discard=discard))
    context.notes(plan.run).discard()
    return {}
