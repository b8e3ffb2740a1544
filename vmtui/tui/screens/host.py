"""One host: its points, what they hold and what they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from vmtui.overview.points import PointView
from vmtui.overview.words import age, local
from vmtui.tui import clock
from vmtui.tui.picture import HostView, Picture
from vmtui.tui.screens.base import TableView
from vmtui.tui.screens.points import verified_cell
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.widgets.table import Cell, Column, VirtualTable

_SHOWN = 6
"""What is not held is listed up to so many lines; d shows all."""


def parts_of(point: PointView) -> Mapping[str, int]:
    """How many parts of each kind have a content of their own. Pure."""
    counts: dict[str, int] = {}
    for item in point.files:
        if item.path:
            counts[item.role] = counts.get(item.role, 0) + 1
    return counts


def parts_text(point: PointView) -> str:
    """`2 networks, 1 pool`. Pure."""
    return ", ".join(f"{count} {kind}{'s' if count != 1 else ''}" for kind, count in parts_of(point).items())


def newest_words(points: Sequence[PointView], now: datetime) -> list[Piece]:
    """The newest point of a host in a line. Pure."""
    if not points:
        return [("no host point yet: ", "warn"), ("b", "key"), (" keeps networks, pools, filters, files", "")]
    newest = points[0]
    since = age((now - newest.time).total_seconds())
    left = f", {len(newest.left_out)} not held" if newest.left_out else ""
    return [("host point ", ""), (f"{since} ago", "strong"), (f", {sum(parts_of(newest).values())} parts{left}", "dim")]


def host_point_words(point: PointView) -> list[list[Piece]]:
    """What is known of a host point, in a few lines. Pure."""
    lines: list[list[Piece]] = [[(point.host, "strong"), (f"  host point {point.id}", "dim")]]
    if point.damaged:
        lines.append([(f"✗ {point.damaged}", "bad")])
    if point.held is not None:
        lines.append([("held: ", "strong"), (point.held, "")])
    lines.append([(parts_text(point), "")])
    lines += [[(f"not held: {item.name}, {item.reason}", "warn")] for item in point.left_out[:_SHOWN]]
    rest = len(point.left_out) - _SHOWN
    return lines + ([[(f"and {rest} more: ", "dim"), ("d", "key"), (" shows all", "dim")]] if rest > 0 else [])


class HostPage(TableView):
    """One host and its points.

    Args:
        host: Its name.
    """

    VIEW: ClassVar[str] = "host"
    TAB: ClassVar[str] = "hosts"
    HELP: ClassVar[str] = (
        "What a host itself is made of, as it was kept: networks, pools, filters, secrets, configuration files, packages. "
        "Enter shows what differs on the host now; b makes a new host point; r brings back what is missing, after its plan."
    )

    def __init__(self, host: str) -> None:
        super().__init__()
        self._host = host

    def table_widget(self) -> VirtualTable[PointView]:
        """The table."""
        return VirtualTable(
            (
                Column("Time", 19, lambda row, _: Cell(local(row.time)), lambda row: row.id),
                Column("Age", 7, lambda row, now: Cell(age((now - row.time).total_seconds())), right=True),
                Column("Verified", 12, verified_cell),
                Column("Held", 4, lambda row, _: Cell("held" if row.held is not None else "", "warn"), wide=110),
                Column("Not held", 8, lambda row, _: Cell(str(len(row.left_out)), "warn" if row.left_out else "dim"), right=True),
                Column("Parts", 20, lambda row, _: Cell(parts_text(row)), grow=4),
                Column("Point", 16, lambda row, _: Cell(row.id, "dim"), wide=110),
            ),
            "This host has no point yet. b makes one.",
            id="table",
        )  # fmt: skip

    @property
    def _points(self) -> tuple[PointView, ...]:
        return tuple(point for point in self.ui.picture.catalogue.host_points if point.host == self._host)

    def draw(self, picture: Picture, /) -> None:
        """Show the points of this host."""
        if picture.catalogue.host_points is not getattr(self, "_seen", None):
            self._seen = picture.catalogue.host_points
            self._own = self._points
        self.table.show(self._own)

    def focus_now(self) -> Focus:
        """The host and the chosen points."""
        host = self.ui.picture.hosts.get(self._host)
        return Focus(self.VIEW, points=self.table.chosen(), hosts=(host,) if host is not None else ())

    def status(self) -> list[Piece]:
        """Which host, and how old what is kept of it is."""
        view: HostView | None = self.ui.picture.hosts.get(self._host)
        state = f"  {view.state}  " if view is not None else "  not configured  "
        newest = newest_words(self._points, clock.now())
        return [(f" {self._host}", "strong"), (state, ""), *newest, (" ", ""), *self.freshness()]

    def row_text(self, row: PointView) -> str:
        """Time, id, what it holds."""
        return f"{local(row.time)} {row.id} {parts_text(row)} {row.held or ''}"

    def row_fields(self, row: PointView) -> Mapping[str, Any]:
        """What can be asked."""
        return {"host": row.host, "age": (clock.now() - row.time).total_seconds()}

    def is_urgent(self, row: PointView) -> bool:
        """Damaged."""
        return bool(row.damaged)

    def panel(self, row: PointView) -> list[list[Piece]]:
        """What is known of the point."""
        return host_point_words(row)
