"""jobs, job, worker."""

from __future__ import annotations

import sys

import click

from vmtui.cli.shared import Cli, confirm, follow, now, pass_cli, record_json
from vmtui.model.codec import parse_instant
from vmtui.model.errors import ExitCode, RefusedError
from vmtui.model.job import JobRecord, JobState
from vmtui.overview.again import object_of, what_again_does
from vmtui.overview.words import age, local, printable, size


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@pass_cli
def jobs(cli: Cli, limit: int) -> int:
    """Show jobs, newest first."""
    records = cli.jobs.newest(limit)
    if cli.output.as_json:
        cli.output.document([record_json(record) for record in records])
        return ExitCode.DONE
    cli.output.table(
        ("Job", "Kind", "VM", "State", "Phase", "Done", "Rate", "Started", "Took", "Note"),
        [_cells(record) for record in records],
        "There are no jobs yet.",
    )
    return ExitCode.DONE


def _cells(record: JobRecord) -> tuple[str, ...]:
    done = ""
    if record.total and not record.state.final:
        done = f"{100 * record.done // record.total} % of {size(record.total)}"
    took = "" if record.started is None else age(((record.finished or now()) - record.started).total_seconds())
    return (
        record.id,
        record.kind,
        "/".join(part for part in (record.host, record.vm) if part),
        record.state,
        f"{record.phase} {record.disk}".strip(),
        done,
        f"{size(int(record.rate))}/s" if record.rate else "",
        local(record.started or record.asked),
        took,
        record.error["cause"] if record.error is not None else record.notes[-1] if record.notes else "",
    )


@click.group()
def job() -> None:
    """Show, watch, cancel or repeat one job."""


@job.command("show")
@click.argument("id_", metavar="ID")
@pass_cli
def show(cli: Cli, id_: str) -> int:
    """Show all of a job: phases, notes, outcome."""
    record = cli.jobs.get(id_)
    if cli.output.as_json:
        cli.output.document(record_json(record))
        return ExitCode.DONE
    _print(cli, record)
    return ExitCode.DONE


def _print(cli: Cli, record: JobRecord) -> None:
    say = cli.output.text
    say(printable(f"{record.kind} of {record.host}/{record.vm}, asked by {record.by} at {local(record.asked)}"))
    say(printable(f"state     {record.state} {record.phase} {record.disk}".rstrip()))
    if not record.state.final and record.beat is not None:
        say(f"beat      {age((now() - record.beat).total_seconds())} ago")
    for phase in record.phases:
        say(printable(f"  {local(parse_instant(phase['at']))}  {phase['phase']} {phase['disk']}".rstrip()))
    for note in record.notes:
        say(printable(f"  ! {note}"))
    if record.error is not None:
        say(printable(f"error     {record.error['cause']} [{record.error['id']}]"))
        say(printable(f"          {record.error['next_step']}"))
    if "point" in record.result:
        say(printable(f"point     {record.result['point']}"))


@job.command("watch")
@click.argument("id_", metavar="ID")
@pass_cli
def watch(cli: Cli, id_: str) -> int:
    """Watch a job to its end; --json prints a line for each change."""
    record = follow(cli, cli.jobs.get(id_).id, as_lines=cli.output.as_json)
    if not cli.output.as_json:
        _print(cli, record)
    if record.error is None or record.state is JobState.WARNINGS:
        return ExitCode.DONE
    return int(record.error["exit_code"])


@job.command("cancel")
@click.argument("id_", metavar="ID")
@click.option(
    "--discard", is_flag=True, help="Of an instant restore: power its VM off and delete it with all that it wrote."
)
@click.option("--yes", is_flag=True, help="Your word for --discard.")
@pass_cli
def cancel(cli: Cli, id_: str, discard: bool, yes: bool) -> int:
    """Ask a job to stop. It cleans up first, and leaves the VM as it was found."""
    before = cli.jobs.get(id_)
    if discard and not yes:
        _ask_discard(cli, before)
    record = cli.jobs.cancel(before.id, discard=discard)
    if cli.output.as_json:
        cli.output.document(record_json(record))
    elif before.state.final:
        cli.output.text(f"job {record.id} had ended already: {record.state}")
    else:
        cli.output.text(f"job {record.id} was asked to stop; watch it with: vmtui job watch {record.id}")
    return ExitCode.DONE


def _ask_discard(cli: Cli, record: JobRecord) -> None:
    """The operator's word for losing what a VM wrote: its name, typed."""
    if sys.stdin.isatty() and not cli.output.as_json:
        question = f"{record.host}/{record.vm} is powered off and deleted with all that it wrote. Type its name"
        if click.prompt(question, default="", show_default=False, err=True) == record.vm:
            return
    raise RefusedError(
        "CONFIRM-MISSING", f"Discarding {record.vm} loses all that it wrote.", next_step="Say --discard --yes."
    )


@job.command("again")
@click.argument("id_", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
def again(cli: Cli, id_: str, yes: bool) -> int:
    """Put a new job with the same arguments into the queue. Restores and prunes begin with a fresh plan instead."""
    record = cli.jobs.get(id_)
    words = what_again_does(record)
    if words and not record.kind.planned:
        confirm(cli, f"The {record.kind} of {object_of(record)} runs again. {words}", yes=yes)
    new = cli.jobs.again(record.id)
    if cli.output.as_json:
        cli.output.document({"job": new})
    else:
        cli.output.text(f"job {new}; watch it with: vmtui job watch {new}")
    return ExitCode.DONE


@click.command()
@click.option("--idle-exit", is_flag=True, help="End after a while without jobs.")
@pass_cli
def worker(cli: Cli, idle_exit: bool) -> int:
    """Run jobs until a signal comes. Clients start one by themselves when none is alive."""
    from vmtui.jobs.worker import serve

    serve(cli.settings, idle_exit=idle_exit)
    return ExitCode.DONE
