"""View 3: restore points of all VMs, or of the one that was drilled into."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from vmtui.overview.points import PointView
from vmtui.overview.rehearsals import rehearsal_lines, rehearsed_words
from vmtui.overview.words import age, local, size
from vmtui.tui import clock
from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import TableView
from vmtui.tui.screens.vms import short_size
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.widgets.table import Cell, Column, VirtualTable

CONSISTENCY_TONE = {"offline": "good", "application": "good", "filesystem": "good", "crash": "warn"}


def kinds_of(point: PointView) -> str:
    """`vda incremental, vdb full (raw)`."""
    return ", ".join(f"{disk.name} {disk.kind}" + (f" ({disk.reason})" if disk.reason else "") for disk in point.disks)


def verified_cell(point: PointView, now: datetime) -> Cell:
    """Whether its bytes were read again, and when."""
    if point.damaged:
        return Cell("✗ DAMAGED", "bad")
    if point.verified is None:
        return Cell("never", "dim")
    return Cell(f"✓ ok {age((now - point.verified).total_seconds())}", "good")


def rehearsed_cell(point: PointView, now: datetime) -> Cell:
    """Whether it was booted in isolation, when, and what came of it."""
    tone = "good" if point.rehearsed is not None and point.rehearsed.bootable else "bad"
    return Cell(rehearsed_words(point.rehearsed, now), tone)


def point_columns(*, with_vm: bool) -> tuple[Column[PointView], ...]:
    """Columns of a list of points."""
    own: tuple[Column[PointView], ...] = (
        Column("Time", 19, lambda row, _: Cell(local(row.time)), lambda row: row.id),
        Column("Age", 7, lambda row, now: Cell(age((now - row.time).total_seconds())), right=True),
        Column("Mode", 6, lambda row, _: Cell(row.mode or "?"), lambda row: row.mode),
        Column(
            "Consistency",
            11,
            lambda row, _: Cell(row.consistency or "?", CONSISTENCY_TONE.get(row.consistency, "")),
            lambda row: row.consistency,
        ),
        Column("Verified", 12, verified_cell, lambda row: row.verified.timestamp() if row.verified else 0.0),
        Column(
            "Rehearsed",
            13,
            rehearsed_cell,
            lambda row: row.rehearsed.time.timestamp() if row.rehearsed is not None else 0.0,
            wide=110,
        ),
        Column("Held", 4, lambda row, _: Cell("held" if row.held is not None else "", "warn"), wide=110),
        Column("New", 8, lambda row, _: Cell(short_size(row.new_bytes)), lambda row: row.new_bytes, right=True),
        Column(
            "Stored", 8, lambda row, _: Cell(short_size(row.stored_bytes)), lambda row: row.stored_bytes, right=True
        ),
        Column("Disks", 20, lambda row, _: Cell(kinds_of(row)), wide=110, grow=4),
        Column("tooK", 7, lambda row, _: Cell(age(row.seconds)), lambda row: row.seconds, right=True, wide=110),
        Column("Point", 16, lambda row, _: Cell(row.id, "dim"), wide=110),
    )
    if not with_vm:
        return own
    vm: Column[PointView] = Column(
        "VM", 12, lambda row, _: Cell(f"{row.host}/{row.vm}"), lambda row: (row.host, row.vm, row.id), grow=3
    )
    return (own[0], vm, *own[1:])


def point_words(point: PointView) -> list[list[Piece]]:
    """What is known of a point, in a few lines."""
    lines: list[list[Piece]] = [
        [(f"{point.host}/{point.vm}", "strong"), (f"  point {point.id}", "dim")],
    ]
    if point.damaged:
        lines.append([(f"✗ {point.damaged}", "bad")])
    if point.rehearsed is not None:
        label, text = rehearsal_lines(point, clock.now())[0]
        rto = point.rehearsed.rto_s
        measured = f"; measured RTO {rto:.0f} s" if rto is not None else ""
        lines.append([(f"{label}: ", "strong"), (text + measured, "" if point.rehearsed.bootable else "bad")])
    if point.held is not None:
        lines.append([("held: ", "strong"), (point.held, "")])
    why = f" ({point.consistency_reason})" if point.consistency_reason else ""
    if point.mode:
        amounts = f"{size(point.virtual_size)} of disks; new {size(point.new_bytes)}, stored {size(point.stored_bytes)}"
        lines.append([(f"{point.mode}, {point.consistency}-consistent{why}; {kinds_of(point)}", "")])
        lines.append([(f"{amounts}, took {point.seconds:.1f} s, guest frozen {point.frozen_ms} ms", "dim")])
    lines += [[(f"not held: {item.name}, {item.reason}", "warn")] for item in point.left_out_disks]
    return lines + [[(f"! {warning}", "warn")] for warning in point.warnings]


def point_fields(row: PointView) -> Mapping[str, Any]:
    """What a filter can ask of a point."""
    return {
        "vm": row.vm,
        "host": row.host,
        "mode": row.mode,
        "consistency": row.consistency,
        "size": row.virtual_size,
        "age": (clock.now().astimezone() - row.time).total_seconds(),
        "verified": None if row.verified is None else row.verified.timestamp(),
        "verified:word": "never" if row.verified is None else "ok",
        "rehearsed": None if row.rehearsed is None else row.rehearsed.time.timestamp(),
        "rehearsed:word": "never" if row.rehearsed is None else row.rehearsed.verdict.value,
        "kind": " ".join({disk.kind.value for disk in row.disks}),
        "has": " ".join(
            word
            for word, is_so in (("damage", row.damaged), ("warn", row.warnings), ("held", row.held is not None))
            if is_so
        ),
    }


def point_text(row: PointView) -> str:
    """What plain words of a filter look at."""
    return f"{row.host}/{row.vm} {row.id} {row.mode} {row.consistency} {row.damaged} {row.held or ''} {local(row.time)}"


_NONE = "There are no restore points yet. 2 shows the VMs, b backs one up."


class PointsView(TableView):
    """All restore points, newest first."""

    VIEW: ClassVar[str] = "points"
    HELP: ClassVar[str] = (
        "Every restore point of every VM. A point stands alone: any of them brings the whole VM back. Verified says "
        "when every byte of it was read and found right. A damaged point is never restored."
    )

    def table_widget(self) -> VirtualTable[PointView]:
        """The table."""
        return VirtualTable(point_columns(with_vm=True), _NONE, id="table")

    def draw(self, picture: Picture, /) -> None:
        """Show points."""
        self.table.empty = picture.catalogue.unknown_why or _NONE
        self.table.show(picture.catalogue.points)

    def focus_now(self) -> Focus:
        """The chosen points."""
        return Focus(self.VIEW, points=self.table.chosen())

    def row_text(self, row: PointView) -> str:
        """Name, id, mode, consistency, damage."""
        return point_text(row)

    def row_fields(self, row: PointView) -> Mapping[str, Any]:
        """What can be asked."""
        return point_fields(row)

    def is_urgent(self, row: PointView) -> bool:
        """Damaged."""
        return bool(row.damaged)

    def panel(self, row: PointView) -> list[list[Piece]]:
        """What is known of the point."""
        return point_words(row)
