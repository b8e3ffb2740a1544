"""A job's logins live from its first step to its end, and end early when a step fails."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from vmtui.jobs.world import Logins, World
from vmtui.model.settings import Settings

SETTINGS = cast("Settings", None)  # asked for hosts only when somebody logs in


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Logins]:
    """Logins that were ended."""
    ended: list[Logins] = []
    monkeypatch.setattr(Logins, "close", lambda logins: ended.append(logins))  # noqa: PLW0108  # binds self
    return ended


def test_steps_of_a_job_share_their_logins(closed: list[Logins]) -> None:
    world = World(Path("unused"))
    with world.job("a"):
        first = world.logins(SETTINGS, "a")
        assert world.logins(SETTINGS, "a") is first
        assert world.logins(SETTINGS, "b") is not first
        assert not closed
    assert closed == [first]


def test_after_a_failed_step_the_next_one_logs_in_anew(closed: list[Logins]) -> None:
    world = World(Path("unused"))
    with world.job("a"):
        first = world.logins(SETTINGS, "a")
        world.leave("a")
        assert closed == [first]
        assert world.logins(SETTINGS, "a") is not first


def test_a_job_that_breaks_off_leaves_no_login(closed: list[Logins]) -> None:
    world = World(Path("unused"))

    def break_off() -> None:
        with world.job("a"):
            world.logins(SETTINGS, "a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert len(closed) == 1


def test_a_job_without_logins_ends_well(closed: list[Logins]) -> None:
    with World(Path("unused")).job("a"):
        pass
    assert not closed
