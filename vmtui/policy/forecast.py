"""When the repository will be full, if it goes on growing as it did. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from vmtui.model.ids import VmId

WINDOW = timedelta(days=30)
"""Growth is looked at over this long."""
_LEAST = timedelta(days=2)
"""A shorter history says nothing about days to come."""
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What a point added to the repository."""

    vm: VmId
    time: datetime
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """How fast it fills, and for how long there is room."""

    per_day_bytes: int | None
    days: float | None
    reason: str = ""
    """Why `days` is not known."""


def forecast(points: Iterable[Stored], free_bytes: int | None, now: datetime) -> Forecast:
    """Look ahead from the last 30 days.

    The first point of a VM is not counted: its disks are stored once, not day after day.

    Args:
        points: All points that are known.
        free_bytes: Room that is left; None when the storage does not say.
        now: The clock [UTC].
    """
    known = sorted((point for point in points if point.time <= now), key=lambda point: point.time)
    first = {point.vm: point for point in reversed(known)}
    grown = [point for point in known if point is not first[point.vm] and now - point.time <= WINDOW]
    span = min(WINDOW, now - known[0].time) if known else timedelta(0)
    if span < _LEAST or not grown:
        return Forecast(None, None, "too little history: later points of VMs over two days and more are needed")
    per_day = int(sum(point.stored_bytes for point in grown) / (span.total_seconds() / _DAY_S))
    if free_bytes is None:
        return Forecast(per_day, None, "the storage does not say how much room is left")
    if per_day <= 0:
        return Forecast(per_day, None, "nothing was added")
    return Forecast(per_day, free_bytes / per_day)
