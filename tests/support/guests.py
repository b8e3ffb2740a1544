"""Real guests as tests see them: through their agent, and never through the code under test."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.support.client import wait_until
from tests.support.site import Site


def ask_agent(site: Site, vm: str, command: str, **arguments: Any) -> Any:
    """Call the guest agent; None when it does not answer."""
    request = json.dumps({"execute": command} | ({"arguments": arguments} if arguments else {}))
    answer = site.virsh("qemu-agent-command", "--timeout", "3", vm, request, check=False)
    return json.loads(answer)["return"] if answer.strip() else None


def run_in_guest(site: Site, vm: str, script: str, *, wait: bool = True) -> str:
    """Run a shell script in the guest; gives its output if it is waited for."""
    started = ask_agent(
        site, vm, "guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True} if wait else {}
    )
    assert started is not None, f"the agent of {vm} does not answer"
    if not wait:
        return ""
    result: dict[str, Any] = {}

    def ended() -> bool:
        result.update(ask_agent(site, vm, "guest-exec-status", pid=started["pid"]) or {})
        return bool(result.get("exited"))

    wait_until(ended, 30, f"the end of {script!r}")
    assert result["exitcode"] == 0, result
    return base64.b64decode(result.get("out-data", "")).decode()


def is_frozen(site: Site, vm: str) -> bool:
    """Whether the guest's file systems are frozen."""
    return bool(ask_agent(site, vm, "guest-fsfreeze-status") == "frozen")


def is_thawed(site: Site, vm: str) -> bool:
    """Whether the agent says that they are not."""
    return bool(ask_agent(site, vm, "guest-fsfreeze-status") == "thawed")


def wait_agent(site: Site, vm: str, seconds: float = 120) -> None:
    """Wait until the guest agent answers."""
    wait_until(lambda: ask_agent(site, vm, "guest-ping") is not None, seconds, f"an answer of {vm}'s agent")
