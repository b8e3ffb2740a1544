"""What the verbs share: configuration, names, waiting for a job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vmtui import config, keyring
from vmtui.cli.output import Output
from vmtui.model.errors import ExitCode, RefusedError, UsageError, error_from_json
from vmtui.model.ids import JobId
from vmtui.model.job import JobKind, JobRecord, JobState
from vmtui.model.settings import Settings
from vmtui.overview.words import age, printable, size

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
        """The repository, opened; not yet in step. At a terminal, a missing passphrase is asked for."""
        from vmtui.opening import open_repository

        for _ in range(_TRIES):
            try:
                return open_repository(self.settings)
            except UsageError as error:
                if error.id not in ("REPO-LOCKED", "REPO-PASSPHRASE-WRONG") or not sys.stdin.isatty():
                    raise
                self.output.say(error.cause)
                keyring.keep(keyring.REPOSITORY, click.prompt("Passphrase", hide_input=True, err=True))
        return open_repository(self.settings)

    def passphrase(self) -> str:
        """The passphrase with which the repository was opened."""
        from vmtui.opening import passphrase

        return passphrase(self.settings)

    @cached_property
    def jobs(self) -> JobClient:
        """The job queue."""
        from vmtui.jobs import JobClient

        return JobClient(self.settings)


T = TypeVar("T")
_TRIES = 3

pass_cli = click.make_pass_decorator(Cli)


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def option_value(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    """The value of an option that was given.

    Raises:
        UsageError: It cannot be read.
    """
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError("NAME-BAD", f"{option} {text!r}: {error}.", next_step="See --help for an example.") from error


def confirm(cli: Cli, what: str, *, yes: bool) -> None:
    """Return when the operator agrees.

    Raises:
        RefusedError: They do not, or nobody can be asked.
    """
    asked = not yes and sys.stdin.isatty() and not cli.output.as_json
    if asked and cli.output.quiet:
        click.echo(printable(what), err=True)  # nobody agrees to what was not said
    cli.output.say(what)
    if yes or (asked and click.confirm("Go on?", default=False, err=True)):
        return
    raise RefusedError("CONFIRM-MISSING", "Nothing was done.", next_step="Say --yes.")


def new_passphrase(cli: Cli, file: Path | None) -> str:
    """A new passphrase: from a file, else typed twice.

    Raises:
        UsageError: Nobody can be asked, or the file cannot be read.
    """
    if file is not None:
        from vmtui.opening import from_file

        return from_file(file)
    if not sys.stdin.isatty() or cli.output.as_json:
        raise UsageError(
            "REPO-LOCKED", "A new passphrase is needed and nobody can be asked.", next_step="Use --new-passphrase-file."
        )
    typed: str = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return typed


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


def tell_detached(cli: Cli, job: JobId) -> int:
    """Say which job it is that nobody waits for."""
    cli.output.document({"job": job}) if cli.output.as_json else cli.output.text(job)
    return ExitCode.DONE


def refuse_read_only(cli: Cli, what: str) -> None:
    """Return if something may be changed.

    Raises:
        RefusedError: Read-only mode.
    """
    if cli.settings.read_only:
        raise RefusedError("READ-ONLY", f"{what} was refused: vmtui runs in read-only mode.")


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
    who = "" if record.kind is JobKind.GROUP_RESTORE else f"{record.vm} "  # its phase says which of several
    parts = [f"  {who}{record.phase} {record.disk}".rstrip()]
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
