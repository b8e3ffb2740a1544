"""hold and prune as an operator says them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.alone import LonelyClient
from tests.support.client import Result
from vmtui.model.point import EventKind, PointEvent
from vmtui.repository import PointName
from vmtui.repository.store import POINTS

DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def new_client(tmp_path: Path) -> Iterator[Callable[..., LonelyClient]]:
    made: list[LonelyClient] = []

    def make(**options: Any) -> LonelyClient:
        options.setdefault("tiers", {"standard": {"last": 2}})
        made.append(LonelyClient(tmp_path / f"{len(made)}", **options))
        return made[-1]

    yield make
    for client in made:
        client.stop()


def left(client: LonelyClient) -> list[PointName]:
    repository = client.open()
    assert repository.points.lost() == []
    assert repository.points.marked() == []
    return repository.points.names()


def verdicts(result: Result) -> dict[str, tuple[bool, list[str]]]:
    return {point["id"]: (point["keep"], point["reasons"]) for point in result.json["points"]}


def test_points_go_by_rule_and_nothing_else(new_client: Callable[..., LonelyClient]) -> None:
    client = new_client(
        tiers={"standard": {"last": 2}, "gold": {"daily": 9}, "loose": {}},
        rules=[
            {"vm": "db*", "tier": "gold"},
            {"metadata": "<keep/>", "tier": "loose"},
            {"vm": "ci", "exempt": "rebuilt"},
        ],
    )
    web = [client.add(NOW - DAY * age) for age in range(4)]
    db = [client.add(NOW - DAY * age, "db1", number=2) for age in range(3)]
    xml = "<domain><metadata><keep/></metadata></domain>"
    app = [client.add(NOW - DAY * age, "app", number=3, xml_inactive=xml) for age in range(3)]
    ci = [client.add(NOW - DAY * age, "ci", number=4) for age in range(3)]
    stay = sorted([*web[:2], *db, *app, *ci])

    shown = verdicts(client.ok("prune", "--dry-run", "--json"))
    assert {id_ for id_, (keep, _) in shown.items() if not keep} == {web[2].id, web[3].id}
    assert shown[web[0].id] == (True, ["1 of the last 2", "last good point"])
    assert shown[app[0].id] == (True, ["there is no keep rule"])
    assert shown[ci[0].id] == (True, ["exempt: rebuilt"])
    assert sorted([*stay, *web[2:]]) == left(client)

    refused = client.run("prune")
    assert refused.code == 5
    assert "CONFIRM-MISSING" in refused.err
    assert client.run("prune", "--json").code == 5
    assert client.run("prune", "--yes", "--read-only").code == 5
    assert sorted([*stay, *web[2:]]) == left(client)

    done = client.ok("prune", "--yes", "--json").json
    assert done["deleted"] == 2
    assert left(client) == stay
    again = client.ok("prune", "--yes", "--json").json
    assert (again["go"], again["deleted"]) == (0, 0)
    assert {point["vm"] for point in again["points"]} == {"web1", "db1", "app", "ci"}
    shown_jobs = client.ok("jobs", "--json").json
    assert [(job["kind"], job["state"]) for job in shown_jobs] == [("prune", "ok")]


def test_one_vm_alone(new_client: Callable[..., LonelyClient]) -> None:
    client = new_client(tiers={"standard": {"last": 1}})
    web = [client.add(NOW - DAY * age) for age in range(2)]
    db = [client.add(NOW - DAY * age, "db1", number=2) for age in range(2)]
    text = client.ok("prune", "kvm1/web1", "--yes").out
    assert web[1].id in text
    assert left(client) == sorted([web[0], *db])
    assert client.run("prune", "nobody", "--yes").code == 2


def test_a_held_point_stays_until_it_is_released(new_client: Callable[..., LonelyClient]) -> None:
    client = new_client(tiers={"standard": {"last": 1}})
    points = [client.add(NOW - DAY * age) for age in range(3)]
    assert client.run("hold", points[2].id, "--read-only").code == 5
    assert client.run("hold", points[2].id, "--release", "--reason", "x").code == 2
    held = client.ok("hold", points[2].id, "--reason", "before \x1b[31mthe upgrade", "--json").json
    assert held == {"point": points[2].id, "held": "before \x1b[31mthe upgrade"}
    for shown in (
        client.ok("points"),
        client.ok("show", points[2].id),
        client.ok("prune", "--dry-run"),
        client.ok("hold", points[2].id, "--reason", "before \x1b[31mthe upgrade"),
    ):
        assert r"before \x1b[31mthe upgrade" in shown.out
        assert "\x1b" not in shown.out
    assert {point["id"]: point["held"] for point in client.points("web1")}[points[2].id] is not None
    client.ok("prune", "--yes")
    assert left(client) == sorted([points[0], points[2]])
    assert "is released" in client.ok("hold", points[2].id, "--release").out
    assert "was not held" in client.ok("hold", points[2].id, "--release").out
    client.ok("prune", "--yes")
    assert left(client) == [points[0]]


def test_damage_costs_no_good_point(new_client: Callable[..., LonelyClient]) -> None:
    client = new_client(tiers={"standard": {"last": 1}})
    points = [client.add(NOW - DAY * age) for age in range(3)]
    repository = client.open()
    repository.points.record(points[0], PointEvent(EventKind.DAMAGED, NOW, "rot"))
    repository.store.put(POINTS, points[2].key, b"unreadable")
    client.ok("prune", "--yes")
    assert left(client) == sorted([points[1], points[2]])


def test_days_to_full(new_client: Callable[..., LonelyClient]) -> None:
    client = new_client()
    empty = client.ok("repo", "stats", "--json").json
    assert (empty["stored_per_day_bytes"], empty["days_to_full"]) == (None, None)
    assert "too little history" in client.ok("repo", "stats").out
    for age in range(40, 0, -10):
        client.add(NOW - DAY * age + timedelta(hours=6))
    stats = client.ok("repo", "stats", "--json").json
    assert stats["stored_per_day_bytes"] == 3 * (1 << 16) // 30
    assert stats["days_to_full"] == pytest.approx(stats["free_bytes"] / (3 * (1 << 16) / 30), rel=0.01)
    assert "full in" in client.ok("repo", "stats").out
