"""points, show, verify, export."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.shared import Cli, Wanted, enqueue, follow, now, option_value, pass_cli, raise_unless_ok, tell_detached
from vmtui.model.errors import ExitCode, UsageError
from vmtui.model.job import JobKind
from vmtui.model.point import PointStatus
from vmtui.overview.points import PointView, load_view, point_json, view_of
from vmtui.overview.rehearsals import rehearsal_lines, rehearsed_words
from vmtui.overview.words import age, local, printable, size

if TYPE_CHECKING:
    from vmtui.repository import PointName


@click.command()
@click.argument("vm", required=False)
@pass_cli
def points(cli: Cli, vm: str | None) -> int:
    """Show the restore points of a VM, or of all; newest first."""
    from vmtui.overview.catalogue import find_vm, of_vms

    repository = cli.repository
    names = find_vm(repository, vm) if vm is not None else of_vms(repository.points.names() + repository.points.lost())
    statuses = repository.points.statuses()
    views = [
        load_view(repository, name, statuses.get(name, PointStatus()))
        for name in sorted(names, key=lambda name: name.id, reverse=True)
    ]
    if cli.output.as_json:
        cli.output.document([point_json(view) for view in views])
    else:
        cli.output.table(
            (
                "Point",
                "VM",
                "Time",
                "Age",
                "Mode",
                "Consistency",
                "Verified",
                "Rehearsed",
                "Held",
                "Disks",
                "New",
                "Stored",
            ),
            [_point_cells(view) for view in views],
            "There are no restore points yet: vmtui backup VM",
        )
    return ExitCode.DAMAGE if any(view.damaged for view in views) and vm is None else ExitCode.DONE


def _point_cells(view: PointView) -> tuple[str, ...]:
    if not view.mode:
        return (view.id, f"{view.host}/{view.vm}", "", "", "", "DAMAGED", view.damaged, "", view.held or "", "", "", "")
    state = "DAMAGED" if view.damaged else local(view.verified) if view.verified else "never"
    kinds = " ".join(f"{disk.name}:{disk.kind}" + (f"({disk.reason})" if disk.reason else "") for disk in view.disks)
    return (
        view.id,
        f"{view.host}/{view.vm}",
        local(view.time),
        age((now() - view.time).total_seconds()),
        view.mode,
        view.consistency,
        state,
        rehearsed_words(view.rehearsed, now()),
        view.held or "",
        kinds,
        size(view.new_bytes),
        size(view.stored_bytes),
    )


@click.command()
@click.argument("point")
@click.option("--xml", "definition", is_flag=True, help="The VM's definition in it; passwords are hidden.")
@click.option(
    "--screenshot",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Write the picture of its last rehearsal (PNG).",
)
@pass_cli
def show(cli: Cli, point: str, definition: bool, screenshot: Path | None) -> int:
    """Show all that a point holds, and what it does not."""
    from vmtui.overview.catalogue import find_point
    from vmtui.overview.definition import shown_definition

    name = find_point(cli.repository, point)
    if definition:
        text = shown_definition(cli.settings, name.vm, name.id)
        cli.output.document({"xml": text}) if cli.output.as_json else cli.output.text(text)
        return ExitCode.DONE
    view = view_of(cli.repository.points.load(name), cli.repository.points.status(name))
    if screenshot is not None:
        return _write_picture(cli, name, view, screenshot)
    data = point_json(view)
    if cli.output.as_json:
        cli.output.document(data)
        return ExitCode.DONE
    for line in _described(view, data):
        cli.output.text(printable(line))
    return ExitCode.DONE


_FIELDS = (
    "id",
    "vm",
    "host",
    "uuid",
    "time",
    "mode",
    "consistency",
    "consistency_reason",
    "verified",
    "damaged",
    "held",
    "parent",
    "checkpoint",
    "frozen_ms",
    "seconds",
    "job",
)


def _described(view: PointView, data: Mapping[str, Any]) -> Iterator[str]:
    """A point in lines."""
    for key in _FIELDS:
        yield f"{key:20} {data[key] if data[key] not in (None, '') else '–'}"  # a dash is meant
    for label, words in rehearsal_lines(view, now()):
        yield f"{label:20} {words}"
    for disk in data["disks"]:
        why = f" because: {disk['reason']}" if disk["reason"] else ""
        yield (
            f"disk {disk['name']:15} {disk['format']}, {size(disk['virtual_size'])}, {disk['kind']}{why}; "
            f"read {size(disk['read_bytes'])}, new {size(disk['new_bytes'])}, stored {size(disk['stored_bytes'])}"
        )
    for item in data["files"]:
        label = f"{item['role']} {item['part']}".rstrip()
        yield f"file {label:15} {item['path']}, {size(item['size'])}"
    for kind, key in (("snapshot", "snapshots"), ("checkpoint", "other_checkpoints")):
        for name in data[key]:
            yield f"record: {kind} {name}"
    for item in data["left_out"]:
        yield f"not held: {item['name']:10} {item['reason']}"
    for warning in data["warnings"]:
        yield f"warning: {warning}"


def _write_picture(cli: Cli, name: PointName, view: PointView, file: Path) -> int:
    from vmtui.cli.rehearse import write_new

    if view.rehearsed is None or not view.rehearsed.picture:
        raise UsageError(
            "NAME-UNKNOWN", f"There is no picture of a rehearsal of {view.id}.", next_step=f"vmtui rehearse {view.id}"
        )
    data = base64.b64decode(cli.repository.points.evidence(name, view.rehearsed.evidence).picture)
    write_new(file, data)
    done = {"file": str(file), "bytes": len(data), "sha256": view.rehearsed.picture}
    cli.output.document(done) if cli.output.as_json else cli.output.text(printable(f"{file}: {len(data)} bytes"))
    return ExitCode.DONE


@click.command()
@click.argument("points", nargs=-1, metavar="[POINT]...")
@click.option("--all", "everything", is_flag=True, help="The whole repository.")
@click.option("--quick", is_flag=True, help="With --all: only that every object is there, with its size and directory.")
@click.option("--not-since", default=None, metavar="AGE", help="With --all: leave out what was read since, like 7d.")
@click.option("--limit", default=None, metavar="SIZE", help="With --all: read at most so much a second, like 50M.")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@pass_cli
def verify(
    cli: Cli,
    points: tuple[str, ...],
    everything: bool,
    quick: bool,
    not_since: str | None,
    limit: str | None,
    detach: bool,
) -> int:
    """Read points and compare every byte with its hash. Broken off, it goes on with what was not read yet.

    Packs in which damage is found are not relied on any longer: the next backup stores what they held anew.
    """
    from vmtui.config.fields import duration_s, size_bytes
    from vmtui.overview.catalogue import find_point

    if bool(points) == everything:
        raise UsageError(
            "NAME-UNKNOWN", "Say which points to verify, or --all.", next_step="Example: vmtui verify web1@latest"
        )
    names = [find_point(cli.repository, point) for point in points]
    request = {
        "points": [[name.vm, name.id] for name in names],
        "all": everything,
        "quick": quick,
        "not_since_s": option_value("--not-since", not_since, duration_s),
        "rate": option_value("--limit", limit, size_bytes),
        "record": not cli.settings.read_only,
    }
    job = enqueue(cli, Wanted(JobKind.VERIFY, "", " ".join(points), request))
    if detach:
        return tell_detached(cli, job)
    record = follow(cli, job)
    raise_unless_ok(record)
    result = dict(record.result)
    if cli.output.as_json:
        cli.output.document(result | {"job": job})
    else:
        for item in result["damage"]:
            where = f" (points {', '.join(item['points'])})" if item["points"] else ""
            cli.output.text(printable(f"DAMAGED: {item['cause']}{where} [{item['error_id']}]"))
        left = f", {result['skipped']} packs were read before" if result["skipped"] else ""
        cli.output.text(
            f"{result['points']} points, {result['blobs']} blocks, {size(result['read_bytes'])} read and compared{left}"
        )
    if result["damage"]:
        cli.output.say("Damage was found. Points without it can be restored: vmtui points")
        return ExitCode.DAMAGE
    return ExitCode.DONE


@click.command()
@click.argument("point")
@click.argument("disk")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["raw", "qcow2"]),
    default=None,
    help="By default as the file's name ends, else raw.",
)
@pass_cli
def export(cli: Cli, point: str, disk: str, file: Path, format_name: str | None) -> int:
    """Write one disk of a point to a new local file."""
    from vmtui.cli.choosing import chosen_point
    from vmtui.cli.watching import TerminalWatch
    from vmtui.repository.verify import check_containers
    from vmtui.restore.export import export as run_export
    from vmtui.restore.export import find_disk

    repository = cli.repository
    repository.sync()
    manifest = repository.points.load(chosen_point(cli, point))
    chosen = find_disk(manifest, disk)
    format_name = format_name or ("qcow2" if file.suffix == ".qcow2" else "raw")
    watch = TerminalWatch(cli.output)
    check_containers(repository, manifest, watch)
    started = now()
    total = run_export(repository, chosen, file, format_name, watch)
    result = {
        "point": manifest.id,
        "disk": disk,
        "file": str(file),
        "format": format_name,
        "virtual_size": chosen.virtual_size,
        "bytes": total,
        "seconds": round((now() - started).total_seconds(), 3),
        "checks": [
            {"name": f"disk {disk}", "ok": True, "detail": "written, read back, every block has the hash of the point"}
        ],
    }
    if cli.output.as_json:
        cli.output.document(result)
    else:
        cli.output.text(printable(f"{file}: {size(total)} of data, every block read back with the hash of the point"))
    return ExitCode.DONE
