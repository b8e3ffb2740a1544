"""View 1: what could be lost, what runs, what is wrong, on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar

from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget

from vmtui.model.host import HostState
from vmtui.model.job import JobKind, JobRecord, JobState
from vmtui.model.policy import Status
from vmtui.overview.vms import VmRow, count_by_status
from vmtui.overview.words import ratio_text, size, status_glyph
from vmtui.tui import clock
from vmtui.tui.picture import HostView, Picture
from vmtui.tui.screens.base import Page
from vmtui.tui.screens.hosts import host_words
from vmtui.tui.screens.jobs import beat_words, left_words, target_words
from vmtui.tui.screens.vms import TONES
from vmtui.tui.widgets.frame import Piece, Text

_BAR = 16
_SELDOM = (JobKind.GROUP_RESTORE, JobKind.HOST_BACKUP, JobKind.HOST_RESTORE, JobKind.INSTANT, JobKind.REHEARSE)
"""Kinds that take a line only when there were some."""
_DAY = timedelta(hours=24)
_LISTED = 4


class PulseView(Page):
    """The state of protection at a glance."""

    VIEW: ClassVar[str] = "pulse"
    HELP: ClassVar[str] = (
        "What could be lost comes first: VMs without a good point, then those whose newest point is older than their "
        "tier allows. Enter opens the VMs that need attention; the number keys open the other views."
    )

    def body(self) -> Iterable[Widget]:
        """Boxes."""
        with VerticalScroll(classes="scroll", can_focus=False):
            with Horizontal(classes="row"):
                yield _box("RPO", "rpo")
                yield _box("Jobs, last 24 h", "jobs")
            with Vertical(classes="row"):
                yield _box("Running", "running")
            with Horizontal(classes="row"):
                yield _box("Not protected", "unprotected")
                yield _box("Hosts and repository", "hosts")
            yield Text(id="last")

    def draw(self, picture: Picture, /) -> None:
        """Fill the boxes."""
        now = clock.now()
        rows = [row.at(now) for row in picture.rows]
        boxes = {
            "rpo": rpo_words(rows),
            "jobs": job_words(picture.jobs.records, now),
            "running": running_words(picture.jobs.active, now),
            "unprotected": unprotected_words(rows),
            "hosts": host_lines(picture, now),
            "last": last_words(picture),
        }
        for name, lines in boxes.items():
            self.query_one(f"#{name}", Text).say(lines)

    def status(self) -> list[Piece]:
        """Who answers, and what needs attention."""
        picture = self.ui.picture
        answering = sum(1 for view in picture.hosts.values() if view.state is HostState.CONNECTED)
        urgent = sum(1 for row in picture.rows if row.stand.status in (Status.NEVER, Status.BREACHED, Status.UNKNOWN))
        worker = "worker alive" if picture.jobs.worker else "no worker (one starts with the first job)"
        parts: list[Piece] = [(f" {answering} of {len(picture.hosts)} hosts answer · {worker} · ", "")]
        if urgent:
            parts.append((f"! {urgent} need attention", "bad"))
            parts.append((" · ", ""))
        return parts + self.freshness()


def _box(title: str, name: str) -> Text:
    box = Text(id=name, classes="box")
    box.border_title = title
    return box


def rpo_words(rows: list[VmRow]) -> list[list[Piece]]:
    """How many VMs stand where. Pure."""
    counts = count_by_status(rows)
    most = max(counts.values(), default=0) or 1
    lines: list[list[Piece]] = []
    for status, count in counts.items():
        bar = "█" * (-(-_BAR * count // most)) if count else ""
        worst = max(
            (row for row in rows if row.stand.status is status and row.stand.ratio),
            key=lambda row: row.stand.ratio or 0,
            default=None,
        )
        extra = (
            f" worst {ratio_text(worst.stand.ratio)} {worst.name}"
            if worst is not None and status is Status.BREACHED
            else ""
        )
        lines.append(
            [
                (f"{status_glyph(status)} {status:9}", TONES[status]),
                (f"{count:4}  ", ""),
                (bar, TONES[status]),
                (extra, "dim"),
            ]
        )
    return lines  # fmt: skip


def job_words(records: tuple[JobRecord, ...], now: datetime) -> list[list[Piece]]:
    """Jobs of a day by kind and result. Pure."""
    recent = [record for record in records if record.finished is not None and now - record.finished < _DAY]
    counts = Counter((record.kind, record.state) for record in recent)
    ended = {kind for kind, _ in counts}
    kinds = [kind for kind in JobKind if kind not in _SELDOM or kind in ended]
    room = max(9, *(len(kind) + 1 for kind in kinds))
    lines: list[list[Piece]] = [[(f"{'':{room}}{'ok':>6}{'warn':>7}{'fail':>7}", "dim")]]
    for kind in kinds:
        failed = counts[kind, JobState.FAILED]
        warned = counts[kind, JobState.WARNINGS]
        lines.append(
            [
                (f"{kind:{room}}", ""),
                (f"{counts[kind, JobState.OK]:6}", ""),
                (f"{warned:7}", "warn" if warned else ""),
                (f"{failed:7}", "bad" if failed else ""),
            ]
        )
    return lines


def running_words(active: tuple[JobRecord, ...], now: datetime) -> list[list[Piece]]:
    """Jobs that have not ended. Pure."""
    if not active:
        return [[("nothing runs", "dim")]]
    lines: list[list[Piece]] = []
    for record in active[:_LISTED]:
        beat, tone = beat_words(record, now)
        bytes_ = (
            f"{100 * record.done // record.total:3} %  {size(record.done)} of {size(record.total)}"
            if record.total
            else ""
        )
        rate = f"  {size(int(record.rate))}/s  {left_words(record, now)}" if record.rate else ""
        lines.append(
            [
                (f"{target_words(record):16} {record.kind:8} {record.phase or record.state:10} ", ""),
                (f"{bytes_}{rate}  ", "strong"),
                (f"beat {beat}" if beat else "", tone or "dim"),
            ]
        )
    if len(active) > _LISTED:
        lines.append([(f"{len(active) - _LISTED} more (4)", "dim")])
    return lines


def unprotected_words(rows: list[VmRow]) -> list[list[Piece]]:
    """VMs without a good point, breached, not known, or out of policy. Pure."""
    open_ = [row for row in rows if row.stand.status in (Status.NEVER, Status.BREACHED)]
    unknown = [row for row in rows if row.stand.status is Status.UNKNOWN]
    exempt = [row for row in rows if row.stand.status is Status.EXEMPT and row.state != "gone"]
    listed = [*open_, *unknown, *exempt]
    if not listed:
        return [[("✓ every VM that is seen has a good point", "good") if rows else ("no VM was seen yet", "dim")]]
    lines: list[list[Piece]] = []
    for row in listed[:_LISTED]:
        why = row.stand.reason or (f"{ratio_text(row.stand.ratio)} breached" if row.stand.ratio else "never")
        lines.append([(f"{status_glyph(row.stand.status)} ", TONES[row.stand.status]), (f"{row.path:20} {why}", "")])
    more = len(listed) - _LISTED
    return [*lines, [(f"  {more} more (enter)", "dim")]] if more > 0 else lines


def host_lines(picture: Picture, now: datetime) -> list[list[Piece]]:
    """Hosts that are away one by one, the others together, and the repository. Pure."""
    lines: list[list[Piece]] = []
    away = [view for view in picture.hosts.values() if view.away]
    for view in away[:_LISTED]:
        text, tone = host_words(view, now)
        lines.append([(f"{view.name:8} {text}", tone)])
    here = [view for view in picture.hosts.values() if view.state is HostState.CONNECTED]
    if here:
        lines.append([(f"✓ {_names(here)}", "good")])
    asked = [view for view in picture.hosts.values() if view.state is HostState.CONNECTING]
    if asked:
        lines.append([(f"… {_names(asked)}: asked, no answer yet", "dim")])
    catalogue = picture.catalogue
    if catalogue.error is not None:
        lines.append([(f"✗ repository: {catalogue.error['cause']}", "bad")])
    elif catalogue.as_of is not None:
        damaged = sum(1 for point in catalogue.points if point.damaged)
        lines.append(
            [
                (
                    f"✓ repository: {len(catalogue.points)} points, {size(catalogue.stored_bytes)} stored, {size(catalogue.free_bytes)} free",
                    "good",
                )
            ]
        )
        if damaged:
            lines.append([(f"✗ {damaged} damaged point{'s' if damaged > 1 else ''}", "bad")])
    return lines or [[("no hosts are configured; 5 adds one", "warn")]]  # fmt: skip


def _names(views: list[HostView]) -> str:
    names = " ".join(view.name for view in views[:8])
    return names if len(views) <= 8 else f"{names} and {len(views) - 8} more"


def last_words(picture: Picture) -> list[list[Piece]]:
    """The last error."""
    for entry in reversed(picture.log):
        if entry.level == "error":
            return [
                [
                    (f" {entry.time.astimezone():%H:%M} ✗ {entry.source}: {entry.text}", "bad"),
                    (" (8 opens the log)", "dim"),
                ]
            ]
    return [[("", "")]]
