"""What the screens know when somebody does not answer, and what they hear of a point that was there before."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.pictures import NOW, StillApp, example, rehearsal, running, settings, shown, uuid
from tests.support.repositories import commit_disk, create, noise
from vmtui.model.host import HostState
from vmtui.model.point import EventKind, PointEvent
from vmtui.model.policy import Status
from vmtui.overview.journal import LogEntry
from vmtui.tui import browsing, cache, clock
from vmtui.tui.feeds import CatalogueFeed
from vmtui.tui.intake import first_picture
from vmtui.tui.mailbox import Mailbox
from vmtui.tui.picture import CatalogueView, HostView, Picture
from vmtui.tui.screens.log import LogView
from vmtui.tui.screens.pulse import host_lines, unprotected_words
from vmtui.tui.screens.repo import repo_words
from vmtui.tui.screens.vms import VmsView
from vmtui.tui.wizard.draft import changed, first_draft


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def text(lines: list[list[Any]]) -> str:
    return "\n".join("".join(piece[0] for piece in line) for line in lines)


def test_a_repository_that_is_away_takes_nothing_from_what_was_known(tmp_path: Path) -> None:
    mailbox = Mailbox()
    before = example().catalogue
    CatalogueFeed(settings(tmp_path), mailbox, before).look()
    heard: CatalogueView = mailbox.drain()[0]["catalogue"]
    assert heard.points == before.points
    assert heard.error is not None
    assert "cannot be read" in heard.unknown_why


def test_an_error_of_the_last_session_is_no_error_of_this_one(tmp_path: Path) -> None:
    made = settings(tmp_path)
    known = replace(example().catalogue, error={"id": "REPO-LOCKED", "cause": "locked"})
    cache.save_picture(made.state, replace(example(), catalogue=known))
    first = first_picture(made)
    assert first.catalogue.error is None
    assert first.catalogue.points == known.points


def test_a_cache_that_cannot_be_written_or_cleared_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("write_text", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    cache.save_picture(tmp_path, Picture())


def test_what_a_rehearsal_has_shown_is_heard(tmp_path: Path) -> None:
    repository = create(tmp_path)
    name = commit_disk(repository, noise(1, 2))
    feed = CatalogueFeed(settings(tmp_path), Mailbox(), CatalogueView())
    feed._repository = repository
    feed.look()
    assert [view.rehearsed for view in feed._view.points] == [None]
    seen = rehearsal(NOW)
    repository.points.record(name, PointEvent(EventKind.REHEARSED, NOW, rehearsal=seen))
    feed.look()
    (heard,) = feed._view.points
    assert (heard.rehearsed, heard.proven) == (seen, seen)


def test_nothing_is_called_good_that_is_not_known(tmp_path: Path) -> None:
    row = next(row.at(NOW) for row in StillApp(tmp_path, example()).picture.rows if row.stand.status is Status.OK)
    unknown = replace(row, stand=replace(row.stand, status=Status.UNKNOWN, reason="the repository cannot be read"))
    assert "every VM" in text(unprotected_words([row]))
    said = text(unprotected_words([row, unknown]))
    assert "every VM" not in said
    assert f"{row.path:20} the repository cannot be read" in said


def test_a_host_that_was_only_asked_is_not_among_those_that_answer() -> None:
    asked = HostView("kvm7", HostState.CONNECTING, NOW, as_of=NOW - timedelta(days=1))
    answers = HostView("kvm8", HostState.CONNECTED, NOW, as_of=NOW)
    said = text(host_lines(Picture(hosts={"kvm7": asked, "kvm8": answers}), NOW))
    assert "✓ kvm8" in said
    assert "kvm7: asked, no answer yet" in said


@pytest.mark.parametrize("key", ["3", "2"])
def test_no_points_are_not_claimed_while_the_repository_is_away(tmp_path: Path, key: str) -> None:
    async def look() -> str:
        picture = replace(example(), catalogue=CatalogueView(error={"id": "REPO-UNREACHABLE", "cause": "not mounted"}))
        app = StillApp(tmp_path, picture)
        async with running(app) as pilot:
            await pilot.press(key)
            await pilot.pause()
            return "\n".join(shown(app))

    seen = asyncio.run(look())
    assert "not mounted" in seen
    assert "no restore point" not in seen


@pytest.mark.parametrize(
    ("line", "words"),
    [("w ~nobody-of-that-name/x", "was not written"), ("host trust vault", "asking vault for its key")],
)
def test_lines_that_name_what_is_not_there_crash_nothing(tmp_path: Path, line: str, words: str) -> None:
    async def type_it() -> list[str]:
        app = StillApp(tmp_path, example())
        vault = replace(app.settings.hosts["kvm1"], name="vault", libvirt=False, address="127.0.0.1", port=1)
        app.settings = replace(app.settings, hosts={**app.settings.hosts, "vault": vault})
        async with running(app) as pilot:
            app.run_line(line)
            for _ in range(200):
                await pilot.pause(0.05)
                if any(words in said for said in app.said):
                    break
            return app.said

    assert any(words in said for said in asyncio.run(type_it()))


def test_a_file_in_nobodys_home_is_only_a_name() -> None:
    draft = changed(first_draft(uuid(1), "web1", "kvm1", [], ["kvm1"]), "file", "~nobody-of-that-name/x.qcow2")
    assert draft.file.endswith("/~nobody-of-that-name/x.qcow2")


def test_the_log_of_a_job_is_found_by_its_id() -> None:
    entry = LogEntry(NOW, "error", "kvm1/web1", "backup failed", job="0123456789abcdef")
    assert "89abcdef" in LogView().row_text(entry)


def test_a_row_that_passes_the_filter_no_longer_stays_under_the_cursor(tmp_path: Path) -> None:
    """Else the next key would hit the VM that took its place."""

    async def press() -> None:
        app = StillApp(tmp_path, example())
        async with running(app) as pilot:
            await pilot.press("2")
            view = app.screen
            assert isinstance(view, VmsView)
            wanted = view.table.rows[0]
            view.table.narrow(lambda row: row.state == wanted.state)
            view.table.go_to(wanted.id)
            changed_rows = tuple(
                replace(row, state="elsewhere") if row.id == wanted.id else row for row in app.picture.rows
            )
            app.picture = replace(app.picture, rows=changed_rows)
            app.repaint()
            assert view.table.current is not None
            assert (view.table.current.id, view.table.current.state) == (wanted.id, "elsewhere")
            assert view.table.is_ghost
            assert view.focus_now().vms == ()

    asyncio.run(press())


def test_what_a_search_could_not_read_is_given_with_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from vmtui.files import walk

    problem = SimpleNamespace(path="vda1:/etc", cause="it is damaged")

    def find(_browser: Any, _top: Any, _pattern: str, _watch: Any, tell: Any) -> Any:
        tell(problem)
        yield "found"

    monkeypatch.setattr(walk, "find", find)
    any_: Any = None
    answer: Any = browsing.found_below(any_, any_, "x")
    assert answer == (["found"], [problem])


@pytest.mark.parametrize(
    ("view", "there", "missing"),
    [
        (CatalogueView(error={"id": "X", "cause": "gone", "next_step": "mount"}), "gone", "Points"),
        (CatalogueView(), "not read yet", "Points"),
        (CatalogueView(as_of=NOW - timedelta(days=3)), "? asked, no answer yet", "can be read"),
        (CatalogueView(as_of=NOW), "can be read", "no answer"),
    ],
)
def test_the_repository_is_only_told_of_as_far_as_it_was_read(view: CatalogueView, there: str, missing: str) -> None:
    said = text(repo_words("file:///x", view, NOW))
    assert there in said
    assert missing not in said
