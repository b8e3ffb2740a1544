"""The workflows that keep a repository in order, each of one step that may be run again."""

from __future__ import annotations

from datetime import timedelta

from dbos import DBOS

from vmtui.jobs.steps import Work
from vmtui.jobs.usage import ACTIVE, points_in_use
from vmtui.jobs.workflows.base import Data, run_id, step, workflow
from vmtui.jobs.world import World, utc_now
from vmtui.model.codec import from_plain, to_plain
from vmtui.model.ids import PointId, VmId
from vmtui.opening import open_copy
from vmtui.repository import PointName
from vmtui.repository.collect import collect
from vmtui.repository.mirror import mirror
from vmtui.repository.repair import repair
from vmtui.repository.scrub import Scope, verify_all
from vmtui.repository.verify import verify_point
from vmtui.retention import PruneRequest
from vmtui.retention.run import Pruned, prune


def register(world: World) -> None:
    """Register the workflows and their steps with DBOS."""
    for name, body in (("prune", _prune), ("gc", _gc), ("repair", _repair), ("sync", _sync), ("verify", _verify)):
        workflow(world, name, step(world, name, body))


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


def _gc(work: Work) -> Data:
    repository = work.world.repository(work.settings)
    result: Data = to_plain(collect(repository, run_id(), work.board, utc_now))
    return result


def _repair(work: Work) -> Data:
    repository = work.world.repository(work.settings)
    give_up = [PointName(VmId(vm), PointId(point)) for vm, point in work.spec.request["give_up"]]
    result: Data = to_plain(repair(repository, run_id(), work.board, utc_now, give_up=give_up))
    return result


def _sync(work: Work) -> Data:
    """To one copy; run again it goes on with what is missing there."""
    name = str(work.spec.request["copy"])
    source = work.world.repository(work.settings)
    copy = open_copy(work.settings, source, name)
    started = utc_now()
    result: Data = to_plain(mirror(source, copy, run_id(), work.board, utc_now, rate=work.settings.copies[name].rate))
    return result | {"copy": name, "seconds": round((utc_now() - started).total_seconds(), 3)}
