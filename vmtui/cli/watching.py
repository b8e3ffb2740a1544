"""Progress of work that runs in this very process."""

from __future__ import annotations

import threading

from vmtui.cli.output import Output
from vmtui.overview.words import size


class TerminalWatch:
    """A `Watch` that shows phases and a progress line."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._name = ""
        self._done = 0
        self._total: int | None = None

    def phase(self, name: str, *, disk: str = "", total: int | None = None) -> None:
        """Show that a new phase began."""
        with self._lock:
            self._name, self._done, self._total = f"{name} {disk}".rstrip(), 0, total
        self._output.say(f"  {self._name}")

    def advance(self, done: int, *, new: int = 0, stored: int = 0) -> None:
        """Show progress."""
        with self._lock:
            self._done += done
            if self._total:
                self._output.live(
                    f"  {self._name}  {100 * self._done // self._total} %  {size(self._done)} of {size(self._total)}"
                )

    def note(self, text: str, *, warning: bool = True) -> None:
        """Show a note."""
        self._output.say(f"  ! {text}")

    def check(self) -> None:
        """ctrl+c stops work in this process by itself."""
