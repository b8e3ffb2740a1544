"""Rehearsals on the screens: asked about first, shown with what they proved."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import NOW, StillApp, example, job, running, shown
from tests.tui.test_views import Recorder
from vmtui.model.job import JobKind, JobState
from vmtui.overview.rehearsals import proven_words
from vmtui.tui import clock
from vmtui.tui.screens.job import job_lines


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def press(
    folder: Path, asked: list[Any], *keys: str, size: tuple[int, int] = (120, 36), until: str = "", then: str = ""
) -> str:
    """Press keys; gives what is seen when `until` is on the screen, after which `then` is pressed."""

    async def play() -> str:
        app = StillApp(folder, example())
        app.client = Recorder(asked)  # type: ignore[assignment]
        async with running(app, size) as pilot:
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.05)
            for _ in range(500):
                if until in "\n".join(shown(app)):
                    break
                await pilot.pause(0.02)
            seen = "\n".join(shown(app))
            assert until in seen, seen
            if then:
                await pilot.press(then)
                await pilot.pause(0.2)
            return seen

    return asyncio.run(play())


LISTENS = "y yes"
"""The dialog takes keys."""


def test_the_key_asks_and_yes_makes_the_job(tmp_path: Path) -> None:
    asked: list[Any] = []
    text = press(tmp_path, asked, "3", "w", until=LISTENS)
    assert "Rehearse web1" in text and "no network" in text and "memory" in text
    assert asked == []
    press(tmp_path, asked, "3", "w", until=LISTENS, then="y")
    assert [wish[0] for wish in asked] == [JobKind.REHEARSE]


@pytest.mark.parametrize("answer", ["n", "escape", "enter", "w"])
def test_anything_else_does_nothing(tmp_path: Path, answer: str) -> None:
    asked: list[Any] = []
    press(tmp_path, asked, "3", "w", until=LISTENS, then=answer)
    assert asked == []


def test_the_typed_verb_names_a_host(tmp_path: Path) -> None:
    asked: list[Any] = []
    names = {" ": "space", "@": "at", "-": "minus"}
    keys = [names.get(letter, letter) for letter in "rehearse mail1@latest --on kvm1"]
    press(tmp_path, asked, "colon", *keys, "enter", until=LISTENS, then="y")
    assert [(wish[0], wish[1]) for wish in asked] == [(JobKind.REHEARSE, "kvm1")]


def test_lists_and_pages_say_what_was_proven(tmp_path: Path) -> None:
    points = press(tmp_path, [], "3", until="measured RTO 41 s")
    assert "Rehearsed" in points and "boots 1h00m" in points and "FAILED 1h00m" in points
    assert "Rehearsed" not in press(tmp_path, [], "3", size=(80, 24), until="Consistency")
    press(tmp_path, [], "2", "slash", *"web1", "enter", "d", until="last proven bootable 1h00m ago, measured RTO 41 s")
    press(tmp_path, [], "3", "slash", *"db1", "enter", "e", until="point.not bootable")


def test_the_tier_stands_beside_the_measured_time() -> None:
    rehearsal = next(point.proven for point in example().catalogue.points if point.proven is not None)
    assert proven_words(rehearsal, NOW, 4 * 3600).endswith("measured RTO 41 s (the tier allows 4h00m)")
    assert proven_words(None, NOW) == "never proven bootable"


def test_the_jobs_page_shows_verdict_picture_and_last_words() -> None:
    result = {
        "point": "p1",
        "verdict": "failed",
        "reason": "its kernel panicked",
        "marker": "the guest agent's answer",
        "rto_s": None,
        "picture": "ab" * 32,
        "console": ["[bold]Kernel panic[/]"],
        "checks": [{"name": "boot", "ok": False, "detail": "its kernel panicked"}],
    }
    record = job(1, JobState.FAILED, kind=JobKind.REHEARSE, result=result)
    text = "\n".join("".join(piece for piece, _ in line) for line in job_lines(record, NOW, worker=True))
    assert "point p1 failed: its kernel panicked" in text
    assert "vmtui show p1 --screenshot FILE" in text and "[bold]Kernel panic[/]" in text
