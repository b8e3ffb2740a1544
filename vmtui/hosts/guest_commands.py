"""Programs inside a guest, through its agent, with bounds on time and output.

The agent is fragile: an answer that is too long kills its channel until the VM restarts. So output is cut inside the
guest, before the agent sees it.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import libvirt
import libvirt_qemu

from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError

_ANSWER_S = 5
_CALL_S = 20.0
"""Bound of one call: libvirt's own synchronisation with the agent takes up to 5 s before ours starts."""
_POLL_S = 0.1
OUTPUT_LIMIT = 8 << 10
"""The end of a program's output that is kept [bytes]."""
_CUT = f'out=$("$@" 2>&1); status=$?; printf %s "$out" | tail -c {OUTPUT_LIMIT}; exit $status'


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a program in the guest."""

    status: int | None
    """Its exit status; None when a signal ended it or it did not end in time."""
    output: str
    """The end of what it printed, both outputs together; empty where the guest has no shell."""
    seconds: float


def ping(domain: Domain) -> bool:
    """Whether the guest agent answers."""
    try:
        _ask(domain, "guest-ping")
    except FailedError:
        return False
    return True


def run(domain: Domain, argv: Sequence[str], limit_s: float, check: Callable[[], None]) -> Ran:
    """Run a program in the guest and wait for its end.

    Args:
        domain: The VM.
        argv: The program, found on the guest's path, and its arguments; no shell reads them.
        limit_s: How long it may take [s]; it is then left running.
        check: Called while waiting; may raise to give up.

    Raises:
        FailedError: The agent refuses to run programs, or there is no such program.
    """
    began = time.monotonic()
    windows = _ask(domain, "guest-get-osinfo").get("id") == "mswindows"
    command = list(argv) if windows else ["/bin/sh", "-c", _CUT, "sh", *argv]
    started = _ask(
        domain, "guest-exec", path=command[0], arg=command[1:], **({} if windows else {"capture-output": True})
    )
    while True:
        status = _ask(domain, "guest-exec-status", pid=started["pid"])
        seconds = time.monotonic() - began
        if status.get("exited"):
            return Ran(status.get("exitcode"), _text(status.get("out-data", "")), seconds)
        if seconds > limit_s:
            return Ran(None, "", seconds)
        check()
        time.sleep(_POLL_S)


def _text(data: Any) -> str:
    try:
        return base64.b64decode(str(data)).decode("utf-8", "replace")
    except binascii.Error:
        return ""  # the guest made it; it is shown, nothing depends on it


def _ask(domain: Domain, command: str, **arguments: Any) -> dict[str, Any]:
    """One question to the agent.

    Raises:
        FailedError: It does not answer in time, or refuses.
    """
    question = json.dumps({"execute": command} | ({"arguments": arguments} if arguments else {}))

    def ask(handle: libvirt.virDomain) -> str:
        return str(libvirt_qemu.qemuAgentCommand(handle, question, _ANSWER_S, 0))

    answer = json.loads(domain.call(f"ask the guest agent ({command})", ask, deadline_s=_CALL_S))
    value = answer.get("return") if isinstance(answer, dict) else None
    return value if isinstance(value, dict) else {}


def monitor(domain: Domain, command: str) -> str:
    """Ask QEMU's monitor, in its words for people.

    Raises:
        FailedError: libvirt refused.
    """

    def ask(handle: libvirt.virDomain) -> str:
        return str(libvirt_qemu.qemuMonitorCommand(handle, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP))

    return domain.call("ask QEMU's monitor", ask)
