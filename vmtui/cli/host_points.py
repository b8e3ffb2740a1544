"""host backup, host points, host diff, host restore, host export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli import hosts
from vmtui.cli.shared import Cli, Wanted, enqueue, follow, now, pass_cli, raise_unless_ok, tell_detached
from vmtui.model.codec import format_instant, to_plain
from vmtui.model.errors import ExitCode, RefusedError
from vmtui.model.hostpoint import HOST_NAME
from vmtui.model.job import JobKind
from vmtui.overview.words import age, local, printable, unknown

if TYPE_CHECKING:
    from vmtui.hostpoint import Change, HostPlan, HostRestoreRequest
    from vmtui.model.hostpoint import HostState
    from vmtui.model.point import RestorePoint
    from vmtui.overview.points import PointView

group = hosts.host
"""`vmtui host`; its verbs about host points are here."""


def _check_host(cli: Cli, name: str) -> None:
    if name not in cli.settings.hypervisors:
        raise unknown("host", name, cli.settings.hypervisors)


# -- taking and listing --------------------------------------------------------------------------


@group.command("backup")
@click.argument("name")
@click.option("--if-changed", is_flag=True, help="Only when the newest host point does not say the same.")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@pass_cli
def host_backup(cli: Cli, name: str, if_changed: bool, detach: bool) -> int:
    """Make a host point: networks, pools, filters, secrets, configuration files, packages of a host.

    Values of secrets and files with passwords are kept in an encrypted repository alone.
    """
    from vmtui.hostpoint import HostPointRequest

    _check_host(cli, name)
    assert cli.repository.id
    job = enqueue(cli, Wanted(JobKind.HOST_BACKUP, name, HOST_NAME, HostPointRequest(name, always=not if_changed)))
    if detach:
        return tell_detached(cli, job)
    record = follow(cli, job)
    raise_unless_ok(record)
    result = dict(record.result)
    result["left_out"] = [{"name": item[0], "reason": item[1]} for item in result["left_out"]]
    if cli.output.as_json:
        cli.output.document(result | {"job": job})
        return ExitCode.DONE
    held = ", ".join(f"{count} {kind}{'s' if count != 1 else ''}" for kind, count in result["parts"].items())
    word = "host point" if result["new"] else "nothing has changed since host point"
    cli.output.text(printable(f"{name}: {word} {result['point']}, {result['seconds']:.1f} s: {held}"))
    for item in result["left_out"]:
        cli.output.text(printable(f"  {item['name']}: not held, {item['reason']}"))
    return ExitCode.DONE


@group.command("points")
@click.argument("name", required=False)
@pass_cli
def host_points(cli: Cli, name: str | None) -> int:
    """Show the host points of a host, or of all; newest first."""
    from vmtui.overview.hostpoints import host_views

    views = host_views(cli.repository, name)
    if cli.output.as_json:
        cli.output.document([_view_json(view) for view in views])
    else:
        cli.output.table(
            ("Point", "Host", "Time", "Age", "Verified", "Held", "Parts", "Not held"),
            [_cells(view) for view in views],
            f"There are no host points yet: vmtui host backup {name or 'NAME'}",
        )
    return ExitCode.DAMAGE if any(view.damaged for view in views) else ExitCode.DONE


def _view_json(view: PointView) -> dict[str, Any]:
    readable = bool(view.mode)
    return {
        "id": view.id,
        "host": view.host,
        "time": format_instant(view.time) if readable else None,
        "age_s": round((now() - view.time).total_seconds(), 1),
        "verified": format_instant(view.verified) if view.verified else None,
        "damaged": view.damaged,
        "held": view.held,
        "parts": [{"kind": item.role, "name": item.path, "size": item.size} for item in view.files if item.path],
        "left_out": [{"name": item.name, "reason": item.reason} for item in view.left_out],
        "job": view.job,
    }


def _cells(view: PointView) -> tuple[str, ...]:
    state = "DAMAGED" if view.damaged else local(view.verified) if view.verified else "never"
    since = age((now() - view.time).total_seconds())
    parts = str(sum(1 for item in view.files if item.path))
    return (view.id, view.host, local(view.time), since, state, view.held or "", parts, str(len(view.left_out)))


# -- comparing -----------------------------------------------------------------------------------


@group.command("diff")
@click.argument("point")
@click.argument("other", required=False)
@click.option("--to", "name", default=None, metavar="HOST", help="Compare with this host as it is now.")
@pass_cli
def host_diff(cli: Cli, point: str, other: str | None, name: str | None) -> int:
    """Show what differs between two host points, or between one and its host as it is now.

    POINT is an id, the start of one, or HOST@latest. Passwords are never shown.
    """
    from vmtui.hostpoint import compare, load_state
    from vmtui.overview.hostpoints import summary, words_of

    cli.repository.sync()
    manifest = _load(cli, point)
    before = load_state(cli.repository, manifest)
    if other is not None:
        manifest_after = _load(cli, other)
        after, label = load_state(cli.repository, manifest_after), f"point {manifest_after.id}"
    else:
        after, label = _live(cli, name or manifest.host), f"{name or manifest.host} now"
    changes = compare(before, after)
    if cli.output.as_json:
        sides = {"before": manifest.id, "after": label.removeprefix("point ")}
        cli.output.document(sides | {"changes": to_plain(changes)})
        return ExitCode.DONE
    cli.output.text(
        printable(f"point {manifest.id} of {manifest.host}, {local(manifest.time)}, and {label}: {summary(changes)}")
    )
    for item in words_of(changes):
        cli.output.text(printable(f"{item.mark} {item.title}"))
        for line in (*(f"    {detail}" for detail in item.details), *(f"    {line}" for line in item.lines)):
            cli.output.text(printable(line))
    return ExitCode.DONE


def _load(cli: Cli, text: str) -> RestorePoint:
    from vmtui.overview.hostpoints import find_host_point

    return cli.repository.points.load(find_host_point(cli.repository, text))


def _live(cli: Cli, name: str) -> HostState:
    from vmtui.hostpoint import capture
    from vmtui.hosts import connect

    _check_host(cli, name)
    with connect(cli.settings, name) as session:
        return capture(session, now(), with_secrets=cli.repository.identity.encrypted)


# -- bringing back -------------------------------------------------------------------------------


@group.command("restore")
@click.argument("point")
@click.option(
    "--only", multiple=True, metavar="KIND:NAME", help="Only this part, like network:default; may be repeated."
)
@click.option(
    "--replace", multiple=True, metavar="KIND:NAME", help="Replace this part where it differs; may be repeated."
)
@click.option("--to", "name", default=None, metavar="HOST", help="By default the host that the point is of.")
@click.option("--plan", "plan_only", is_flag=True, help="Print what would become of each part; change nothing.")
@click.option("--yes", is_flag=True, help="Your word.")
@pass_cli
def host_restore(
    cli: Cli, point: str, only: tuple[str, ...], replace: tuple[str, ...], name: str | None, plan_only: bool, yes: bool
) -> int:
    """Bring back secrets, nwfilters, networks and pools of a host point.

    What is there is left as it is, unless --replace names it; nothing is stopped. What is replaced is kept in a host
    point of its own first. Files are never overwritten: vmtui host export writes them to a folder.
    """
    from vmtui.hostpoint import HostRestoreRequest

    cli.repository.sync()
    manifest = _load(cli, point)
    target = name or manifest.host
    _check_host(cli, target)
    request = HostRestoreRequest(target, manifest.vm_uuid, manifest.id, only or replace, replace)
    plan = _plan(cli, manifest, request)
    if plan_only or not yes or (only and plan.conflicts):
        _print_plan(cli, plan, as_document=plan_only)
    if plan_only:
        return ExitCode.REFUSED if plan.conflicts else ExitCode.DONE
    if only and plan.conflicts:
        first = plan.conflicts[0]
        raise RefusedError(
            "PREFLIGHT", f"{first.title} on {target}: {first.detail}.", next_step="Mend it, or leave it out."
        )
    if not yes and not (sys.stdin.isatty() and click.confirm(f"Go on at {target}?", default=False, err=True)):
        raise RefusedError(
            "CONFIRM-MISSING", f"Nothing was changed on {target}.", next_step="Read the plan, then say --yes."
        )
    return _run(cli, request)


def _plan(cli: Cli, manifest: RestorePoint, request: HostRestoreRequest) -> HostPlan:
    from vmtui.hostpoint import capture_objects, load_state, make_plan
    from vmtui.hosts import connect

    state = load_state(cli.repository, manifest)
    with connect(cli.settings, request.host) as session:
        return make_plan(request, state, capture_objects(session, now()))


def _print_plan(cli: Cli, plan: HostPlan, *, as_document: bool) -> None:
    if cli.output.as_json:
        if as_document:
            value = {"host": plan.host, "point": plan.point, "parts": to_plain(plan.parts), "ready": not plan.conflicts}
            cli.output.document(value)
        return
    cli.output.text(printable(f"From host point {plan.point} to {plan.host}, in this order:"))
    for part in plan.parts:
        cli.output.text(printable(f"  {part.action:8}  {part.title:40} {part.detail}"))
    cli.output.text(f"{len(plan.todo)} of {len(plan.parts)} parts would be changed; {len(plan.conflicts)} are left.")


def _run(cli: Cli, request: HostRestoreRequest) -> int:
    job = enqueue(cli, Wanted(JobKind.HOST_RESTORE, request.host, HOST_NAME, request))
    record = follow(cli, job)
    raise_unless_ok(record)
    result = dict(record.result)
    if cli.output.as_json:
        cli.output.document(result | {"job": job, "notes": list(record.notes)})
        return ExitCode.DONE
    for check in result["checks"]:
        cli.output.text(printable(f"  {'passed' if check['ok'] else 'FAILED':8}  {check['name']:40} {check['detail']}"))
    for part in result["conflicts"]:
        cli.output.text(printable(f"  left      {part['kind']} {part['name']}: {part['detail']}"))
    cli.output.text(printable(f"{request.host}: {len(result['checks'])} parts brought back from {result['point']}"))
    if result["before"]:
        cli.output.text(f"As it was before is in host point {result['before']}: vmtui host diff {result['before']}")
    return ExitCode.DONE


# -- export --------------------------------------------------------------------------------------


@group.command("export")
@click.argument("point")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--with-secrets", is_flag=True, help="Also passwords and values of secrets, in clear.")
@click.option("--compare", "name", default=None, metavar="HOST", help="Also write what differs on this host now.")
@pass_cli
def host_export(cli: Cli, point: str, folder: Path, with_secrets: bool, name: str | None) -> int:
    """Write a host point to a new folder, with the ordered steps to rebuild a host from it."""
    from vmtui.hostpoint import compare, load_state
    from vmtui.hostpoint.export import export
    from vmtui.overview.catalogue import known_vms

    cli.repository.sync()
    manifest = _load(cli, point)
    state = load_state(cli.repository, manifest)
    changes: tuple[Change, ...] | None = compare(state, _live(cli, name)) if name is not None else None
    vms = [vm.name for vm in known_vms(cli.repository).values() if vm.newest_good_id is not None]
    done = export(state, manifest.id, folder, with_secrets=with_secrets, changes=changes, restorable=vms)
    if cli.output.as_json:
        cli.output.document(done)
        return ExitCode.DONE
    for number, step in enumerate(done.steps, 1):
        cli.output.text(printable(f"{number:3}  {step}"))
    for item in done.hidden:
        cli.output.say(f"without its passwords: {item}")
    cli.output.text(
        printable(f"{len(done.files)} files were written to {done.folder}; the steps are in its REBUILD.md")
    )
    return ExitCode.DONE
