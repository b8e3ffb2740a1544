"""View 5: hosts, how they answer, and what they can do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from vmtui.model.host import HostState, version_text
from vmtui.overview.points import PointView
from vmtui.overview.words import age, size
from vmtui.tui import clock
from vmtui.tui.picture import HostView, Picture
from vmtui.tui.screens.base import TableView
from vmtui.tui.screens.host import newest_words
from vmtui.tui.screens.vms import short_size
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.widgets.table import Cell, Column, VirtualTable

_TONES = {HostState.CONNECTED: "good", HostState.CONNECTING: "dim", HostState.KEY_UNKNOWN: "warn"}
_GLYPHS = {HostState.CONNECTED: "✓", HostState.CONNECTING: "…", HostState.KEY_UNKNOWN: "!"}


def host_words(view: HostView, now: datetime) -> tuple[str, str]:
    """State of a host with since when, and its tone."""
    text = f"{_GLYPHS.get(view.state, '✗')} {view.state}"
    if view.away:
        text += f" {age((now - view.since).total_seconds())}"
        if view.next_try is not None:
            text += f", try {max(0, (view.next_try - now).total_seconds()):.0f}s"
    return text, _TONES.get(view.state, "bad")


class HostsView(TableView):
    """All configured hosts."""

    _newest: Mapping[str, PointView] = {}  # replaced as a whole by each drawing
    VIEW: ClassVar[str] = "hosts"
    HELP: ClassVar[str] = (
        "Every configured host with its own connection. One that hangs delays nobody else; it is tried again by "
        "itself. Enter shows what is kept of the host itself, or asks about an unknown key; b keeps it now; n adds a host."
    )

    def table_widget(self) -> VirtualTable[HostView]:
        """The table."""
        return VirtualTable(
            (
                Column("Host", 10, lambda row, _: Cell(row.name), lambda row: row.name, grow=1),
                Column("State", 22, lambda row, now: Cell(*host_words(row, now)), lambda row: row.state.value, grow=2),
                Column("VMs", 5, lambda row, _: Cell(str(len(row.vms)) if row.as_of else "?"), lambda row: len(row.vms), right=True),
                Column("libvirt", 8, lambda row, _: Cell(_version(row, "libvirt_version"))),
                Column("QEMU", 8, lambda row, _: Cell(_version(row, "hypervisor_version"))),
                Column("Hot", 4, lambda row, _: Cell(_hot(row))),
                Column("aNswer", 8, lambda row, _: Cell("" if row.seconds is None else f"{row.seconds:.2f} s"), lambda row: row.seconds or 0.0, right=True),
                Column("Free", 14, lambda row, _: Cell(_free(row)), grow=2),
                Column("Kept", 7, self._kept, right=True, wide=110),
                Column("Way", 12, lambda row, _: Cell(row.capabilities.forwarding if row.capabilities else ""), wide=110),
                Column("Guard", 6, lambda row, _: Cell({True: "yes", False: "no", None: ""}[row.capabilities.virsh if row.capabilities else None]), wide=110),
            ),
            "No hosts are configured. n adds one.",
            id="table",
        )  # fmt: skip

    def _kept(self, row: HostView, now: datetime) -> Cell:
        """Age of the newest host point."""
        newest = self._newest.get(row.name)
        return Cell("none", "warn") if newest is None else Cell(age((now - newest.time).total_seconds()))

    def draw(self, picture: Picture, /) -> None:
        """Show hosts."""
        if picture.hosts is not getattr(self, "_hosts", None):
            self._hosts = picture.hosts
            self._rows = tuple(picture.hosts.values())
        if picture.catalogue.host_points is not getattr(self, "_points", None):
            self._points = picture.catalogue.host_points
            self._newest = {point.host: point for point in reversed(picture.catalogue.host_points)}
        self.table.show(self._rows)

    def focus_now(self) -> Focus:
        """The chosen hosts."""
        return Focus(self.VIEW, hosts=self.table.chosen())

    def row_text(self, row: HostView) -> str:
        """Name and state."""
        return f"{row.name} {row.state}"

    def row_fields(self, row: HostView) -> Mapping[str, Any]:
        """What can be asked."""
        return {"host": row.name, "state": row.state.value, "error": str(row.error["id"]) if row.error else None}

    def is_urgent(self, row: HostView) -> bool:
        """Away."""
        return row.away

    def panel(self, row: HostView) -> list[list[Piece]]:
        """What is known of the host."""
        host = self.ui.settings.hosts.get(row.name)
        where = (
            f"  {host.user + '@' if host.user else ''}{host.address}{f':{host.port}' if host.port else ''}  {host.uri}"
            if host
            else ""
        )
        lines: list[list[Piece]] = [[(row.name, "strong"), (where, "dim")]]
        if row.error is not None:
            lines.append([(str(row.error["cause"]), "bad")])
            lines.append([(str(row.error["next_step"]), ""), (f" [{row.error['id']}]", "dim")])
        if row.as_of is not None:
            lines.append([(f"last answer {age((clock.now() - row.as_of).total_seconds())} ago", "dim")])
        if row.read_only:
            lines.append([("read-only: backups and restores here are refused", "warn")])
        own = [point for point in self.ui.picture.catalogue.host_points if point.host == row.name]
        lines.append(newest_words(own, clock.now()))
        return lines + [[(f"pool {pool.name}: {size(pool.free)} free of {size(pool.size)}", "")] for pool in row.pools]


def _version(view: HostView, name: str) -> str:
    return version_text(getattr(view.capabilities, name)) if view.capabilities is not None else ""


def _hot(view: HostView) -> str:
    return "" if view.capabilities is None else "yes" if view.capabilities.hot_backup else "no"


def _free(view: HostView) -> str:
    return ", ".join(f"{pool.name} {short_size(pool.free)}" for pool in view.pools)
