"""View 4: jobs, those that run first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from vmtui.model.job import JobRecord, JobState
from vmtui.overview.words import age, local, size
from vmtui.tui import clock
from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import TableView
from vmtui.tui.screens.vms import short_size
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece
from vmtui.tui.widgets.table import Cell, Column, VirtualTable

STATE_TONES = {
    JobState.QUEUED: "dim",
    JobState.RUNNING: "warn",
    JobState.CANCELLING: "warn",
    JobState.OK: "good",
    JobState.WARNINGS: "warn",
    JobState.FAILED: "bad",
    JobState.CANCELLED: "dim",
}
STATE_GLYPHS = {
    JobState.QUEUED: "…",
    JobState.RUNNING: "►",
    JobState.CANCELLING: "!",
    JobState.OK: "✓",
    JobState.WARNINGS: "!",
    JobState.FAILED: "✗",
    JobState.CANCELLED: "–",  # a dash is meant
}
LATE_S = 10.0
SILENT_S = 30.0


def state_cell(record: JobRecord) -> Cell:
    """Glyph and word of a job's state."""
    return Cell(f"{STATE_GLYPHS[record.state]} {record.state}", STATE_TONES[record.state])


def beat_words(record: JobRecord, now: datetime) -> tuple[str, str]:
    """The worker's last sign, and its tone."""
    if record.state.final or record.state is JobState.QUEUED:
        return "", ""
    if record.beat is None:
        return "no sign yet", "dim"
    seconds = (now - record.beat).total_seconds()
    if seconds > SILENT_S:
        return f"none since {record.beat.astimezone():%H:%M}", "bad"
    return f"{seconds:.0f}s" if seconds <= LATE_S else f"late {seconds:.0f}s", "" if seconds <= LATE_S else "warn"


def left_words(record: JobRecord, now: datetime) -> str:
    """How long it may still take, as a range; nothing in the first half minute."""
    phase_began = _phase_began(record)
    if not record.total or record.rate <= 0 or phase_began is None:
        return "–"  # a dash is meant
    elapsed = (now - phase_began).total_seconds()
    left = record.total - record.done
    if elapsed < _SETTLED_S or left <= 0:
        return "–"  # a dash is meant
    rates = (record.rate, record.done / elapsed)
    low, high = (
        left / max(rates),
        left / min(rate for rate in rates if rate > 0) if min(rates) > 0 else left / max(rates),
    )
    if age(low) == age(high):
        return f"about {age(low)}"
    return f"{age(low)}–{age(high)}"  # a range is meant


_SETTLED_S = 30.0


def _phase_began(record: JobRecord) -> datetime | None:
    from vmtui.model.codec import parse_instant

    return parse_instant(record.phases[-1]["at"]) if record.phases else record.started


def note_words(record: JobRecord) -> str:
    """The most important word about a job."""
    if record.error is not None and record.state is not JobState.WARNINGS:
        return str(record.error["cause"])
    return record.notes[-1] if record.notes else ""


def target_words(record: JobRecord) -> str:
    """host/VM, or the repository."""
    return "/".join(part for part in (record.host, record.vm) if part) or "repository"


class JobsView(TableView):
    """All jobs: waiting and running above those that ended."""

    VIEW: ClassVar[str] = "jobs"
    HELP: ClassVar[str] = (
        "Jobs run in a worker process of their own: closing this terminal stops none of them. Beat is the age of the "
        "worker's last sign. A job that is silent has not failed; a new worker takes it up."
    )

    def table_widget(self) -> VirtualTable[JobRecord]:
        """The table."""
        return VirtualTable(
            (
                Column("Kind", 7, lambda row, _: Cell(row.kind.value), lambda row: row.kind.value),
                Column("VM", 12, lambda row, _: Cell(target_words(row)), target_words, grow=3),
                Column("State", 11, lambda row, _: state_cell(row), lambda row: row.state.value),
                Column("Phase", 12, lambda row, _: Cell(f"{row.phase} {row.disk}".strip())),
                Column("%", 5, self._percent, right=True),
                Column(
                    "Rate", 9, lambda row, _: Cell(f"{short_size(int(row.rate))}/s" if row.rate else ""), right=True
                ),
                Column("Left", 9, lambda row, now: Cell(left_words(row, now) if not row.state.final else "")),
                Column("Beat", 5, lambda row, now: Cell(*beat_words(row, now))),
                Column(
                    "stArted", 19, lambda row, _: Cell(local(row.started or row.asked)), lambda row: row.asked, wide=110
                ),
                Column("tooK", 7, self._took, self._seconds, right=True, wide=110),
                Column("Job", 8, lambda row, _: Cell(row.id[-8:], "dim"), lambda row: row.id, wide=110),
                Column("Note", 10, lambda row, _: Cell(note_words(row)), grow=5, wide=110),
            ),
            "There are no jobs yet. 2 shows the VMs, b backs one up.",
            id="table",
        )

    @staticmethod
    def _percent(row: JobRecord, _: datetime) -> Cell:
        return Cell(f"{100 * row.done // row.total} %" if row.total and not row.state.final else "")

    @staticmethod
    def _seconds(row: JobRecord) -> float:
        return 0.0 if row.started is None else ((row.finished or clock.now()) - row.started).total_seconds()

    @staticmethod
    def _took(row: JobRecord, now: datetime) -> Cell:
        return Cell("" if row.started is None else age(((row.finished or now) - row.started).total_seconds()))

    def draw(self, picture: Picture, /) -> None:
        """Show jobs, those that have not ended first."""
        records = picture.jobs.records
        if records is not getattr(self, "_shown", None):
            self._shown = records
            self._sorted = tuple(sorted(records, key=lambda record: record.state.final))
        self.table.show(self._sorted)

    def focus_now(self) -> Focus:
        """The chosen jobs."""
        return Focus(self.VIEW, jobs=self.table.chosen())

    def row_text(self, row: JobRecord) -> str:
        """Id, kind, VM, state, note."""
        return f"{row.id} {row.kind} {target_words(row)} {row.state} {row.phase} {note_words(row)}"

    def row_fields(self, row: JobRecord) -> Mapping[str, Any]:
        """What can be asked."""
        return {
            "vm": row.vm,
            "host": row.host,
            "state": row.state.value,
            "kind": row.kind.value,
            "phase": row.phase,
            "age": (clock.now() - row.asked).total_seconds(),
            "error": str(row.error["id"]) if row.error is not None else None,
            "note": note_words(row),
        }

    def is_urgent(self, row: JobRecord) -> bool:
        """Failed, or not ended."""
        return row.state in (JobState.FAILED, JobState.WARNINGS) or not row.state.final

    def panel(self, row: JobRecord) -> list[list[Piece]]:
        """What is known of the job."""
        lines: list[list[Piece]] = [
            [(f"{row.kind} of {target_words(row)}", "strong"), (f"  {row.id}, by {row.by}, {local(row.asked)}", "dim")]
        ]
        if row.error is not None:
            lines.append([(str(row.error["cause"]), "bad")])
            lines.append([(str(row.error["next_step"]), ""), (f" [{row.error['id']}]", "dim")])
        elif row.total and not row.state.final:
            lines.append(
                [
                    (
                        f"{row.phase} {row.disk}: {size(row.done)} of {size(row.total)}, new {size(row.new)}, stored {size(row.stored)}",
                        "",
                    )
                ]
            )
        return lines + [[(f"! {note}", "warn")] for note in row.notes[-3:]]
