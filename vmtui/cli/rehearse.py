"""rehearse: prove that a point boots."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.shared import Cli, Wanted, enqueue, follow, option_value, pass_cli, raise_unless_ok, tell_detached
from vmtui.model.errors import ExitCode, FailedError, UsageError
from vmtui.model.job import JobKind, JobRecord
from vmtui.model.rehearsal import Network
from vmtui.overview.words import printable, unknown

if TYPE_CHECKING:
    from vmtui.repository import PointName

_MARKS = {True: "passed", False: "FAILED", None: "not done"}


@click.command()
@click.argument("point")
@click.option("--on", "host", default=None, help="Host; by default the one that the point is of.")
@click.option(
    "--network",
    type=click.Choice([network.value for network in Network]),
    default=Network.NONE.value,
    help="none: interfaces are taken out. isolated: one that leads nowhere.",
)
@click.option(
    "--wait", default="agent", metavar="SIGN", help="agent, serial:REGEX, ssh[:PORT] or http:[PORT][/PATH][=STATUS]."
)
@click.option(
    "--check", default="", metavar="COMMAND", help="A program in the guest that must end with 0; no shell reads it."
)
@click.option("--timeout", default=None, metavar="TIME", help="For the sign, and again for the program: 3m by default.")
@click.option(
    "--keep-screenshot", type=click.Path(path_type=Path), default=None, metavar="FILE", help="Write the PNG here."
)
@click.option(
    "--keep-capture",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Write every frame here (pcap).",
)
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@pass_cli
def rehearse(
    cli: Cli,
    point: str,
    host: str | None,
    network: str,
    wait: str,
    check: str,
    timeout: str | None,
    keep_screenshot: Path | None,
    keep_capture: Path | None,
    detach: bool,
) -> int:
    """Boot a point in isolation, wait for a sign of life, and throw it away.

    POINT is an id, the start of one, VM@latest, or VM@good, for which VM is short: the newest without known damage.

    It runs from a throw-away overlay on the repository: nothing big is copied, and neither the repository nor the VM is
    touched. The verdict is kept on the point, with the measured time and a picture of the screen: vmtui show POINT
    """
    from vmtui.cli.choosing import chosen_point
    from vmtui.config.fields import duration_s
    from vmtui.rehearsal import RehearsalRequest
    from vmtui.rehearsal.markers import parse_marker
    from vmtui.rehearsal.plan import TIMEOUT_S

    parse_marker(wait)
    kept = {"picture": keep_screenshot, "capture": keep_capture}
    _refuse_files(kept, detach=detach)
    cli.repository.sync()
    name = chosen_point(cli, point)
    manifest = cli.repository.points.load(name)
    target = host or manifest.host
    if target not in cli.settings.hypervisors:
        raise unknown("host", target, cli.settings.hypervisors)
    request = RehearsalRequest(
        vm=manifest.vm_uuid,
        point=manifest.id,
        host=target,
        network=Network(network),
        wait=wait,
        check=tuple(_words(check)),
        timeout_s=float(option_value("--timeout", timeout, duration_s) or TIMEOUT_S),
        capture=keep_capture is not None,
    )
    job = enqueue(cli, Wanted(JobKind.REHEARSE, target, manifest.vm_name, request))
    if detach:
        return tell_detached(cli, job)
    record = follow(cli, job)
    if "verdict" in record.result:
        _keep(cli, name, record, kept)
        _tell(cli, record)
    if record.error is not None and cli.output.as_json and "verdict" in record.result:
        return ExitCode(int(record.error["exit_code"]))  # the document says it all
    raise_unless_ok(record)
    return ExitCode.DONE


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UsageError("NAME-BAD", f"--check {command!r}: {error}.", next_step="Close the quotes.") from error


def _refuse_files(kept: Mapping[str, Path | None], *, detach: bool) -> None:
    for path in filter(None, kept.values()):
        if detach:
            raise UsageError(
                "NAME-BAD", "Nobody waits to write files.", next_step="Later: vmtui show POINT --screenshot FILE"
            )
        if path.exists():
            raise UsageError("NAME-BAD", f"{path} is already there.", next_step="Choose another file.")


def _keep(cli: Cli, name: PointName, record: JobRecord, kept: Mapping[str, Path | None]) -> None:
    if not any(kept.values()):
        return
    events = [event.rehearsal for event in cli.repository.points.history(name) if event.rehearsal is not None]
    rehearsal = next(item for item in events if item.job == record.id)
    evidence = cli.repository.points.evidence(name, rehearsal.evidence)
    for field, path in kept.items():
        if path is not None:
            write_new(path, base64.b64decode(getattr(evidence, field)))


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet.

    Raises:
        FailedError: There is nothing to write, or it cannot be written.
    """
    if not data:
        raise FailedError("WRITE-FAILED", f"{path} was not written: nothing was recorded.")
    try:
        with path.open("xb") as out:
            out.write(data)
    except OSError as error:
        raise FailedError("WRITE-FAILED", f"{path} was not written: {error.strerror}.") from error


def _tell(cli: Cli, record: JobRecord) -> None:
    result = dict(record.result)
    if cli.output.as_json:
        cli.output.document(result | {"job": record.id, "notes": list(record.notes)})
        return
    for check in result["checks"]:
        cli.output.text(printable(f"  {_MARKS[check['ok']]:8}  {check['name']:20} {check['detail']}"))
    if result["verdict"] == "failed":
        for line in result["console"][-12:]:
            cli.output.text(printable(f"  | {line}"))
    if result["check"] is not None and result["check"]["output"]:
        for line in result["check"]["output"].splitlines()[-12:]:
            cli.output.text(printable(f"  $ {line}"))
    cli.output.text(printable(headline(result, _target_rto(cli, result))))


def headline(result: Mapping[str, Any], target_s: int | None) -> str:
    """One line: the verdict, and the measured time beside what is allowed."""
    from vmtui.overview.words import age

    rto = result["rto_s"]
    time = f", {rto:.1f} s from asking to the sign" if rto is not None else ""
    allowed = f" (the tier allows {age(target_s)})" if target_s is not None and rto is not None else ""
    why = f": {result['reason']}" if result["reason"] else ""
    return f"{result['host']}/{result['vm']}: point {result['point']} {result['verdict'].upper()}{why}{time}{allowed}"


def _target_rto(cli: Cli, result: Mapping[str, Any]) -> int | None:
    from vmtui.model.ids import VmId
    from vmtui.model.vm import DomainState, Vm
    from vmtui.policy import assign

    vm = Vm(str(result["host"]), str(result["vm"]), VmId(""), DomainState.NO_STATE)
    tier = assign(vm, cli.settings.rules, cli.settings.tiers, cli.settings.default_tier).tier
    return tier.rto_s if tier is not None else None
