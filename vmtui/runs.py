"""What a run writes down on this machine before it does something that a successor must know of."""

from __future__ import annotations

import os
from pathlib import Path

from vmtui.model.ids import JobId


class RunNotes:
    """The notes of one run: small facts, each durable before the call returns.

    Args:
        state: State folder of this machine.
        run: The run.
    """

    def __init__(self, state: Path, run: JobId) -> None:
        self.folder = state / "runs" / run

    def note(self, name: str, text: str = "") -> None:
        """Write down a fact."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"{name}.new"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / name)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)

    def withdraw(self, name: str) -> None:
        """A fact holds no longer."""
        (self.folder / name).unlink(missing_ok=True)

    def noted(self, name: str) -> bool:
        """Whether a fact was written down."""
        return (self.folder / name).is_file()

    def text(self, name: str) -> str:
        """What was written down; empty when nothing was."""
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def discard(self) -> None:
        """The run is over."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                path.unlink(missing_ok=True)
            self.folder.rmdir()
