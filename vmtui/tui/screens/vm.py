"""One VM: what is known of it, and its points."""

from __future__ import annotations

from typing import ClassVar

from vmtui.model.ids import VmId
from vmtui.overview.points import PointView
from vmtui.overview.words import age, rpo_text
from vmtui.tui import clock
from vmtui.tui.picture import Picture
from vmtui.tui.screens.points import PointsView, point_columns
from vmtui.tui.screens.vms import TONES
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.widgets.table import VirtualTable
from vmtui.tui.widgets.timeline import timeline

_NONE = "This VM has no restore point yet. b backs it up."


class VmPage(PointsView):
    """One VM and its points.

    Args:
        uuid: Which one.
        host: The host that it was seen on.
        name: Its name when the page was opened.
    """

    VIEW: ClassVar[str] = "vm"
    TAB: ClassVar[str] = "vms"
    HELP: ClassVar[str] = (
        "One VM with all its restore points, newest first. b backs the VM up; r restores the point under the cursor, "
        "as a new VM unless you say otherwise; enter shows the point."
    )

    def __init__(self, uuid: VmId, host: str, name: str) -> None:
        super().__init__()
        self._uuid = uuid
        self._host = host
        self._name = name
        self._points: tuple[PointView, ...] | None = None
        self._own: tuple[PointView, ...] = ()

    def table_widget(self) -> VirtualTable[PointView]:
        """The table."""
        return VirtualTable(point_columns(with_vm=False), _NONE, id="table")

    def draw(self, picture: Picture, /) -> None:
        """Show the points of this VM."""
        if picture.catalogue.points is not self._points:
            self._points = picture.catalogue.points
            self._own = tuple(point for point in picture.catalogue.points if point.uuid == self._uuid)
        self.table.empty = picture.catalogue.unknown_why or _NONE
        self.table.show(self._own)

    def focus_now(self) -> Focus:
        """The VM and the chosen points."""
        vms = tuple(row for row in self.ui.picture.rows if row.uuid == self._uuid and row.host == self._host)
        return Focus(self.VIEW, vms=vms, points=self.table.chosen())

    def status(self) -> list[Piece]:
        """Who it is, where it stands, and its points in time."""
        now = clock.now()
        row = next((row for row in self.ui.picture.rows if row.uuid == self._uuid and row.host == self._host), None)
        parts: list[Piece] = [(f" {self._name}", "strong"), (f" on {self._host}  ", "")]
        if row is not None:
            stand = row.at(now).stand
            parts += [(f"{row.state}  ", ""), (rpo_text(stand), TONES[stand.status])]
            parts.append((f"  age {age(stand.age_s)}  tier {stand.tier or '–'}  ", "dim"))  # a dash is meant
        room = self.size.width - sum(len(text) for text, _ in parts) - 30
        parts.append((timeline(self._own, now, max(0, room)), "dim"))
        return [*parts, (" ", ""), *self.freshness()]
