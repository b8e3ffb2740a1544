"""What is kept: against a slow and obvious model, and against tables written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.model.ids import PointId
from vmtui.model.policy import KeepRule
from vmtui.policy import Candidate, Decision, decide

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ZONES = [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/Havana"), ZoneInfo("Pacific/Apia")]
NAMES = [field.name for field in fields(KeepRule)]


def ids(decisions: tuple[Decision, ...], *, keep: bool) -> set[str]:
    return {decision.id for decision in decisions if decision.keep is keep}


# -- the model -----------------------------------------------------------------------------------

LABELS: dict[str, Callable[[datetime], object]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour, at.utcoffset()),
    "daily": lambda at: at.date(),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: at.year,
}


def model(points: list[Candidate], rule: KeepRule, now: datetime, zone: tzinfo) -> set[str]:
    """Kept ids, each point judged by itself: how many good periods are younger than its own?"""

    def rank(point: Candidate) -> tuple[datetime, str]:
        return point.time, point.id

    ordinary = [p for p in points if p.readable and p.held is None and p.time <= now]
    good = [p for p in ordinary if not p.damaged]
    everything: set[str] = {p.id for p in points}
    if rule == KeepRule() or not good:
        return set(everything)
    kept: set[str] = everything - {p.id for p in ordinary}
    kept.add(max(good, key=rank).id)
    for point in ordinary:
        if sum(rank(other) > rank(point) for other in good) < rule.last and not point.damaged:
            kept.add(point.id)
        if rule.within_s and point.time >= now - timedelta(seconds=rule.within_s):
            kept.add(point.id)
        for name, label in LABELS.items():
            own = [p for p in ordinary if label(p.time.astimezone(zone)) == label(point.time.astimezone(zone))]
            rivals = [p for p in own if not p.damaged] or own
            if point != max(rivals, key=rank):
                continue
            younger = {label(p.time.astimezone(zone)) for p in good} - {label(point.time.astimezone(zone))}
            stands = {key: max((p for p in good if label(p.time.astimezone(zone)) == key), key=rank) for key in younger}
            if sum(rank(other) > rank(point) for other in stands.values()) < getattr(rule, name):
                kept.add(point.id)
    return kept


# -- properties ----------------------------------------------------------------------------------

AGES = st.one_of(st.integers(-7200, 5 * 86400), st.integers(0, 40 * 86400), st.integers(0, 1500 * 86400))
COUNTS = st.one_of(st.just(0), st.integers(0, 8))
RULES = st.builds(
    KeepRule,
    last=COUNTS,
    hourly=COUNTS,
    daily=COUNTS,
    weekly=COUNTS,
    monthly=COUNTS,
    yearly=COUNTS,
    within_s=st.one_of(st.just(0), st.integers(1, 90 * 86400)),
)
MARKS = st.fixed_dictionaries(
    {
        "damaged": st.sampled_from([False, False, True]),
        "held": st.sampled_from([None, None, None, "upgrade"]),
        "readable": st.sampled_from([True, True, True, False]),
    }
)


@st.composite
def points(draw: st.DrawFn) -> list[Candidate]:
    drawn = draw(st.lists(st.tuples(AGES, MARKS), max_size=25))
    return [
        Candidate(PointId(f"{number:016d}"), NOW - timedelta(seconds=age), **marks)  # type: ignore[arg-type]  # marks of a candidate
        for number, (age, marks) in enumerate(drawn)
    ]


@given(points(), RULES, st.sampled_from(ZONES))
def test_it_keeps_what_the_model_keeps(candidates: list[Candidate], rule: KeepRule, zone: tzinfo) -> None:
    found = decide(candidates, rule, NOW, zone)
    assert ids(found, keep=True) == model(candidates, rule, NOW, zone)
    assert [decision.id for decision in found] == [
        point.id for point in sorted(candidates, key=lambda point: (point.time, point.id), reverse=True)
    ]
    assert all(decision.reasons and all(decision.reasons) for decision in found)


@given(points(), RULES, st.sampled_from(NAMES), st.integers(1, 100_000), st.sampled_from(ZONES))
def test_a_larger_rule_never_keeps_less(
    candidates: list[Candidate], rule: KeepRule, name: str, more: int, zone: tzinfo
) -> None:
    if rule.empty:
        return
    larger = replace(rule, **{name: getattr(rule, name) + more})
    assert ids(decide(candidates, rule, NOW, zone), keep=True) <= ids(decide(candidates, larger, NOW, zone), keep=True)


@given(points(), RULES, st.data())
def test_doing_a_part_of_it_changes_nothing_about_the_rest(
    candidates: list[Candidate], rule: KeepRule, data: st.DataObject
) -> None:
    goes = ids(decide(candidates, rule, NOW), keep=False)
    done = data.draw(st.sets(st.sampled_from(sorted(goes)))) if goes else set()
    rest = [point for point in candidates if point.id not in done]
    assert ids(decide(rest, rule, NOW), keep=False) == goes - done


@given(points(), RULES, st.integers(0, 24))
def test_holding_a_point_keeps_it_and_costs_no_other(candidates: list[Candidate], rule: KeepRule, number: int) -> None:
    if number >= len(candidates):
        return
    before = ids(decide(candidates, rule, NOW), keep=True)
    held = [replace(point, held="x") if index == number else point for index, point in enumerate(candidates)]
    after = ids(decide(held, rule, NOW), keep=True)
    assert before | {candidates[number].id} <= after


@given(points(), RULES, st.sampled_from(ZONES))
def test_what_must_never_go_never_goes(candidates: list[Candidate], rule: KeepRule, zone: tzinfo) -> None:
    kept = ids(decide(candidates, rule, NOW, zone), keep=True)
    for point in candidates:
        if not point.readable or point.held is not None or point.time > NOW:
            assert point.id in kept
    good = [point for point in candidates if point.readable and not point.damaged]
    if good:
        assert kept & {point.id for point in good}
    if all(point.damaged for point in candidates):
        assert kept == {point.id for point in candidates}


@given(points())
def test_an_empty_rule_prunes_nothing(candidates: list[Candidate]) -> None:
    assert ids(decide(candidates, KeepRule(), NOW), keep=False) == set()


# -- tables --------------------------------------------------------------------------------------


def at(text: str, **marks: object) -> Candidate:
    """A point named by its time: `11-22 03:00`, this year, in UTC."""
    time = datetime.strptime(f"2026-{text}" if len(text) < 14 else text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    return Candidate(PointId(text), time, **marks)  # type: ignore[arg-type]  # marks of a candidate


TABLE: dict[str, tuple[list[Candidate], KeepRule, dict[str, str]]] = {
    "newest of each day": (
        [at("11-22 03:00"), at("11-21 23:00"), at("11-21 03:00"), at("11-19 03:00"), at("11-18 03:00")],
        KeepRule(daily=3),
        {
            "11-22 03:00": "newest of 2026-11-22 (daily 1 of 3)",
            "11-21 23:00": "newest of 2026-11-21 (daily 2 of 3)",
            "11-19 03:00": "newest of 2026-11-19 (daily 3 of 3)",
        },
    ),
    "last": (
        [at("11-22 03:00", damaged=True), at("11-21 03:00"), at("11-20 03:00"), at("11-19 03:00")],
        KeepRule(last=2),
        {"11-21 03:00": "1 of the last 2", "11-20 03:00": "2 of the last 2"},
    ),
    "within, damaged or not": (
        [at("11-22 03:00"), at("11-20 12:00", damaged=True), at("11-20 11:59")],
        KeepRule(within_s=48 * 3600),
        {"11-22 03:00": "within 48h", "11-20 12:00": "within 48h"},
    ),
    "a good one stands for its day": (
        [at("11-22 09:00", damaged=True), at("11-22 03:00"), at("11-21 03:00", damaged=True), at("11-20 03:00")],
        KeepRule(daily=2),
        {
            "11-22 03:00": "newest good of 2026-11-22 (daily 1 of 2)",
            "11-21 03:00": "damaged, but there is no good point of 2026-11-21 (daily)",
            "11-20 03:00": "newest of 2026-11-20 (daily 2 of 2)",
        },
    ),
    "held ones use up no place": (
        [at("11-22 03:00", held="before the upgrade"), at("11-21 03:00"), at("11-20 03:00")],
        KeepRule(last=1),
        {"11-22 03:00": "held: before the upgrade", "11-21 03:00": "1 of the last 1"},
    ),
    "the last good one": (
        [at("11-22 03:00", damaged=True), at("02-01 03:00"), at("01-01 03:00")],
        KeepRule(within_s=3600),
        {"02-01 03:00": "last good point"},
    ),
    "the future and the unreadable": (
        [at("11-23 03:00"), at("11-22 03:00"), at("11-21 03:00", readable=False), at("11-20 03:00")],
        KeepRule(last=1),
        {
            "11-23 03:00": "it is from the future: a clock was wrong",
            "11-22 03:00": "1 of the last 1",
            "11-21 03:00": "its manifest cannot be read",
        },
    ),
    "nothing good is left": (
        [at("11-22 03:00", damaged=True), at("11-21 03:00", damaged=True)],
        KeepRule(last=1),
        {"11-22 03:00": "no good point is left", "11-21 03:00": "no good point is left"},
    ),
    "weeks, months, years": (
        [
            at("11-22 03:00"),
            at("11-15 03:00"),
            at("10-31 03:00"),
            at("10-01 03:00"),
            at("2025-12-31 03:00"),
            at("2025-01-01 03:00"),
        ],
        KeepRule(weekly=1, monthly=2, yearly=2),
        {
            "11-22 03:00": "newest of 2026-W47 (weekly 1 of 1)",
            "10-31 03:00": "newest of 2026-10 (monthly 2 of 2)",
            "2025-12-31 03:00": "newest of 2025 (yearly 2 of 2)",
        },
    ),
    "nothing at all": ([], KeepRule(last=1), {}),
}


@pytest.mark.parametrize("name", TABLE)
def test_tables(name: str) -> None:
    candidates, rule, expected = TABLE[name]
    found = decide(candidates, rule, NOW)
    assert ids(found, keep=True) == set(expected)
    for decision in found:
        if decision.keep:
            assert decision.reasons[0] == expected[decision.id]


def test_days_are_those_of_the_zone() -> None:
    late, early = at("11-21 23:30"), at("11-21 10:00")
    assert ids(decide([late, early], KeepRule(daily=2), NOW), keep=True) == {late.id}
    berlin = decide([late, early], KeepRule(daily=2), NOW, ZoneInfo("Europe/Berlin"))
    assert ids(berlin, keep=True) == {late.id, early.id}
    assert berlin[0].reasons[0] == "newest of 2026-11-22 (daily 1 of 2)"


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    twice = [at("10-25 00:30"), at("10-25 01:30")]  # both 02:30 in Berlin
    assert len(ids(decide(twice, KeepRule(hourly=2), NOW, ZoneInfo("Europe/Berlin")), keep=True)) == 2


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (at("11-22 01:00"), "a newer point of 2026-11-22 is kept"),
        (at("11-01 01:00"), "older than what the rule keeps"),
        (at("11-22 11:00", damaged=True), "damaged: newest good kept instead"),
    ],
)
def test_why_something_goes(candidate: Candidate, reason: str) -> None:
    found = decide([candidate, at("11-22 03:00"), at("11-21 03:00")], KeepRule(daily=2), NOW)
    assert [decision.reasons for decision in found if decision.id == candidate.id] == [(reason,)]


@pytest.mark.parametrize(
    ("seconds", "words"), [(48 * 3600, "48h"), (7 * 86400, "7d"), (4 * 604800, "4w"), (90, "90s"), (1, "1s"), (60, "60s")]
)  # fmt: skip
def test_spans_are_said_as_they_are_written(seconds: int, words: str) -> None:
    (decision,) = decide([at("11-22 12:00")], KeepRule(within_s=seconds), NOW)
    assert decision.reasons[0] == f"within {words}"
