"""What the guest agent does inside a running guest: files in small parts, and commands whose output is short.

The agent is fragile: a write of more than 64 KiB makes it go away for a while, and a command with much output
takes its channel down until the VM is restarted. So no call here carries much.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import libvirt
import libvirt_qemu

from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError

WRITE_SIZE = 48 << 10
"""Bytes in one write: 64 KiB as base64."""
READ_SIZE = 256 << 10
_ANSWER_S = 20
_CALL_S = 40.0
"""Bound of one call: libvirt first synchronises with the agent."""
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command in the guest ended."""

    status: int
    output: str


class GuestAgent:
    """The agent of one running guest. All calls block.

    Args:
        domain: The VM.
    """

    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def commands(self) -> frozenset[str]:
        """Names of what it is allowed to do.

        Raises:
            FailedError: It does not answer.
            UnreachableError: The host does not.
        """
        answer = self._ask("guest-info")
        supported = answer.get("supported_commands", []) if isinstance(answer, dict) else []
        return frozenset(str(item.get("name")) for item in supported if item.get("enabled"))

    def run(self, argv: Sequence[str], *, deadline_s: float = 60.0) -> Ran:
        """Run a command and wait for its end. Its output must be short.

        Raises:
            FailedError: It cannot be started, or does not end in time.
            UnreachableError: The host does not answer.
        """
        started = self._ask("guest-exec", path=argv[0], arg=list(argv[1:]), **{"capture-output": True})
        deadline = time.monotonic() + deadline_s
        while True:
            state = self._ask("guest-exec-status", pid=started["pid"])
            if state["exited"]:
                return Ran(int(state.get("exitcode", -1)), _decoded(state.get("out-data", "")).decode(errors="replace"))
            if time.monotonic() >= deadline:
                raise _refused(f"{argv[0]} in the guest did not end within {deadline_s:.0f} s")
            time.sleep(_POLL_S)

    def write(self, path: str, parts: Iterator[bytes]) -> None:
        """Write a file from its beginning.

        Raises:
            FailedError: The agent cannot write it.
            UnreachableError: The host does not answer.
        """
        with self._opened(path, "w") as handle:
            for part in parts:
                for start in range(0, len(part), WRITE_SIZE):
                    self._write_all(handle, part[start : start + WRITE_SIZE])
            self._ask("guest-file-flush", handle=handle)

    def _write_all(self, handle: int, data: bytes) -> None:
        while data:
            text = base64.b64encode(data).decode("ascii")
            count = int(self._ask("guest-file-write", handle=handle, **{"buf-b64": text})["count"])
            if not 0 < count <= len(data):
                raise _refused(f"wrote {count} of {len(data)} bytes")
            data = data[count:]

    def read(self, path: str) -> Iterator[bytes]:
        """A file's bytes. Errors as above."""
        with self._opened(path, "r") as handle:
            while True:
                answer = self._ask("guest-file-read", handle=handle, count=READ_SIZE)
                data = _decoded(answer.get("buf-b64", ""))
                if data:
                    yield data
                if answer.get("eof") or not data:
                    return

    def exists(self, path: str) -> bool:
        """Whether a file can be opened there."""
        try:
            with self._opened(path, "r"):
                return True
        except FailedError:
            return False

    @contextmanager
    def _opened(self, path: str, mode: str) -> Iterator[int]:
        handle = int(self._ask("guest-file-open", path=path, mode=mode))
        try:
            yield handle
        finally:
            self._ask("guest-file-close", handle=handle)

    def _ask(self, command: str, **arguments: Any) -> Any:
        """One command and its answer.

        Raises:
            FailedError: The agent refused, or does not answer.
        """
        text = json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command})

        def call(handle: libvirt.virDomain) -> str:
            return str(libvirt_qemu.qemuAgentCommand(handle, text, _ANSWER_S, 0))

        try:
            answer = self._domain.call(f"ask the guest agent: {command}", call, deadline_s=_CALL_S)
        except FailedError as error:
            if error.id != "LIBVIRT":
                raise
            raise _refused(error.cause.rpartition(": ")[2]) from error
        try:
            return json.loads(answer)["return"]
        except (ValueError, KeyError, TypeError) as error:
            raise _refused(f"{command}: its answer is none") from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, TypeError) as error:
        raise _refused("its answer is not base64") from error


def _refused(reason: str) -> FailedError:
    return FailedError("GUEST-AGENT", f"The guest agent: {reason}.")
