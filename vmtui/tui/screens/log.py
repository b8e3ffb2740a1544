"""View 8: what happened, newest first; every message is here, also after it left the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vmtui.overview.journal import LogEntry
from vmtui.overview.words import local
from vmtui.tui import clock
from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import TableView
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.widgets.table import Cell, Column, VirtualTable

_TONES = {"error": "bad", "warning": "warn"}
_GLYPHS = {"error": "✗", "warning": "!"}


class LogView(TableView):
    """The event log."""

    VIEW: ClassVar[str] = "log"
    HELP: ClassVar[str] = (
        "Everything that was noticed: hosts that came and went, jobs that ended, messages that were shown. It is kept "
        "on this machine. Enter on a line of a job opens the job."
    )

    def table_widget(self) -> VirtualTable[LogEntry]:
        """The table."""
        return VirtualTable(
            (
                Column("Time", 19, lambda row, _: Cell(local(row.time)), lambda row: row.time),
                Column("Level", 9, lambda row, _: Cell(f"{_GLYPHS.get(row.level, ' ')} {row.level}", _TONES.get(row.level, "")), lambda row: row.level),
                Column("Source", 14, lambda row, _: Cell(row.source), lambda row: row.source, grow=1),
                Column("text", 20, lambda row, _: Cell(row.text, _TONES.get(row.level, "")), grow=6),
                Column("Id", 18, lambda row, _: Cell(row.error_id, "dim"), lambda row: row.error_id, wide=110),
            ),
            "Nothing happened yet.",
            id="table",
        )  # fmt: skip

    def draw(self, picture: Picture, /) -> None:
        """Show entries, newest first."""
        if picture.log is not getattr(self, "_log", None):
            self._log = picture.log
            self._rows = tuple(reversed(picture.log))
        self.table.show(self._rows)

    def focus_now(self) -> Focus:
        """The chosen entries."""
        return Focus(self.VIEW, entries=self.table.chosen())

    def row_text(self, row: LogEntry) -> str:
        """All of it."""
        return f"{row.level} {row.source} {row.text} {row.error_id} {row.job}"

    def row_fields(self, row: LogEntry) -> Mapping[str, Any]:
        """What can be asked."""
        return {
            "kind": row.level,
            "host": row.source,
            "error": row.error_id or None,
            "age": (clock.now() - row.time).total_seconds(),
        }

    def is_urgent(self, row: LogEntry) -> bool:
        """Errors and warnings."""
        return row.level in _TONES

    def panel(self, row: LogEntry) -> list[list[Piece]]:
        """The whole text, and what to do."""
        lines: list[list[Piece]] = [[(f"{row.source}: ", "strong"), (row.text, _TONES.get(row.level, ""))]]
        if row.next_step:
            lines.append([(row.next_step, ""), (f" [{row.error_id}]", "dim")])
        return lines
