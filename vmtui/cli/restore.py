"""restore, revert."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.shared import Cli, Wanted, enqueue, follow, now, pass_cli, raise_unless_ok
from vmtui.model.codec import to_plain
from vmtui.model.errors import ExitCode, RefusedError, UsageError
from vmtui.model.ids import JobId, is_host_subject, new_id
from vmtui.model.job import JobKind, JobRecord
from vmtui.overview.fleet import find_vms
from vmtui.overview.words import printable, size, unknown

if TYPE_CHECKING:
    from vmtui.model.point import RestorePoint
    from vmtui.restore import RestorePlan, RestoreRequest

_MARKS = {True: "passed", False: "FAILED", None: "not done"}


@click.command()
@click.argument("point")
@click.option("--as", "name", default=None, help="Name of the new VM.")
@click.option("--to", "host", default=None, help="Host; by default the one that the point is of.")
@click.option("--in-place", is_flag=True, help="Bring the VM back as itself; its old disks are kept aside.")
@click.option(
    "--same-identity", is_flag=True, help="Bring a lost VM back as itself; nothing of it may be left on the host."
)
@click.option("--new-nvram", is_flag=True, help="Your word that the firmware's variables start anew if need be.")
@click.option(
    "--map-network", "networks", multiple=True, metavar="A=B", help="What was on network A goes on B; B may be none."
)
@click.option("--map-pool", "pools", multiple=True, metavar="A=B", help="Disks of pool or folder A go into pool B.")
@click.option("--start", is_flag=True, help="Start the VM and wait for its guest agent.")
@click.option(
    "--instant",
    is_flag=True,
    help="Start it at once from the repository, and move its disks to the host while it runs.",
)
@click.option("--plan", "plan_only", is_flag=True, help="Check and print every step; change nothing.")
@click.option("--yes", is_flag=True, help="Your word for --in-place.")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@pass_cli
def restore(
    cli: Cli,
    point: str,
    name: str | None,
    host: str | None,
    in_place: bool,
    same_identity: bool,
    new_nvram: bool,
    networks: tuple[str, ...],
    pools: tuple[str, ...],
    start: bool,
    instant: bool,
    plan_only: bool,
    yes: bool,
    detach: bool,
) -> int:
    """Bring a restore point back: as a new VM, powered off, unless you say otherwise.

    POINT is an id, the start of one, VM@latest, or VM@good: the newest without known damage.
    """
    if instant and in_place:
        raise UsageError(
            "NAME-BAD",
            "--instant makes a new VM; it does not go with --in-place.",
            next_step="Say --as NAME with --instant, or leave --instant away.",
        )
    from vmtui.overview.catalogue import find_point
    from vmtui.restore import RestoreRequest

    cli.repository.sync()
    found = find_point(cli.repository, point)
    if is_host_subject(found.vm):
        raise UsageError(
            "NAME-UNKNOWN",
            f"The point {found.id} is of a host's configuration.",
            next_step=f"Run: vmtui host restore {found.id}",
        )
    manifest = cli.repository.points.load(found)
    target = host or manifest.host
    if target not in cli.settings.hypervisors:
        raise unknown("host", target, cli.settings.hypervisors)
    request = RestoreRequest(
        vm=manifest.vm_uuid,
        point=manifest.id,
        host=target,
        name=name,
        in_place=in_place,
        same_identity=same_identity,
        new_nvram=new_nvram,
        networks=_mapping("--map-network", networks),
        pools=_mapping("--map-pool", pools),
        start=start,
        instant=instant,
    )
    if plan_only:
        return _print_plan(cli, request, manifest)
    if in_place and not yes:
        _ask_in_place(cli, request, manifest)
    kind = JobKind.INSTANT if instant else JobKind.RESTORE
    job = enqueue(cli, Wanted(kind, target, name or manifest.vm_name, request))
    if detach:
        cli.output.document({"job": job}) if cli.output.as_json else cli.output.text(job)
        return ExitCode.DONE
    record = follow(cli, job)
    raise_unless_ok(record)
    _tell(cli, record)
    return ExitCode.DONE


def _mapping(option: str, pairs: tuple[str, ...]) -> dict[str, str]:
    result = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise UsageError(
                "NAME-BAD", f"{option} {pair!r}: A=B is needed.", next_step=f"Example: {option} default=vmdata"
            )
        result[old] = new
    return result


# -- the plan ------------------------------------------------------------------------------------


def _prepare(cli: Cli, request: RestoreRequest, manifest: RestorePoint) -> RestorePlan:
    """Plan in this process: nothing is written, so no job is needed."""
    from vmtui.cli.watching import TerminalWatch
    from vmtui.hosts import connect
    from vmtui.model.errors import UnreachableError
    from vmtui.restore import RestoreContext
    from vmtui.restore.prepare import prepare

    with connect(cli.settings, request.host) as session:

        def origin() -> Any:
            if manifest.host not in cli.settings.hosts:
                return None
            try:
                return connect(cli.settings, manifest.host)
            except UnreachableError:
                return None

        context = RestoreContext(
            lambda: session, origin, cli.repository, cli.settings.state, TerminalWatch(cli.output), now
        )
        return prepare(context, JobId(new_id(now())), request)


def _print_plan(cli: Cli, request: RestoreRequest, manifest: RestorePoint) -> int:
    plan = _prepare(cli, request, manifest)
    if cli.output.as_json:
        cli.output.document(
            {
                "vm": plan.name,
                "host": request.host,
                "point": request.point,
                "uuid": plan.uuid,
                "bytes": plan.data_bytes,
                "steps": to_plain(plan.steps),
                "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in plan.checks],
                "changes": list(plan.changes),
                "destroys": plan.destroys,
                "unchecked": list(plan.unchecked),
                "command": plan.command,
                "ready": not plan.refused,
            }
        )
    else:
        _print_plan_text(cli, plan, manifest)
    return ExitCode.REFUSED if plan.refused else ExitCode.DONE


def _print_plan_text(cli: Cli, plan: RestorePlan, manifest: RestorePoint) -> None:
    say = cli.output.text
    why = f" ({manifest.consistency_reason})" if manifest.consistency_reason else ""
    say(
        printable(
            f"From      point {manifest.id} of {plan.origin}, {plan.point_time}, {manifest.mode}, {manifest.consistency}{why}"
        )
    )
    kind = "the VM itself" if plan.request.keeps_identity else "a new VM"
    state = "running at once" if plan.request.instant else "started" if plan.request.start else "powered off"
    say(printable(f"To        {plan.request.host}, {kind} {plan.name}, {state}"))
    say()
    for check in plan.checks:
        say(printable(f"  {_MARKS[check.ok]:8}  {check.name:12} {check.detail}"))
    say()
    for step in plan.steps:
        say(printable(f"  {step.number:3}  {step.text}{'' if step.bytes is None else f'  ({size(step.bytes)})'}"))
    say()
    say(printable(f"Destroys  {plan.destroys}"))
    for text in plan.unchecked:
        say(printable(f"Unchecked {text}"))
    say(printable(f"CLI       {plan.command}"))
    if plan.refused:
        say("This plan cannot be carried out as it is: see FAILED above. Nothing was written.")


def _ask_in_place(cli: Cli, request: RestoreRequest, manifest: RestorePoint) -> None:
    """The operator's word for replacing a VM: its name, typed."""
    if sys.stdin.isatty() and not cli.output.as_json:
        _print_plan_text(cli, _prepare(cli, request, manifest), manifest)
        typed = click.prompt(
            f"Type the name of the VM to bring it back in place on {request.host}", default="", err=True
        )
        if typed == manifest.vm_name:
            return
    raise RefusedError(
        "CONFIRM-MISSING",
        f"Bringing {manifest.vm_name} back in place replaces its disks and definition.",
        next_step="Read the plan with --plan, then say --yes.",
    )


# -- evidence ------------------------------------------------------------------------------------


def _tell(cli: Cli, record: JobRecord) -> None:
    result = dict(record.result)
    if cli.output.as_json:
        cli.output.document(result | {"job": record.id, "notes": list(record.notes)})
        return
    for check in result["checks"]:
        cli.output.text(printable(f"  {_MARKS[check['ok']]:8}  {check['name']:20} {check['detail']}"))
    if "bytes" in result:
        cli.output.text(
            printable(
                f"{result['host']}/{result['vm']}: restored from {result['point']}, {size(result['bytes'])} in {result['seconds']:.1f} s"
                + (", running all the while" if result.get("instant") else "")
            )
        )
    if result.get("kept"):
        cli.output.text(
            printable(
                f"The old disks are kept: `vmtui revert {result['host']}/{result['vm']}` brings them back, --discard deletes them."
            )
        )


# -- revert --------------------------------------------------------------------------------------


@click.command()
@click.argument("vm")
@click.option("--discard", is_flag=True, help="Delete the kept disks instead of bringing them back.")
@click.option("--yes", is_flag=True, help="Your word.")
@pass_cli
def revert(cli: Cli, vm: str, discard: bool, yes: bool) -> int:
    """Undo an in-place restore: bring the old disks and the old definition back."""
    from vmtui.restore.revert import RevertRequest

    (found,) = find_vms(cli.settings, [vm])
    if not yes:
        question = (
            f"Delete the kept disks of {found.name}?"
            if discard
            else f"Shut {found.name} down and bring its old disks back?"
        )
        if not (sys.stdin.isatty() and click.confirm(question, default=False, err=True)):
            raise RefusedError("CONFIRM-MISSING", f"Nothing was done with {found.name}.", next_step="Say --yes.")
    job = enqueue(cli, Wanted(JobKind.REVERT, found.host, found.name, RevertRequest(found.host, found.uuid, discard)))
    record = follow(cli, job)
    raise_unless_ok(record)
    _tell(cli, record)
    return ExitCode.DONE
