"""Rehearsals in words: what a point or a VM has proven, and how long it took. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vmtui.model.ids import VmId
from vmtui.model.rehearsal import Rehearsal
from vmtui.overview.points import PointView
from vmtui.overview.words import age


def rehearsed_words(rehearsal: Rehearsal | None, now: datetime) -> str:
    """For a column: `boots 12d`, `FAILED 3h`, or nothing."""
    if rehearsal is None:
        return ""
    return f"{'boots' if rehearsal.bootable else 'FAILED'} {_ago(rehearsal, now)}"


def _ago(rehearsal: Rehearsal, now: datetime) -> str:
    return age(max(0.0, (now - rehearsal.time).total_seconds()))


def proven_words(rehearsal: Rehearsal | None, now: datetime, rto_s: int | None = None) -> str:
    """`last proven bootable 12d ago, measured RTO 41 s (the tier allows 4h)`.

    Args:
        rehearsal: The one that proved it.
        now: The clock [UTC].
        rto_s: What the tier allows [s], where it says.
    """
    if rehearsal is None:
        return "never proven bootable"
    words = f"last proven bootable {_ago(rehearsal, now)} ago"
    if rehearsal.rto_s is None:
        return words
    allowed = f" (the tier allows {age(rto_s)})" if rto_s is not None else ""
    return f"{words}, measured RTO {rehearsal.rto_s:.0f} s{allowed}"


def rehearsal_lines(point: PointView, now: datetime) -> list[tuple[str, str]]:
    """(label, words) of what a point's rehearsals showed."""
    last = point.rehearsed
    if last is None:
        return [("rehearsed", "never")]
    why = f": {last.reason}" if last.reason else f", {last.marker}"
    lines = [("rehearsed", f"{last.verdict} {_ago(last, now)} ago on {last.host}{why}")]
    if last.picture:
        lines.append(("picture", f"vmtui show {point.id} --screenshot FILE (SHA-256 {last.picture[:16]}…)"))
    if last.rto_s is not None:
        lines.append(("measured RTO", f"{last.rto_s:.0f} s from asking to {last.marker}"))
    if point.proven is not None and point.proven != last:
        lines.append(("proven", proven_words(point.proven, now)))
    return lines + [("not rehearsed", item) for item in last.untested]


def newest_proofs(points: Sequence[PointView]) -> dict[VmId, PointView]:
    """The point of each VM that was proven last."""
    proven = sorted((point.proven.time, point.id, point) for point in points if point.proven is not None)
    return {point.uuid: point for _, _, point in proven}


def newest_proof(points: Sequence[PointView]) -> PointView | None:
    """The point of one VM that was proven last."""
    return next(iter(newest_proofs(points).values()), None)
