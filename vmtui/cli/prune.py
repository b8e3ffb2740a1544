"""hold, prune."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.shared import (
    Cli,
    Wanted,
    enqueue,
    follow,
    now,
    pass_cli,
    raise_unless_ok,
    refuse_read_only,
    tell_detached,
)
from vmtui.model.codec import to_plain
from vmtui.model.errors import ExitCode, RefusedError, UsageError
from vmtui.model.job import JobKind
from vmtui.overview.words import local, printable, size

if TYPE_CHECKING:
    from vmtui.model.ids import VmId
    from vmtui.model.job import JobRecord
    from vmtui.retention import PlannedPoint, PrunePlan

_MARKS = {True: "deleted", False: "FAILED", None: "left"}


@click.command()
@click.argument("point")
@click.option("--reason", default=None, metavar="TEXT", help="Why; it is shown wherever the point is.")
@click.option("--release", is_flag=True, help="Leave the point to the rules again.")
@pass_cli
def hold(cli: Cli, point: str, reason: str | None, release: bool) -> int:
    """Keep a point, whatever the rules say, until it is released.

    POINT is an id, the start of one, or VM@latest.
    """
    from vmtui.overview.catalogue import find_point

    if release and reason is not None:
        raise UsageError(
            "NAME-BAD", "--release takes no --reason.", next_step="Example: vmtui hold 01kknwkp80000001 --release"
        )
    refuse_read_only(cli, "Holding a point")
    points = cli.repository.points
    name = find_point(cli.repository, point)
    before = points.status(name).held
    if not release:
        points.hold(name, (reason or "").strip(), now())
    elif before is not None:
        points.release(name, now())
    held = points.status(name).held
    if cli.output.as_json:
        cli.output.document({"point": name.id, "held": held})
    elif held is not None:
        cli.output.text(printable(f"point {name.id} is held: {held}"))
    else:
        cli.output.text(f"point {name.id} {'is released' if before is not None else 'was not held'}")
    return ExitCode.DONE


@click.command()
@click.argument("vms", nargs=-1, metavar="[VM]...")
@click.option("--dry-run", is_flag=True, help="Show what would go and what stays, and why; change nothing.")
@click.option("--yes", is_flag=True, help="Your word.")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@pass_cli
def prune(cli: Cli, vms: tuple[str, ...], dry_run: bool, yes: bool, detach: bool) -> int:
    """Delete the points that the keep rules of their tiers let go, of all VMs or some.

    A VM has the tier that the rules give it by the host and name in its newest point. Without a keep rule all its
    points stay. Held points, the newest good one, those that cannot be read and those in use by a job never go.
    """
    from vmtui.retention import make_plan

    if not dry_run:
        refuse_read_only(cli, "A prune")
    only = _uuids(cli, vms) if vms else None
    plan = make_plan(cli.repository, cli.settings, now(), None, cli.jobs.points_in_use(), only)
    if dry_run or (not plan.go and not plan.unfinished):
        _print(cli, plan)
        return ExitCode.DONE
    if not yes:
        _ask(cli, plan)
    job = enqueue(cli, Wanted(JobKind.PRUNE, "", " ".join(vms), plan.request))
    if detach:
        return tell_detached(cli, job)
    record = follow(cli, job)
    raise_unless_ok(record)
    _tell(cli, record)
    return ExitCode.DONE


def _uuids(cli: Cli, vms: tuple[str, ...]) -> set[VmId]:
    from vmtui.overview.catalogue import find_vm

    return {name.vm for vm in vms for name in find_vm(cli.repository, vm)}


def _print(cli: Cli, plan: PrunePlan) -> None:
    if cli.output.as_json:
        cli.output.document(
            {
                "at": to_plain(plan.at),
                "go": len(plan.go),
                "keep": len(plan.points) - len(plan.go),
                "unfinished": plan.unfinished,
                "deleted": 0,
                "points": [_point_json(point) for point in plan.points],
            }
        )
        return
    cli.output.table(
        ("", "VM", "Tier", "Point", "Time", "Stored", "Why"),
        [
            (
                "keep" if point.keep else "GO",
                point.path,
                point.tier or "–",  # a dash is meant
                point.id,
                local(point.time),
                size(point.stored_bytes),
                "; ".join(point.reasons),
            )
            for point in plan.points
        ],
        "There are no restore points.",
    )
    cli.output.text(_count(plan))


def _point_json(point: PlannedPoint) -> dict[str, Any]:
    """A planned point in the words of the JSON contract."""
    plain: dict[str, Any] = to_plain(point)
    del plain["name"]
    return plain | {"vm": point.name, "uuid": point.vm}


def _count(plan: PrunePlan) -> str:
    """`3 of 12 points go.`"""
    left = f", and {plan.unfinished} that an earlier run left half deleted" if plan.unfinished else ""
    return f"{len(plan.go)} of {len(plan.points)} points go{left}."


def _ask(cli: Cli, plan: PrunePlan) -> None:
    """The operator's word for deleting points."""
    if sys.stdin.isatty() and not cli.output.as_json:
        _print(cli, plan)
        if click.confirm("Delete them for good?", default=False, err=True):
            return
    raise RefusedError(
        "CONFIRM-MISSING",
        f"{_count(plan)} Nothing was deleted.",
        next_step="Read the plan with --dry-run, then say --yes.",
    )


def _tell(cli: Cli, record: JobRecord) -> None:
    result = dict(record.result)
    if cli.output.as_json:
        cli.output.document(result | {"job": record.id, "notes": list(record.notes)})
        return
    for check in result["checks"]:
        cli.output.text(printable(f"{_MARKS[check['ok']]:8}  {check['name']}  {check['detail']}"))
    cli.output.text(f"{result['deleted']} points were deleted; blocks that no point needs are garbage now.")
