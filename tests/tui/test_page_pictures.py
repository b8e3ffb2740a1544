"""Pictures of the pages and dialogs that take more than a key to get to, compared as those of the views are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import shown
from tests.support.playing import (
    CALLS,
    OFFERS,
    Play,
    Script,
    group_job,
    group_plan_of,
    plan_of,
    play,
    preview_of,
    prune_plan,
    words,
)
from tests.tui.test_snapshots import SIZES, compare, still
from vmtui.tui.dialogs.base import Confirm, Typed
from vmtui.tui.dialogs.notice import Alarm
from vmtui.tui.dialogs.options import BackupOptions
from vmtui.tui.dialogs.pick import Pick
from vmtui.tui.screens import calls
from vmtui.tui.screens.job import JobPage
from vmtui.tui.screens.prune import PrunePage
from vmtui.tui.verbs import sheets, trust
from vmtui.tui.wizard import engine
from vmtui.tui.wizard.draft import Target
from vmtui.tui.wizard.screen import MAPPING, PLAN, TARGET, RestoreWizard
from vmtui.tui.wizard.several import SeveralPage

__all__ = ["still"]


class Key:
    """A key with a name that stays the same."""

    @staticmethod
    def get_name() -> str:
        return "ssh-ed25519"


@pytest.fixture(autouse=True)
def answers(still: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hosts and repository would say is known."""
    monkeypatch.setattr(engine, "ask_offers", lambda _settings, _request: OFFERS)
    monkeypatch.setattr(engine, "ask_plan", lambda _settings, request: plan_of(request))
    monkeypatch.setattr(engine, "ask_group_offers", lambda _settings, _request: OFFERS)
    monkeypatch.setattr(engine, "ask_group_plan", lambda _settings, request: group_plan_of(request))
    monkeypatch.setattr(sheets, "_preview", lambda _app, _focus, chosen: preview_of(chosen.mode, full=chosen.full))
    monkeypatch.setattr(calls, "recent", lambda _state: list(CALLS))


def wizard_at(step: int, target: Target = Target.NEW) -> Script:
    """The wizard on a step."""

    async def script(hands: Play) -> None:
        await hands.press("2", "slash", *words("web1"), "enter", "r")
        await hands.until(lambda: isinstance(hands.app.screen, RestoreWizard))
        page = hands.app.screen
        assert isinstance(page, RestoreWizard)
        page.draft = replace(page.draft, target=target)
        while page.step < step:
            await hands.press("right_square_bracket")
            await hands.until(lambda: not page.asking)

    return script


def confirmed(target: Target) -> Script:
    async def script(hands: Play) -> None:
        await wizard_at(PLAN, target)(hands)
        await hands.press("right_square_bracket")
        await hands.dialog(Typed if target is Target.IN_PLACE else Confirm)

    return script


async def prune(hands: Play) -> None:
    await hands.press("6")
    hands.app.push_screen(PrunePage(prune_plan(), (), "repo"))
    await hands.until(lambda: isinstance(hands.app.screen, PrunePage))


async def command_log(hands: Play) -> None:
    await hands.press("at")
    await hands.until(lambda: isinstance(hands.app.screen, calls.CallsPage))


async def options(hands: Play) -> None:
    await hands.press("2", "slash", *words("web1"), "enter", "o")
    await hands.dialog(BackupOptions)
    await hands.until(lambda: "What it would do" in hands.text)


async def alarm(hands: Play) -> None:
    await hands.press("5")
    trust._show(hands.app, "kvm1", trust.Shown("192.0.2.7", 22, Key(), "SHA256:0jx4k2abc", "changed"))
    await hands.dialog(Alarm)


def picking(*keys: str) -> Script:
    async def script(hands: Play) -> None:
        await hands.press(*keys)
        await hands.dialog(Pick)

    return script


async def several(hands: Play) -> None:
    """Two VMs of one job, with the plan."""
    for name in ("web1", "db1"):
        await hands.press("2", "slash", *words(name), "enter", "space", "escape")
    await hands.press("r")
    await hands.until(lambda: isinstance(hands.app.screen, SeveralPage) and hands.app.screen.plan is not None)


async def several_confirmed(hands: Play) -> None:
    await several(hands)
    await hands.press("right_square_bracket")
    await hands.dialog(Confirm)


async def several_in_place(hands: Play) -> None:
    await several(hands)
    page = hands.app.screen
    assert isinstance(page, SeveralPage)
    page._set("target", Target.IN_PLACE)
    await hands.until(lambda: page.plan is not None)
    await hands.press("right_square_bracket")
    await hands.dialog(Typed)


async def group_evidence(hands: Play) -> None:
    """What became of three, of which the second failed."""
    record = group_job()
    hands.app.picture = replace(hands.app.picture, jobs=replace(hands.app.picture.jobs, records=(record,)))
    hands.app.push_screen(JobPage(record.id))
    await hands.until(lambda: "not begun" in hands.text)


PAGES: tuple[tuple[str, Script], ...] = (
    ("wizard-1-point", wizard_at(1)),
    ("wizard-2-target", wizard_at(TARGET)),
    ("wizard-3-mapping", wizard_at(MAPPING)),
    ("wizard-4-plan", wizard_at(PLAN)),
    ("wizard-5-confirm", confirmed(Target.NEW)),
    ("wizard-4-in-place", wizard_at(PLAN, Target.IN_PLACE)),
    ("wizard-5-in-place", confirmed(Target.IN_PLACE)),
    ("several", several),
    ("several-confirm", several_confirmed),
    ("several-in-place", several_in_place),
    ("group-evidence", group_evidence),
    ("prune", prune),
    ("calls", command_log),
    ("options", options),
    ("alarm", alarm),
    ("palette", picking("2", "ctrl+p")),
    ("copy", picking("4", "y")),
)


def look(folder: Path, script: Callable[[Play], Any], size: tuple[int, int]) -> tuple[list[str], str]:
    """What is seen, as lines and as SVG."""
    seen: list[tuple[list[str], str]] = []

    async def run(hands: Play) -> None:
        hands.app.settings = replace(hands.app.settings, state=Path("/state"), known_hosts=Path("/config/known_hosts"))
        await script(hands)
        await hands.until(lambda: "vmtui" in shown(hands.app)[0])  # the page below the dialog is painted, too
        svg = hands.app.export_screenshot(title="vmtui")
        seen.append((shown(hands.app), re.sub(r"terminal-\d+", "terminal", svg)))

    play(folder, run, size=size)
    return seen[0]


@pytest.mark.parametrize(("name", "script"), PAGES, ids=[name for name, _ in PAGES])
@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x36"])
@pytest.mark.parametrize("colour", [True, False], ids=["dark", "no-colour"])
def test_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: Script, size: tuple[int, int], colour: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    lines, svg = look(tmp_path, script, size)
    compare(f"{name}-{size[0]}x{size[1]}-{'dark' if colour else 'no-colour'}.svg", svg)
    grid = f"{name}-{size[0]}x{size[1]}.txt"
    if colour:
        compare(grid, "\n".join(lines) + "\n")
    else:  # colour adds nothing that words do not say
        assert (Path(__file__).parent / "snapshots" / grid).read_text(encoding="utf-8") == "\n".join(lines) + "\n"
