"""The restore wizard from the keys to the request: what was chosen is what is asked for, with the plan that was seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import NOW, example, point, uuid
from tests.support.playing import JOB, OFFERS, Play, plan_of, play, words
from vmtui.model.errors import UnreachableError
from vmtui.model.job import JobKind
from vmtui.model.progress import Check
from vmtui.overview.points import PointView
from vmtui.tui import clock
from vmtui.tui.dialogs.ask import Ask
from vmtui.tui.dialogs.base import Confirm, Dialog, Typed
from vmtui.tui.dialogs.pick import Pick
from vmtui.tui.picture import Picture
from vmtui.tui.wizard import engine
from vmtui.tui.wizard.draft import NO_NETWORK, SAME
from vmtui.tui.wizard.screen import MAPPING, PLAN, POINT, TARGET, RestoreWizard

NEXT = "right_square_bracket"
BACK = "left_square_bracket"


def example_with_two_hosts() -> Picture:
    """web1 has two good points; kvm2 may be written to (the wizard asks the settings of the app)."""
    picture = example()
    older = point(1, "web1", timedelta(days=2))
    points = sorted((*picture.catalogue.points, older), key=lambda view: view.id, reverse=True)
    return replace(picture, catalogue=replace(picture.catalogue, points=tuple(points)))


PICTURE = example_with_two_hosts()
NEWEST, OLDER = [view for view in PICTURE.catalogue.points if view.vm == "web1" and view.good]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(engine, "ask_offers", lambda _settings, _request: OFFERS)
    monkeypatch.setattr(engine, "ask_plan", lambda _settings, request: plan_of(request))


class Wizard:
    """Hands that know the wizard."""

    def __init__(self, hands: Play) -> None:
        self.hands = hands

    async def open(self, *, vm: str = "web1", view: str = "2") -> None:
        """From the list of VMs, or of points."""
        settings = self.hands.app.settings
        kvm2 = replace(settings.hosts["kvm2"], read_only=False)
        self.hands.app.settings = replace(settings, hosts={**settings.hosts, "kvm2": kvm2})
        await self.hands.press(view, "slash", *words(vm), "enter", "r")
        await self.hands.until(lambda: isinstance(self.hands.app.screen, RestoreWizard))

    @property
    def page(self) -> RestoreWizard:
        assert isinstance(self.hands.app.screen, RestoreWizard)
        return self.hands.app.screen

    async def to(self, step: int) -> None:
        """Go on until the step is shown and nobody is asked any more."""
        page = self.page
        while page.step < step:
            await self.hands.press(NEXT)
            await self.hands.until(lambda: not page.asking)

    async def line(self, label: str) -> None:
        """The cursor on a line of the form, and enter."""
        row = next(row for row in self.page.settings.rows if row.setting.label == label)
        self.page.settings.go_to(row.id)
        await self.hands.press("enter")

    async def pick(self, label: str, choice: str) -> None:
        """Pick one of a line's choices."""
        row = next(row for row in self.page.settings.rows if row.setting.label == label)
        await self.line(label)
        await self.hands.dialog(Pick)
        place = next(number for number, text in enumerate(row.setting.choices) if choice in text)
        await self.hands.press(*["down"] * place, "enter")
        await self.hands.until(lambda: isinstance(self.hands.app.screen, RestoreWizard) and not self.page.asking)

    async def write(self, label: str, text: str) -> None:
        """Type a line's text anew."""
        await self.line(label)
        await self.hands.dialog(Ask)
        await self.hands.press("ctrl+u", *words(text), "enter")
        await self.hands.until(lambda: isinstance(self.hands.app.screen, RestoreWizard))

    async def answer(self, kind: type[Dialog[Any]], *keys: str) -> None:
        """The last step: the question, its answer, and the job's page."""
        await self.hands.press(NEXT)
        await self.hands.dialog(kind)
        await self.hands.press(*keys)
        await self.hands.until(lambda: self.hands.queue.asked and JOB in self.hands.text)


def asked(folder: Path, script: Any) -> tuple[Any, ...]:
    """The one job that a script asks for."""

    async def run(hands: Play) -> None:
        await script(Wizard(hands))

    (job,) = play(folder, run, picture=PICTURE).asked
    return job


def test_a_new_vm_with_the_safe_defaults(tmp_path: Path) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.open()
        assert wizard.page.step == POINT
        await wizard.to(PLAN)
        assert "Destroys  nothing" in wizard.hands.text
        assert "links" in wizard.hands.text or "--map-network" in wizard.hands.text
        await wizard.answer(Confirm, "y")

    kind, host, name, request = asked(tmp_path, script)
    assert (kind, host, name) == (JobKind.RESTORE, "kvm1", "web1-r0314")
    assert (request.vm, request.point, request.name) == (uuid(1), NEWEST.id, "web1-r0314")
    assert not (request.in_place or request.same_identity or request.start or request.instant or request.new_nvram)
    assert request.networks == {"lan": "none", "dmz": "none"}
    assert request.pools == {}
    assert request.approved == plan_of(replace(request, approved="")).fingerprint()


def test_enter_says_that_the_plan_has_no_line_to_change(tmp_path: Path) -> None:
    async def run(hands: Play) -> None:
        wizard = Wizard(hands)
        await wizard.open()
        await wizard.to(TARGET)
        assert not wizard.page.changes_nothing
        await wizard.to(PLAN)
        await hands.press("enter")
        await hands.until(lambda: any("nothing to change here" in text for text in hands.app.said))
        assert wizard.page.step == PLAN

    play(tmp_path, run, picture=PICTURE)


def test_to_another_host_with_name_start_pool_and_network(tmp_path: Path) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.hands.press("j", "j")  # the newest, the damaged one, the older one
        assert wizard.page.points.current == OLDER
        await wizard.to(TARGET)
        await wizard.pick("Host", "kvm2")
        await wizard.write("Name", "web1-test")
        await wizard.pick("Afterwards", "started")
        await wizard.to(MAPPING)
        await wizard.pick("Disks of images", "fast")
        await wizard.pick("Interfaces on lan", "default")
        await wizard.to(PLAN)
        seen = " ".join(wizard.hands.text.split())
        assert "kvm2, NEW VM web1-test, started" in seen
        assert f"vmtui restore {OLDER.id} --to kvm2 --as web1-test" in seen
        await wizard.answer(Confirm, "y")

    kind, host, name, request = asked(tmp_path, script)
    assert (kind, host, name) == (JobKind.RESTORE, "kvm2", "web1-test")
    assert (request.point, request.host, request.name, request.start) == (OLDER.id, "kvm2", "web1-test", True)
    assert request.pools == {"images": "fast"}
    assert request.networks == {"lan": "default", "dmz": "none"}


def test_in_place_needs_the_name_of_the_vm(tmp_path: Path) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.to(TARGET)
        await wizard.pick("Host", "kvm2")
        await wizard.pick("Bring back", "in place")
        await wizard.to(PLAN)
        assert "IN PLACE" in wizard.hands.text
        await wizard.hands.press(NEXT)
        await wizard.hands.dialog(Typed)
        assert "shut down first" in wizard.hands.text
        assert "The old disks are kept" in wizard.hands.text
        await wizard.hands.press(*words("web"), "enter", "y", "enter", "escape")
        assert not wizard.hands.queue.asked
        await wizard.answer(Typed, *words("web1"), "enter")

    kind, host, name, request = asked(tmp_path, script)
    assert (kind, host, name) == (JobKind.RESTORE, "kvm1", "web1"), "in place is where the VM is"
    assert (request.in_place, request.same_identity, request.name, request.host) == (True, False, None, "kvm1")
    assert request.networks == {}, "it keeps its networks"
    assert request.approved


def test_a_lost_vm_comes_back_as_itself(tmp_path: Path) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.open(vm="old-crm")
        await wizard.to(TARGET)
        await wizard.pick("Bring back", "lost")
        await wizard.pick("Host", "kvm2")
        await wizard.to(PLAN)
        await wizard.answer(Confirm, "y")

    kind, host, _, request = asked(tmp_path, script)
    assert (kind, host) == (JobKind.RESTORE, "kvm2")
    assert (request.vm, request.same_identity, request.in_place) == (uuid(8), True, False)
    assert request.name is None or request.name == "web1"  # the plan's, for the fingerprint


def test_instant_runs_at_once(tmp_path: Path) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.to(TARGET)
        await wizard.pick("Afterwards", "instant")
        await wizard.to(PLAN)
        await wizard.hands.press(NEXT)
        await wizard.hands.dialog(Confirm)
        assert "runs from the repository" in wizard.hands.text
        await wizard.hands.press("escape")
        await wizard.answer(Confirm, "y")

    kind, host, name, request = asked(tmp_path, script)
    assert (kind, host, name) == (JobKind.INSTANT, "kvm1", "web1-r0314")
    assert (request.instant, request.start) == (True, False)
    assert request.networks == {"lan": "none", "dmz": "none"}


@pytest.mark.parametrize(("file", "form"), [("/tmp/a disk.qcow2", "qcow2"), ("/tmp/disk.img", "raw")])
def test_one_disk_to_a_file(tmp_path: Path, file: str, form: str) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.to(TARGET)
        await wizard.pick("Bring back", "file")
        await wizard.hands.press(NEXT)
        assert wizard.page.step == TARGET, "without a file there is no plan"
        assert any("choose the disk and the file" in text for text in wizard.hands.app.said)
        await wizard.write("File", file)
        await wizard.to(PLAN)
        assert f"write {file}.part" in wizard.hands.text
        await wizard.answer(Confirm, "y")

    kind, host, name, request = asked(tmp_path, script)
    assert (kind, host, name) == (JobKind.EXPORT, "", "web1 vda")
    assert (request.vm, request.point, request.disk) == (uuid(1), NEWEST.id, "vda")
    assert (request.file, request.format) == (file, form)


# -- what keeps the operator from harm -------------------------------------------------------------


def refused(folder: Path, script: Any, picture: Picture = PICTURE) -> None:
    async def run(hands: Play) -> None:
        await script(Wizard(hands))

    assert play(folder, run, picture=picture).asked == []


def test_a_damaged_point_is_not_taken(tmp_path: Path) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.hands.press("j", NEXT)
        assert wizard.page.points.current is not None
        assert wizard.page.points.current.damaged
        assert wizard.page.step == POINT
        assert any("damaged" in text for text in wizard.hands.app.said)

    refused(tmp_path, script)


def line_of(text: str) -> list[str]:
    """The keys of a typed command line."""
    return ["colon", *({" ": "space", "@": "at"}.get(letter, letter) for letter in text), "enter"]


@pytest.mark.parametrize(("damaged", "expected"), [("", NEWEST), ("block 7 is bad", OLDER)])
def test_good_is_never_a_damaged_point(tmp_path: Path, damaged: str, expected: PointView) -> None:
    points = tuple(
        replace(view, damaged=damaged) if view.id == NEWEST.id else view for view in PICTURE.catalogue.points
    )

    async def script(wizard: Wizard) -> None:
        await wizard.hands.press(*line_of("restore web1@good"))
        await wizard.hands.until(lambda: isinstance(wizard.hands.app.screen, RestoreWizard))
        assert wizard.page.draft.point is not None
        assert wizard.page.draft.point.id == expected.id
        points = wizard.page.points
        await wizard.hands.until(lambda: points.current is not None and points.current.id == expected.id)

    refused(tmp_path, script, replace(PICTURE, catalogue=replace(PICTURE.catalogue, points=points)))


def test_the_point_that_was_meant_is_taken(tmp_path: Path) -> None:
    """Going on at once takes the older point that the restore was begun from, not the newest."""

    async def script(wizard: Wizard) -> None:
        await wizard.hands.press(*line_of(f"restore {OLDER.id}"))
        await wizard.hands.until(lambda: isinstance(wizard.hands.app.screen, RestoreWizard))
        await wizard.to(PLAN)
        await wizard.answer(Confirm, "y")

    *_, request = asked(tmp_path, script)
    assert request.point == OLDER.id


def test_an_unknown_word_after_the_at_is_refused(tmp_path: Path) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.hands.press(*line_of("restore web1@oldest"))
        await wizard.hands.until(lambda: any("only VM@latest and VM@good" in text for text in wizard.hands.app.said))
        assert not isinstance(wizard.hands.app.screen, RestoreWizard)

    refused(tmp_path, script)


def test_an_unknown_word_after_a_host_is_refused(tmp_path: Path) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.hands.press(*line_of("host restore kvm1@oldest"))
        await wizard.hands.until(lambda: any("kvm1@oldest" in text for text in wizard.hands.app.said))

    refused(tmp_path, script)


@pytest.mark.parametrize("name", [NO_NETWORK, SAME])
def test_a_name_that_means_something_here_is_offered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The list of a mapping's values opens, whatever networks and pools are called."""
    named = replace(OFFERS, networks=(*OFFERS.networks, name), pools=(*OFFERS.pools, (name, 1 << 30)))
    monkeypatch.setattr(engine, "ask_offers", lambda _settings, _request: named)

    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.to(MAPPING)
        for label in (f"Interfaces on {named.networks_needed[0]}", f"Disks of {named.places_needed[0]}"):
            await wizard.line(label)
            await wizard.hands.until(lambda: isinstance(wizard.hands.app.screen, Pick))
            await wizard.hands.press("escape")
            await wizard.hands.until(lambda: isinstance(wizard.hands.app.screen, RestoreWizard))

    refused(tmp_path, script)


def test_a_failed_check_lets_nobody_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Check("room", False, "1 GiB free in images, 5 GiB needed")
    monkeypatch.setattr(engine, "ask_plan", lambda _settings, request: plan_of(request, [full]))

    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.to(MAPPING)
        assert "✗ FAILED   room" in wizard.hands.text
        await wizard.to(PLAN)
        await wizard.hands.press(NEXT)
        assert wizard.page.step == PLAN
        assert any("a check failed" in text for text in wizard.hands.app.said)

    refused(tmp_path, script)


def test_a_host_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_settings: Any, _request: Any) -> Any:
        raise UnreachableError("HOST-UNREACHABLE", "kvm1 does not answer.", next_step="Try ssh by hand.")

    monkeypatch.setattr(engine, "ask_offers", away)

    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.to(MAPPING)
        await wizard.hands.until(lambda: "kvm1 does not answer." in wizard.hands.text)
        await wizard.to(PLAN)
        await wizard.hands.press(NEXT)
        assert any("not there yet" in text or "answer" in text for text in wizard.hands.app.said)

    refused(tmp_path, script)


def test_a_read_only_host_is_refused_at_the_last_step(tmp_path: Path) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.to(TARGET)
        await wizard.pick("Host", "kvm2")
        await wizard.to(PLAN)
        settings = wizard.hands.app.settings
        closed = replace(settings.hosts["kvm2"], read_only=True)
        wizard.hands.app.settings = replace(settings, hosts={**settings.hosts, "kvm2": closed})
        await wizard.hands.press(NEXT)
        assert isinstance(wizard.hands.app.screen, RestoreWizard)
        assert any("read-only" in text for text in wizard.hands.app.said)

    refused(tmp_path, script)


def test_leaving_keeps_what_was_chosen(tmp_path: Path) -> None:
    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.to(TARGET)
        await wizard.pick("Host", "kvm2")
        await wizard.hands.press(BACK, "escape")
        assert not isinstance(wizard.hands.app.screen, RestoreWizard)
        await wizard.hands.press("r")
        await wizard.hands.until(lambda: isinstance(wizard.hands.app.screen, RestoreWizard))
        assert wizard.page.draft.host == "kvm2"

    refused(tmp_path, script)


def test_another_choice_asks_for_another_plan(tmp_path: Path) -> None:
    """The plan that is agreed to is the one of the last choice, not an older one."""

    async def script(wizard: Wizard) -> None:
        await wizard.open()
        await wizard.to(PLAN)
        await wizard.hands.press(BACK)
        await wizard.pick("Interfaces on dmz", "lan")
        await wizard.to(PLAN)
        await wizard.answer(Confirm, "y")

    *_, request = asked(tmp_path, script)
    assert request.networks == {"lan": "none", "dmz": "lan"}
    assert request.approved == plan_of(replace(request, approved="")).fingerprint()


# -- undo ------------------------------------------------------------------------------------------


def test_undo_of_an_in_place_restore_from_the_jobs(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("4", "slash", *words("restore"), "enter", "u")
        await hands.dialog(Typed)
        assert "Undo the restore of web1 on kvm1?" in hands.text
        assert "set aside, not deleted" in hands.text
        await hands.press(*words("web1"), "enter")
        await hands.until(lambda: hands.queue.asked)

    ((kind, host, name, request),) = play(tmp_path, script).asked
    assert (kind, host, name) == (JobKind.REVERT, "kvm1", "web1")
    assert (request.host, request.vm, request.discard) == ("kvm1", uuid(1), False)


def test_what_kept_no_old_disks_cannot_be_undone(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await hands.press("4", "u")
        assert any("in-place restore" in text for text in hands.app.said)

    assert play(tmp_path, script).asked == []


def test_every_block_anew_is_a_choice_in_place_alone() -> None:
    from vmtui.tui.wizard.draft import DIFFERING, WHOLE, Draft, Target, changed, target_settings

    draft = Draft(uuid(1), "web1", "kvm1", NEWEST, "kvm1")
    assert "write" not in [line.id for line in target_settings(draft, ("kvm1",))]
    draft = changed(draft, "target", Target.IN_PLACE.value)
    (line,) = [line for line in target_settings(draft, ("kvm1",)) if line.id == "write"]
    assert (line.value, line.choices) == (DIFFERING, (DIFFERING, WHOLE))
    assert not draft.request().whole
    draft = changed(draft, "write", WHOLE)
    assert draft.request().whole
    assert "--in-place --whole" in draft.command()
    elsewhere = changed(draft, "target", Target.NEW.value)
    assert not elsewhere.request().whole
    assert "--whole" not in elsewhere.command()
