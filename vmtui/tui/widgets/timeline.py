"""Points in time on one line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vmtui.overview.points import PointView
from vmtui.overview.words import age

_LEAST = 16


def timeline(points: Sequence[PointView], now: datetime, columns: int) -> str:
    """`30d ┄┄●┄●●✗┄● now`: a mark for each point, ✗ for damaged ones. Pure.

    Args:
        points: In any order.
        now: The right end.
        columns: Room for it; nothing is drawn when there is too little.
    """
    if not points or columns < _LEAST:
        return ""
    first = min(point.time for point in points)
    span = max(1.0, (now - first).total_seconds())
    label = f"{age(span)} "
    width = columns - len(label) - len(" now")
    marks = ["┄"] * width
    for point in sorted(points, key=lambda point: point.good, reverse=True):
        place = min(width - 1, max(0, int((point.time - first).total_seconds() / span * (width - 1))))
        marks[place] = "●" if point.good else "✗"
    return f"{label}{''.join(marks)} now"
