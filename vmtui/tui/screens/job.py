"""One job: phases, bytes, heartbeat, and at the end the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, ClassVar

from textual.containers import VerticalScroll
from textual.widget import Widget

from vmtui.model.codec import parse_instant
from vmtui.model.job import JobKind, JobRecord, JobState
from vmtui.overview.words import age, local, size
from vmtui.tui import clock
from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import Page
from vmtui.tui.screens.jobs import STATE_GLYPHS, STATE_TONES, beat_words, left_words, target_words
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece, Text

_BAR = 24
_LAST_WORDS = 15
MARKS = {True: ("✓ passed  ", "good"), False: ("✗ FAILED  ", "bad"), None: ("– not done", "warn")}  # a dash is meant


class JobPage(Page):
    """One job, live.

    Args:
        job: Its id.
    """

    VIEW: ClassVar[str] = "job"
    TAB: ClassVar[str] = "jobs"
    HELP: ClassVar[str] = (
        "One job: what it does now, what each phase took, and in the end the evidence: what was checked, and what was "
        "not. Closing this terminal does not stop it; c asks it to stop, and it cleans up first."
    )

    def __init__(self, job: str) -> None:
        super().__init__()
        self._job = job

    def body(self) -> Iterable[Widget]:
        """One text."""
        with VerticalScroll(classes="scroll", id="scroll", can_focus=True):
            yield Text(id="text")

    def on_mount(self) -> None:
        """Keys scroll."""
        self.focus_body()

    def focus_body(self) -> None:
        """Keys scroll."""
        self.set_focus(self.query_one("#scroll"))

    @property
    def record(self) -> JobRecord | None:
        """The job as it was heard of last."""
        return next((record for record in self.ui.picture.jobs.records if record.id == self._job), None)

    def draw(self, picture: Picture, /) -> None:
        """Show the job."""
        record = self.record
        text = self.query_one("#text", Text)
        if record is None:
            text.say([[(f"Nothing was heard of this job yet. If it is an old one: vmtui job show {self._job}", "dim")]])
        else:
            text.say(job_lines(record, clock.now(), worker=picture.jobs.worker))

    def status(self) -> list[Piece]:
        """What it is."""
        record = self.record
        if record is None:
            return [(f" job {self._job}", "strong")]
        return [
            (f" {record.kind} of {target_words(record)}", "strong"),
            (f"  {STATE_GLYPHS[record.state]} {record.state}", STATE_TONES[record.state]),
            (f"  job {record.id}", "dim"),
        ]

    def focus_now(self) -> Focus:
        """The job."""
        record = self.record
        return Focus(self.VIEW, jobs=(record,) if record is not None else ())


def job_lines(record: JobRecord, now: datetime, *, worker: bool) -> list[list[Piece]]:
    """All of a job in words. Pure."""
    lines: list[list[Piece]] = [
        [("asked     ", "strong"), (f"{local(record.asked)} by {record.by}", "")],
        [("state     ", "strong"), (f"{STATE_GLYPHS[record.state]} {record.state}", STATE_TONES[record.state]), *_why(record, worker=worker)],
    ]  # fmt: skip
    if record.started is not None:
        took = ((record.finished or now) - record.started).total_seconds()
        lines.append([("took      ", "strong"), (age(took), "")])
    if not record.state.final:
        lines += _live(record, now)
    lines += _work(record)
    lines += _phases(record, now)
    lines += [[(f"! {note}", "warn")] for note in record.notes]
    if record.error is not None:
        lines.append([])
        lines.append([("error     ", "bad"), (str(record.error["cause"]), "")])
        lines.append(
            [("next step ", "strong"), (str(record.error["next_step"]), ""), (f"  [{record.error['id']}]", "dim")]
        )
    if record.state.final:
        lines += [[], *evidence(record)]
    return lines


def _why(record: JobRecord, *, worker: bool) -> list[Piece]:
    if record.state is JobState.QUEUED:
        return [("  waits for " + ("a free place on its host" if worker else "a worker (W starts one)"), "dim")]
    if record.state is JobState.CANCELLING:
        return [("  it cleans up, then it ends; what was about to be committed may still finish", "dim")]
    return []


def _live(record: JobRecord, now: datetime) -> list[list[Piece]]:
    beat, tone = beat_words(record, now)
    lines: list[list[Piece]] = [
        [("phase     ", "strong"), (f"{record.phase} {record.disk}".rstrip() or "–", "")]
    ]  # a dash is meant
    if record.total:
        filled = _BAR * record.done // record.total
        lines.append(
            [
                ("bytes     ", "strong"),
                ("█" * filled + "░" * (_BAR - filled), "good"),
                (f" {100 * record.done // record.total} %  {size(record.done)} of {size(record.total)}", ""),
                (f"  new {size(record.new)}, stored {size(record.stored)}", "dim"),
            ]
        )
        lines.append(
            [("rate      ", "strong"), (f"{size(int(record.rate))}/s", ""), (f"   left {left_words(record, now)}", "")]
        )
    if beat:
        lines.append([("beat      ", "strong"), (beat, tone)])
    if tone == "bad":
        lines.append(
            [
                ("", ""),
                ("No heartbeat is not a failure: what was stored is kept, and a new worker goes on from here.", "warn"),
            ]
        )
    return lines


def _work(record: JobRecord) -> list[list[Piece]]:
    done = record.work if record.state.final else record.work[:-1]
    lines: list[list[Piece]] = []
    for item in done:
        new = f", new {size(item['new'])}, stored {size(item['stored'])}" if item["new"] or item["stored"] else ""
        what = f"  ✓ {item['phase']} {item['disk']}"
        lines.append([(what.ljust(max(22, len(what) + 1)), "good"), (f"{size(item['done'])}{new}", "")])
    return [[], [("done", "strong")], *lines] if lines else []


def _phases(record: JobRecord, now: datetime) -> list[list[Piece]]:
    """Each phase with the time that it took."""
    if not record.phases:
        return []
    begins = [parse_instant(phase["at"]) for phase in record.phases]
    ends = [after for _, after in pairwise(begins)] + [record.finished or now]
    parts = [
        f"{phase['phase']}{' ' + phase['disk'] if phase['disk'] else ''} {max(0.0, (end - begin).total_seconds()):.1f}s"
        for phase, begin, end in zip(record.phases, begins, ends, strict=True)
    ]
    return [[], [("phases    ", "strong"), (" → ".join(parts), "dim")]]


def evidence(record: JobRecord) -> list[list[Piece]]:
    """What was checked, and what was not. The headline never says more than the list."""
    result = record.result
    if record.kind is JobKind.BACKUP and "point" in result:
        return _backup_evidence(record)
    if record.kind is JobKind.HOST_BACKUP and "point" in result:
        return _host_evidence(result)
    if record.kind is JobKind.VERIFY and "points" in result:
        return _verify_evidence(result)
    if record.kind is JobKind.REHEARSE and "verdict" in result:
        return _rehearsal_evidence(result)
    if "members" in result:
        return _group_evidence(result)
    if "checks" in result:
        return _restore_evidence(record)
    text = "Nothing was proven, because the job did not get that far."
    return [[("evidence  ", "strong"), (text if record.state is not JobState.OK else "done", "dim")]]


def _backup_evidence(record: JobRecord) -> list[list[Piece]]:
    result = record.result
    why = f": {result['consistency_reason']}" if result["consistency_reason"] else ""
    frozen = f", guest frozen {result['frozen_ms']} ms" if result["frozen_ms"] else ""
    lines: list[list[Piece]] = [
        [("evidence  ", "strong"), (f"point {result['point']} is committed", "good")],
        _check(True, "packs, index, manifest", "flushed to storage in this order"),
        _check(True, "consistency", f"{result['consistency']}{why}{frozen}"),
    ]
    for disk in result["disks"]:
        kind = disk["kind"] + (f" because: {disk['reason']}" if disk["reason"] else "")
        text = f"{kind}; read {size(disk['read_bytes'])}, new {size(disk['new_bytes'])}, stored {size(disk['stored_bytes'])}"
        lines.append(_check(True, f"disk {disk['name']}", text))
    lines += [_check(None, item["name"], f"not held: {item['reason']}") for item in result["left_out"]]
    lines.append(_check(None, "read back", "the point was not read again; v verifies it"))
    return lines


def _host_evidence(result: Mapping[str, Any]) -> list[list[Piece]]:
    word = "is committed" if result["new"] else "holds the same: nothing was added"
    lines: list[list[Piece]] = [[("evidence  ", "strong"), (f"host point {result['point']} {word}", "good")]]
    lines += [_check(True, kind, str(count)) for kind, count in result["parts"].items()]
    return lines + [_check(None, name, f"not held: {reason}") for name, reason in result["left_out"]]


def _verify_evidence(result: Mapping[str, Any]) -> list[list[Piece]]:
    text = f"{result['points']} points, {result['blobs']} blocks, {size(result['read_bytes'])} read and compared with their hashes"
    lines: list[list[Piece]] = [[("evidence  ", "strong")], _check(not result["damage"], "every byte", text)]
    for item in result["damage"]:
        points = ", ".join(item["points"]) or "none"
        lines += [_check(False, item["error_id"], f"{item['cause']} (points: {points})")]
    return lines


def _restore_evidence(record: JobRecord) -> list[list[Piece]]:
    result = record.result
    checks: Sequence[Mapping[str, Any]] = result["checks"]
    failed = any(check["ok"] is False for check in checks)
    head = "see FAILED below" if failed else f"{target_words(record)}: done as asked"
    lines: list[list[Piece]] = [[("evidence  ", "strong"), (head, "bad" if failed else "good")]]
    lines += [_check(check["ok"], check["name"], check["detail"]) for check in checks]
    if "bytes" in result:
        how = "moved while the VM ran" if result.get("instant") else "written and read back"
        text = f"{size(result['bytes'])} {how} in {result['seconds']:.1f} s"
        lines.append([("          ", ""), (text, "strong")])
    if result.get("kept"):
        lines.append(
            [("The old disks are kept. ", "warn"), ("u", "key"), (" brings them back: it undoes this restore.", "")]
        )
    if result.get("before"):
        lines.append([("          ", ""), (f"as it was before is in host point {result['before']}", "dim")])
    return lines


def _group_evidence(result: Mapping[str, Any]) -> list[list[Piece]]:
    """A section for each member; what was not restored is told first."""
    members = result["members"]
    if "failed" in result:
        waiting = ", ".join(result["not_begun"]) or "none"
        lines: list[list[Piece]] = [
            [("evidence  ", "strong"), (f"it ended at {result['failed']}; not begun: {waiting}", "bad")]
        ]
    else:
        lines = [
            [("evidence  ", "strong"), (f"{len(members)} VMs restored on {result['host']}: done as asked", "good")]
        ]
    for number, member in enumerate(members, 1):
        failed = any(check["ok"] is False for check in member["checks"])
        lines += [
            [],
            [(f"{number} {member['vm']}", "bad" if failed else "strong"), (f"  from point {member['point']}", "")],
        ]
        lines += [_check(check["ok"], check["name"], check["detail"]) for check in member["checks"]]
        text = f"{size(member['bytes'])} written and read back in {member['seconds']:.1f} s"
        lines.append([("          ", ""), (text, "strong")])
        if member.get("kept"):
            lines.append(
                [
                    ("The old disks are kept. ", "warn"),
                    (f":revert {member['host']}/{member['vm']} brings them back", ""),
                ]
            )
    return lines


def _rehearsal_evidence(result: Mapping[str, Any]) -> list[list[Piece]]:
    failed = result["verdict"] != "bootable"
    why = f": {result['reason']}" if failed else f": {result['marker']}"
    lines: list[list[Piece]] = [
        [("evidence  ", "strong"), (f"point {result['point']} {result['verdict']}{why}", "bad" if failed else "good")]
    ]
    if result["rto_s"] is not None:
        lines.append(
            [("          ", ""), (f"measured RTO {result['rto_s']:.1f} s, from asking to the sign of life", "strong")]
        )
    lines += [_check(check["ok"], check["name"], check["detail"]) for check in result["checks"]]
    if result["picture"]:
        lines.append([("picture   ", "strong"), (f"vmtui show {result['point']} --screenshot FILE", "")])
    if failed and result["console"]:
        lines += [[], [("last words on its serial console", "strong")]]
        lines += [[("  ", ""), (line, "dim")] for line in result["console"][-_LAST_WORDS:]]
    return lines


def _check(ok: bool | None, name: str, detail: str) -> list[Piece]:
    mark, tone = MARKS[ok]
    return [(f"  {mark} ", tone), (f"{name:22} ", ""), (detail, "dim" if ok else "")]
