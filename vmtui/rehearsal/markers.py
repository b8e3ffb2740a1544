"""What a rehearsal waits for. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from vmtui.model.errors import UsageError

SSH_PORT = 22
HTTP_PORT = 80


class MarkerKind(StrEnum):
    """Kinds of signs of life."""

    AGENT = "agent"
    SERIAL = "serial"
    SSH = "ssh"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Marker:
    """A sign of life."""

    kind: MarkerKind
    pattern: str = ""
    """A regular expression for the serial console."""
    port: int = 0
    """Of the guest, for SSH and HTTP."""
    path: str = ""
    status: int = 0
    """The HTTP status that counts; 0 for every one below 400."""

    @property
    def words(self) -> str:
        """For people."""
        if self.kind is MarkerKind.AGENT:
            return "the guest agent's answer"
        if self.kind is MarkerKind.SERIAL:
            return f"{self.pattern!r} on the serial console"
        if self.kind is MarkerKind.SSH:
            return f"an SSH banner on port {self.port}"
        return f"HTTP {self.status or 'below 400'} from port {self.port}{self.path}"

    @property
    def needs_network(self) -> bool:
        """Whether the VM must have an interface."""
        return self.kind in (MarkerKind.SSH, MarkerKind.HTTP)


_HTTP = re.compile(r"http(?::(?P<port>\d+)?(?P<path>/[^\s=]*)?(?:=(?P<status>\d{3}))?)?")
_SSH = re.compile(r"ssh(?::(?P<port>\d+))?")
_EXAMPLE = "One of: agent, serial:REGEX, ssh[:PORT], http:[PORT][/PATH][=STATUS]."


def parse_marker(text: str) -> Marker:
    """A marker as it is written on the command line.

    Raises:
        UsageError: It cannot be read.
    """
    if text == MarkerKind.AGENT:
        return Marker(MarkerKind.AGENT)
    kind, colon, rest = text.partition(":")
    if kind == MarkerKind.SERIAL and colon and rest:
        try:
            anything = re.search(rest, "", re.MULTILINE)
        except re.error as error:
            raise UsageError("NAME-BAD", f"--wait {text!r}: {error}.", next_step=_EXAMPLE) from error
        if anything is not None:
            raise UsageError("NAME-BAD", f"--wait {text!r} is met by a silent console too.", next_step=_EXAMPLE)
        return Marker(MarkerKind.SERIAL, pattern=rest)
    if (ssh := _SSH.fullmatch(text)) is not None:
        return Marker(MarkerKind.SSH, port=_port(text, ssh["port"], SSH_PORT))
    if (http := _HTTP.fullmatch(text)) is not None:
        port = _port(text, http["port"], HTTP_PORT)
        return Marker(MarkerKind.HTTP, port=port, path=http["path"] or "/", status=int(http["status"] or 0))
    raise UsageError("NAME-BAD", f"--wait {text!r} cannot be read.", next_step=_EXAMPLE)


def _port(text: str, digits: str | None, default: int) -> int:
    port = int(digits or default)
    if not 0 < port < 1 << 16:
        raise UsageError("NAME-BAD", f"--wait {text!r}: there is no port {port}.", next_step=_EXAMPLE)
    return port
