"""What an operator sees of a running job, and how the work reports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot of a running job; sent at most four times a second."""

    phase: str
    disk: str = ""
    done: int = 0
    """Bytes dealt with."""
    total: int | None = None
    """Bytes to deal with; None while it is not known."""
    new: int = 0
    """Bytes that the repository did not have."""
    stored: int = 0
    """Bytes written to the repository, compressed."""
    rate_bytes_s: float = 0.0
    note: str = ""


class Watch(Protocol):
    """How the work tells what it does and learns that it should stop. Safe from any thread."""

    def phase(self, name: str, *, disk: str = "", total: int | None = None) -> None:
        """A new phase began; counters start at zero."""

    def advance(self, done: int, *, new: int = 0, stored: int = 0) -> None:
        """More bytes were dealt with."""

    def note(self, text: str, *, warning: bool = True) -> None:
        """Something that the operator should read; kept with the job. A warning marks the job as such."""

    def check(self) -> None:
        """Return if the work may go on.

        Raises:
            CancelledError: Somebody asked for it to stop.
        """


class SilentWatch:
    """A watch that nobody looks at."""

    def phase(self, name: str, *, disk: str = "", total: int | None = None) -> None:
        """Ignore it."""

    def advance(self, done: int, *, new: int = 0, stored: int = 0) -> None:
        """Ignore it."""

    def note(self, text: str, *, warning: bool = True) -> None:
        """Ignore it."""

    def check(self) -> None:
        """Never stop."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of evidence or of a preflight."""

    name: str
    ok: bool | None
    """True passed, False failed, None not done."""
    detail: str = ""
    facts: Mapping[str, str] | None = None
