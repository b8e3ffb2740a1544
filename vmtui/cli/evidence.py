"""Checks, plans and evidence of restores in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from vmtui.cli.output import Output
from vmtui.model.codec import to_plain
from vmtui.overview.words import printable, size

if TYPE_CHECKING:
    from vmtui.model.progress import Check
    from vmtui.restore import RestorePlan

MARKS = {True: "passed", False: "FAILED", None: "not done"}


def check_lines(checks: Iterable[Check | Mapping[str, Any]]) -> list[str]:
    """A line for each check, safe on a terminal. Pure."""
    plain = [check if isinstance(check, Mapping) else to_plain(check) for check in checks]
    return [printable(f"  {MARKS[check['ok']]:8}  {check['name']:20} {check['detail']}") for check in plain]


def plan_json(plan: RestorePlan) -> dict[str, Any]:
    """A plan as other programs read it. Pure."""
    return {
        "vm": plan.name,
        "host": plan.request.host,
        "point": plan.request.point,
        "uuid": plan.uuid,
        "bytes": plan.data_bytes,
        "disks": [
            {
                "disk": disk.target,
                "path": disk.path,
                "bytes": disk.write_bytes,
                "exact": disk.base is None or disk.base.exact,
                "on_top": disk.base is not None,
                "since": disk.base.point if disk.base is not None else None,
            }
            for disk in plan.disks
        ],
        "steps": to_plain(plan.steps),
        "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in plan.checks],
        "changes": list(plan.changes),
        "destroys": plan.destroys,
        "unchecked": list(plan.unchecked),
        "command": plan.command,
        "ready": not plan.refused,
    }


def plan_body(output: Output, plan: RestorePlan) -> None:
    """Print where a plan goes, its checks, its steps, and what it destroys and does not check."""
    say = output.text
    kind = "the VM itself" if plan.request.keeps_identity else "a new VM"
    state = "running at once" if plan.request.instant else "started" if plan.request.start else "powered off"
    say(printable(f"To        {plan.request.host}, {kind} {plan.name}, {state}"))
    say()
    for check in plan.checks:
        say(printable(f"  {MARKS[check.ok]:8}  {check.name:12} {check.detail}"))
    say()
    for step in plan.steps:
        say(printable(f"  {step.number:3}  {step.text}{'' if step.bytes is None else f'  ({size(step.bytes)})'}"))
    say()
    say(printable(f"Destroys  {plan.destroys}"))
    for text in plan.unchecked:
        say(printable(f"Unchecked {text}"))
