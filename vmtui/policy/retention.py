"""Which points of a VM are kept, and why. Pure: the clock and the zone are arguments.

Points are dealt with in this order:

1. What cannot be read, what lies in the future (a clock was wrong) and what is held stays, and is set aside:
   the rule is applied to the others as if it were not there, so it uses up no place of theirs.
2. `last` keeps the newest good points, `within` everything that is young enough.
3. `hourly` to `yearly` keep the newest good point of each period, going back, until as many periods as the rule
   says have been met. Periods without points are not counted.
4. A damaged point never stands for a period that has a good one. Where a period on the way has none, its newest
   damaged point stays besides and is not counted: a disk of it may still be whole.
5. The newest good point never goes; and while no good point is left, none goes at all.
6. An empty rule keeps everything.

What goes can be deleted one after the other: doing a part of it changes nothing about the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from vmtui.model.ids import PointId
from vmtui.model.policy import KeepRule


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the rule looks at."""

    id: PointId
    time: datetime
    """The instant of consistency [UTC]."""
    damaged: bool = False
    held: str | None = None
    """Why it must not go; None when nobody holds it."""
    readable: bool = True
    """Whether its manifest can be read."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a point, in words."""

    id: PointId
    keep: bool
    reasons: tuple[str, ...]
    """Never empty."""


@dataclass(frozen=True, slots=True)
class _Period:
    """A way to cut time into pieces."""

    rule: str
    """Its key in the rule."""
    label: Callable[[datetime], str]
    """Names the piece that an instant of the right zone lies in."""


def _hour(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:00 %z")  # with the offset: an hour that comes twice is two hours


def _week(at: datetime) -> str:
    year, week, _ = at.isocalendar()
    return f"{year}-W{week:02}"


_PERIODS = (
    _Period("hourly", _hour),
    _Period("daily", lambda at: f"{at:%Y-%m-%d}"),
    _Period("weekly", _week),
    _Period("monthly", lambda at: f"{at:%Y-%m}"),
    _Period("yearly", lambda at: f"{at:%Y}"),
)


def decide(
    candidates: Iterable[Candidate], rule: KeepRule, now: datetime, zone: tzinfo | None = UTC
) -> tuple[Decision, ...]:
    """What becomes of the points of one VM, newest first.

    Args:
        candidates: All its points.
        rule: What to keep.
        now: The clock [UTC].
        zone: Whose days, weeks, months and years count; None is the zone of this machine.
    """
    points = sorted(candidates, key=lambda point: (point.time, point.id), reverse=True)
    aside = {point.id: reason for point in points if (reason := _set_aside(point, now))}
    counted = [point for point in points if point.id not in aside]
    kept: dict[PointId, list[str]] = {id_: [reason] for id_, reason in aside.items()}
    stays = _stays(counted, rule)
    if stays:
        kept |= {point.id: [stays] for point in counted}
        return tuple(Decision(point.id, True, tuple(kept[point.id])) for point in points)
    for id_, reason in _by_rule(counted, rule, now, zone):
        kept.setdefault(id_, []).append(reason)
    covered = _covered(counted, kept, rule, zone)
    return tuple(
        Decision(point.id, True, tuple(kept[point.id]))
        if point.id in kept
        else Decision(point.id, False, (_why_not(point, covered, zone),))
        for point in points
    )


def _set_aside(point: Candidate, now: datetime) -> str:
    """Why the rule does not look at a point; empty when it does."""
    if not point.readable:
        return "its manifest cannot be read"
    if point.held is not None:
        return f"held: {point.held}"
    return "it is from the future: a clock was wrong" if point.time > now else ""


def _stays(counted: Sequence[Candidate], rule: KeepRule) -> str:
    """Why everything stays; empty when the rule decides."""
    if rule.empty:
        return "there is no keep rule"
    return "no good point is left" if all(point.damaged for point in counted) else ""


def _by_rule(
    counted: Sequence[Candidate], rule: KeepRule, now: datetime, zone: tzinfo | None
) -> Iterable[tuple[PointId, str]]:
    """(point, reason) of all that the rule keeps; a point may come several times."""
    good = [point for point in counted if not point.damaged]
    for number, point in enumerate(good[: rule.last], 1):
        yield point.id, f"{number} of the last {rule.last}"
    for point in counted:
        if rule.within_s and (now - point.time).total_seconds() <= rule.within_s:
            yield point.id, f"within {_span(rule.within_s)}"
    for period in _PERIODS:
        yield from _of_periods(counted, period, getattr(rule, period.rule), zone)
    yield good[0].id, "last good point"


def _of_periods(
    counted: Sequence[Candidate], period: _Period, places: int, zone: tzinfo | None
) -> Iterable[tuple[PointId, str]]:
    used = 0
    for label, points in _grouped(counted, period, zone):
        if used == places:
            return
        good = [point for point in points if not point.damaged]
        if not good:
            yield points[0].id, f"damaged, but there is no good point of {label} ({period.rule})"
            continue
        used += 1
        word = "newest" if good[0] is points[0] else "newest good"
        yield good[0].id, f"{word} of {label} ({period.rule} {used} of {places})"


def _grouped(counted: Sequence[Candidate], period: _Period, zone: tzinfo | None) -> list[tuple[str, list[Candidate]]]:
    """Points of each period, both newest first; a period is as young as the point that stands for it."""
    groups: dict[str, list[Candidate]] = {}
    for point in counted:
        groups.setdefault(period.label(point.time.astimezone(zone)), []).append(point)
    return sorted(groups.items(), key=lambda item: _standing(item[1]), reverse=True)


def _standing(points: Sequence[Candidate]) -> tuple[datetime, PointId]:
    """Of the point that stands for a period."""
    best = next((point for point in points if not point.damaged), points[0])
    return best.time, best.id


def _covered(
    counted: Sequence[Candidate], kept: Mapping[PointId, object], rule: KeepRule, zone: tzinfo | None
) -> dict[str, datetime]:
    """The newest kept point of each piece of time that the rule knows."""
    newest: dict[str, datetime] = {}
    for period in _PERIODS:
        if getattr(rule, period.rule):
            for point in counted:
                if point.id in kept:
                    newest.setdefault(period.label(point.time.astimezone(zone)), point.time)
    return newest


def _why_not(point: Candidate, covered: Mapping[str, datetime], zone: tzinfo | None) -> str:
    """Why nothing keeps a point."""
    if point.damaged:
        return "damaged: newest good kept instead"
    for period in _PERIODS:
        label = period.label(point.time.astimezone(zone))
        if label in covered and covered[label] >= point.time:
            return f"a newer point of {label} is kept"
    return "older than what the rule keeps"


_UNITS = (("w", 7 * 86400), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def _span(seconds: int) -> str:
    """A span of time as the configuration writes it: in the largest unit of which it has more than two."""
    for unit, length in _UNITS:
        if seconds % length == 0 and seconds // length > 2:
            return f"{seconds // length}{unit}"
    unit, length = next((unit, length) for unit, length in _UNITS if seconds % length == 0)
    return f"{seconds // length}{unit}"
