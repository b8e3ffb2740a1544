"""Which tier a VM has, and where it stands against its RPO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from vmtui.model.policy import Protection, Rule, Status, Tier
from vmtui.model.vm import Vm

DUE_RATIO = 0.8
"""From this share of the RPO on, a VM is due."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A VM's tier, or the reason why it has none."""

    tier: Tier | None
    exempt: str = ""


def assign(vm: Vm, rules: Sequence[Rule], tiers: Mapping[str, Tier], default_tier: str) -> Assignment:
    """The first matching rule wins; what matches nothing gets the default tier. Pure."""
    for rule in rules:
        if _matches(rule, vm):
            if rule.tier is None:
                return Assignment(None, rule.exempt or "")
            return Assignment(tiers[rule.tier])
    return Assignment(tiers[default_tier])


def _matches(rule: Rule, vm: Vm) -> bool:
    return (
        fnmatchcase(vm.host, rule.host)
        and fnmatchcase(vm.name, rule.vm)
        and (rule.metadata is None or rule.metadata in vm.metadata)
    )


def protection(
    assignment: Assignment,
    newest_good: datetime | None,
    now: datetime,
    *,
    unknown: str = "",
) -> Protection:
    """Where a VM stands at `now` [UTC]. Pure.

    Args:
        assignment: Its tier or its exemption.
        newest_good: Instant of consistency of its newest good point [UTC].
        now: The clock.
        unknown: Why host or repository cannot be asked; the last known age goes on growing.
    """
    age_s = None if newest_good is None else (now - newest_good).total_seconds()
    if assignment.tier is None:
        return Protection(Status.EXEMPT, None, None, age_s, None, assignment.exempt)
    tier = assignment.tier
    ratio = None if age_s is None else age_s / tier.rpo_s
    if age_s is not None and age_s < 0:
        unknown = unknown or "the clock is behind the newest point"
    if unknown:
        return Protection(Status.UNKNOWN, tier.name, tier.rpo_s, age_s, ratio, unknown)
    return Protection(_status(ratio), tier.name, tier.rpo_s, age_s, ratio)


def _status(ratio: float | None) -> Status:
    if ratio is None:
        return Status.NEVER
    if ratio > 1:
        return Status.BREACHED
    return Status.DUE if ratio >= DUE_RATIO else Status.OK
