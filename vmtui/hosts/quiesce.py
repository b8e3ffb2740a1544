"""Freezing and thawing file systems through the guest agent, in bounded time."""

from __future__ import annotations

from dataclasses import dataclass

import libvirt

from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError, VmtuiError

_AGENT_S = 5
"""libvirt itself would wait for ever for the agent's answer."""
_CALL_S = 15.0
"""Bound of one call: libvirt's own synchronisation with the agent takes up to 5 s before ours starts."""


_NO_ANSWER = (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED, 111)
"""libvirt's codes for an agent that says nothing; the last is that of a command's time limit in newer versions."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """Result of a freeze."""

    count: int
    """Frozen file systems; 0 means that nothing was frozen."""
    reason: str
    """Why nothing was frozen; empty when something was."""
    unanswered: bool = False
    """The agent said nothing in time; it may freeze all the same, later."""


def freeze(domain: Domain) -> Frozen:
    """Freeze all file systems of the guest. A failed freeze thaws by itself.

    Never raises for what a guest cannot do: the point is then crash consistent, and says why.

    Raises:
        UnreachableError: libvirt does not answer in time.
    """

    def ask(handle: libvirt.virDomain) -> int:
        handle.agentSetResponseTimeout(_AGENT_S, 0)
        return int(handle.fsFreeze())

    try:
        count = domain.call("freeze the file systems", ask, deadline_s=_CALL_S)
    except FailedError as error:
        if error.id != "LIBVIRT":
            raise
        return Frozen(0, _reason(error), unanswered=error.facts.get("code") in _NO_ANSWER)
    return Frozen(count, "" if count else "the guest agent froze no file system")


@dataclass(frozen=True, slots=True)
class Thawed:
    """Result of a thaw."""

    count: int
    """File systems that were frozen until now."""
    problem: str
    """Why it failed; empty when it did not."""


def thaw(domain: Domain) -> Thawed:
    """Thaw all file systems. Safe to repeat, and on a guest that is not frozen; never raises."""

    def ask(handle: libvirt.virDomain) -> int:
        handle.agentSetResponseTimeout(_AGENT_S, 0)
        try:
            return int(handle.fsThaw())
        finally:
            handle.agentSetResponseTimeout(libvirt.VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0)

    try:
        return Thawed(domain.call("thaw the file systems", ask, deadline_s=_CALL_S), "")
    except VmtuiError as error:
        return Thawed(0, _reason(error))


def answers(domain: Domain) -> bool:
    """Whether the guest agent answers a ping."""

    def ask(handle: libvirt.virDomain) -> bool:
        handle.agentSetResponseTimeout(_AGENT_S, 0)
        return bool(handle.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_OS, 0))

    try:
        return domain.call("ask the guest agent", ask, deadline_s=_CALL_S)
    except FailedError:
        return False


def _reason(error: VmtuiError) -> str:
    """libvirt's words without our prefix."""
    return error.cause.rpartition(": ")[2]
