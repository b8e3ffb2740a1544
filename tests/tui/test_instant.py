"""An instant restore by keys: chosen in the wizard, seen on its job's page, thrown away only by its VM's name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import NOW, StillApp, example, job, running, shown, uuid
from vmtui.model.ids import JobId
from vmtui.model.job import JobKind, JobState
from vmtui.model.progress import Check
from vmtui.overview.points import PointView
from vmtui.restore.offers import Offers
from vmtui.restore.plan import RestorePlan, RestoreRequest, Step
from vmtui.tui import clock
from vmtui.tui.screens.job import JobPage, job_lines
from vmtui.tui.wizard import engine
from vmtui.tui.wizard.draft import INSTANT, OFF, STARTED, Draft, Target, changed, target_settings
from vmtui.tui.wizard.screen import RestoreWizard


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def good_point() -> PointView:
    return next(point for point in example().catalogue.points if point.uuid == uuid(1) and not point.damaged)


def draft() -> Draft:
    return Draft(uuid(1), "web1", "kvm1", good_point(), "kvm1")


# -- choosing --------------------------------------------------------------------------------------


def choices_of(value: Draft) -> tuple[str, ...]:
    return next(line.choices for line in target_settings(value, ("kvm1",)) if line.id == "start")


def test_only_a_new_vm_can_be_instant() -> None:
    new = changed(draft(), "start", INSTANT)
    assert choices_of(new) == (OFF, STARTED, INSTANT)
    assert new.request().instant
    assert not new.request().start
    assert new.command().endswith("--instant")
    in_place = changed(new, "target", Target.IN_PLACE.value)
    assert choices_of(in_place) == (OFF, STARTED)
    assert not in_place.request().instant
    assert "--instant" not in in_place.command()


def test_another_choice_takes_it_back() -> None:
    value = changed(changed(draft(), "start", INSTANT), "start", STARTED)
    assert value.request().start
    assert not value.request().instant


# -- by keys ---------------------------------------------------------------------------------------


class Queue:
    """Stands in for the queue: what was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def enqueue(self, *arguments: Any) -> str:
        self.asked.append(arguments)
        return "0" * 16

    def cancel(self, job_id: str, *, discard: bool = False) -> None:
        self.asked.append(("cancel", job_id, discard))


def plan_of(request: RestoreRequest) -> RestorePlan:
    return RestorePlan(
        run=JobId("0" * 16), request=request, point_time="2026-03-14T10:00:00Z", origin="kvm1/web1", name="web1-r0314",
        uuid=uuid(77), macs=(), disks=(), files=(), replaces_vm=False, stop_first=False,
        checks=(Check("instant", True, "sshd on kvm1 hands connections to us"),),
        steps=(Step(1, "start web1-r0314: it runs from the repository"),), changes=(), destroys="nothing",
        unchecked=(), command="vmtui restore P --instant",
    )  # fmt: skip


def press(app: StillApp, screen: Any, *keys: str, until: Callable[[], object] = lambda: True) -> list[str]:
    """Push a screen and press keys, slowly enough for what they ask; gives what is seen when `until` is true."""

    async def play() -> list[str]:
        async with running(app) as pilot:
            app.push_screen(screen)
            await pilot.pause(0.1)
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.3)
            for _ in range(500):
                if until():
                    break
                await asyncio.sleep(0.02)
            return shown(app)

    return asyncio.run(play())


def app_with(folder: Path, jobs: Sequence[Any] | None = None) -> tuple[StillApp, Queue]:
    picture = example()
    if jobs is not None:
        picture = replace(picture, jobs=replace(picture.jobs, records=tuple(jobs)))
    app, queue = StillApp(folder, picture), Queue()
    app.client = queue  # type: ignore[assignment]
    return app, queue


def test_the_wizard_asks_for_an_instant_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ask_offers", lambda _settings, _request: Offers((), (), (), ()))
    monkeypatch.setattr(engine, "ask_plan", lambda _settings, request: plan_of(request))
    app, queue = app_with(tmp_path)
    chosen = ("right_square_bracket", "j", "j", "j", "enter", "down", "down", "enter")
    to_the_end = ("right_square_bracket",) * 3
    seen = press(app, RestoreWizard(draft()), *chosen, *to_the_end, "y", until=lambda: queue.asked)
    assert queue.asked, "\n".join(seen)
    kind, host, vm, request = queue.asked[0]
    assert (kind, host, vm) == (JobKind.INSTANT, "kvm1", "web1-r0314")
    assert request.instant
    assert request.approved


def test_the_second_step_says_what_instant_means(tmp_path: Path) -> None:
    app, _ = app_with(tmp_path)
    wizard = RestoreWizard(changed(draft(), "start", INSTANT))
    text = " ".join(press(app, wizard, "right_square_bracket"))
    assert "instant: runs at once" in text
    assert "stays on the host, whatever happens here" in text


PHASES = tuple(
    {"phase": name, "disk": "", "at": "2026-03-14T11:59:00.000000Z"}
    for name in ("preflight", "serving", "running from the repository", "moving")
)


def moving() -> Any:
    return job(1, JobState.RUNNING, kind=JobKind.INSTANT, vm="web9", phase="moving", phases=PHASES)


def test_the_job_says_how_far_it_is() -> None:
    words = " ".join(text for line in job_lines(moving(), NOW, worker=True) for text, _ in line)
    assert "moving vda" in words
    assert "running from the repository" in words


def test_a_running_vm_is_thrown_away_by_its_name_alone(tmp_path: Path) -> None:
    record = moving()
    app, queue = app_with(tmp_path, [record])
    seen = press(app, JobPage(record.id), "c", "y", "enter")
    assert queue.asked == []
    assert "Throw web9" in " ".join(seen)
    app, queue = app_with(tmp_path, [record])
    press(app, JobPage(record.id), "c", *"web9", "enter", until=lambda: queue.asked)
    assert queue.asked == [("cancel", record.id, True)]


def test_before_it_runs_it_is_cancelled_as_any_job(tmp_path: Path) -> None:
    record = replace(moving(), phase="serving", phases=PHASES[:2])
    app, queue = app_with(tmp_path, [record])
    press(app, JobPage(record.id), "c", "y", until=lambda: queue.asked)
    assert queue.asked == [("cancel", record.id, False)]
