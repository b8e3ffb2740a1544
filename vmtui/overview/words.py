"""How things are said to people: sizes, spans of time, and text from elsewhere made safe."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from datetime import datetime

import humanize

from vmtui.model.errors import UsageError, VmtuiError
from vmtui.model.host import HostState
from vmtui.model.policy import Protection, Status

_GLYPH = {
    Status.NEVER: "✗",
    Status.BREACHED: "✗",
    Status.UNKNOWN: "?",
    Status.DUE: "!",
    Status.OK: "✓",
    Status.EXEMPT: "–",  # a dash is meant
}

_HOST_STATES = {
    "HOST-KEY-UNKNOWN": HostState.KEY_UNKNOWN,
    "HOST-KEY-CHANGED": HostState.KEY_CHANGED,
    "HOST-LOGIN-REFUSED": HostState.LOGIN_REFUSED,
    "HOST-LIBVIRT-DOWN": HostState.LIBVIRT_DOWN,
}


def status_glyph(status: Status) -> str:
    """The sign of a status."""
    return _GLYPH[status]


def rpo_text(stand: Protection) -> str:
    """`✗ ×2.7 breached`."""
    return " ".join(part for part in (_GLYPH[stand.status], ratio_text(stand.ratio), stand.status.value) if part)


def host_state(error: VmtuiError | None) -> HostState:
    """What an answer, or its absence, says about a host."""
    return HostState.CONNECTED if error is None else _HOST_STATES.get(error.id, HostState.UNREACHABLE)


def size(number: int | None) -> str:
    """Bytes for people."""
    return "–" if number is None else humanize.naturalsize(number, binary=True)


def age(seconds: float | None) -> str:
    """A span of time for people: two units at most."""
    if seconds is None:
        return "–"
    whole = int(max(0, seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def local(instant: datetime | None) -> str:
    """An instant in the local zone."""
    return "–" if instant is None else instant.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ratio_text(ratio: float | None) -> str:
    """`×2.7`: two significant digits."""
    return "" if ratio is None else f"×{ratio:.2g}" if ratio < 100 else f"×{ratio:.0f}"  # the sign is meant


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not there, with the nearest one that is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names[:20]) or 'none'}."
    return UsageError("NAME-UNKNOWN", f"There is no {kind} {name!r}.", next_step=hint, name=name)


def printable(text: str) -> str:
    """Text from elsewhere, safe on a terminal: control and direction characters are shown, not obeyed."""
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return character.encode("unicode_escape", "backslashreplace").decode("ascii")
    return character


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def pad(text: str, columns: int) -> str:
    """Fill up with blanks."""
    return text + " " * (columns - width(text))
