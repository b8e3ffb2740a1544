"""What is copied, exactly as the terminal gets it (OSC 52)."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import NOW, StillApp, example, job, uuid
from tests.support.playing import OFFERS, Play, plan_of, play, words
from vmtui.model.codec import to_plain
from vmtui.model.job import JobState
from vmtui.model.vm import DomainState, Vm
from vmtui.tui import clock
from vmtui.tui.dialogs.pick import Pick
from vmtui.tui.picture import Picture
from vmtui.tui.wizard import engine
from vmtui.tui.wizard.screen import PLAN, RestoreWizard

HARM = "[@click=app.quit]a b'$(id)\x1b[31m虚\n"
FAILED = next(record for record in example().jobs.records if record.state is JobState.FAILED)


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(engine, "ask_offers", lambda _settings, _request: OFFERS)
    monkeypatch.setattr(engine, "ask_plan", lambda _settings, request: plan_of(request))


def sent(app: StillApp) -> list[str]:
    """From now on, the texts that OSC 52 carries to the terminal."""
    texts: list[str] = []
    driver = app._driver  # the terminal's end has no public name
    assert driver is not None
    write = driver.write

    def look(data: str) -> None:
        if data.startswith("\x1b]52;c;"):
            texts.append(base64.b64decode(data.removeprefix("\x1b]52;c;").removesuffix("\a")).decode())
        write(data)

    driver.write = look  # type: ignore[method-assign]
    return texts


def copied(folder: Path, name: str, *keys: str, picture: Picture | None = None, read_only: bool = False) -> str:
    """What is sent when this line of the menu is picked."""
    texts: list[str] = []

    async def script(hands: Play) -> None:
        hands.app.settings = replace(hands.app.settings, read_only=read_only)
        texts.extend(await picked(hands, name, *keys))

    assert play(folder, script, picture=picture).asked == []
    (text,) = texts
    return text


async def picked(hands: Play, name: str, *keys: str) -> list[str]:
    await hands.press(*keys, "y")
    menu = await hands.dialog(Pick)
    assert isinstance(menu, Pick)
    offered = [choice.id for choice in menu._choices]
    texts = sent(hands.app)
    await hands.press(*["down"] * offered.index(name), "enter")
    await hands.until(lambda: texts)
    assert any(f"{name} sent to the terminal" in text for text in hands.app.said)
    return texts


WEB1 = ("2", "slash", *words("web1"), "enter")
BOTH = tuple(key for name in ("web1", "db1") for key in ("2", "slash", *words(name), "enter", "space", "escape"))
DB1_JOB = ("4", "slash", *words("state:failed"), "enter")


@pytest.mark.parametrize(
    ("keys", "name", "text"),
    [
        (WEB1, "name", "kvm1/web1"),
        (WEB1, "CLI backup", "vmtui backup kvm1/web1"),
        (WEB1, "CLI restore", "vmtui restore kvm1/web1@good"),
        (BOTH, "CLI restore", "vmtui restore kvm1/db1@good kvm1/web1@good"),
        (WEB1, "CLI verify", "vmtui verify kvm1/web1@latest"),
        (("3",), "name", example().catalogue.points[0].id),
        (("3",), "CLI rehearse", f"vmtui rehearse {example().catalogue.points[0].id}"),
        (("4",), "CLI cancel", f"vmtui job cancel {example().jobs.records[0].id}"),
        (("4", "slash", *words("restore"), "enter"), "CLI undo", "vmtui revert kvm1/web1"),
        (DB1_JOB, "CLI again", f"vmtui job again {FAILED.id}"),
        (DB1_JOB, "error", "VM-BUSY: Another job runs on the VM. Wait for it."),
        (("5",), "name", "kvm1"),
        (("5", "down"), "error", "HOST-UNREACHABLE: kvm2 does not answer. Try ssh by hand."),
        (("8",), "error", "HOST-UNREACHABLE kvm2: kvm2 does not answer."),
        (("6",), "CLI verify", "vmtui verify --all"),
    ],
)
def test_exactly_this_is_sent(tmp_path: Path, keys: tuple[str, ...], name: str, text: str) -> None:
    assert copied(tmp_path, name, *keys) == text


def test_json_is_the_whole_thing(tmp_path: Path) -> None:
    newest = example().catalogue.points[0]
    assert json.loads(copied(tmp_path, "JSON", "3")) == to_plain(newest)
    assert json.loads(copied(tmp_path / "job", "JSON", *DB1_JOB)) == to_plain(FAILED)


def test_a_name_that_means_harm_is_sent_as_it_is_and_quoted_for_a_shell(tmp_path: Path) -> None:
    picture = example()
    vm = Vm("kvm1", HARM, uuid(1), DomainState.RUNNING)
    host = replace(picture.hosts["kvm1"], vms=(vm,))
    only = replace(picture, hosts={"kvm1": host}, catalogue=replace(picture.catalogue, points=()))
    assert copied(tmp_path, "name", "2", picture=only) == f"kvm1/{HARM}"
    line = copied(tmp_path / "cli", "CLI backup", "2", picture=only)
    assert shlex.split(line) == ["vmtui", "backup", f"kvm1/{HARM}"]


def test_read_only_mode_still_copies_the_command_line(tmp_path: Path) -> None:
    assert copied(tmp_path, "CLI backup", *WEB1, read_only=True) == "vmtui backup kvm1/web1"


def test_the_wizard_gives_the_line_of_its_plan(tmp_path: Path) -> None:
    texts: list[str] = []
    lines: list[str] = []

    async def script(hands: Play) -> None:
        await hands.press(*WEB1, "r")
        await hands.until(lambda: isinstance(hands.app.screen, RestoreWizard))
        page: Any = hands.app.screen
        while page.step < PLAN:
            await hands.press("right_square_bracket")
            await hands.until(lambda: not page.asking)
        lines.append(page.plan.command)
        texts.extend(await picked(hands, "CLI restore"))

    play(tmp_path, script)
    assert texts == lines
    assert "--map-network lan=none" in lines[0]


def test_what_cannot_be_done_with_it_is_not_offered(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("4", "y")
        menu: Any = await hands.dialog(Pick)
        assert [choice.id for choice in menu._choices] == ["name", "CLI cancel", "JSON"]

    play(tmp_path, script)


def test_where_there_is_nothing_it_says_so(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("at", "y", "e", "enter")
        assert [text.split(":")[0] for text in hands.app.said] == ["Copy", "Explain", "Open"]

    play(tmp_path, script)


def test_a_long_error_is_not_cut(tmp_path: Path) -> None:
    error = {"id": "VM-BUSY", "cause": "x" * 500, "next_step": "Wait.", "exit_code": 5}
    picture = example()
    records = (job(3, JobState.FAILED, error=error),)
    text = copied(tmp_path, "error", "4", picture=replace(picture, jobs=replace(picture.jobs, records=records)))
    assert text == f"VM-BUSY: {'x' * 500} Wait."
