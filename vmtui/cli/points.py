"""points, show, verify, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.output import printable
from vmtui.cli.shared import Cli, Wanted, age, enqueue, follow, local, now, pass_cli, raise_unless_ok, size
from vmtui.model.codec import format_instant, to_plain
from vmtui.model.errors import DamageError, ExitCode, UsageError
from vmtui.model.job import JobKind
from vmtui.model.point import PointStatus, RestorePoint

if TYPE_CHECKING:
    from vmtui.repository import PointName


@click.command()
@click.argument("vm", required=False)
@pass_cli
def points(cli: Cli, vm: str | None) -> int:
    """Show the restore points of a VM, or of all; newest first."""
    from vmtui.cli.catalogue import find_vm

    repository = cli.repository
    names = find_vm(repository, vm) if vm is not None else repository.points.names() + repository.points.lost()
    statuses = repository.points.statuses()
    rows = [
        _point_row(cli, name, statuses.get(name, PointStatus()))
        for name in sorted(names, key=lambda name: name.id, reverse=True)
    ]
    if cli.output.as_json:
        cli.output.document(rows)
    else:
        cli.output.table(
            ("Point", "VM", "Time", "Age", "Mode", "Consistency", "Verified", "Disks", "New", "Stored"),
            [_point_cells(row) for row in rows],
            "There are no restore points yet: vmtui backup VM",
        )
    return ExitCode.DAMAGE if any(row["damaged"] for row in rows) and vm is None else ExitCode.DONE


def _point_row(cli: Cli, name: PointName, status: PointStatus) -> dict[str, Any]:
    try:
        point = cli.repository.points.load(name)
    except DamageError as error:
        return {
            "id": name.id,
            "vm": None,
            "uuid": name.vm,
            "host": None,
            "time": None,
            "mode": None,
            "consistency": None,
            "disks": [],
            "verified": None,
            "damaged": error.cause,
        }
    return point_json(point, status)


def point_json(point: RestorePoint, status: PointStatus) -> dict[str, Any]:
    """A point in the words of the JSON contract; its definition, which may hold passwords, is left away."""
    return {
        "id": point.id,
        "vm": point.vm_name,
        "uuid": point.vm_uuid,
        "host": point.host,
        "time": format_instant(point.time),
        "mode": point.mode,
        "consistency": point.consistency,
        "consistency_reason": point.consistency_reason,
        "disks": [
            {
                "name": disk.name,
                "format": disk.format,
                "virtual_size": disk.virtual_size,
                "read_bytes": disk.read_bytes,
                "new_bytes": disk.new_bytes,
                "stored_bytes": disk.stored_bytes,
                "kind": disk.kind,
                "reason": disk.reason,
                "tracked": disk.tracked,
                "file_length": disk.file_length,
                "backing": list(disk.backing),
            }
            for disk in point.disks
        ],
        "left_out": to_plain(point.left_out),
        "files": [{"role": item.role, "path": item.path, "size": item.size} for item in point.files],
        "verified": format_instant(status.verified) if status.verified is not None else None,
        "damaged": status.damaged,
        "parent": point.parent,
        "checkpoint": point.checkpoint.name if point.checkpoint is not None else None,
        "frozen_ms": point.frozen_ms,
        "seconds": round((point.finished - point.started).total_seconds(), 3),
        "job": point.job,
        "versions": dict(point.versions),
        "warnings": list(point.warnings),
    }


def _point_cells(row: dict[str, Any]) -> tuple[str, ...]:
    if row["time"] is None:
        return (row["id"], "?", "", "", "", "DAMAGED", row["damaged"], "", "", "")
    from vmtui.model.codec import parse_instant

    instant = parse_instant(row["time"])
    state = "DAMAGED" if row["damaged"] else local(parse_instant(row["verified"])) if row["verified"] else "never"
    kinds = " ".join(
        f"{disk['name']}:{disk['kind']}" + (f"({disk['reason']})" if disk["reason"] else "") for disk in row["disks"]
    )
    return (
        row["id"],
        f"{row['host']}/{row['vm']}",
        local(instant),
        age((now() - instant).total_seconds()),
        row["mode"],
        row["consistency"],
        state,
        kinds,
        size(sum(disk["new_bytes"] for disk in row["disks"])),
        size(sum(disk["stored_bytes"] for disk in row["disks"])),
    )


@click.command()
@click.argument("point")
@pass_cli
def show(cli: Cli, point: str) -> int:
    """Show all that a point holds, and what it does not."""
    from vmtui.cli.catalogue import find_point

    name = find_point(cli.repository, point)
    data = point_json(cli.repository.points.load(name), cli.repository.points.status(name))
    if cli.output.as_json:
        cli.output.document(data)
        return ExitCode.DONE
    for key in (
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
        "parent",
        "checkpoint",
        "frozen_ms",
        "seconds",
        "job",
    ):
        cli.output.text(printable(f"{key:20} {data[key] if data[key] not in (None, '') else '–'}"))  # a dash is meant
    for disk in data["disks"]:
        why = f" because: {disk['reason']}" if disk["reason"] else ""
        cli.output.text(
            printable(
                f"disk {disk['name']:15} {disk['format']}, {size(disk['virtual_size'])}, {disk['kind']}{why}; "
                f"read {size(disk['read_bytes'])}, new {size(disk['new_bytes'])}, stored {size(disk['stored_bytes'])}"
            )
        )
    for item in data["files"]:
        cli.output.text(printable(f"file {item['role']:15} {item['path']}, {size(item['size'])}"))
    for item in data["left_out"]:
        cli.output.text(printable(f"not held: {item['name']:10} {item['reason']}"))
    for warning in data["warnings"]:
        cli.output.text(printable(f"warning: {warning}"))
    return ExitCode.DONE


@click.command()
@click.argument("points", nargs=-1, metavar="[POINT]...")
@click.option("--all", "everything", is_flag=True, help="Read every byte of the repository.")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@pass_cli
def verify(cli: Cli, points: tuple[str, ...], everything: bool, detach: bool) -> int:
    """Read points and compare every byte with its hash."""
    from vmtui.cli.catalogue import find_point

    if bool(points) == everything:
        raise UsageError(
            "NAME-UNKNOWN", "Say which points to verify, or --all.", next_step="Example: vmtui verify web1@latest"
        )
    names = [find_point(cli.repository, point) for point in points]
    request = {"points": [[name.vm, name.id] for name in names], "all": everything}
    job = enqueue(cli, Wanted(JobKind.VERIFY, "", " ".join(points), request))
    if detach:
        cli.output.document({"job": job}) if cli.output.as_json else cli.output.text(job)
        return ExitCode.DONE
    record = follow(cli, job)
    raise_unless_ok(record)
    result = dict(record.result)
    if cli.output.as_json:
        cli.output.document(result | {"job": job})
    else:
        for item in result["damage"]:
            where = f" (points {', '.join(item['points'])})" if item["points"] else ""
            cli.output.text(printable(f"DAMAGED: {item['cause']}{where} [{item['error_id']}]"))
        cli.output.text(
            f"{result['points']} points, {result['blobs']} blocks, {size(result['read_bytes'])} read and compared"
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
    from vmtui.cli.catalogue import find_point
    from vmtui.cli.watching import TerminalWatch
    from vmtui.repository.verify import check_containers
    from vmtui.restore.export import export as run_export
    from vmtui.restore.export import find_disk

    repository = cli.repository
    repository.sync()
    manifest = repository.points.load(find_point(repository, point))
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
