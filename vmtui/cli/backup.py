"""backup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.shared import Cli, Wanted, enqueue, follow, pass_cli, worst
from vmtui.model.errors import ExitCode, error_from_json
from vmtui.model.ids import JobId
from vmtui.model.job import JobKind, JobRecord, JobState
from vmtui.model.point import Mode
from vmtui.model.vm import Vm
from vmtui.overview.fleet import find_vms
from vmtui.overview.words import printable, size
from vmtui.policy import assign

if TYPE_CHECKING:
    from vmtui.backup import BackupRequest


@click.command()
@click.argument("vms", nargs=-1, required=True, metavar="VM...")
@click.option(
    "--mode", type=click.Choice([mode.value for mode in Mode]), default=None, help="By default as the VM's tier says."
)
@click.option("--full", is_flag=True, help="Read every disk in full, also where changes are tracked.")
@click.option("--with-media", "media", is_flag=True, help="Take what is in the CD-ROM and floppy drives along.")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@pass_cli
def backup(cli: Cli, vms: tuple[str, ...], mode: str | None, full: bool, media: bool, detach: bool) -> int:
    """Make a restore point of each VM (`name` or `host/name`).

    hot: a frozen view of the running VM, which goes on. paused: the same, with the VM paused for a moment.
    cold: the VM is shut down, read, and started again. A VM that is off is always read cold.
    """
    cli.jobs.warm_up()
    found = find_vms(cli.settings, vms)
    wanted = [_request(cli, vm, mode, full=full, media=media) for vm in found]
    # Whatever is wrong with the repository is told before a job is made of it.
    assert cli.repository.id
    jobs = [enqueue(cli, Wanted(JobKind.BACKUP, item.host, item.name, item)) for item in wanted]
    if detach:
        _tell_detached(cli, jobs)
        return ExitCode.DONE
    records = [follow(cli, job) for job in jobs]
    documents = [_document(record) for record in records]
    if cli.output.as_json:
        cli.output.document(documents[0] if len(documents) == 1 else documents)
    for record in records:
        _tell(cli, record)
    return worst([_exit_code(record) for record in records])


def _request(cli: Cli, vm: Vm, mode: str | None, *, full: bool, media: bool) -> BackupRequest:
    """What is asked for, and what the VM's tier says where nothing was asked for."""
    from vmtui.backup import BackupRequest

    tier = assign(vm, cli.settings.rules, cli.settings.tiers, cli.settings.default_tier).tier
    by_tier = tier.mode if tier is not None else Mode.HOT
    return BackupRequest(
        host=vm.host,
        vm=vm.uuid,
        name=vm.name,
        mode=Mode(mode) if mode else by_tier,
        full=full,
        media=media or (tier is not None and tier.media),
    )


def _tell_detached(cli: Cli, jobs: list[JobId]) -> None:
    if cli.output.as_json:
        cli.output.document({"job": jobs[0]} if len(jobs) == 1 else [{"job": job} for job in jobs])
    else:
        for job in jobs:
            cli.output.text(job)


def _exit_code(record: JobRecord) -> int:
    return 0 if record.error is None or record.state is JobState.WARNINGS else int(record.error["exit_code"])


def _document(record: JobRecord) -> dict[str, Any]:
    base = {"job": record.id, "state": record.state, "vm": record.vm, "host": record.host, "notes": list(record.notes)}
    if record.state in (JobState.OK, JobState.WARNINGS):
        return dict(record.result) | base
    return base | {"error": record.error}


def _tell(cli: Cli, record: JobRecord) -> None:
    if record.error is not None and record.state is not JobState.WARNINGS:
        error = error_from_json(record.error)
        cli.output.say(f"{record.host}/{record.vm}: {error.cause}")
        cli.output.say(f"  {error.next_step} [{error.id}]")
        return
    if cli.output.as_json:
        return
    result = record.result
    why = f" ({result['consistency_reason']})" if result["consistency_reason"] else ""
    cli.output.text(
        printable(
            f"{record.host}/{record.vm}: point {result['point']}, {result['mode']}, consistency {result['consistency']}{why}, {result['seconds']:.1f} s"
        )
    )
    for disk in result["disks"]:
        reason = f", because: {disk['reason']}" if disk["reason"] else ""
        cli.output.text(
            printable(
                f"  {disk['name']}: {disk['kind']}{reason}; read {size(disk['read_bytes'])}, "
                f"new {size(disk['new_bytes'])}, stored {size(disk['stored_bytes'])}"
            )
        )
    for item in result["left_out"]:
        cli.output.text(printable(f"  {item['name']}: not held, {item['reason']}"))
