"""A restore in place that could not be taken back says so, and says the way back; one that was, says nothing more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import StillApp, job, uuid
from tests.support.playing import plan_of
from vmtui.jobs.workflows.restoring import not_restored
from vmtui.model.codec import to_plain
from vmtui.model.errors import UnreachableError
from vmtui.model.ids import PointId
from vmtui.model.job import JobKind, JobState
from vmtui.restore.plan import RestorePlan, RestoreRequest
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.verbs.restores import no_undo

ERROR = UnreachableError("HOST-UNREACHABLE", "kvm1 does not answer.", host="kvm1").to_json()


def plan(*, in_place: bool) -> RestorePlan:
    made = plan_of(RestoreRequest(uuid(1), PointId("p"), "kvm1", in_place=in_place))
    return replace(made, replaces_vm=in_place)


@pytest.mark.parametrize("in_place", [True, False])
def test_nothing_is_added_where_nothing_is_left(in_place: bool) -> None:
    assert not_restored({"plan": to_plain(plan(in_place=in_place))}, ERROR, clean=True) == ERROR


def test_what_is_left_of_a_new_vm_is_told() -> None:
    made = plan(in_place=False)
    error = not_restored({"plan": to_plain(made)}, ERROR, clean=False)
    assert error["cause"].startswith(f"kvm1 does not answer. Not all that it had made of {made.name}")
    assert (error["id"], error["facts"]) == (ERROR["id"], ERROR["facts"])


def told() -> dict[str, Any]:
    return not_restored({"plan": to_plain(plan(in_place=True))}, ERROR, clean=False)


def test_the_way_back_is_told() -> None:
    error = told()
    assert (error["id"], error["exit_code"]) == (ERROR["id"], ERROR["exit_code"])
    assert error["cause"].startswith("kvm1 does not answer. web1 could not be put back")
    assert "vmtui revert kvm1/web1" in error["next_step"]
    assert (error["facts"]["host"], error["facts"]["vm"], error["facts"]["uuid"]) == ("kvm1", "web1", uuid(1))
    assert error["facts"]["kept"].endswith(".json")


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_it_can_be_undone_from_the_list_of_jobs(tmp_path: Path, state: JobState) -> None:
    from tests.support.pictures import example

    app = StillApp(tmp_path, example())
    left = job(1, state, kind=JobKind.RESTORE, error=told())
    assert no_undo(app, Focus("jobs", jobs=(left,))) == ""
    taken_back = replace(left, error=ERROR)
    assert no_undo(app, Focus("jobs", jobs=(taken_back,))) == "it kept no old disks"
