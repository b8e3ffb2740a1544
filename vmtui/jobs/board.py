"""How a running job tells what it does: counters in memory, published a few times a second.

The published event is the only thing that clients see while a job runs. It is one row that is replaced,
so a long job does not grow the database.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from vmtui.model.codec import format_instant
from vmtui.model.errors import CancelledError

EVENT = "progress"
"""Key of the event."""

_PERIOD_S = 0.25
_BEAT_S = 1.0
_CANCEL_POLL_S = 0.5
_RATE_S = 10.0
_KEPT = 200
"""Phases and notes that are kept; a job has far fewer, unless something goes round in circles."""


class Board:
    """A `Watch` that publishes. Counters may be changed from any thread.

    Args:
        publish: Stores the event; called on the board's own thread.
        cancelled: Tells whether somebody asked for the job to stop; called on the same thread.
        before: The event that an earlier step or process of the job left.
    """

    def __init__(
        self,
        publish: Callable[[Mapping[str, Any]], None],
        cancelled: Callable[[], bool],
        before: Mapping[str, Any] | None,
    ) -> None:
        before = before or {}
        self._publish = publish
        self._ask_cancelled = cancelled
        self._lock = threading.Lock()
        self._phases: list[dict[str, str]] = list(before.get("phases", ()))
        self._notes: list[str] = list(before.get("notes", ()))
        self._warned = bool(before.get("warned"))
        self._phase = str(before.get("phase", ""))
        self._work: list[dict[str, Any]] = list(before.get("work", ()))
        self._disk = ""
        self._total: int | None = None
        self._done = self._new = self._stored = 0
        self._samples: deque[tuple[float, int]] = deque()
        self._moved = 0
        self._changed = True
        self._cancel = threading.Event()
        self._stop = threading.Event()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=lambda: context.run(self._run), name="board", daemon=True)
        self._thread.start()

    # -- Watch -----------------------------------------------------------------------------------

    def phase(self, name: str, *, disk: str = "", total: int | None = None) -> None:
        """A new phase began; counters start at zero."""
        with self._lock:
            self._phase, self._disk, self._total = name, disk, total
            self._done = self._new = self._stored = 0
            self._phases.append({"phase": name, "disk": disk, "at": format_instant(datetime.now(UTC))})
            if total is not None:
                self._work.append({"phase": name, "disk": disk, "total": total, "done": 0, "new": 0, "stored": 0})
                del self._work[:-_KEPT]
            del self._phases[:-_KEPT]
            self._changed = True

    def advance(self, done: int, *, new: int = 0, stored: int = 0) -> None:
        """More bytes were dealt with."""
        with self._lock:
            self._done += done
            self._new += new
            self._stored += stored
            self._moved += done
            if self._total is not None and self._work:
                self._work[-1] |= {"done": self._done, "new": self._new, "stored": self._stored}
            self._changed = True

    def note(self, text: str, *, warning: bool = True) -> None:
        """Something that the operator should read."""
        with self._lock:
            self._warned = self._warned or warning
            if not self._notes or self._notes[-1] != text:
                self._notes.append(text)
                del self._notes[:-_KEPT]
            self._changed = True

    def check(self) -> None:
        """Return if the work may go on.

        Raises:
            CancelledError: Somebody asked for it to stop.
        """
        if self._cancel.is_set():
            raise CancelledError("CANCELLED", "It was stopped on request.")

    # -- publishing ------------------------------------------------------------------------------

    def close(self) -> None:
        """Publish the last state and stop."""
        self._stop.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        last_beat = last_poll = 0.0
        while True:
            stopping = self._stop.wait(_PERIOD_S)
            now = time.monotonic()
            if now - last_poll >= _CANCEL_POLL_S and not self._cancel.is_set():
                last_poll = now
                if self._ask_cancelled():
                    self._cancel.set()
            if stopping or self._changed or now - last_beat >= _BEAT_S:
                last_beat = now
                self._publish(self._event(now))
            if stopping:
                return

    def _event(self, now: float) -> dict[str, Any]:
        with self._lock:
            self._changed = False
            self._samples.append((now, self._moved))
            while now - self._samples[0][0] > _RATE_S and len(self._samples) > 2:
                self._samples.popleft()
            span = now - self._samples[0][0]
            rate = (self._moved - self._samples[0][1]) / span if span > 0 else 0.0
            return {
                "phase": self._phase,
                "disk": self._disk,
                "done": self._done,
                "total": self._total,
                "new": self._new,
                "stored": self._stored,
                "rate": rate,
                "beat": format_instant(datetime.now(UTC)),
                "phases": list(self._phases),
                "work": [dict(item) for item in self._work],
                "notes": list(self._notes),
                "warned": self._warned,
            }
