"""Where captured files, instant restores and what is on a host meet: nothing of anybody else is taken away."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmtui.hosts import belongings, defining, domain_xml, domains, reverse, saved
from vmtui.hosts.domains import save_path
from vmtui.model.errors import FailedError, RefusedError
from vmtui.model.ids import JobId, VmId
from vmtui.model.point import Role
from vmtui.restore import install, instant, run
from vmtui.restore.belongings import is_safe_part, place_files
from vmtui.restore.definition import Fitted
from vmtui.restore.placing import bring_back
from vmtui.restore.plan import Aside
from vmtui.runs import RunNotes

RUN = JobId("0" * 16)
UUID = VmId("5d3f0bd4-6a0e-4f9e-8a39-8f0f3f1f2a11")


class Files:
    """Files of a host that are nothing but names and bytes."""

    def __init__(self, **content: bytes) -> None:
        self.content = dict(content)

    def exists(self, path: str) -> bool:
        return path in self.content

    def info(self, path: str) -> Any:
        return SimpleNamespace(size=len(self.content[path]), regular=True) if path in self.content else None

    def remove(self, path: str) -> bool:
        return self.content.pop(path, None) is not None

    def rename(self, old: str, new: str) -> None:
        assert new not in self.content
        self.content[new] = self.content.pop(old)


def session_with(files: Files) -> Any:
    host = SimpleNamespace(name="north", uri="qemu+ssh://north/system")
    return SimpleNamespace(files=files, host=host)


@pytest.fixture
def lost(tmp_path: Path) -> tuple[Any, Any]:
    """(context, plan) of a VM that was lost and comes back as itself."""
    session = session_with(Files())
    context = SimpleNamespace(session=session, notes=lambda _: RunNotes(tmp_path, RUN), watch=None)
    request = SimpleNamespace(keeps_identity=False)
    return context, SimpleNamespace(
        run=RUN, name="web1", uuid=UUID, replaces_vm=False, disks=(), files=(), asides=(), request=request
    )


# -- a VM that came back by itself ---------------------------------------------------------------


def test_a_vm_that_came_back_meanwhile_keeps_its_definition(
    lost: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, plan = lost
    defined = []
    monkeypatch.setattr(domains, "find_domain", lambda *_: SimpleNamespace(uuid=UUID))
    monkeypatch.setattr(domains, "exists", lambda *_: True)
    monkeypatch.setattr(defining, "define", lambda *what: defined.append(what))
    with pytest.raises(RefusedError, match="appeared"):
        run.define(context, plan, SimpleNamespace(uuid=UUID), Fitted("<domain/>"))  # type: ignore[arg-type]
    assert not defined
    assert not run.is_ours(context, plan)


def test_a_vm_that_came_back_meanwhile_is_never_powered_off(
    lost: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, plan = lost
    gone: list[str] = []
    monkeypatch.setattr(domains, "exists", lambda *_: True)
    monkeypatch.setattr(domains.Domain, "power_off", lambda _: gone.append("power"))
    monkeypatch.setattr(run, "abandon", lambda *_: None)
    monkeypatch.setattr(reverse, "remove", lambda *_: None)
    monkeypatch.setattr(instant, "end_session", lambda *_: None)
    plan.folder = "/run/x"
    instant.abandon(context, plan, discard=False)
    assert not gone
    context.notes(RUN).note(install.MADE)
    instant.abandon(context, plan, discard=False)
    assert gone == ["power"]


# -- saved memory --------------------------------------------------------------------------------


def test_saved_memory_comes_back_although_a_worker_died_while_libvirt_forgot_it() -> None:
    session = session_with(Files())
    memory = save_path(session, "web1")
    plan: Any = SimpleNamespace(run=RUN, name="web1", asides=(Aside(memory),))
    session.files.content = {memory: b"", Aside(memory).kept_path(RUN): b"memory"}
    bring_back(session, plan)
    assert session.files.content == {memory: b"memory"}
    session.files.content[Aside(memory).kept_path(RUN)] = b"older"
    bring_back(session, plan)
    assert session.files.content[memory] == b"memory"


def test_memory_that_was_saved_anew_is_not_forgotten() -> None:
    session = session_with(Files())
    memory = save_path(session, "web1")
    session.files.content = {memory: b"newer"}
    removed: list[str] = []
    domain: Any = SimpleNamespace(session=session, call=lambda what, _: removed.append(what))
    with pytest.raises(FailedError, match="saved meanwhile"):
        saved.forget(domain, memory)
    assert not removed
    session.files.content = {memory: b""}  # a predecessor died there
    saved.forget(domain, memory)
    assert removed


class Flight:
    """What `place_files` needs of a preflight, for a point without disks."""

    def __init__(self, point: Any, files: Files, **request: bool) -> None:
        wishes = {"instant": False, "in_place": False, "keeps_identity": True, "new_nvram": False} | request
        self.point, self.session = point, session_with(files)
        self.request = SimpleNamespace(**wishes)
        self.name, self.file_name, self.uuid = "web1", "web1", UUID
        self.domain = domain_xml.parse("<domain><os/></domain>")
        self.files: list[Any] = []
        self.disks: list[Any] = []
        self.asides: list[Any] = []
        self.replaces_vm = False
        self.checks: list[Any] = []

    def passed(self, name: str, detail: str = "") -> None:
        self.checks.append(SimpleNamespace(name=name, ok=True, detail=detail))

    def failed(self, name: str, detail: str) -> None:
        self.checks.append(SimpleNamespace(name=name, ok=False, detail=detail))

    def undone(self, name: str, detail: str) -> None:
        self.checks.append(SimpleNamespace(name=name, ok=None, detail=detail))

    def has_failed(self, name: str) -> bool:
        return any(check.name == name and check.ok is False for check in self.checks)


def point_with(*files: Any) -> Any:
    return SimpleNamespace(files=files, left_out=(), host="north")


def file_of(role: str, part: str = "") -> Any:
    return SimpleNamespace(role=role, part=part, label=f"{role} {part}".rstrip(), path="/x", size=1, root="", owner="")


def test_an_instant_restore_does_not_wake_from_saved_memory() -> None:
    """The definition inside of it would let failed reads of the repository through to the guest."""
    flight: Any = Flight(point_with(file_of(Role.SAVE)), Files(), instant=True)
    place_files(flight, [])
    assert not flight.files
    assert [(check.name, check.ok) for check in flight.checks] == [("memory", None)]


def test_a_new_vm_never_starts_from_memory_that_was_left_on_the_host() -> None:
    flight: Any = Flight(point_with(), Files())
    flight.session.files.content[save_path(flight.session, "web1")] = b"old"
    place_files(flight, [])
    assert [(check.name, check.ok) for check in flight.checks] == [("memory", False)]


# -- names of a manifest -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "part", "safe"),
    [
        (Role.TPM, "tpm2/tpm2-00.permall", True),
        (Role.TPM, "../../../etc/shadow", False),
        (Role.TPM, "/etc/shadow", False),
        (Role.TPM, "tpm2//x", False),
        (Role.MEDIUM, "sda", True),
        (Role.MEDIUM, "sda/../../x", False),
        (Role.MEDIUM, "..", False),
        (Role.NVRAM, "", True),
    ],
)
def test_a_part_stays_below_its_folder(role: str, part: str, safe: bool) -> None:
    assert is_safe_part(role, part) is safe


def test_a_manifest_that_leads_elsewhere_is_refused() -> None:
    flight: Any = Flight(point_with(file_of(Role.TPM, "../../../etc/shadow")), Files())
    place_files(flight, [])
    assert not flight.files
    assert [check.ok for check in flight.checks] == [False]


# -- what cannot be read does not cost the disks -------------------------------------------------


def test_a_tpm_that_may_not_be_looked_into_is_left_out() -> None:
    def refuse(_: str) -> list[str]:
        raise FailedError("REMOTE-COMMAND", "no permission")

    session = session_with(Files())
    session.files.names = refuse
    domain = domain_xml.parse(
        "<domain><os><nvram>/n</nvram></os><devices><tpm><backend type='emulator'/></tpm></devices></domain>"
    )
    found = belongings.firmware_state(session, domain, UUID, "web1")
    assert [item.path for item in found.files] == ["/n"]
    assert [(item.name, item.reason, item.disk) for item in found.left_out] == [(Role.TPM, "no permission", False)]
