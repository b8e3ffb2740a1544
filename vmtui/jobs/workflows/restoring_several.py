"""The workflow of several restores as one job: all preflights, then one member after the other.

It stops at the first that fails, takes that one back as a single restore is taken back, and tells which
are restored and stay, and which were not begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vmtui.jobs.steps import Work
from vmtui.jobs.workflows import restoring
from vmtui.jobs.workflows.base import Data, step, workflow
from vmtui.jobs.world import World, utc_now
from vmtui.model.codec import format_instant, from_plain, to_plain
from vmtui.model.ids import JobId, new_id
from vmtui.restore import RestoreContext, RestorePlan, RestoreRequest, run
from vmtui.restore.group import GroupRequest, MemberWatch, command_of, prepare, refuse


def register(world: World) -> None:
    """Register the workflow and its steps with DBOS."""
    plan_step = step(world, "plan group restore", _plan)
    write_step = step(world, "write member", _write)
    install_step = step(world, "install member", _install)
    start_step = step(world, "start member", _start, cancellable=False)
    abandon_step = step(world, "abandon member", _abandon, cancellable=False)

    def member_restored(spec: Data, member: Data) -> Data:
        written = write_step(spec, member)
        installed = written if "error" in written else install_step(spec, member)
        if "error" in installed:
            taken_back = abandon_step(spec, member)
            clean = bool(taken_back.get("value", {}).get("clean"))
            error = restoring.not_restored(member, installed["error"], clean=clean)
            return {"error": error, "taken back": clean}
        return start_step(spec, member, written["value"], installed["value"])

    def restore(spec: Data) -> Data:
        planned = plan_step(spec)
        if "error" in planned:
            return planned
        value = planned["value"]
        done: list[Data] = []
        for member in value["members"]:
            outcome = member_restored(spec, member)
            if "error" in outcome:
                return {"error": stopped(value, done, outcome)}
            done.append(outcome["value"])
        return {"value": result(value, done)}

    workflow(world, "group restore", restore)


def _plan(work: Work) -> Data:
    """All preflights; the ids of the members' runs are made here, so that they are the same after a crash."""
    request = from_plain(GroupRequest, dict(work.spec.request))
    world = work.world.restore_context(work.settings, work.spec.host, "", work.logins, work.board)

    def context_of(member: RestoreRequest) -> RestoreContext:
        return replace(world, open_origin=lambda: work.logins.get_if_reachable(world.point(member).host))

    plan = prepare(request, context_of, lambda: JobId(new_id(utc_now())))
    refuse(plan, request.approved)
    members = [
        {
            "plan": to_plain(member),
            "origin": member.origin.partition("/")[0],
            "place": f"{number}/{len(plan.members)}",
            "name": member.name,
        }
        for number, member in enumerate(plan.members, 1)
    ]
    return {"host": work.spec.host, "members": members, "checks": to_plain(plan.checks)}


# -- one member: the steps of a single restore ---------------------------------------------------


def _write(work: Work, member: Data) -> Data:
    started = format_instant(utc_now())
    return {"written": to_plain(restoring.write(_for(work, member), member)), "started": started}


def _install(work: Work, member: Data) -> run.Installed:
    return restoring.install(_for(work, member), member)


def _start(work: Work, member: Data, written: Data, installed: Data) -> Data:
    """With a bound for the guest agent's answer: the next member waits for it, but not for ever."""
    value = restoring.start(_for(work, member), member | {"started": written["started"]}, written["written"], installed)
    for check in value["checks"]:
        if check["name"] == "guest agent" and check["ok"] is None:
            work.board.note(f"{member['name']} runs; guest agent: {check['detail']}", warning=False)
    return value


def _abandon(work: Work, member: Data) -> Data:
    return restoring.abandon(_for(work, member), member)


def _for(work: Work, member: Data) -> Work:
    """The same work, telling of which member it is."""
    board = MemberWatch(work.board, member["place"], member["name"])
    return Work(work.world, work.spec, work.logins, work.settings, board)


# -- what became of them. Pure -------------------------------------------------------------------


def result(value: Data, done: Sequence[Data]) -> Data:
    """The evidence of all that were restored."""
    return {
        "host": value["host"],
        "members": list(done),
        "checks": value["checks"],
        "bytes": sum(member["bytes"] for member in done),
        "seconds": round(sum(member["seconds"] for member in done), 3),
    }


def stopped(value: Data, done: Sequence[Data], outcome: Data) -> Data:
    """The error of the member that failed, with what became of all; exit code and id stay.

    Args:
        value: What the plan step gave.
        done: Evidence of the members before it.
        outcome: Its error, and whether what was begun of it could be taken back.
    """
    error: Data = outcome["error"]
    failed, waiting = value["members"][len(done)], value["members"][len(done) + 1 :]
    stays = "taken back" not in outcome  # it is defined, and did not start
    own = [error["facts"]["result"]] if "result" in error["facts"] else []
    kept = [member["vm"] for member in done] + ([failed["name"]] if stays else [])
    not_begun = [member["name"] for member in waiting]
    words = [
        f"{failed['name']} ({failed['place'].replace('/', ' of ')}): {error['cause']}",
        "" if stays or "kept" in error["facts"] else _TAKEN_BACK[outcome["taken back"]].format(failed["name"]),
        f"Restored, and kept: {', '.join(kept) or 'none'}.",
        f"Not begun: {', '.join(not_begun) or 'none'}.",
    ]
    return error | {
        "cause": " ".join(text for text in words if text),
        "next_step": _go_on(error["next_step"], waiting if stays else [failed, *waiting]),
        "facts": error["facts"]
        | {"result": result(value, [*done, *own]) | {"failed": failed["name"], "not_begun": not_begun}},
    }


_TAKEN_BACK = {
    True: "What was begun of {} was taken back.",
    False: "{} could not be taken back as a whole: see the notes.",
}


def _go_on(next_step: str, left: Sequence[Mapping[str, Any]]) -> str:
    if not left:
        return next_step
    requests = [from_plain(RestorePlan, member["plan"]).request for member in left]
    return f"{next_step} The rest: {command_of(requests)}"
