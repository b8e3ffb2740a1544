"""hosts, vms, host trust."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vmtui.cli.shared import Cli, now, pass_cli
from vmtui.model.errors import ExitCode, RefusedError, VmtuiError
from vmtui.model.host import Capabilities, Host, version_text
from vmtui.model.ids import VmId
from vmtui.model.policy import Status
from vmtui.overview.fleet import Answer, ask_all, inventory
from vmtui.overview.vms import VmRow, vm_rows
from vmtui.overview.words import age, host_state, printable, rpo_text, unknown

if TYPE_CHECKING:
    from vmtui.hosts import HostSession
    from vmtui.overview.catalogue import KnownVm


# -- hosts ---------------------------------------------------------------------------------------


@click.command()
@pass_cli
def hosts(cli: Cli) -> int:
    """Show all hosts: state, versions, VMs, what they can do."""
    answers = ask_all(cli.settings, list(cli.settings.hypervisors), _look)
    rows = [_host_row(cli.settings.hosts[answer.host], answer) for answer in answers]
    if cli.output.as_json:
        cli.output.document(rows)
    else:
        cli.output.table(
            ("Host", "State", "VMs", "libvirt", "QEMU", "Hot backup", "Answer"),
            [
                (
                    row["host"],
                    row["state"],
                    str(row["vms"] if row["vms"] is not None else ""),
                    row["libvirt"] or "",
                    row["hypervisor"] or "",
                    {True: "yes", False: "no", None: ""}[row["hot_backup"]],
                    f"{row['seconds']:.2f} s",
                )
                for row in rows
            ],
            f"No hosts are configured in {cli.path}.",
        )
    for answer in answers:
        if answer.error is not None:
            cli.output.say(f"{answer.host}: {answer.error.cause} {answer.error.next_step} [{answer.error.id}]")
    return ExitCode.DONE if any(answer.error is None for answer in answers) or not answers else ExitCode.UNREACHABLE


def _look(session: HostSession) -> tuple[Capabilities, int]:
    from vmtui.hosts.capabilities import probe
    from vmtui.hosts.inventory import list_vms

    return probe(session), len(list_vms(session))


def _host_row(host: Host, answer: Answer) -> dict[str, Any]:
    row: dict[str, Any] = {
        "host": host.name,
        "address": host.address,
        "state": host_state(answer.error),
        "read_only": host.read_only,
        "seconds": round(answer.seconds, 3),
        "vms": None,
        "libvirt": None,
        "hypervisor": None,
        "hot_backup": None,
        "guard": None,
        "forwarding": None,
        "error": answer.error.to_json() if answer.error is not None else None,
    }
    if isinstance(answer.value, tuple):
        capabilities, vms = answer.value
        row |= {
            "vms": vms,
            "libvirt": version_text(capabilities.libvirt_version),
            "hypervisor": version_text(capabilities.hypervisor_version),
            "hot_backup": capabilities.hot_backup,
            "guard": capabilities.virsh,
            "forwarding": capabilities.forwarding,
        }
    return row


# -- vms -----------------------------------------------------------------------------------------


@click.command()
@click.option(
    "--check",
    is_flag=True,
    help="For monitoring: exit 7 if a VM is breached or was never backed up, 4 if that is not known of all.",
)
@pass_cli
def vms(cli: Cli, check: bool) -> int:
    """Show all VMs with the age of their newest good point against their RPO; worst first."""
    rows, away, why_unknown = seen_vms(cli)
    if cli.output.as_json:
        cli.output.document([_row_json(row) for row in rows])
    else:
        _print_vms(cli, rows)
    for host, error in away.items():
        cli.output.say(f"{host}: {error.cause} {error.next_step} [{error.id}]")
    if why_unknown:
        cli.output.say(f"The age of points is not known: {why_unknown}")
    if check and any(row.stand.status in (Status.NEVER, Status.BREACHED) for row in rows):
        return ExitCode.BREACHED
    if check and (away or why_unknown):
        return ExitCode.UNREACHABLE
    if away and len(away) == len(cli.settings.hypervisors):
        return ExitCode.UNREACHABLE
    return ExitCode.DONE


def seen_vms(cli: Cli) -> tuple[list[VmRow], Mapping[str, VmtuiError], str]:
    """All VMs, worst first; the errors of hosts that are away; why ages are not known."""
    found = inventory(cli.settings)
    known, why_unknown = _known(cli)
    away = {host: error.cause for host, error in found.away.items()}
    return vm_rows(cli.settings, found.vms, away, known, now(), why_unknown), found.away, why_unknown


def _known(cli: Cli) -> tuple[dict[VmId, KnownVm], str]:
    """Newest points by VM, and why they cannot be known."""
    from vmtui.overview.catalogue import known_vms

    try:
        return known_vms(cli.repository), ""
    except VmtuiError as error:
        return {}, f"{error.cause} [{error.id}]"


def _row_json(row: VmRow) -> dict[str, Any]:
    """A VM in the words of the JSON contract."""
    stand = row.stand
    return {
        "host": row.host,
        "name": row.name,
        "uuid": row.uuid,
        "state": row.state,
        "tier": stand.tier,
        "rpo_s": stand.rpo_s,
        "age_s": None if stand.age_s is None else round(stand.age_s, 1),
        "ratio": None if stand.ratio is None else round(stand.ratio, 4),
        "status": stand.status,
        "last_point": row.last_point,
        "protected": stand.status in (Status.OK, Status.DUE),
        "points": row.points,
        "reason": stand.reason,
        "twin": row.twin,
    }


def _print_vms(cli: Cli, rows: list[VmRow]) -> None:
    cli.output.table(
        ("VM", "Host", "State", "RPO", "Age", "Tier", "Points", "Note"),
        [
            (
                row.name,
                row.host,
                row.state,
                rpo_text(row.stand),
                age(row.stand.age_s),
                row.stand.tier or "",
                str(row.points),
                "twin: the same UUID on two hosts" if row.twin else row.stand.reason,
            )
            for row in rows
        ],
        "No VMs: " + ("no hosts are configured." if not cli.settings.hosts else "no host that answered has any."),
    )


# -- host trust ----------------------------------------------------------------------------------


@click.group()
def host() -> None:
    """Add a host, accept its SSH key; keep, compare and bring back its configuration."""


@host.command("add")
@click.argument("name")
@click.argument("place", metavar="[USER@]ADDRESS[:PORT]")
@pass_cli
def add(cli: Cli, name: str, place: str) -> int:
    """Add a host to the configuration file; everything else in it stays as it is."""
    from vmtui.config.edit import add_host, host_values

    if cli.settings.read_only:
        raise RefusedError("READ-ONLY", "Adding a host was refused: vmtui runs in read-only mode.")
    add_host(cli.path, name, host_values(place))
    if cli.output.as_json:
        cli.output.document({"host": name, "config": str(cli.path)})
    else:
        cli.output.text(printable(f"{name} was added to {cli.path}; next: vmtui host trust {name}"))
    return ExitCode.DONE


@host.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Accept without asking; compare the fingerprint yourself.")
@pass_cli
def trust(cli: Cli, name: str, yes: bool) -> int:
    """Show the SSH key of a host and accept it."""
    from vmtui.hosts import TrustStore
    from vmtui.hosts.login import shown_key
    from vmtui.hosts.trust import Verdict, fingerprint

    wanted = cli.settings.hosts.get(name)
    if wanted is None:
        raise unknown("host", name, cli.settings.hosts)
    store = TrustStore(cli.settings.known_hosts)
    jump = cli.settings.hosts[wanted.jump] if wanted.jump is not None else None
    address, key = shown_key(wanted, jump, store)
    result = {
        "host": name,
        "address": address.host,
        "port": address.port,
        "kind": key.get_name(),
        "fingerprint": fingerprint(key),
        "verdict": store.verdict(address.host, address.port, key),
    }
    shown = f"{name} ({address.host} port {address.port}) shows the key {key.get_name()} {fingerprint(key)}"
    cli.output.say(shown)
    if result["verdict"] is not Verdict.KNOWN:
        if result["verdict"] is Verdict.UNKNOWN and not yes:
            _ask_trust(name, shown if cli.output.quiet else "")
        store.accept(address.host, address.port, key)
    if cli.output.as_json:
        cli.output.document(result)
    else:
        cli.output.text(printable(f"{name} is trusted with {result['fingerprint']}"))
    return ExitCode.DONE


def _ask_trust(name: str, shown: str) -> None:
    question = f"{printable(shown)}\nIs this the host's own fingerprint?".lstrip()
    if sys.stdin.isatty() and click.confirm(question, default=False, err=True):
        return
    raise RefusedError(
        "CONFIRM-MISSING",
        f"The key of {name} was not accepted.",
        next_step="Compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host, then say --yes.",
    )
