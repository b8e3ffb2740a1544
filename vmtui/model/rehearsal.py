"""What a rehearsal found out about a point: whether it boots, in isolation, and how long that took."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vmtui.model.ids import JobId

PREFIX = "vmtui-rehearsal-"
"""Names of throw-away VMs and of their folders begin so; the run's id and a token of the attempt follow."""

_NAME = re.compile(PREFIX + r"[0-9a-z]{16}-[0-9a-f]{8}")


def is_throw_away(name: str) -> bool:
    """Whether a VM is one of a rehearsal: it is no VM that anybody would protect."""
    return _NAME.fullmatch(name) is not None


class Verdict(StrEnum):
    """What became of a rehearsal that was carried out; one that could not be is no verdict on the point."""

    BOOTABLE = "bootable"
    """The marker was seen, and the check command succeeded where there was one."""
    FAILED = "failed"


class Network(StrEnum):
    """What a VM in rehearsal is connected to."""

    NONE = "none"
    """Its interfaces are taken out."""
    ISOLATED = "isolated"
    """Its first interface ends in QEMU's own user-mode stack, which lets nothing out."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A rehearsal as it is kept in a point's history."""

    verdict: Verdict
    time: datetime
    """When it was decided [UTC]."""
    host: str
    job: JobId
    network: Network
    marker: str
    """What was waited for, in words."""
    reason: str = ""
    """Why it failed; empty when it did not."""
    boot_s: float | None = None
    """From the start of the processors to the marker [s]."""
    rto_s: float | None = None
    """From asking for it to the marker [s]; None when that was not measured."""
    untested: tuple[str, ...] = ()
    """How the VM differed from the real one, so what the verdict does not speak of."""
    evidence: str = ""
    """Id of the entry beside it that holds picture and console; empty when there is none."""
    picture: str = ""
    """SHA-256 of the picture [hex]; empty when none was taken."""

    @property
    def bootable(self) -> bool:
        """Whether it proved the point."""
        return self.verdict is Verdict.BOOTABLE


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a rehearsal saw; kept beside the point, so that it travels with the repository."""

    picture: str
    """The screen at the end, a PNG [base64]; empty when none could be taken."""
    console: str
    """The end of what the VM said on its serial console."""
    result: str
    """All that was measured and checked, as JSON."""
    capture: str = ""
    """Every frame on its isolated network, as libpcap's format [base64]; empty when nobody asked for it."""
