"""Every question that the screens ask: No by default, deaf to slips, and Yes makes exactly the job that was shown.

The cases are compared with the code: a new dialog, or a new dangerous command, without a case here fails.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paramiko
import pytest
from textual.widgets import Button, Input

import vmtui.hostpoint
import vmtui.tui
from tests.hostpoint.test_diff import NETWORK, part, state
from tests.support.pictures import NOW, example, job, uuid
from tests.support.playing import JOB, OFFERS, Play, Script, group_plan_of, plan_of, play, prune_plan, words
from vmtui.files.entries import Place
from vmtui.model.host import HostState
from vmtui.model.hostpoint import HOST_NAME, PartKind
from vmtui.model.job import JobKind, JobState
from vmtui.repository.collect import Collected
from vmtui.restore import RestoreRequest
from vmtui.restore.group import GroupRequest
from vmtui.tui import clock
from vmtui.tui.dialogs.ask import Ask
from vmtui.tui.dialogs.base import Confirm, Dialog, Typed
from vmtui.tui.dialogs.notice import Alarm
from vmtui.tui.dialogs.options import BackupOptions
from vmtui.tui.dialogs.pick import Pick
from vmtui.tui.picture import Picture
from vmtui.tui.screens.prune import PrunePage
from vmtui.tui.verbs import files, host_points, retention, trust, upkeep
from vmtui.tui.verbs.all import REGISTRY
from vmtui.tui.verbs.registry import Danger, Focus
from vmtui.tui.wizard import engine
from vmtui.tui.wizard.screen import RestoreWizard
from vmtui.tui.wizard.several import SeveralPage

KEY = paramiko.ECDSAKey.generate()
WEB1 = next(view for view in example().catalogue.points if view.vm == "web1" and view.good)
HELD = next(view for view in example().catalogue.points if view.held is not None)
HOST_POINT = example().catalogue.host_points[0]
PHASES = tuple(
    {"phase": name, "disk": "", "at": "2026-03-14T11:59:00.000000Z"}
    for name in ("serving", "running from the repository", "moving")
)


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands, and what hosts and repository would say is known."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(engine, "ask_offers", lambda _settings, _request: OFFERS)
    monkeypatch.setattr(engine, "ask_plan", lambda _settings, request: plan_of(request))
    monkeypatch.setattr(engine, "ask_group_offers", lambda _settings, _request: OFFERS)
    monkeypatch.setattr(engine, "ask_group_plan", lambda _settings, request: group_plan_of(request))
    monkeypatch.setattr(upkeep, "_count", lambda _app: Collected(named=3, named_bytes=4 << 30))
    lan = part(PartKind.NETWORK, "lan", NETWORK, active=True, autostart=True)
    monkeypatch.setattr(host_points, "_repository", lambda _app: None)
    monkeypatch.setattr(host_points, "_connected", _nobody)
    monkeypatch.setattr(host_points, "_state", lambda _repository, _point: state(lan))
    monkeypatch.setattr(vmtui.hostpoint, "capture_objects", lambda _session, _now: state())


@contextmanager
def _nobody(_app: Any, _host: str) -> Iterator[None]:
    yield None


# -- the ways to the questions ---------------------------------------------------------------------


def keys(*pressed: str) -> Script:
    """Press keys."""

    async def script(hands: Play) -> None:
        await hands.press(*pressed)

    return script


def on(view: str, name: str) -> Script:
    """In a view, on the row of this name."""
    return keys(view, "slash", *words(name), "enter")


def both(first: Script, second: Script) -> Script:
    """One after the other."""

    async def script(hands: Play) -> None:
        await first(hands)
        await second(hands)

    return script


async def stay(_hands: Play) -> None:
    """Nothing has to be done before the key."""


async def to_options(hands: Play) -> None:
    """The sheet is open, cold is chosen, and its button has the focus."""
    await hands.press("o")
    await hands.dialog(BackupOptions)
    await hands.press("tab", "tab")  # round to the modes
    await hands.press("down", "down", "enter", "shift+tab")


async def to_plan(hands: Play) -> None:
    """The wizard shows the plan of a new VM."""
    await hands.press("r")
    await hands.until(lambda: isinstance(hands.app.screen, RestoreWizard))
    await through(hands)


async def through(hands: Play) -> None:
    """From the second step to the plan, whatever was chosen."""
    wizard = hands.app.screen
    assert isinstance(wizard, RestoreWizard)
    while wizard.step < 4:
        await hands.press("right_square_bracket")
        await hands.until(lambda: not wizard.asking)


async def choose(hands: Play, line: int, choice: int) -> None:
    """In the second step, on a line, pick a choice."""
    await hands.press("g", *["j"] * line, "enter")
    await hands.dialog(Pick)
    await hands.press(*["down"] * choice, "enter")
    await hands.until(lambda: isinstance(hands.app.screen, RestoreWizard))


async def to_plan_in_place(hands: Play) -> None:
    await hands.press("r", "right_square_bracket")
    await choose(hands, 0, 1)
    await through(hands)


async def to_several(hands: Play) -> None:
    """Two VMs are marked, and the plan of both is shown."""
    for name in ("web1", "db1"):
        await hands.press("2", "slash", *words(name), "enter", "space", "escape")
    await hands.press("r")
    await hands.until(lambda: isinstance(hands.app.screen, SeveralPage) and hands.app.screen.plan is not None)


async def to_several_in_place(hands: Play) -> None:
    await to_several(hands)
    await hands.press("g", "enter")
    await hands.dialog(Pick)
    await hands.press("down", "enter")
    await hands.until(lambda: isinstance(hands.app.screen, SeveralPage) and hands.app.screen.plan is not None)


async def to_export(hands: Play) -> None:
    await hands.press("r", "right_square_bracket")
    await choose(hands, 0, 3)
    await hands.press("j", "j", "enter")
    await hands.dialog(Ask)
    await hands.press(*words("/tmp/web1.qcow2"), "enter")
    await hands.until(lambda: isinstance(hands.app.screen, RestoreWizard))
    await through(hands)


async def to_prune(hands: Play) -> None:
    """The plan of a prune that lets one point go."""
    hands.app.push_screen(PrunePage(prune_plan(), (), "repo"))
    await hands.until(lambda: isinstance(hands.app.screen, PrunePage))


async def to_put(hands: Play) -> None:
    """It was said where the file goes."""
    focus = Focus("files", points=(WEB1,), files=(Place("vda1", ("etc", "hosts")),))
    hands.app.perform(REGISTRY.by_id["files.put"], focus)
    await hands.dialog(Ask)


def with_host(host_state: HostState) -> Picture:
    picture = example()
    return replace(picture, hosts={"kvm1": replace(picture.hosts["kvm1"], state=host_state)})


def with_jobs(*records: Any) -> Picture:
    return replace(example(), jobs=replace(example().jobs, records=records))


# -- the questions ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One question."""

    id: str
    command: str
    """The command that asks."""
    asks: str
    """Where in the screens it is made."""
    dialog: type[Dialog[Any]]
    opener: str
    """The last key before it opens."""
    made: tuple[tuple[Any, ...], ...] = ()
    """What Yes asks of the queue; of a request, the fields that matter."""
    word: str = ""
    """What must be typed; `y` where nothing must."""
    title: str = ""
    """With the object in it."""
    way: Script = stay
    """Once, to the place."""
    before: Script = stay
    """Each time, to just before the opener."""
    picture: Picture | None = None


def request(**fields: Any) -> dict[str, Any]:
    return fields


RESTORE = next(record for record in example().jobs.records if record.kind is JobKind.RESTORE)
RUNNING = example().jobs.records[0]
NEW_VM = request(vm=uuid(1), point=WEB1.id, host="kvm1", in_place=False, networks={"lan": "none", "dmz": "none"})
SEVERAL = request(approved=group_plan_of(GroupRequest(tuple(
    RestoreRequest(view.uuid, view.id, "kvm1", networks={"lan": "none", "dmz": "none"})
    for name in ("db1", "web1") for view in example().catalogue.points if view.vm == name and view.good
))).fingerprint())  # fmt: skip
MOVING = job(1, JobState.RUNNING, kind=JobKind.INSTANT, vm="web9", phase="moving", phases=PHASES)
ENDED = {
    kind: job(number, JobState.FAILED, kind=kind, vm="web1", result={})
    for number, kind in enumerate((JobKind.BACKUP, JobKind.REVERT, JobKind.GC, JobKind.REPAIR, JobKind.REHEARSE, JobKind.HOST_RESTORE), 1)
}  # fmt: skip


def again(kind: JobKind, dialog: type[Dialog[Any]], word: str = "") -> Case:
    """The same job once more is asked about as the first one was."""
    record = ENDED[kind]
    return Case(
        f"again-{kind}".replace(" ", "-"), "job.again", "verbs.again.again", dialog, "a", (("again", record.id),), word,
        f"Run the {kind}", keys("4"), picture=with_jobs(record),
    )  # fmt: skip


CASES = (
    Case("cold", "backup.start", "verbs.backups.request_backup", Confirm, "b", ((JobKind.BACKUP, "kvm1", "archive1", request(host="kvm1", vm=uuid(3), mode="cold", full=False)),), title="Back up kvm1/archive1 cold?", way=on("2", "archive1")),
    Case("options", "backup.options", "verbs.backups.request_backup", Confirm, "enter", ((JobKind.BACKUP, "kvm1", "web1", request(host="kvm1", vm=uuid(1), mode="cold", full=False)),), title="Back up kvm1/web1 cold?", way=on("2", "web1"), before=to_options),
    Case("new", "restore.open", "wizard.confirm.restore", Confirm, "right_square_bracket", ((JobKind.RESTORE, "kvm1", "web1-r0314", NEW_VM),), title="Restore as web1-r0314 on kvm1?", way=both(on("2", "web1"), to_plan)),
    Case("in-place", "restore.open", "wizard.confirm.restore", Typed, "right_square_bracket", ((JobKind.RESTORE, "kvm1", "web1", request(vm=uuid(1), point=WEB1.id, host="kvm1", in_place=True)),), "web1", "Bring web1 back IN PLACE on kvm1?", both(on("2", "web1"), to_plan_in_place)),
    Case("several", "restore.open", "wizard.confirm.restore_several", Confirm, "right_square_bracket", ((JobKind.GROUP_RESTORE, "kvm1", "db1-r0314 web1-r0314", SEVERAL),), title="Restore 2 VMs on kvm1?", way=to_several),
    Case("several-in-place", "restore.open", "wizard.confirm.restore_several", Typed, "right_square_bracket", ((JobKind.GROUP_RESTORE, "kvm1", "db1 web1", {}),), "in place", "Bring 2 VMs back IN PLACE on kvm1?", to_several_in_place),
    Case("export", "restore.open", "wizard.confirm.export", Confirm, "right_square_bracket", ((JobKind.EXPORT, "", "web1 vda", request(vm=uuid(1), point=WEB1.id, disk="vda", file="/tmp/web1.qcow2", format="qcow2")),), title="Write this file?", way=both(on("2", "web1"), to_export)),
    Case("undo", "restore.undo", "verbs.restores._ask_undo", Typed, "u", ((JobKind.REVERT, "kvm1", "web1", request(host="kvm1", vm=uuid(1), discard=False)),), "web1", "Undo the restore of web1 on kvm1?", on("4", "restore")),
    Case("rehearse", "rehearse.start", "verbs.rehearsals.ask", Confirm, "w", ((JobKind.REHEARSE, "kvm1", "web1", request(vm=uuid(1), point=WEB1.id, host="kvm1")),), title="Rehearse web1", way=keys("3")),
    Case("release", "point.hold", "verbs.retention.ask_release", Confirm, "h", (("release", HELD.uuid, HELD.id),), title=f"Release point {HELD.id} of kvm1/archive1?", way=on("3", "archive1")),
    Case("prune", "prune.run", "verbs.retention.ask_prune", Typed, "f", ((JobKind.PRUNE, "", "", request(at=prune_plan().at, points=prune_plan().request.points)),), "prune", "Prune all VMs: 1 of 2 points go", to_prune),
    Case("put", "files.put", "verbs.files.ask_put", Confirm, "enter", (("put", "kvm1/web1", "/etc/hosts"),), title="Put hosts into kvm1/web1?", before=to_put),
    Case("gc", "repo.gc", "verbs.upkeep._ask_collect", Typed, "g", ((JobKind.GC, "", "", {}),), "gc", "Free the space of what no point needs", keys("6")),
    Case("repair", "repo.repair", "verbs.upkeep.repair", Confirm, "m", ((JobKind.REPAIR, "", "", {"give_up": []}),), title="Repair the repository?", way=keys("6")),
    Case("cancel", "job.cancel", "verbs.backups.cancel_job", Confirm, "c", (("cancel", RUNNING.id, False),), title="Cancel the backup of kvm1/web1?", way=keys("4")),
    Case("discard", "job.cancel", "verbs.backups._ask_discard", Typed, "c", (("cancel", MOVING.id, True),), "web9", "Throw web9 on kvm1 away?", keys("4"), picture=with_jobs(MOVING)),
    again(JobKind.BACKUP, Confirm),
    again(JobKind.REPAIR, Confirm),
    again(JobKind.REHEARSE, Confirm),
    again(JobKind.HOST_RESTORE, Confirm),
    again(JobKind.GC, Typed, "gc"),
    again(JobKind.REVERT, Typed, "web1"),
    Case("trust", "host.trust", "verbs.trust._show", Confirm, "t", (("accept", "kvm1"),), title="Accept this key of kvm1?", way=keys("5"), picture=with_host(HostState.KEY_UNKNOWN)),
    Case("trust-by-enter", "host.trust", "verbs.trust._show", Confirm, "enter", (("accept", "kvm1"),), title="Accept this key of kvm1?", way=keys("5"), picture=with_host(HostState.KEY_UNKNOWN)),
    Case("alarm", "host.trust", "verbs.trust._show", Alarm, "t", (), title="The SSH key of kvm1 has CHANGED", way=keys("5"), picture=with_host(HostState.KEY_CHANGED)),
    Case("host-restore", "host.restore", "verbs.host_points.confirm", Confirm, "r", ((JobKind.HOST_RESTORE, "kvm1", HOST_NAME, request(host="kvm1", vm=HOST_POINT.uuid, point=HOST_POINT.id, only=("network:lan",), replace=())),), title="Bring back 1 part of kvm1", way=keys("5", "enter")),
)  # fmt: skip


# -- nothing is forgotten --------------------------------------------------------------------------


def subclasses(kind: type[Any]) -> set[type[Any]]:
    return {child for direct in kind.__subclasses__() for child in (direct, *subclasses(direct))}


def modules() -> list[Any]:
    """Every module of the screens."""
    return [importlib.import_module(found.name) for found in pkgutil.walk_packages(vmtui.tui.__path__, "vmtui.tui.")]


def makers() -> set[str]:
    """Functions of the screens that make a question or an alarm."""
    found = set()
    for module in modules():
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for function in tree.body:
            if isinstance(function, ast.FunctionDef) and _asks(function):
                found.add(f"{module.__name__.removeprefix('vmtui.tui.')}.{function.name}")
            if isinstance(function, ast.ClassDef) and _asks(function):
                found.add(f"{module.__name__.removeprefix('vmtui.tui.')}.{function.name}")
    return found


def _asks(tree: ast.AST) -> bool:
    asking = {kind.__name__ for kind in subclasses(Dialog) if kind not in HARMLESS}
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in asking
        for node in ast.walk(tree)
    )


HARMLESS = {Ask, Pick, BackupOptions}
"""They only choose; what follows from it asks again where it is dangerous. Their keys have tests of their own."""


def test_every_dangerous_command_has_a_case() -> None:
    dangerous = {command.id for command in REGISTRY.commands if command.danger in (Danger.STOPS, Danger.DESTROYS)}
    assert dangerous <= {case.command for case in CASES}


def test_every_kind_of_dialog_has_a_case() -> None:
    modules()
    kinds = {kind for kind in subclasses(Dialog) if kind.__module__.startswith("vmtui.")}
    assert kinds - HARMLESS == {case.dialog for case in CASES}


def test_every_place_that_asks_has_a_case() -> None:
    assert makers() == {case.asks for case in CASES}


# -- what each of them does ------------------------------------------------------------------------


def watched(monkeypatch: pytest.MonkeyPatch, case: Case) -> list[tuple[Any, ...]]:
    """What is done beside the queue."""
    done: list[tuple[Any, ...]] = []

    class Points:
        def release(self, name: Any, _now: Any) -> None:
            done.append(("release", name.vm, name.id))

    class Repository:
        points = Points()

    verdict = "changed" if case.dialog is Alarm else "unknown"
    monkeypatch.setattr(retention, "_repository", lambda _app: Repository())

    def put(_app: Any, _focus: Any, vm: Any, path: Any) -> Any:
        done.append(("put", vm, path))
        return outcome(vm, path)

    monkeypatch.setattr(files, "_put", put)
    monkeypatch.setattr(trust, "_ask", lambda _app, _name: trust.Shown("kvm1", 22, KEY, "SHA256:abc", verdict))
    monkeypatch.setattr(trust, "_accept", lambda _app, shown: done.append(("accept", shown.address)))
    return done


def outcome(vm: str, path: str) -> Any:
    from vmtui.files.put import Outcome

    return Outcome(guest=vm, path=path, bytes=1, sha256="", proof="read back")


def plain(asked: tuple[Any, ...], like: tuple[Any, ...]) -> tuple[Any, ...]:
    """What was asked for, with only those fields of the request that are expected."""
    wanted = like[-1]
    if not isinstance(wanted, dict) or isinstance(asked[-1], dict):
        return asked
    return (*asked[:-1], {name: getattr(asked[-1], name) for name in wanted})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_question(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = watched(monkeypatch, case)
    answer = [*words(case.word), "enter"] if case.word else ["y"]

    async def script(hands: Play) -> None:
        app = hands.app

        async def open_it() -> Dialog[Any]:
            await case.before(hands)
            await hands.press(case.opener)
            return await hands.dialog(case.dialog)

        async def leave() -> None:
            await hands.press("escape")
            await hands.until(lambda: not isinstance(app.screen, Dialog))
            assert not hands.queue.asked and not done

        await case.way(hands)
        dialog = await open_it()
        assert case.title in hands.text, hands.text
        assert_no_is_the_answer(dialog, case)
        await leave()

        await open_it()
        await hands.press(case.opener)
        await hands.pilot.pause(0.05)
        assert not hands.queue.asked and not done, "the key that opened it confirmed"
        if isinstance(app.screen, Dialog):
            await leave()

        await case.before(hands)
        app.look = replace(app.look, guard_s=60.0)
        await hands.press(case.opener)
        await hands.until(lambda: isinstance(app.screen, case.dialog))
        deaf = app.screen
        await hands.press(*answer, "enter")
        assert app.screen is deaf and not hands.queue.asked and not done, "what was typed ahead was taken"
        app.look = replace(app.look, guard_s=0.0)
        await hands.dialog(case.dialog)
        await leave()

        await open_it()
        await hands.press(*answer)
        if case.made:
            await hands.until(lambda: len(hands.queue.asked) + len(done) >= len(case.made))
        await hands.pilot.pause(0.05)

    asked = play(tmp_path, script, picture=case.picture).asked + done
    assert len(asked) == len(case.made)
    assert tuple(plain(one, like) for one, like in zip(asked, case.made, strict=True)) == case.made


def assert_no_is_the_answer(dialog: Dialog[Any], case: Case) -> None:
    """No has the focus; where a word is asked for, an empty field, and Yes cannot be pressed."""
    focused = dialog.focused
    assert focused is not None
    if case.dialog is Typed:
        assert focused.id == "word"
        assert isinstance(focused, Input) and focused.value == ""
        assert dialog.query_one("#yes", Button).disabled
    else:
        assert focused.id == "no"
    if case.dialog is Alarm:
        assert not dialog.query("#yes")


def test_a_restore_shows_its_job_when_it_is_queued(tmp_path: Path) -> None:
    async def script(hands: Play) -> None:
        await on("2", "web1")(hands)
        await to_plan(hands)
        await hands.press("right_square_bracket")
        await hands.dialog(Confirm)
        await hands.press("y")
        await hands.until(lambda: JOB in hands.text)

    play(tmp_path, script)
