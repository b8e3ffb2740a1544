"""Levels of protection and where a VM stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vmtui.model.point import Mode


@dataclass(frozen=True, slots=True)
class KeepRule:
    """Which points of a VM are kept; a point that any part of it keeps, stays."""

    last: int = 0
    """So many of the newest points."""
    hourly: int = 0
    """The newest point of each of so many hours in which there are points; likewise below."""
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within_s: int = 0
    """Everything that is not older [s]."""

    @property
    def empty(self) -> bool:
        """Whether nothing is said; then nothing is pruned."""
        return self == KeepRule()


@dataclass(frozen=True, slots=True)
class Tier:
    """A level of recovery requirement."""

    name: str
    rpo_s: int
    """Acceptable data loss [s]."""
    rto_s: int | None = None
    """Acceptable downtime [s]."""
    mode: Mode = Mode.HOT
    keep: KeepRule = KeepRule()
    media: bool = False
    """What is in the VMs' CD-ROM and floppy drives is taken along."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Gives VMs a tier, or takes them out of policy with a reason. All given patterns must match."""

    host: str = "*"
    vm: str = "*"
    metadata: str | None = None
    """A text that must occur in the domain's <metadata>."""
    tier: str | None = None
    exempt: str | None = None
    """The reason why matching VMs need no backup."""


class Status(StrEnum):
    """Where a VM stands against its RPO; worst first."""

    NEVER = "never"
    BREACHED = "breached"
    UNKNOWN = "unknown"
    DUE = "due"
    OK = "ok"
    EXEMPT = "exempt"


@dataclass(frozen=True, slots=True)
class Protection:
    """A VM's standing at one instant."""

    status: Status
    tier: str | None
    rpo_s: int | None
    age_s: float | None
    """From the instant of consistency of the newest good point."""
    ratio: float | None
    """age / rpo."""
    reason: str = ""
    """Why exempt, or why unknown."""
