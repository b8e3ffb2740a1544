"""What the verbs share: configuration, names, waiting for a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmtui import config
from vmtui.cli.output import Output
from vmtui.model.errors import ExitCode, error_from_json
from vmtui.model.ids import JobId
from vmtui.model.job import JobKind, JobRecord, JobState
from vmtui.model.settings import Settings
from vmtui.overview.words import age, size

if TYPE_CHECKING:
    from vmtui.jobs import JobClient
    from vmtui.repository import Repository


class Cli:
    """One invocation.

    Args:
        output: How it speaks.
        path: The configuration file.
        read_only: Refuse everything that changes something.
    """

    def __init__(self, output: Output, path: Path, read_only: bool) -> None:
        self.output = output
        self.path = path
        self._read_only = read_only

    @cached_property
    def settings(self) -> Settings:
        """The configuration."""
        settings = config.load(self.path)
        return replace(settings, read_only=settings.read_only or self._read_only)

    @cached_property
    def repository(self) -> Repository:
        """The repository, opened; not yet in step."""
        from vmtui.opening import open_repository

        return open_repository(self.settings)

    @cached_property
    def jobs(self) -> JobClient:
        """The job queue."""
        from vmtui.jobs import JobClient

        return JobClient(self.settings)


pass_cli = click.make_pass_decorator(Cli)


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


# -- waiting for jobs ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job to enqueue."""

    kind: JobKind
    host: str
    vm: str
    request: Any


def enqueue(cli: Cli, wanted: Wanted) -> JobId:
    """Enqueue a job and say so."""
    job = cli.jobs.enqueue(wanted.kind, wanted.host, wanted.vm, wanted.request)
    target = "/".join(part for part in (wanted.host, wanted.vm) if part) or "the repository"
    cli.output.say(f"job {job}: {wanted.kind} of {target}")
    return job


def follow(cli: Cli, job: JobId, *, as_lines: bool = False) -> JobRecord:
    """Watch a job to its end.

    Args:
        cli: The invocation.
        job: The job.
        as_lines: Print each change as a JSON line.

    Returns:
        Its last record.
    """
    record: JobRecord | None = None
    phase = ("", "")
    notes = shown = 0
    try:
        for record in cli.jobs.watch(job):
            if as_lines:
                cli.output.line(record_json(record))
                continue
            for note in record.notes[notes:]:
                cli.output.say(f"  ! {note}")
            notes = len(record.notes)
            finished = len(record.work) if record.state.final else len(record.work) - 1
            for work in record.work[shown:finished]:
                cli.output.say(work_line(work))
            shown = max(shown, finished)
            if (record.phase, record.disk) != phase and record.phase:
                phase = (record.phase, record.disk)
                if not record.total:
                    cli.output.say(f"  {record.phase} {record.disk}".rstrip())
            cli.output.live(progress_line(record))
    except KeyboardInterrupt:
        cli.output.say(f"job {job} goes on; watch it with: vmtui job watch {job}")
        raise
    cli.output.clear_live()
    assert record is not None
    return record


_BAR = 24


def bar(done: int, total: int) -> str:
    """`[######..................]`."""
    filled = _BAR if done >= total else _BAR * done // total
    return "[" + "#" * filled + "." * (_BAR - filled) + "]"


def work_line(work: Mapping[str, Any]) -> str:
    """What became of one disk in one phase, with its bar."""
    text = f"  {work['phase']} {work['disk']}".ljust(20) + f" {bar(work['done'], work['total'])} {size(work['done'])}"
    if work["total"] == 0:
        return text + ", nothing to do"
    return text + (f", {size(work['new'])} new, {size(work['stored'])} stored" if work["new"] or work["stored"] else "")


def progress_line(record: JobRecord) -> str:
    """`transfer vda  61 %  38 of 62 GiB  142 MiB/s  left 2m`."""
    parts = [f"  {record.vm} {record.phase} {record.disk}".rstrip()]
    if record.total:
        parts.append(f"{bar(record.done, record.total)} {100 * record.done // record.total} %")
        parts.append(f"{size(record.done)} of {size(record.total)}")
    elif record.done:
        parts.append(size(record.done))
    if record.rate:
        parts.append(f"{size(int(record.rate))}/s")
        if record.total:
            parts.append(f"left {age((record.total - record.done) / record.rate)}")
    return "  ".join(parts)


def record_json(record: JobRecord) -> dict[str, Any]:
    """A job in the words of the JSON contract."""
    from vmtui.model.codec import to_plain

    plain: dict[str, Any] = to_plain(record)
    return plain


def raise_unless_ok(record: JobRecord) -> None:
    """Return if the job ended well.

    Raises:
        VmtuiError: The error that ended it.
    """
    if record.state in (JobState.OK, JobState.WARNINGS):
        return
    assert record.error is not None
    raise error_from_json(record.error).about(job=record.id)


def worst(codes: Sequence[int]) -> int:
    """The exit code of several jobs: that of the first that did not end well."""
    return next((code for code in codes if code), ExitCode.DONE)
