"""The command log: what was asked of hosts, by whom, how long it took, and never a secret."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import NOW, StillApp
from tests.support.playing import CALLS, Play, play, words
from vmtui import calls, keyring
from vmtui.tui import clock
from vmtui.tui.screens.calls import CallsPage


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands, and this process has asked nothing yet."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(calls, "_calls", deque(maxlen=calls._KEPT))


def with_calls(app: StillApp) -> None:
    """The worker's calls are in its file, those of the screens in memory; the file's last line is torn."""
    app.settings.state.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(call)) for call in CALLS if call.by == "worker"]
    (app.settings.state / calls.FILE).write_text("\n".join([*lines, '{"at": 1']))
    for call in CALLS:
        if call.by == "screens":
            calls._note(call)


async def opened(hands: Play) -> CallsPage:
    with_calls(hands.app)
    await hands.press("at")
    page = hands.app.screen
    assert isinstance(page, CallsPage)
    return page


def shown_rows(page: CallsPage) -> list[str]:
    return [row.call.what for row in page.table.rows]


def test_calls_of_screens_and_worker_newest_first(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        page = await opened(hands)
        assert shown_rows(page) == [call.what for call in CALLS]
        first, second, third, *_ = hands.text.splitlines()[3:]
        assert first.split()[1:] == [
            "11:59:59.000",
            "kvm1",
            "libvirt",
            "0.012",
            "s",
            "ok",
            "listing",
            "the",
            "VMs",
            "screens",
        ]
        assert second.split()[-3:] == ["-U", "/images/web1.qcow2", "worker"]
        assert "HOST-UN" in third
        assert "kvm1 2/min 0.3 s, kvm2 1/min 10.0 s" in hands.text, "calls a minute, and the time in them"
        await hands.press("j", "j")
        assert "HOST-UNREACHABLE after 10.000 s, asked by the screens" in hands.text

    play(tmp_path, script)


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("host:kvm2", ["logging in"]),
        ("kind:file", ["reading /etc/libvirt/qemu.conf"]),
        ("qemu-img", ["qemu-img info --output=json -U /images/web1.qcow2"]),
        ("worker kind:socket", ["/run/vmtui-1/nbd.sock"]),
    ],
)
def test_filter(tmp_path: Path, typed: str, left: list[str]) -> None:
    async def script(hands: Play) -> None:
        page = await opened(hands)
        await hands.press("slash", *words(typed), "enter")
        assert shown_rows(page) == left
        await hands.press("escape")
        assert len(shown_rows(page)) == len(CALLS)
        await hands.press("escape")
        assert not isinstance(hands.app.screen, CallsPage)

    play(tmp_path, script)


def test_the_slowest_first(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        page = await opened(hands)
        await hands.press("greater_than_sign")
        page.table.order(next(column for column in page.table.columns if column.title == "tooK"), reverse=True)
        assert shown_rows(page)[0] == "logging in"

    play(tmp_path, script)


def test_a_secret_that_is_kept_is_never_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a caller puts into the words of a call, and into the file of a worker."""
    monkeypatch.setattr(keyring, "_kept", {})
    keyring.keep("kvm1", "hunter2 is 'mine'")
    file = tmp_path / "calls.jsonl"
    monkeypatch.setattr(calls, "_file", file)
    for what in ("login hunter2 is 'mine'", "echo 'hunter2 is '\"'\"'mine'\"'\"''", "virsh list"):
        with calls.recorded("kvm1", "command", what):
            pass

    async def script(hands: Play) -> None:
        await hands.press("at")
        assert "hunter2" not in hands.text
        assert "virsh list" in hands.text

    play(tmp_path / "app", script)
    assert "hunter2" not in file.read_text()


def test_foreign_words_are_only_words(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        harm = replace(CALLS[0], what="[@click=app.quit]x[/] \x1b[31m\nrm", host="[b]h")
        calls._note(harm)
        await hands.press("at")
        text = hands.text
        assert "[@click=app.quit]x[/]" in text
        assert "\x1b" not in text

    play(tmp_path, script)


def test_frozen_time(tmp_path: Path) -> None:
    """Calls of an hour ago are rows, and do not count among those of the last minute."""

    async def script(hands: Play) -> None:
        old: Any = replace(CALLS[0], at=NOW.timestamp() - 3600)
        calls._note(old)
        await hands.press("at")
        assert "/min" not in hands.text
        assert "listing the VMs" in hands.text

    play(tmp_path, script)
