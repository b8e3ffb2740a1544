"""A restore that was left comes back as it was chosen, for an hour and while its point is good."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.support.pictures import NOW, point, uuid
from vmtui.model.ids import VmId
from vmtui.tui.wizard.draft import Draft, Target
from vmtui.tui.wizard.kept import Drafts

POINT = point(1, "web1", timedelta(hours=1))
VM = VmId(uuid(1))
DRAFT = replace(Draft(VM, "web1", "kvm1", POINT, "kvm2"), target=Target.IN_PLACE)


def found(minutes: float = 5, good: tuple[str, ...] = (POINT.id,), hosts: tuple[str, ...] = ("kvm2",)) -> Draft | None:
    """What is found after some time."""
    drafts = Drafts()
    drafts.keep(DRAFT, NOW)
    return drafts.find(VM, good, hosts, NOW + timedelta(minutes=minutes))


def test_kept_for_an_hour() -> None:
    assert found() == DRAFT
    assert found(59) == DRAFT
    assert found(61) is None


def test_not_kept_where_point_or_host_is_gone() -> None:
    assert found(good=()) is None
    assert found(hosts=("kvm1",)) is None


def test_dropped_once_it_was_begun() -> None:
    drafts = Drafts()
    drafts.keep(DRAFT, NOW)
    drafts.drop(VM)
    assert drafts.find(VM, (POINT.id,), ("kvm2",), NOW) is None
