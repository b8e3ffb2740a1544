"""The event log: what the screens noticed, kept on disk one JSON line each."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vmtui.model.codec import from_plain, to_plain

_FILE = "events.jsonl"
_SHOWN = 500
_TAIL_BYTES = 256 << 10
_LIMIT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of the event log."""

    time: datetime
    level: str
    """info, warning or error."""
    source: str
    """A host, a job, the repository, or `vmtui`."""
    text: str
    error_id: str = ""
    next_step: str = ""
    job: str = ""

    @property
    def id(self) -> str:
        """Names the row."""
        return f"{self.time.isoformat()} {self.source} {self.text}"


def write(state: Path, entries: tuple[LogEntry, ...]) -> None:
    """Add entries. A full or read-only disk must not end the screens: the entries are still on them."""
    path = state / _FILE
    try:
        state.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LIMIT_BYTES:
            path.replace(path.with_suffix(".1.jsonl"))
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            for entry in entries:
                file.write(json.dumps(to_plain(entry), ensure_ascii=False) + "\n")
    except OSError:
        return


def tail(state: Path) -> tuple[LogEntry, ...]:
    """The last entries, oldest first; a torn or foreign line is passed over."""
    path = state / _FILE
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            start = max(0, file.tell() - _TAIL_BYTES)
            file.seek(start)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ()
    entries = [entry for line in lines[1 if start else 0 :] if (entry := _parsed(line)) is not None]
    return tuple(entries[-_SHOWN:])


def _parsed(line: str) -> LogEntry | None:
    try:
        return from_plain(LogEntry, json.loads(line))
    except ValueError:
        return None
