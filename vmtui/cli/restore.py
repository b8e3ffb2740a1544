"""restore, revert."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.evidence import check_lines, plan_body, plan_json
from vmtui.cli.restore_several import Common, manifest_of, restore_several
from vmtui.cli.shared import Cli, Wanted, enqueue, follow, now, pass_cli, raise_unless_ok, tell_detached
from vmtui.model.errors import ExitCode, RefusedError, UsageError
from vmtui.model.ids import JobId, new_id
from vmtui.model.job import JobKind, JobRecord
from vmtui.overview.fleet import find_vms
from vmtui.overview.words import printable, size, unknown

if TYPE_CHECKING:
    from vmtui.model.point import RestorePoint
    from vmtui.restore import RestorePlan, RestoreRequest


@click.command()
@click.argument("points", metavar="POINT...", nargs=-1, required=True)
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
@click.option(
    "--whole", is_flag=True, help="With --in-place: write every block anew, also those that the VM has not changed."
)
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
    points: tuple[str, ...],
    name: str | None,
    host: str | None,
    in_place: bool,
    same_identity: bool,
    new_nvram: bool,
    networks: tuple[str, ...],
    pools: tuple[str, ...],
    whole: bool,
    start: bool,
    instant: bool,
    plan_only: bool,
    yes: bool,
    detach: bool,
) -> int:
    """Bring restore points back: as new VMs, powered off, unless you say otherwise.

    POINT is an id, the start of one, VM@latest, or VM@good, for which VM is short: the newest without known damage.

    Several points are one job. All is checked before a byte is written; then they are restored in the order given, and
    with --start each runs, and its guest agent answers, before the next is begun. Options go for all of them.
    """
    _refuse_options(points, name=name, in_place=in_place, instant=instant, whole=whole)
    cli.repository.sync()
    maps = _mapping("--map-network", networks), _mapping("--map-pool", pools)
    common = Common(host, in_place, same_identity, new_nvram, *maps, start, whole)
    if len(points) > 1:
        return restore_several(cli, points, common, plan_only=plan_only, yes=yes, detach=detach)
    manifest = manifest_of(cli, points[0])
    target = host or manifest.host
    if target not in cli.settings.hypervisors:
        raise unknown("host", target, cli.settings.hypervisors)
    request = common.request(manifest, target, name, instant=instant)
    if plan_only:
        return _print_plan(cli, request, manifest)
    if in_place and not yes:
        _ask_in_place(cli, request, manifest)
    kind = JobKind.INSTANT if instant else JobKind.RESTORE
    job = enqueue(cli, Wanted(kind, target, name or manifest.vm_name, request))
    if detach:
        return tell_detached(cli, job)
    record = follow(cli, job)
    raise_unless_ok(record)
    _tell(cli, record)
    return ExitCode.DONE


def _refuse_options(points: tuple[str, ...], *, name: str | None, in_place: bool, instant: bool, whole: bool) -> None:
    """Options that do not go with one another, or not with several points."""
    if instant and in_place:
        raise UsageError(
            "NAME-BAD",
            "--instant makes a new VM; it does not go with --in-place.",
            next_step="Say --as NAME with --instant, or leave --instant away.",
        )
    if whole and not in_place:
        raise UsageError(
            "NAME-BAD",
            "--whole is for --in-place; every other restore writes all blocks.",
            next_step="Leave --whole away.",
        )
    if len(points) > 1 and (name is not None or instant):
        option = "--as" if name is not None else "--instant"
        raise UsageError(
            "NAME-BAD",
            f"{option} is for one point, and {len(points)} were given.",
            next_step=f"Restore that one by itself with {option}, or leave {option} away.",
        )


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
        cli.output.document(plan_json(plan))
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
    plan_body(cli.output, plan)
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
    for line in check_lines(result["checks"]):
        cli.output.text(line)
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
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@pass_cli
def revert(cli: Cli, vm: str, discard: bool, yes: bool, detach: bool) -> int:
    """Undo an in-place restore: bring the old disks and the old definition back.

    Also one that was cut off and could not be taken back. Restored disks are set aside. A disk that was restored on top
    of its old image is made to stand alone first, which copies the old image: that takes time and room.
    """
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
    if detach:
        return tell_detached(cli, job)
    record = follow(cli, job)
    raise_unless_ok(record)
    _tell(cli, record)
    return ExitCode.DONE
