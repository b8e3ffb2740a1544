"""View 2: VMs, worst first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from vmtui.model.ids import VmId
from vmtui.model.job import JobRecord
from vmtui.model.policy import Status
from vmtui.overview.points import PointView
from vmtui.overview.rehearsals import newest_proofs, proven_words
from vmtui.overview.vms import GONE, UNREACHABLE, VmRow, needs_attention, urgency
from vmtui.overview.words import age, local, rpo_text, size
from vmtui.tui import clock
from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import TableView
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.widgets.table import Cell, Column, VirtualTable

TONES = {
    Status.NEVER: "bad",
    Status.BREACHED: "bad",
    Status.UNKNOWN: "unknown",
    Status.DUE: "warn",
    Status.OK: "good",
    Status.EXEMPT: "dim",
}


class VmsView(TableView):
    """All VMs of all hosts against their RPO."""

    VIEW: ClassVar[str] = "vms"
    HELP: ClassVar[str] = (
        "Every VM of every configured host, and VMs that only have points left. RPO is the age of the newest good "
        "point as a share of what its tier allows: ×1 is the limit. ✗ could be lost, ! soon, ? not known, ✓ fine."
    )

    def __init__(self) -> None:
        super().__init__()
        self._newest: dict[str, PointView] = {}
        self._proven: Mapping[VmId, PointView] = {}
        self._points: tuple[PointView, ...] | None = None
        self._jobs: dict[tuple[str, str], JobRecord] = {}

    def table_widget(self) -> VirtualTable[VmRow]:
        """The table."""
        return VirtualTable(
            (
                Column("VM", 10, lambda row, _: Cell(row.name), lambda row: row.name, grow=3),
                Column("Host", 6, lambda row, _: Cell(row.host), lambda row: (row.host, row.name), grow=1),
                Column("State", 9, self._state, lambda row: row.state),
                Column("RPO", 15, self._rpo, urgency),
                Column("Age", 7, self._age, lambda row: -(row.newest.timestamp() if row.newest else 0), right=True),
                Column("siZe", 6, self._size_cell, self._bytes, right=True),
                Column("Points", 6, lambda row, _: Cell(str(row.points)), lambda row: row.points, right=True),
                Column("Note", 8, self._note, grow=4),
                Column("Tier", 9, lambda row, _: Cell(row.stand.tier or "–", "dim"), wide=110),
                Column("Mode", 6, lambda row, _: Cell(self._of(row, "mode")), wide=110),
                Column("Consistency", 11, lambda row, _: Cell(self._of(row, "consistency")), wide=110),
                Column("Verified", 10, self._verified, wide=110),
            ),
            "No VMs yet: no host has answered, or none has any. 5 shows the hosts.",
            id="table",
        )

    # -- cells -----------------------------------------------------------------------------------

    @staticmethod
    def _state(row: VmRow, _: datetime) -> Cell:
        if row.state == UNREACHABLE:
            return Cell("~unreach", "unknown")
        return Cell(row.state, "dim" if row.state == GONE else "")

    @staticmethod
    def _rpo(row: VmRow, now: datetime) -> Cell:
        stand = row.at(now).stand
        return Cell(rpo_text(stand), TONES[stand.status])

    @staticmethod
    def _age(row: VmRow, now: datetime) -> Cell:
        return Cell("–" if row.newest is None else age((now - row.newest).total_seconds()))

    def _bytes(self, row: VmRow) -> int:
        newest = self._newest.get(row.uuid)
        return newest.virtual_size if newest is not None else -1

    def _size_cell(self, row: VmRow, _: datetime) -> Cell:
        known = self._bytes(row)
        return Cell("–" if known < 0 else short_size(known))

    def _of(self, row: VmRow, name: str) -> str:
        newest = self._newest.get(row.uuid)
        return str(getattr(newest, name)) if newest is not None else "–"

    def _verified(self, row: VmRow, now: datetime) -> Cell:
        newest = self._newest.get(row.uuid)
        if newest is None:
            return Cell("–")
        if newest.damaged:
            return Cell("DAMAGED", "bad")
        if newest.verified is None:
            return Cell("never", "dim")
        return Cell(f"ok {age((now - newest.verified).total_seconds())}", "good")

    def _note(self, row: VmRow, _: datetime) -> Cell:
        running = self._jobs.get((row.host, row.name))
        if running is not None:
            percent = f" {100 * running.done // running.total} %" if running.total else ""
            return Cell(f"now {running.phase or running.state}{percent}", "warn")
        newest = self._newest.get(row.uuid)
        if row.twin:
            return Cell("twin", "bad")
        if newest is not None and newest.damaged:
            return Cell("damaged", "bad")
        if row.stand.status is Status.EXEMPT:
            return Cell("restorable" if row.state == GONE else row.stand.reason, "dim")
        if row.stand.status is Status.UNKNOWN:
            return Cell(row.stand.reason, "unknown")
        if newest is not None and newest.left_out_disks:
            return Cell("disk not taken", "warn")
        if newest is not None and newest.consistency == "crash":
            return Cell("crash-c.", "warn")
        return Cell("")

    # -- the view --------------------------------------------------------------------------------

    def draw(self, picture: Picture, /) -> None:
        """Show VMs."""
        if picture.catalogue.points is not self._points:
            self._points = picture.catalogue.points
            self._newest = {point.uuid: point for point in reversed(picture.catalogue.points)}
            self._proven = newest_proofs(picture.catalogue.points)
        self._jobs = {(record.host, record.vm): record for record in picture.jobs.active}
        self.table.show(picture.rows)

    def focus_now(self) -> Focus:
        """The chosen VMs."""
        return Focus(self.VIEW, vms=self.table.chosen())

    def row_text(self, row: VmRow) -> str:
        """Name, host, state, tier, reason."""
        return f"{row.host}/{row.name} {row.state} {row.stand.tier or ''} {row.stand.status} {row.stand.reason}"

    def row_fields(self, row: VmRow) -> Mapping[str, Any]:
        """What can be asked."""
        newest = self._newest.get(row.uuid)
        return {
            "vm": row.name,
            "host": row.host,
            "state": row.state,
            "rpo": row.stand.ratio,
            "rpo:word": row.stand.status.value,
            "age": row.stand.age_s,
            "size": newest.virtual_size if newest is not None else None,
            "tier": row.stand.tier,
            "points": row.points,
            "mode": newest.mode if newest is not None else None,
            "consistency": newest.consistency if newest is not None else None,
            "note": row.stand.reason,
            "has": " ".join(self._has(row, newest)),
        }

    def _has(self, row: VmRow, newest: PointView | None) -> list[str]:
        words = ["job"] if (row.host, row.name) in self._jobs else []
        if newest is not None and newest.damaged:
            words.append("damage")
        return words + (["warn"] if newest is not None and newest.warnings else [])

    def is_urgent(self, row: VmRow) -> bool:
        """Could be lost, not known, or damaged."""
        newest = self._newest.get(row.uuid)
        return needs_attention(row) or (newest is not None and bool(newest.damaged))

    def panel(self, row: VmRow) -> list[list[Piece]]:
        """What is known of the VM under the cursor, and what to do."""
        stand = row.at(clock.now().astimezone()).stand
        lines: list[list[Piece]] = [[(f"{row.name}", "strong"), (f" on {row.host}", "")]]
        newest = self._newest.get(row.uuid)
        unknown = self.ui.picture.catalogue.unknown_why
        if newest is None and unknown:
            lines.append([(f"No restore point of it is known: {unknown}", "unknown")])
        elif newest is None:
            lines.append([("It has no restore point. ", "bad"), (f"Tier {stand.tier}, RPO {age(stand.rpo_s)}.", "")])
        else:
            lines.append(_newest_words(newest, stand.tier, stand.rpo_s))
            if newest.damaged:
                lines.append([(f"Damaged: {newest.damaged}", "bad")])
            elif newest.consistency_reason:
                lines.append([(f"Why not better: {newest.consistency_reason}", "dim")])
        proof = self._proven.get(row.uuid)
        if proof is not None:
            tier = row.assignment.tier
            text = proven_words(proof.proven, clock.now(), tier.rto_s if tier is not None else None)
            lines.append([(f"{text[0].upper()}{text[1:]}.", "")])
        if stand.reason:
            lines.append([(stand.reason, "unknown")])
        return lines


def _newest_words(newest: PointView, tier: str | None, rpo_s: int | None) -> list[Piece]:
    text = f"Newest point {local(newest.time)}, {newest.mode}, {newest.consistency}-consistent."
    return [(text, ""), (f" Tier {tier}, RPO {age(rpo_s)}." if tier else "", "")]


def short_size(number: int) -> str:
    """`62 G`: for narrow columns."""
    return size(number).replace("iB", "").replace(" Bytes", " B").replace(" Byte", " B").replace(".0 ", " ")
