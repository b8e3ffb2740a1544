"""The command log: what was asked of hosts, by the screens and by the worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from vmtui.calls import Call, recent
from vmtui.tui import clock
from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import TableView
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.widgets.table import Cell, Column, VirtualTable

_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call as a row."""

    number: int
    call: Call

    @property
    def id(self) -> str:
        """Names the row."""
        return f"{self.call.at:.6f} {self.call.host} {self.call.what}"


class CallsPage(TableView):
    """Every libvirt call, remote command and file operation with its duration."""

    VIEW: ClassVar[str] = "calls"
    TAB: ClassVar[str] = "log"
    HELP: ClassVar[str] = (
        "What was asked of the hosts, newest first: libvirt calls, remote commands, file operations, sockets. It shows "
        "what a host is slow at, and teaches what happens behind the keys. Secrets are never in it."
    )

    def table_widget(self) -> VirtualTable[CallRow]:
        """The table."""
        return VirtualTable(
            (
                Column("Time", 12, lambda row, _: Cell(_time(row.call))),
                Column("Host", 8, lambda row, _: Cell(row.call.host), lambda row: row.call.host),
                Column("Kind", 8, lambda row, _: Cell(row.call.kind, "dim"), lambda row: row.call.kind),
                Column("tooK", 8, lambda row, _: Cell(f"{row.call.seconds:.3f} s"), lambda row: row.call.seconds, right=True),
                Column("Result", 8, _result, lambda row: row.call.result),
                Column("what", 20, lambda row, _: Cell(row.call.what), grow=5),
                Column("By", 8, lambda row, _: Cell(row.call.by, "dim"), lambda row: row.call.by, wide=110),
            ),
            "Nothing was asked yet.",
            id="table",
        )  # fmt: skip

    def draw(self, _picture: Picture, /) -> None:
        """Show the calls as they are now."""
        calls = recent(self.ui.settings.state)
        self.table.show(tuple(CallRow(number, call) for number, call in enumerate(calls)))

    def status(self) -> list[Piece]:
        """Calls a minute and the time spent in them, by host."""
        now = clock.now().timestamp()
        last = [row.call for row in self.table.rows if now - row.call.at < _MINUTE_S]
        counts = Counter(call.host for call in last)
        spent = {host: sum(call.seconds for call in last if call.host == host) for host in counts}
        words = ", ".join(f"{host} {count}/min {spent[host]:.1f} s" for host, count in counts.items())
        return [*super().status(), (f"  {words}", "dim")]

    def focus_now(self) -> Focus:
        """Calls are only looked at."""
        return Focus(self.VIEW)

    def row_text(self, row: CallRow) -> str:
        """All of it."""
        call = row.call
        return f"{call.host} {call.kind} {call.what} {call.result} {call.by}"

    def row_fields(self, row: CallRow) -> Mapping[str, Any]:
        """What can be asked."""
        return {
            "host": row.call.host,
            "kind": row.call.kind,
            "error": None if row.call.result == "ok" else row.call.result,
        }

    def panel(self, row: CallRow) -> list[list[Piece]]:
        """The whole call."""
        call = row.call
        return [
            [(f"{call.host} {call.kind}: ", "strong"), (call.what, "")],
            [(f"{call.result} after {call.seconds:.3f} s, asked by the {call.by}", "dim")],
        ]


def _time(call: Call) -> str:
    return datetime.fromtimestamp(call.at, UTC).astimezone().strftime("%H:%M:%S.%f")[:12]


def _result(row: CallRow, _: datetime) -> Cell:
    good = row.call.result in ("ok", "exit 0")
    return Cell(row.call.result, "good" if good else "warn")
