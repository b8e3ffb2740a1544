"""restore of several points: one job, in their order."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.choosing import chosen_point
from vmtui.cli.evidence import check_lines, plan_body, plan_json
from vmtui.cli.shared import Cli, Wanted, enqueue, follow, now, raise_unless_ok, tell_detached
from vmtui.model.errors import ExitCode, RefusedError, UsageError
from vmtui.model.ids import is_host_subject
from vmtui.model.job import JobKind, JobRecord
from vmtui.overview.words import printable, size, unknown

if TYPE_CHECKING:
    from vmtui.model.point import RestorePoint
    from vmtui.restore import RestoreRequest
    from vmtui.restore.group import GroupPlan, GroupRequest

IN_PLACE_WORD = "in place"


@dataclass(frozen=True, slots=True)
class Common:
    """What was said for all points of a restore."""

    host: str | None
    in_place: bool
    same_identity: bool
    new_nvram: bool
    networks: Mapping[str, str]
    pools: Mapping[str, str]
    start: bool
    whole: bool = False

    def request(
        self, point: RestorePoint, host: str, name: str | None = None, *, instant: bool = False
    ) -> RestoreRequest:
        """The request for one point."""
        from vmtui.restore import RestoreRequest

        return RestoreRequest(
            vm=point.vm_uuid,
            point=point.id,
            host=host,
            name=name,
            in_place=self.in_place,
            same_identity=self.same_identity,
            new_nvram=self.new_nvram,
            networks=self.networks,
            pools=self.pools,
            start=self.start,
            whole=self.whole,
            instant=instant,
        )


def manifest_of(cli: Cli, text: str) -> RestorePoint:
    """The manifest of the point of a VM that is meant.

    Raises:
        UsageError: There is none, or it is of a host's configuration.
    """
    found = chosen_point(cli, text)
    if is_host_subject(found.vm):
        raise UsageError(
            "NAME-UNKNOWN",
            f"The point {found.id} is of a host's configuration.",
            next_step=f"Run: vmtui host restore {found.id}",
        )
    return cli.repository.points.load(found)


def restore_several(
    cli: Cli, points: Sequence[str], common: Common, *, plan_only: bool, yes: bool, detach: bool
) -> int:
    """Restore points one after the other, as one job."""
    from vmtui.restore.group import GroupRequest

    manifests = [manifest_of(cli, point) for point in points]
    host = _target(cli, manifests, common.host)
    request = GroupRequest(tuple(common.request(manifest, host) for manifest in manifests))
    if plan_only:
        return _print_plan(cli, request)
    if common.in_place and not yes:
        _ask_in_place(cli, request)
    names = " ".join(manifest.vm_name for manifest in manifests)
    job = enqueue(cli, Wanted(JobKind.GROUP_RESTORE, host, names, request))
    if detach:
        return tell_detached(cli, job)
    record = follow(cli, job)
    if record.error is not None and record.result and not cli.output.as_json:
        tell(cli, record)
    raise_unless_ok(record)
    tell(cli, record)
    return ExitCode.DONE


def _target(cli: Cli, manifests: Sequence[RestorePoint], host: str | None) -> str:
    """The host that all go to: one job works on one host."""
    origins = sorted({manifest.host for manifest in manifests})
    if host is None and len(origins) > 1:
        raise UsageError(
            "NAME-AMBIGUOUS",
            f"The points are of several hosts ({', '.join(origins)}), and one job restores to one.",
            next_step="Say --to HOST.",
        )
    target = host or origins[0]
    if target not in cli.settings.hypervisors:
        raise unknown("host", target, cli.settings.hypervisors)
    return target


# -- the plan ------------------------------------------------------------------------------------


def _prepare(cli: Cli, request: GroupRequest) -> GroupPlan:
    from vmtui.cli.watching import TerminalWatch
    from vmtui.overview.restores import plan_group

    return plan_group(cli.settings, cli.repository, request, TerminalWatch(cli.output), now)


def _print_plan(cli: Cli, request: GroupRequest) -> int:
    plan = _prepare(cli, request)
    if cli.output.as_json:
        cli.output.document(
            {
                "host": request.members[0].host,
                "members": [plan_json(member) for member in plan.members],
                "bytes": plan.data_bytes,
                "rooms": [{"folders": room.folders, "need": room.need, "free": room.free} for room in plan.rooms],
                "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in plan.checks],
                "command": plan.command,
                "ready": not plan.refused,
            }
        )
    else:
        _print_plan_text(cli, plan)
    return ExitCode.REFUSED if plan.refused else ExitCode.DONE


def _print_plan_text(cli: Cli, plan: GroupPlan) -> None:
    say = cli.output.text
    for number, member in enumerate(plan.members, 1):
        say(printable(f"{number} of {len(plan.members)}: {member.name}"))
        say(printable(f"From      point {member.request.point} of {member.origin}, {member.point_time}"))
        plan_body(cli.output, member)
        say()
    say("Together")
    for line in check_lines(plan.checks):
        say(line)
    say()
    say(f"Bytes     {size(plan.data_bytes)} written, and read back")
    for room in plan.rooms:
        say(printable(f"Room      {', '.join(room.folders)}: {size(room.need)} needed, {size(room.free)} free"))
    say("Order     as above; the first that fails ends the job, and those before it stay")
    say(printable(f"CLI       {plan.command}"))
    if plan.refused:
        say("This plan cannot be carried out as it is: see FAILED above. Nothing was written.")


def _ask_in_place(cli: Cli, request: GroupRequest) -> None:
    """The operator's word for replacing VMs, typed."""
    if sys.stdin.isatty() and not cli.output.as_json:
        _print_plan_text(cli, _prepare(cli, request))
        typed = click.prompt(
            f"Type `{IN_PLACE_WORD}` to bring these {len(request.members)} VMs back in place", default="", err=True
        )
        if typed == IN_PLACE_WORD:
            return
    raise RefusedError(
        "CONFIRM-MISSING",
        f"Bringing {len(request.members)} VMs back in place replaces their disks and definitions.",
        next_step="Read the plan with --plan, then say --yes.",
    )


# -- evidence ------------------------------------------------------------------------------------


def tell(cli: Cli, record: JobRecord) -> None:
    """What became of each, with its evidence."""
    result: dict[str, Any] = dict(record.result)
    if cli.output.as_json:
        cli.output.document(result | {"job": record.id, "notes": list(record.notes)})
        return
    say = cli.output.text
    for member in result["members"]:
        say(printable(f"{member['host']}/{member['vm']}: restored from {member['point']}"))
        for line in check_lines(member["checks"]):
            say(line)
        if member.get("kept"):
            say(
                printable(f"  The old disks are kept: `vmtui revert {member['host']}/{member['vm']}` brings them back.")
            )
    if "failed" not in result:
        say(f"{len(result['members'])} VMs restored, {size(result['bytes'])} in {result['seconds']:.1f} s")
